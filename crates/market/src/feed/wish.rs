use std::collections::BTreeSet;

use api::{Category, EventType, FeedQuery, Topic};
use money::Bps;
use uuid::Uuid;

use super::Meta;
use crate::{db, problem::Problem};

/// What somebody wants to be told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) topics: Vec<Topic>,
    pub(crate) event_types: Option<Vec<String>>,
    pub(crate) categories: Option<Vec<String>>,
    pub(crate) min_urgency: Option<i32>,
}

impl Wish {
    pub(crate) fn of(query: &FeedQuery) -> Result<Self, Problem> {
        let topics = list(query.topics.as_deref(), Topic::named, || {
            let known = Topic::ALL.map(Topic::as_str).join(", ");
            format!("topics must be some of {known}, with commas between them")
        })?;
        let event_types = list(query.event_types.as_deref(), EventType::named, || {
            let known: Vec<_> = EventType::ALL.iter().map(|kind| kind.as_str()).collect();
            format!("event_types must be some of {}, with commas between them", known.join(", "))
        })?;
        let category = |name: &str| serde_json::from_value::<Category>(name.into()).ok();
        let categories = list(query.categories.as_deref(), category, || {
            "categories must be categories of listings, with commas between them".into()
        })?;
        Self::new(topics, event_types, categories, query.min_urgency_bps)
    }

    pub(crate) fn new(
        topics: Option<Vec<Topic>>,
        event_types: Option<Vec<EventType>>,
        categories: Option<Vec<Category>>,
        min_urgency: Option<Bps>,
    ) -> Result<Self, Problem> {
        let unknown = event_types.as_ref().is_some_and(|kinds| kinds.contains(&EventType::Unknown));
        let topics = topics.unwrap_or_else(|| Topic::ALL.to_vec());
        let wish = Self {
            // Each once.
            topics: Topic::ALL.into_iter().filter(|topic| topics.contains(topic)).collect(),
            event_types: event_types.map(|kinds| names(kinds.iter().map(|kind| kind.as_str().to_owned()))),
            categories: categories.map(|categories| names(categories.into_iter().map(db::name_of))),
            min_urgency: min_urgency.map(|bps| bps.get().into()),
        };
        let empty = |list: &Option<Vec<String>>| list.as_ref().is_some_and(Vec::is_empty);
        if unknown || wish.topics.is_empty() || empty(&wish.event_types) || empty(&wish.categories) {
            return Err(Problem::invalid(
                "topics, event_types and categories must each name something that exists, or be left out",
            ));
        }
        Ok(wish)
    }

    /// Whether an event is for whoever sees what concerns these agents, and wanted.
    pub(crate) fn wants(&self, event: &Meta, mine: &[Uuid]) -> bool {
        let visible = match (&event.agents, event.topic) {
            (None, Topic::Market | Topic::Demand) => true,
            (Some(agents), Topic::Agent) => agents.iter().any(|agent| mine.contains(agent)),
            _ => false,
        };
        let among = |list: &Option<Vec<String>>, name: &str| list.as_ref().is_none_or(|list| list.iter().any(|one| one == name));
        visible
            && self.topics.contains(&event.topic)
            && among(&self.event_types, &event.event_type)
            && event.category.as_ref().is_none_or(|category| among(&self.categories, category))
            && event.urgency.is_none_or(|urgency| self.min_urgency.is_none_or(|least| urgency >= least))
    }
}

/// Each once, in order.
fn names(names: impl Iterator<Item = String>) -> Vec<String> {
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Each part of a list, as what it names.
fn list<T>(text: Option<&str>, named: impl Fn(&str) -> Option<T>, help: impl Fn() -> String) -> Result<Option<Vec<T>>, Problem> {
    let parts = text.map(|text| text.split(',').map(|part| named(part.trim())).collect::<Option<Vec<T>>>());
    parts.map(|parts| parts.ok_or_else(|| Problem::invalid(help()))).transpose()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn meta(topic: Topic, agents: Option<Vec<Uuid>>) -> Meta {
        Meta { topic, event_type: "token_transfer".into(), agents, category: None, urgency: None }
    }

    #[test]
    fn what_is_private_is_for_its_agents_whatever_is_asked_for() {
        let (mine, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let all = Wish::of(&FeedQuery::default()).unwrap();
        assert!(all.wants(&meta(Topic::Agent, Some(vec![other, mine])), &[mine]));
        assert!(!all.wants(&meta(Topic::Agent, Some(vec![other])), &[mine]));
        assert!(!all.wants(&meta(Topic::Agent, Some(vec![other])), &[]));
        assert!(!all.wants(&meta(Topic::Agent, None), &[mine]), "a private event of nobody");
        assert!(!all.wants(&meta(Topic::Market, Some(vec![other])), &[mine]), "a public event of somebody");
        assert!(all.wants(&meta(Topic::Market, None), &[]));
    }

    #[test]
    fn filters_hold_for_events_that_have_what_they_are_about() {
        let query = FeedQuery {
            topics: Some("public.demand, public.market".into()),
            categories: Some("web_search".into()),
            min_urgency_bps: Bps::new(5_000),
            ..FeedQuery::default()
        };
        let wish = Wish::of(&query).unwrap();
        let event = |category: Option<&str>, urgency| Meta {
            category: category.map(str::to_owned),
            urgency,
            ..meta(Topic::Demand, None)
        };
        assert!(wish.wants(&event(None, None), &[]));
        assert!(wish.wants(&event(Some("web_search"), Some(5_000)), &[]));
        assert!(!wish.wants(&event(Some("web_search"), Some(4_999)), &[]));
        assert!(!wish.wants(&event(Some("computation"), None), &[]));
        for wrong in ["", "public", "private.agent,"] {
            assert!(Wish::of(&FeedQuery { topics: Some(wrong.into()), ..FeedQuery::default() }).is_err(), "{wrong}");
        }
        assert!(Wish::of(&FeedQuery { event_types: Some("unknown".into()), ..FeedQuery::default() }).is_err());
    }
}
