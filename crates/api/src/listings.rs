use alloy::primitives::{Address, B256};
use money::{Bps, Usdc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::ledger::Amount;

/// What kind of goods a listing offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// Results of a search.
    WebSearch,
    /// An analysis of code.
    CodeAnalysis,
    /// A summary of documents.
    DocumentSummary,
    /// An answer of an API.
    ApiResponse,
    /// A computed result.
    Computation,
}

/// Where a listing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ListingStatus {
    /// Has no content yet, cannot be bought.
    Draft,
    /// Can be bought.
    Active,
    /// Its time has passed; it can be bought again when it is given more.
    Expired,
    /// Cannot be bought any more.
    Delisted,
}

/// Publishes a listing.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateListing {
    /// 1 to 255 characters.
    pub title: String,
    /// At most 10,000 characters.
    #[serde(default)]
    pub description: String,
    /// What kind of goods.
    pub category: Category,
    /// At most 20, each 1 to 64 characters.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Above zero.
    #[schemars(with = "crate::schema::Decimal")]
    pub price: Usdc,
    /// Media type of the content.
    #[serde(default = "octets")]
    pub content_type: String,
    /// The content as standard base64, up to 4 MiB decoded. Without it the listing is a draft until the content is uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_base64: Option<String>,
    /// Whatever else buyers' programs are to know, at most 4 KiB as JSON.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// When it stops being for sale; absent for never.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "time::serde::rfc3339::option::serialize",
        deserialize_with = "crate::moment::read_some"
    )]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub expires_at: Option<OffsetDateTime>,
}

fn octets() -> String {
    "application/octet-stream".into()
}

/// Publishes several listings at once, each for itself.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkList {
    /// 1 to 100; with their contents at most 6 MiB.
    pub listings: Vec<CreateListing>,
}

/// What became of each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BulkListed {
    /// In the order in which they were sent.
    pub data: Vec<BulkResult>,
    /// How many were published.
    pub published: u32,
}

/// What became of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BulkResult {
    /// It was published.
    Listing(Box<Listing>),
    /// It was not, and why.
    Problem(crate::Problem),
}

/// Changes a listing. What is absent stays. Earlier buyers keep what they bought.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateListing {
    /// New title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// New description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// New tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// New price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Decimal>")]
    pub price: Option<Usdc>,
    /// New metadata, in place of all that there was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// New end.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "time::serde::rfc3339::option::serialize",
        deserialize_with = "crate::moment::read_some"
    )]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub expires_at: Option<OffsetDateTime>,
}

/// Says how good the content of a listing is, as a moderator.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JudgeListing {
    /// Which version was looked at.
    pub version: u32,
    /// 10,000 is the best. From 8,000 on, each sale paid in ARD earns the seller a bonus.
    #[schemars(with = "crate::schema::BasisPoints")]
    pub quality_bps: Bps,
}

/// A content that a listing has or had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListingVersion {
    /// Its number, from 1.
    pub version: u32,
    /// SHA-256 of the content.
    #[schemars(with = "crate::schema::Hash")]
    pub content_hash: B256,
    /// Its bytes.
    pub content_size: u64,
    /// Its media type.
    pub content_type: String,
    /// When it came.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub created_at: OffsetDateTime,
}

/// A listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listing {
    /// Its id.
    #[schemars(with = "crate::schema::Id")]
    pub id: Uuid,
    /// Who sells it.
    #[schemars(with = "crate::schema::Id")]
    pub seller_id: Uuid,
    /// Who is paid: the seller's proven wallet.
    #[schemars(with = "crate::schema::HexAddress")]
    pub seller_wallet: Address,
    /// Title.
    pub title: String,
    /// Description.
    pub description: String,
    /// What kind of goods.
    pub category: Category,
    /// Tags.
    pub tags: Vec<String>,
    /// What it costs.
    #[schemars(with = "crate::schema::Decimal")]
    pub price: Usdc,
    /// The same in ARD; absent when the ledger has no room for so much.
    #[schemars(with = "Option<Amount>")]
    pub price_ard: Option<Amount>,
    /// What the seller says besides.
    pub metadata: Map<String, Value>,
    /// Media type of the content.
    pub content_type: String,
    /// SHA-256 of the content; absent for a draft.
    #[schemars(with = "Option<crate::schema::Hash>")]
    pub content_hash: Option<B256>,
    /// Bytes of the content; absent for a draft.
    pub content_size: Option<u64>,
    /// Where it stands.
    pub status: ListingStatus,
    /// Number of the content, from 1; 0 for a draft.
    pub version: u32,
    /// How good this content is, as a moderator judged it; 10,000 is the best.
    #[schemars(with = "Option<crate::schema::BasisPoints>")]
    pub quality_bps: Option<Bps>,
    /// The creator whose agent the seller is.
    #[schemars(with = "Option<crate::schema::Id>")]
    pub creator_id: Option<Uuid>,
    /// When this content came.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub freshness_at: Option<OffsetDateTime>,
    /// When it stops being for sale; absent for never.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub expires_at: Option<OffsetDateTime>,
    /// When it was published.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub created_at: OffsetDateTime,
    /// When it last changed.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub updated_at: OffsetDateTime,
}

/// Which listings to list, newest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListingFilter {
    /// Of this category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// In this state; active when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ListingStatus>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Rows wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Instead of `cursor` and `limit`: number of the page, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// Rows of such a page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_size: Option<u32>,
}

/// Order of what is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SortBy {
    /// Best match first among those with the newest content that match (mostly 200 or more), then among those before these; newest first without words
    /// to match. Words count for 0 to 1 (`ts_rank` of Postgres: the more often, and in the title more than in tags and description). Where the market
    /// can tell what texts mean, and was told it in time, 2 × (1 - angle / 90°) is added for the angle between search and listing, from 0 to 90° and
    /// within some 3°. Go on by `next_cursor`, which keeps the order of the first page; numbered pages do not when the market cannot tell what the
    /// search means in between.
    #[default]
    Relevance,
    /// Cheapest first.
    PriceAsc,
    /// Dearest first.
    PriceDesc,
    /// Newest content first.
    Freshness,
    /// Best first, by what moderators found.
    Quality,
}

/// Looks for active listings.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Discover {
    /// Words to match in title, tags and description, as in a web search; when nothing has them, those that were likely meant. At most 400
    /// characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// Of this category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// At least this price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Decimal>")]
    pub min_price: Option<Usdc>,
    /// At most this price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Decimal>")]
    pub max_price: Option<Usdc>,
    /// Of this seller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Id>")]
    pub seller_id: Option<Uuid>,
    /// Of at least this quality, as moderators judged it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::BasisPoints>")]
    pub min_quality_bps: Option<Bps>,
    /// With content that came at most so many hours ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_hours: Option<u32>,
    /// With all of these tags, separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<String>,
    /// Whether to count what there is, too.
    #[serde(default)]
    pub facets: bool,
    /// Order.
    #[serde(default)]
    pub sort_by: SortBy,
    /// `next_cursor` of the page before, of the same search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Rows wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Instead of `cursor` and `limit`: number of the page, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// Rows of such a page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_size: Option<u32>,
}
