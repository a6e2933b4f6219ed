use alloy::primitives::{Address, B256, Bytes};
use money::Usdc;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::ledger::{Amount, Asset};

/// Starts a purchase in steps: paid into a hold of the ledger or into the Escrow contract, delivered, and released when the buyer accepts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Initiate {
    /// What is bought.
    #[schemars(with = "crate::schema::Id")]
    pub listing_id: Uuid,
    /// Who will fund the agreement and get the content; the caller's wallet without it. The ledger pays for the calling agent only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::HexAddress>")]
    pub buyer: Option<Address>,
    /// What it is paid with; without it, by the price: from the market's threshold on the escrow, below it USDC of the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<PaymentMethod>,
}

/// What a purchase in steps is paid with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentMethod {
    /// USDC of the ledger, held until the purchase ends.
    Balance,
    /// ARD of the ledger, held until the purchase ends.
    Token,
    /// USDC in the Escrow contract.
    Escrow,
}

/// The seller delivers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deliver {
    /// SHA-256 of what is delivered; must be what was agreed on.
    #[schemars(with = "crate::schema::Hash")]
    pub delivery_hash: B256,
}

/// The buyer accepts what was delivered.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyDelivery {
    /// SHA-256 of what the buyer read, to be compared with what was agreed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Hash>")]
    pub content_hash: Option<B256>,
}

/// Says something for one's side. The first of the buyer's is why there is a dispute.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitEvidence {
    /// What there is to say, 1 to 4,096 bytes.
    pub text: String,
    /// SHA-256 of what proves it, at most 20.
    #[serde(default)]
    #[schemars(with = "Vec<crate::schema::Hash>")]
    pub content_hashes: Vec<B256>,
}

/// The seller gives money back before the purchase ends.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GiveBack {
    /// All that the buyer is to get back, what was given back before included: repeated, it changes nothing. All of the price ends the purchase;
    /// less is paid when it ends.
    pub amount: Amount,
}

/// An arbiter divides what is held.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Award {
    /// What the buyer gets back.
    pub to_buyer: Amount,
    /// What the seller is paid, before the fee. Both together are the price.
    pub to_seller: Amount,
    /// Why, 1 to 500 characters.
    pub reason: String,
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

/// Where a purchase stands: as the ledger says, or the chain.
///
/// | status | waits for | until | and then |
/// |---|---|---|---|
/// | `payment_pending` | the buyer, to pay | the end of the payment period | `expired` |
/// | `payment_confirmed` | the seller, to deliver | the end of the delivery period | `expired`, then `refunded` |
/// | `delivered` | the buyer, to accept or dispute | the end of the review | `verified`, then `completed` |
/// | `disputed` | an arbiter, to award | the end of the arbitration | what `default_outcome` says |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransactionStatus {
    /// Written down; only in the history.
    Initiated,
    /// Not paid yet.
    PaymentPending,
    /// The ledger holds the price, or the escrow has it.
    PaymentConfirmed,
    /// Paid and delivered.
    Delivered,
    /// The buyer disputes.
    Disputed,
    /// Accepted, by word or by silence: the ledger is about to pay the seller.
    Verified,
    /// The seller is paid.
    Completed,
    /// The buyer has the money back.
    Refunded,
    /// Given up before it was paid.
    Failed,
    /// Nobody paid in time; or it was paid and nobody delivered in time, and the ledger is about to give the money back.
    Expired,
}

/// Who does something about a purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransactionActor {
    /// Who pays.
    Buyer,
    /// Who sells.
    Seller,
    /// Who rules on disputes.
    Arbiter,
    /// The market: a deadline has passed, or the ledger did what was decided.
    Market,
    /// Whoever sent it to the chain.
    Anybody,
}

/// What happens when the arbiter of a dispute stays silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DefaultOutcome {
    /// The buyer gets the money back.
    RefundBuyer,
    /// The seller is paid.
    ReleaseSeller,
}

/// What became of the bond of a dispute, which the ledger holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BondStatus {
    /// The dispute goes on.
    Held,
    /// The buyer has it back: at least half of the price went to the buyer.
    Returned,
    /// The seller has it, without a fee: more of the price went to the seller than to the buyer, by an award or because the buyer accepted after all.
    Forfeited,
}

/// An agreement of the Escrow contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EscrowAgreement {
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
    /// What can be called on the contract as things stand.
    pub calls: Vec<EscrowCall>,
}

/// A call of the Escrow contract, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EscrowCall {
    /// Whose account sends it.
    pub by: TransactionActor,
    /// The function.
    pub function: String,
    /// The calldata.
    #[schemars(with = "crate::schema::Hex")]
    pub data: Bytes,
    /// The chain refuses it before.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub not_before: Option<OffsetDateTime>,
}

/// A purchase in steps.
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
    /// Who buys.
    #[schemars(with = "crate::schema::HexAddress")]
    pub buyer: Address,
    /// The agent that started it, and that the ledger pays for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Id>")]
    pub buyer_id: Option<Uuid>,
    /// What it is paid with.
    pub payment_method: PaymentMethod,
    /// What the price is in.
    pub asset: Asset,
    /// The price.
    pub price: Amount,
    /// SHA-256 of what is to be delivered.
    #[schemars(with = "crate::schema::Hash")]
    pub content_hash: B256,
    /// Where it stands.
    pub status: TransactionStatus,
    /// Who is to do something now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<TransactionActor>,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub due_at: Option<OffsetDateTime>,
    /// How it ends when nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<TransactionStatus>,
    /// What happens when the arbiter of a dispute stays silent.
    pub default_outcome: DefaultOutcome,
    /// What the buyer puts up to dispute.
    pub dispute_bond: Amount,
    /// What became of it, once the ledger has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bond: Option<BondStatus>,
    /// What the seller gives back of the price, or the escrow gave back.
    pub given_back: Amount,
    /// What goes to the seller of the price, before the fee, once that is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_seller: Option<Amount>,
    /// Whether the buyer asks to cancel: the seller does, or not.
    pub cancel_wanted: bool,
    /// Whether the buyer can read the content now.
    pub content_available: bool,
    /// When the buyer first read it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub read_at: Option<OffsetDateTime>,
    /// The agreement on chain, if it is paid through the escrow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<EscrowAgreement>,
    /// When it was started.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub created_at: OffsetDateTime,
}

/// Which of the caller's purchases in steps to list, newest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransactionFilter {
    /// Those that the caller buys, or sells; without it, both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<TransactionRole>,
    /// Of this status. A page may then have fewer rows than wanted, and `next_cursor` all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<TransactionStatus>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Rows wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// What somebody is in a purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransactionRole {
    /// Who pays.
    Buyer,
    /// Who sells.
    Seller,
}

/// Something that became of a purchase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TransactionChange {
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub at: OffsetDateTime,
    /// Where it stood before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<TransactionStatus>,
    /// Where it stood from then on.
    pub to: TransactionStatus,
    /// Who did it.
    pub actor: TransactionActor,
    /// The agent or creator who did it, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Id>")]
    pub actor_id: Option<Uuid>,
    /// Why, in words.
    pub why: String,
    /// The transaction on chain that did it, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Hash>")]
    pub transaction_hash: Option<B256>,
}

/// What one side said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// Its id.
    #[schemars(with = "crate::schema::Id")]
    pub id: Uuid,
    /// Who said it.
    pub by: TransactionActor,
    /// What there is to say.
    pub text: String,
    /// SHA-256 of what proves it.
    #[schemars(with = "Vec<crate::schema::Hash>")]
    pub content_hashes: Vec<B256>,
    /// SHA-256 of the text's bytes, a zero byte, and the hashes one after the other: what commits to it elsewhere.
    #[schemars(with = "crate::schema::Hash")]
    pub hash: B256,
    /// When it was said.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub created_at: OffsetDateTime,
}

/// All that an arbiter needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TransactionCase {
    /// The purchase.
    pub transaction: Transaction,
    /// What became of it, oldest first.
    pub history: Vec<TransactionChange>,
    /// What both sides said, oldest first.
    pub evidence: Vec<Evidence>,
}

/// What a comparison of purchases with the ledger and the chain found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TransactionCheck {
    /// Purchases compared: those under way, and some of the others.
    pub compared: u64,
    /// Those that are not what the ledger or the mirror of the chain says. There must be none.
    pub differing: Vec<TransactionDifference>,
}

/// A purchase that is not what the ledger or the mirror of the chain says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TransactionDifference {
    /// Which.
    #[schemars(with = "crate::schema::Id")]
    pub id: Uuid,
    /// What is wrong.
    pub what: String,
}
