use alloy::primitives::{Address, B256};
use money::Usdc;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// Starts a purchase through the escrow.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Initiate {
    /// What is bought.
    #[schemars(with = "crate::schema::Id")]
    pub listing_id: Uuid,
    /// Who will fund the agreement and get the content.
    #[schemars(with = "crate::schema::HexAddress")]
    pub buyer: Address,
}

/// The seller delivers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deliver {
    /// SHA-256 of what is delivered; must be what was agreed on.
    #[schemars(with = "crate::schema::Hash")]
    pub delivery_hash: B256,
}

/// The terms that the buyer funds, field by field as the Escrow contract takes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EscrowTerms {
    /// Who pays.
    #[schemars(with = "crate::schema::HexAddress")]
    pub buyer: Address,
    /// Who delivers and is paid.
    #[schemars(with = "crate::schema::HexAddress")]
    pub seller: Address,
    /// Who rules on a dispute; zero for nobody.
    #[schemars(with = "crate::schema::HexAddress")]
    pub arbiter: Address,
    /// The token: USDC.
    #[schemars(with = "crate::schema::HexAddress")]
    pub token: Address,
    /// What is funded.
    #[schemars(with = "crate::schema::Decimal")]
    pub amount: Usdc,
    /// Fee on releases, in basis points.
    pub fee_bps: u16,
    /// Who gets the fee.
    #[schemars(with = "crate::schema::HexAddress")]
    pub fee_recipient: Address,
    /// Unix seconds before which is to be delivered.
    pub deliver_by: u64,
    /// Seconds after delivery in which the buyer may dispute.
    pub review_period: u32,
    /// Seconds after a dispute in which the arbiter may rule.
    pub arbitration_period: u32,
    /// What a lost dispute costs the buyer.
    #[schemars(with = "crate::schema::Decimal")]
    pub dispute_bond: Usdc,
    /// What happens when the arbiter stays silent: 0 refunds the buyer, 1 releases to the seller.
    pub default_outcome: u8,
    /// SHA-256 of what is to be delivered.
    #[schemars(with = "crate::schema::Hash")]
    pub content_hash: B256,
    /// ERC-8004 id of the seller's agent; zero for none.
    pub agent_id: u64,
    /// Tells two equal agreements apart.
    #[schemars(with = "crate::schema::Hash")]
    pub salt: B256,
}

/// Where a purchase through the escrow stands, as the chain says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransactionStatus {
    /// Not funded yet.
    PaymentPending,
    /// Funded.
    PaymentConfirmed,
    /// Funded and delivered.
    Delivered,
    /// The buyer disputes.
    Disputed,
    /// The seller is paid.
    Completed,
    /// The buyer has the money back.
    Refunded,
}

/// A purchase through the escrow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Transaction {
    /// Its id.
    #[schemars(with = "crate::schema::Id")]
    pub id: Uuid,
    /// What is bought.
    #[schemars(with = "crate::schema::Id")]
    pub listing_id: Uuid,
    /// Who sells.
    #[schemars(with = "crate::schema::Id")]
    pub seller_id: Uuid,
    /// Where it stands.
    pub status: TransactionStatus,
    /// The chain of the escrow.
    pub chain_id: u64,
    /// The Escrow contract.
    #[schemars(with = "crate::schema::HexAddress")]
    pub escrow: Address,
    /// Id of the agreement on the chain.
    #[schemars(with = "crate::schema::Hash")]
    pub agreement_id: B256,
    /// What is agreed on.
    pub terms: EscrowTerms,
    /// Whether the buyer can read the content now.
    pub content_available: bool,
    /// When it was started.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub created_at: OffsetDateTime,
}
