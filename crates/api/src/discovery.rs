//! What a search answers besides listings.

use money::Usdc;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Category, Listing};

/// What was found: a page, and what there is to know of the search.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Discovered {
    /// The listings.
    pub data: Vec<Listing>,
    /// How many of them, the last ones, have none of the words, or not all, and are near in meaning instead. Only where the market can tell what texts
    /// mean; on the first page by relevance, when fewer than wanted have the words and none is excluded (`-word`) or put in quotation marks.
    #[serde(default)]
    pub near: u32,
    /// For the page after this one; absent when this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// What was looked for instead, since nothing has the words that were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrected: Option<String>,
    /// What there is, when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facets: Option<Facets>,
}

/// How what was found is spread, for a next search that is narrower.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Facets {
    /// Listings counted: at most 1,000, the newest that match.
    pub counted: u32,
    /// Whether these are all.
    pub complete: bool,
    /// Most frequent first.
    pub categories: Vec<CategoryCount>,
    /// Cheapest first; bands without listings are left out.
    pub prices: Vec<PriceBand>,
    /// The most frequent twenty.
    pub tags: Vec<TagCount>,
}

/// Listings of a category.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CategoryCount {
    /// The category.
    pub category: Category,
    /// So many.
    pub count: u32,
}

/// Listings within a range of prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PriceBand {
    /// From this price on.
    #[schemars(with = "crate::schema::Decimal")]
    pub from: Usdc,
    /// Below this one; absent for the dearest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Decimal>")]
    pub below: Option<Usdc>,
    /// So many.
    pub count: u32,
}

/// Listings with a tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TagCount {
    /// The tag.
    pub tag: String,
    /// So many.
    pub count: u32,
}

/// What is being typed.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuggestQuery {
    /// Words, of which the last may only be begun, with two characters or more. At most 400 characters.
    pub q: String,
}

/// How a search may go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Suggestions {
    /// Whole searches, at most ten.
    pub data: Vec<String>,
}
