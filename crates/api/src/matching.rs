//! Which listing fits a need best.

use money::{Bps, Usdc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Category, Listing, ledger::Asset};

/// Looks for what fits a need, and buys it when told to.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AutoMatch {
    /// What is needed, in words; at most 400 characters.
    pub q: String,
    /// Of this category only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// At most this price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Decimal>")]
    pub max_price: Option<Usdc>,
    /// Whether to buy the best match, when its score is at least 3,000 and its price at most `auto_buy_max_price`. Needs an `Idempotency-Key`.
    #[serde(default)]
    pub auto_buy: bool,
    /// `max_price` when absent, and 0.05 USDC when that is, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Decimal>")]
    pub auto_buy_max_price: Option<Usdc>,
    /// What of the ledger pays; USDC when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset: Option<Asset>,
}

/// What fits, best first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AutoMatched {
    /// At most five. None when the request is one that bought before.
    pub data: Vec<Match>,
    /// What was bought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purchase: Option<AutoPurchase>,
}

/// A listing that fits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Match {
    /// The listing.
    pub listing: Listing,
    /// How well it fits: the sum of the terms, at most 10,000.
    #[schemars(with = "crate::schema::BasisPoints")]
    pub score_bps: Bps,
    /// Why.
    pub terms: MatchTerms,
    /// What making it anew would cost, less the price: web_search and document_summary 0.01 USDC, api_response 0.015, code_analysis 0.02,
    /// computation 0.025. Absent when that is no less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Decimal>")]
    pub saving: Option<Usdc>,
}

/// The terms of a match's score, in basis points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MatchTerms {
    /// 5,000 times the share of the words that the listing has.
    pub words: u32,
    /// 3,000 times its quality; half of that until it is judged.
    pub quality: u32,
    /// 2,000 for content of this moment, less with its age, 0 after 24 hours.
    pub freshness: u32,
    /// 1,000 when most of the seller's newest listings are of the category.
    pub specialization: u32,
}

/// What auto-match bought. Read it at `/purchases/{id}/content`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AutoPurchase {
    /// The purchase.
    #[schemars(with = "crate::schema::Id")]
    pub purchase_id: Uuid,
    /// What was bought.
    #[schemars(with = "crate::schema::Id")]
    pub listing_id: Uuid,
    /// Whether a request with the same key had bought it before.
    pub replayed: bool,
}
