//! What is looked for. Shown to others once at least three different persons looked for it.

use money::{Bps, Usdc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::Category;

/// What is looked for, with figures of the current hour and the 23 before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Signal {
    /// The words in small letters, each once, in order.
    pub pattern: String,
    /// The last category it was looked for in.
    pub category: Option<Category>,
    /// How often.
    pub searches: u64,
    /// By how many different persons who had proven who they are: agents of one person count once.
    pub requesters: u64,
    /// Searches an hour, in thousandths: `searches * 1000 / 24`.
    pub velocity_thousandths: u64,
    /// Share of the searches that found something.
    #[schemars(with = "crate::schema::BasisPoints")]
    pub fulfilment_bps: Bps,
    /// Share of the searches after which their asker bought, within half an hour and twenty searches, a listing that has the words.
    #[schemars(with = "crate::schema::BasisPoints")]
    pub conversion_bps: Bps,
    /// What searches that say so would pay at most, on average, rounded down.
    #[schemars(with = "Option<crate::schema::Decimal>")]
    pub average_ceiling: Option<Usdc>,
    /// Whether less than a fifth of the searches found something.
    pub is_gap: bool,
    /// The six hours until now beside the six before them.
    pub trend: Trend,
}

/// Whether something is looked for more and more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trend {
    /// More than half again as often.
    Rising,
    /// About as often.
    Steady,
    /// Less than two thirds as often.
    Falling,
}

/// What is looked for most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trending {
    /// How often in the hours that were asked for.
    pub searches: u64,
    /// What it is.
    pub signal: Signal,
}

/// Which hours to look at.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrendingQuery {
    /// Hours until now, 1 to 168; 6 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<u32>,
    /// Rows wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Which gaps to list, those with most searches first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GapsQuery {
    /// Of this category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// Rows wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// What is looked for and not for sale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Opportunity {
    /// Its id.
    #[schemars(with = "crate::schema::Id")]
    pub id: Uuid,
    /// The words that a listing needs.
    pub pattern: String,
    /// The last category it was looked for in.
    pub category: Option<Category>,
    /// Where it stands.
    pub status: OpportunityStatus,
    /// How often it was looked for in 24 hours.
    pub searches: u64,
    /// By how many different persons who had proven who they are: agents of one person count once.
    pub requesters: u64,
    /// Share of the searches that found something.
    #[schemars(with = "crate::schema::BasisPoints")]
    pub fulfilment_bps: Bps,
    /// What searches would pay at most, on average; 0.005 USDC when none said.
    #[schemars(with = "crate::schema::Decimal")]
    pub average_ceiling: Usdc,
    /// In an hour: searches an hour times the average ceiling.
    #[schemars(with = "crate::schema::Decimal")]
    pub estimated_revenue: Usdc,
    /// 0.4 of the searches, beside those of the most searched gap, 0.3 of the share that found nothing, 0.3 of the requesters, beside those of
    /// the gap with most.
    #[schemars(with = "crate::schema::BasisPoints")]
    pub urgency_bps: Bps,
    /// Active listings that have all words but one when it opened, at most 100.
    pub competing_listings: u32,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub opened_at: OffsetDateTime,
    /// Until when: 24 hours.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub expires_at: OffsetDateTime,
    /// What fulfilled it.
    #[schemars(with = "Option<crate::schema::Id>")]
    pub listing_id: Option<Uuid>,
}

/// Where an opportunity stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OpportunityStatus {
    /// A listing is wanted.
    #[default]
    Open,
    /// One came.
    Fulfilled,
    /// None came in time.
    Expired,
}

/// Which opportunities to list, the most urgent first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpportunityFilter {
    /// In this state; open when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<OpportunityStatus>,
    /// Of this category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// At least so urgent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::BasisPoints>")]
    pub min_urgency_bps: Option<Bps>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Rows wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Demand for what a seller sells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DemandForMe {
    /// What is looked for.
    pub signal: Signal,
    /// High above 5 searches an hour, medium above 1.
    pub level: DemandLevel,
    /// A listing of the seller that has the words; absent when only the category is one of the seller's.
    #[schemars(with = "Option<crate::schema::Id>")]
    pub listing_id: Option<Uuid>,
}

/// How much something is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DemandLevel {
    /// Above 5 searches an hour.
    High,
    /// Above 1.
    Medium,
    /// Not more.
    Low,
}

/// Asks what a listing might cost.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceQuestion {
    /// Of this category.
    pub category: Category,
    /// Beside listings with these words, if there are five of them; else beside all of the category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// How good it is; as good as the others when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::BasisPoints>")]
    pub quality_bps: Option<Bps>,
}

/// What a listing might cost: the median price, times its quality beside the average, 15 % more when its category is looked for more than 100
/// times in 24 hours; at least 0.001 USDC, at most one and a half times the dearest. Without listings to compare with, 0.005 USDC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PriceSuggestion {
    /// The price.
    #[schemars(with = "crate::schema::Decimal")]
    pub price: Usdc,
    /// Listings compared with: the newest, at most 500.
    pub compared: u32,
    /// Their median price.
    #[schemars(with = "Option<crate::schema::Decimal>")]
    pub median: Option<Usdc>,
    /// The dearest of them.
    #[schemars(with = "Option<crate::schema::Decimal>")]
    pub dearest: Option<Usdc>,
    /// Their average quality, of those that were judged.
    #[schemars(with = "Option<crate::schema::BasisPoints>")]
    pub average_quality_bps: Option<Bps>,
    /// Searches in the category in 24 hours.
    pub searches: u64,
}
