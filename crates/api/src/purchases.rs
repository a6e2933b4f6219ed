use alloy::primitives::{Address, B256};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::ledger::{Amount, Asset};

/// Where an express purchase stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PurchaseStatus {
    /// The payment is good and noted; whether it moved is not known yet.
    Verified,
    /// The money moved.
    Settled,
    /// The money did not move.
    Failed,
    /// The money moved back.
    Reversed,
}

/// An express purchase, paid by x402 or from the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Purchase {
    /// Its id.
    #[schemars(with = "crate::schema::Id")]
    pub id: Uuid,
    /// What was bought.
    #[schemars(with = "crate::schema::Id")]
    pub listing_id: Uuid,
    /// Who sold it.
    #[schemars(with = "crate::schema::Id")]
    pub seller_id: Uuid,
    /// Who paid.
    #[schemars(with = "crate::schema::HexAddress")]
    pub payer: Address,
    /// What it was paid in: USDC on chain or of the ledger, or ARD.
    pub asset: Asset,
    /// What it cost.
    pub amount: Amount,
    /// SHA-256 of what was bought.
    #[schemars(with = "crate::schema::Hash")]
    pub content_hash: B256,
    /// Where it stands.
    pub status: PurchaseStatus,
    /// The transaction that paid; none for a purchase from the ledger.
    #[schemars(with = "Option<crate::schema::Hash>")]
    pub transaction_hash: Option<B256>,
    /// When the payment was noted.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub created_at: OffsetDateTime,
}

/// Which of the caller's purchases and sales to list, newest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PurchaseFilter {
    /// Paid by this wallet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::HexAddress>")]
    pub payer: Option<Address>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Rows wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}
