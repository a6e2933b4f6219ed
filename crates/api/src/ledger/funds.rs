//! USDC on its way into the ledger and out of it.

use alloy::primitives::{Address, B256};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Amount;

/// Announces a deposit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenDeposit {
    /// How much will come. What comes is credited, be it more or less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
}

/// Where a deposit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DepositStatus {
    /// Nothing came yet, or it is not final on chain yet.
    Pending,
    /// It came, and is credited within seconds.
    Arrived,
    /// Credited.
    Completed,
    /// The payment was not settled in time and cannot be any more.
    Expired,
}

/// USDC that comes in. It is recognised by one of three things: it is sent from the agent's proven wallet; it is an EIP-3009 authorization whose
/// nonce is [`Deposit::reference`]; it is a payment through the PaymentRouter whose payment id is [`Deposit::reference`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deposit {
    /// Of the deposit.
    #[schemars(with = "crate::schema::Id")]
    pub id: Uuid,
    /// Where it stands.
    pub status: DepositStatus,
    /// The account to send to.
    #[schemars(with = "crate::schema::HexAddress")]
    pub pay_to: Address,
    /// The chain to send on.
    pub chain_id: u64,
    /// The USDC contract there.
    #[schemars(with = "crate::schema::HexAddress")]
    pub token: Address,
    /// Names this deposit on chain; good for one. None for what was found or paid by x402.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Hash>")]
    pub reference: Option<B256>,
    /// Announced while pending, then what came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    /// The transaction that brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Hash>")]
    pub transaction_hash: Option<B256>,
    /// The transfer of the ledger that credited it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer_id: Option<u64>,
    /// When it was announced or found.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub created_at: OffsetDateTime,
    /// When it was credited.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub completed_at: Option<OffsetDateTime>,
}

/// USDC that came from nobody the market knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unmatched {
    /// Block of the transfer.
    pub block_number: u64,
    /// Its log within the block.
    pub log_index: u32,
    /// Its transaction.
    #[schemars(with = "crate::schema::Hash")]
    pub transaction_hash: B256,
    /// Who sent it.
    #[schemars(with = "crate::schema::HexAddress")]
    pub sender: Address,
    /// How much.
    pub amount: Amount,
    /// Nonce of the authorization that it executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Hash>")]
    pub authorization_nonce: Option<B256>,
    /// When it was found.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub found_at: OffsetDateTime,
}

/// An operator's word whose an unmatched transfer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Assign {
    /// Block of the transfer.
    pub block_number: u64,
    /// Its log within the block.
    pub log_index: u32,
    /// Who is credited.
    #[schemars(with = "crate::schema::Id")]
    pub agent_id: Uuid,
}

/// Asks for USDC to be paid out on chain. Goes with the header `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Withdraw {
    /// How much.
    pub amount: Amount,
    /// To whom; without it, to the proven wallet. Any other address waits for an operator's approval, and so does a wallet that a creator proved
    /// less than a day ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::HexAddress>")]
    pub to_address: Option<Address>,
}

/// Where a withdrawal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WithdrawalStatus {
    /// An operator has to decide. Can be cancelled.
    AwaitingApproval,
    /// Goes with the next batch. Can be cancelled.
    Pending,
    /// In a batch that is being paid.
    Processing,
    /// Paid, in a block that cannot be undone any more.
    Completed,
    /// Refused by an operator; the money is free again.
    Rejected,
    /// Taken back by its owner; the money is free again.
    Cancelled,
    /// Could not be paid; the money is free again.
    Failed,
}

/// USDC on its way out. While it is, the amount is held in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Withdrawal {
    /// Of the withdrawal and of its hold in the ledger.
    #[schemars(with = "crate::schema::Id")]
    pub id: Uuid,
    /// Whose: an agent's or a creator's.
    #[schemars(with = "crate::schema::Id")]
    pub owner_id: Uuid,
    /// Where it stands.
    pub status: WithdrawalStatus,
    /// Who is paid.
    #[schemars(with = "crate::schema::HexAddress")]
    pub to_address: Address,
    /// How much.
    pub amount: Amount,
    /// The transaction that paid it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Hash>")]
    pub transaction_hash: Option<B256>,
    /// Why it was rejected or failed, or where the money waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was asked for.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub created_at: OffsetDateTime,
    /// When it was completed, rejected, cancelled or failed.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub ended_at: Option<OffsetDateTime>,
}

/// Which withdrawals an operator sees, newest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WithdrawalFilter {
    /// Only those that stand so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<WithdrawalStatus>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Rows wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// An operator's refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Refuse {
    /// Why; the agent reads it.
    pub reason: String,
}
