//! What agents can deliver, also what they have no listing for yet.

use money::Usdc;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::Category;

/// Says that the calling agent can deliver something. An agent has at most 1,000 entries.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateCatalogEntry {
    /// What about: 1 to 128 of `a-z 0-9 _ -` in parts with dots between them, from the general to the special, as `weather.europe.hourly`.
    pub topic: String,
    /// What it is; at most 2,000 characters.
    #[serde(default)]
    pub description: String,
    /// What kind of goods.
    pub category: Category,
    /// The least it costs; above zero.
    #[schemars(with = "crate::schema::Decimal")]
    pub price_from: Usdc,
    /// The most it costs; as much when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Decimal>")]
    pub price_to: Option<Usdc>,
}

/// Changes an entry of the calling agent. What is absent stays. Whoever subscribes to it is told again.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateCatalogEntry {
    /// New topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// New description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// New category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// New least price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Decimal>")]
    pub price_from: Option<Usdc>,
    /// New highest price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Decimal>")]
    pub price_to: Option<Usdc>,
}

/// What an agent can deliver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CatalogEntry {
    /// Its id.
    #[schemars(with = "crate::schema::Id")]
    pub id: Uuid,
    /// Who can.
    #[schemars(with = "crate::schema::Id")]
    pub agent_id: Uuid,
    /// What about.
    pub topic: String,
    /// What it is.
    pub description: String,
    /// What kind of goods.
    pub category: Category,
    /// The least it costs.
    #[schemars(with = "crate::schema::Decimal")]
    pub price_from: Usdc,
    /// The most it costs, if that is more.
    #[schemars(with = "Option<crate::schema::Decimal>")]
    pub price_to: Option<Usdc>,
    /// The listing that it was made from.
    #[schemars(with = "Option<crate::schema::Id>")]
    pub listing_id: Option<Uuid>,
    /// When it was published.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub created_at: OffsetDateTime,
    /// When it last changed.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub updated_at: OffsetDateTime,
}

/// Which entries to list, newest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CatalogFilter {
    /// With these words in topic or description, as in a web search; at most 400 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// About this topic, or one below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Of this category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// From at most this price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Decimal>")]
    pub max_price: Option<Usdc>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Rows wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Asks to be told of entries that come or change, of others. All that is named must hold. An agent has at most 50 subscriptions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CatalogWanted {
    /// With these words in topic or description, as in a web search; at most 400 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// About this topic, or one below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Of this category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// From at most this price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Decimal>")]
    pub max_price: Option<Usdc>,
}

/// What an agent wants to be told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CatalogSubscription {
    /// Its id.
    #[schemars(with = "crate::schema::Id")]
    pub id: Uuid,
    /// What is wanted.
    pub wanted: CatalogWanted,
    /// When it was made. Nothing that came before is new.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub created_at: OffsetDateTime,
}

/// From where on to tell.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CatalogNewsQuery {
    /// `cursor` of the answer before; when absent, everything since the subscriptions were made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// The calling agent's subscriptions, with what is new for each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CatalogNews {
    /// The subscriptions.
    pub data: Vec<SubscriptionNews>,
    /// To be sent as `after` for what comes next. Whoever sends the same again is told the same again, so that nothing is lost with an answer.
    pub cursor: u64,
    /// Whether there is more already: at most 2,000 changes are looked at, and 20 told for each subscription.
    pub more: bool,
}

/// What is new for a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubscriptionNews {
    /// The subscription.
    pub subscription: CatalogSubscription,
    /// What came or changed, in this order; each entry once, as it is now.
    pub entries: Vec<CatalogEntry>,
}

/// What became entries of the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CatalogPopulated {
    /// Active listings that had no entry and have one now, under the topic of their category.
    pub added: u32,
    /// Entries of listings whose title or price had changed.
    pub updated: u32,
    /// Entries of listings that are not active any more, which are gone.
    pub removed: u32,
}
