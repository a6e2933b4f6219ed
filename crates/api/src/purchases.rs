use alloy::primitives::{Address, B256};
use money::Usdc;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// Where an express purchase stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PurchaseStatus {
    /// The payment is good and noted; whether it moved is not known yet.
    Verified,
    /// The money moved.
    Settled,
    /// The money did not move.
    Failed,
}

/// An express purchase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purchase {
    /// Its id.
    pub id: Uuid,
    /// What was bought.
    pub listing_id: Uuid,
    /// Who sold it.
    pub seller_id: Uuid,
    /// Who paid.
    pub payer: Address,
    /// What it cost.
    pub amount: Usdc,
    /// SHA-256 of what was bought.
    pub content_hash: B256,
    /// Where it stands.
    pub status: PurchaseStatus,
    /// The transaction that paid.
    pub transaction_hash: Option<B256>,
    /// When the payment was noted.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// Which of the caller's purchases and sales to list, newest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurchaseFilter {
    /// Paid by this wallet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<Address>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Rows wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}
