use alloy::primitives::{Address, B256};
use money::Usdc;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// What kind of goods a listing offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListingStatus {
    /// Has no content yet, cannot be bought.
    Draft,
    /// Can be bought.
    Active,
    /// Cannot be bought any more.
    Delisted,
}

/// Publishes a listing.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    pub price: Usdc,
    /// Media type of the content.
    #[serde(default = "octets")]
    pub content_type: String,
    /// The content as standard base64, up to 4 MiB decoded. Without it the listing is a draft until the content is uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_base64: Option<String>,
}

fn octets() -> String {
    "application/octet-stream".into()
}

/// Changes a listing. What is absent stays. Earlier buyers keep what they bought.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
    pub price: Option<Usdc>,
}

/// A listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Its id.
    pub id: Uuid,
    /// Who sells it.
    pub seller_id: Uuid,
    /// Who is paid: the seller's proven wallet.
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
    pub price: Usdc,
    /// Media type of the content.
    pub content_type: String,
    /// SHA-256 of the content; absent for a draft.
    pub content_hash: Option<B256>,
    /// Bytes of the content; absent for a draft.
    pub content_size: Option<u64>,
    /// Where it stands.
    pub status: ListingStatus,
    /// When it was published.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it last changed.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

/// Which listings to list, newest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
}

/// Order of what is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SortBy {
    /// Best match first; newest first without words to match.
    #[default]
    Relevance,
    /// Cheapest first.
    PriceAsc,
    /// Dearest first.
    PriceDesc,
    /// Newest first.
    Freshness,
}

/// Looks for active listings.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Discover {
    /// Words to match in title, tags and description, as in a web search. At most 400 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// Of this category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// At least this price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_price: Option<Usdc>,
    /// At most this price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_price: Option<Usdc>,
    /// Of this seller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seller_id: Option<Uuid>,
    /// Order.
    #[serde(default)]
    pub sort_by: SortBy,
    /// `next_cursor` of the page before, of the same search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Rows wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}
