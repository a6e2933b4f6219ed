//! What happens at the market, told as it happens.

use money::Bps;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

/// What an event is about, and who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Topic {
    /// What is for sale, and who leads: for everybody.
    #[serde(rename = "public.market")]
    Market,
    /// What is looked for: for everybody.
    #[serde(rename = "public.demand")]
    Demand,
    /// What concerns single agents: for each of them, and for the creators they belong to.
    #[serde(rename = "private.agent")]
    Agent,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Market, Self::Demand, Self::Agent];

    /// As on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Market => "public.market",
            Self::Demand => "public.demand",
            Self::Agent => "private.agent",
        }
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.as_str() == name)
    }

    /// Who is told of what is about it.
    pub const fn visibility(self) -> Visibility {
        match self {
            Self::Market | Self::Demand => Visibility::Public,
            Self::Agent => Visibility::Private,
        }
    }
}

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Everybody.
    Public,
    /// Those whom it concerns.
    Private,
}

macro_rules! event_types {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal,)+) => {
        /// What happened. Names are never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum EventType {
            $($(#[doc = $doc])+ $variant,)+
            /// Something that this version does not know.
            #[serde(other)]
            Unknown,
        }

        impl EventType {
            /// All that this version knows.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// As on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ Self::Unknown => "unknown" }
            }

            /// By its name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str() == name)
            }
        }
    };
}

event_types! {
    /// A listing came for sale.
    ListingCreated = "listing_created",
    /// A listing was bought in one request, from the ledger or on chain: for buyer and seller.
    ExpressPurchase = "express_purchase",
    /// A purchase through the escrow was started: for its parties, as what comes of it.
    TransactionInitiated = "transaction_initiated",
    /// It is funded.
    PaymentConfirmed = "payment_confirmed",
    /// The seller delivered.
    ContentDelivered = "content_delivered",
    /// The seller is paid.
    TransactionCompleted = "transaction_completed",
    /// The buyer disputes.
    TransactionDisputed = "transaction_disputed",
    /// The buyer has the money back.
    TransactionRefunded = "transaction_refunded",
    /// Something is suddenly looked for: ten times or more in this hour, three times as often as in the average hour of the day.
    DemandSpike = "demand_spike",
    /// Something is looked for and not for sale.
    OpportunityCreated = "opportunity_created",
    /// A listing came that fits. Agents that looked for it are told once more, for themselves.
    OpportunityFulfilled = "opportunity_fulfilled",
    /// Money was sent from one agent to another: for both.
    TokenTransfer = "token_transfer",
    /// Money came in from outside: for whose it is.
    TokenDeposit = "token_deposit",
    /// What an agent can deliver changed.
    CatalogUpdate = "catalog_update",
    /// The first ten of a leaderboard, or their order, changed.
    LeaderboardChange = "leaderboard_change",
    /// Asked for by the owner of a webhook, to see whether it works.
    WebhookTest = "webhook_test",
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FeedEvent {
    /// Its id, the same wherever it is told: the feed, and each attempt of each webhook (`webhook-id`).
    #[schemars(with = "crate::schema::Id")]
    pub event_id: Uuid,
    /// Its place. Numbers grow in the order in which events are told; those between are of events that are not for this reader. 0 for a test.
    pub seq: u64,
    /// What happened.
    pub event_type: EventType,
    /// When it happened.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub occurred_at: OffsetDateTime,
    /// Who is told.
    pub visibility: Visibility,
    /// What it is about.
    pub topic: Topic,
    /// The layout of `data`: fields may be added to it, and only a higher version changes or removes any.
    pub schema_version: u16,
    /// What is to be known of it: `listing_id`, `buyer_id`, `price` and the like.
    pub data: Map<String, Value>,
}

impl FeedEvent {
    /// The layout of `data` that this version writes.
    pub const SCHEMA_VERSION: u16 = 1;
}

/// What to be told of, and from where on. Lists have commas between their parts; what is absent is not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeedQuery {
    /// `public.market`, `public.demand`, `private.agent`; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<String>,
    /// Events of these types.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_types: Option<String>,
    /// Of the events that have a category, those of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub categories: Option<String>,
    /// Of the events that have an urgency, those at least so urgent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::BasisPoints>")]
    pub min_urgency_bps: Option<Bps>,
    /// Go on after this number, which may be seven days old; with what comes next when absent. Readers of server-sent events send it as
    /// `Last-Event-ID` by themselves. Private events are kept of agents that read the feed or had a webhook within seven days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Of `POST /feed/ticket`, in place of `Authorization`, for clients that cannot send it, as browsers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
}

/// Lets its bearer read the feed as whoever asked for it, once. What is read ends with the credentials that it was asked for with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FeedTicket {
    /// For the parameter `ticket` of `/api/v1/feed` or `/ws/feed`.
    pub ticket: String,
    /// Until then: 60 seconds.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub expires_at: OffsetDateTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_on_the_wire() {
        for kind in EventType::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert_eq!(EventType::named(kind.as_str()), Some(*kind));
        }
        for topic in Topic::ALL {
            assert_eq!(serde_json::to_value(topic).unwrap(), topic.as_str());
        }
        let later: EventType = serde_json::from_str("\"of_a_later_version\"").unwrap();
        assert_eq!((later, EventType::named("unknown")), (EventType::Unknown, None));
    }
}
