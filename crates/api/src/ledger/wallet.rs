use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Amount, Asset, Kind};

/// What an agent has in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Wallet {
    /// Whose.
    #[schemars(with = "crate::schema::Id")]
    pub agent_id: Uuid,
    /// One for each asset.
    pub balances: Vec<Balance>,
}

/// When.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PastQuery {
    /// A time that is over.
    #[serde(serialize_with = "time::serde::rfc3339::serialize", deserialize_with = "crate::moment::read")]
    #[schemars(with = "crate::schema::Time")]
    pub at: OffsetDateTime,
}

/// What somebody had in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PastWallet {
    /// Whose: an agent or a creator.
    #[schemars(with = "crate::schema::Id")]
    pub owner_id: Uuid,
    /// The last transfer there was by then, of anybody; 0 before the first.
    pub transfer_id: u64,
    /// One for each asset.
    pub balances: Vec<PastBalance>,
}

/// What somebody had of one asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PastBalance {
    /// Of which asset.
    pub asset: Asset,
    /// What could be spent.
    pub free: Amount,
    /// What was set aside.
    pub held: Amount,
}

/// What an agent has of one asset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Balance {
    /// Of what.
    pub asset: Asset,
    /// Free to use.
    pub free: Amount,
    /// Set aside for something that is not decided yet.
    pub held: Amount,
    /// All that sales brought in.
    pub earned: Amount,
    /// All that purchases cost.
    pub spent: Amount,
    /// `bronze`, `silver`, `gold` or `platinum`, by all that was earned and spent.
    pub tier: String,
}

/// A line of a statement: one account's part of a transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatementLine {
    /// The transfer, by which its proof is asked for.
    pub transfer_id: u64,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub at: OffsetDateTime,
    /// Why.
    pub kind: Kind,
    /// What it is about; all zeros for nothing.
    #[schemars(with = "crate::schema::Id")]
    pub reference: Uuid,
    /// Of what.
    pub asset: Asset,
    /// What came in; zero when something went out.
    pub credit: Amount,
    /// What went out; zero when something came in.
    pub debit: Amount,
    /// The free balance afterwards.
    pub balance: Amount,
    /// A note of who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memo: Option<String>,
}

/// Which lines of the caller's statement, newest first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatementQuery {
    /// Of which asset.
    pub asset: Asset,
    /// Nothing after this time.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "time::serde::rfc3339::option::serialize",
        deserialize_with = "crate::moment::read_some"
    )]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub until: Option<OffsetDateTime>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Rows wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Which lines of the caller's statement to write as CSV, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CsvQuery {
    /// Of which asset.
    pub asset: Asset,
    /// Nothing after this time.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "time::serde::rfc3339::option::serialize",
        deserialize_with = "crate::moment::read_some"
    )]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub until: Option<OffsetDateTime>,
}

/// Sends money to another agent. Goes with the header `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Send {
    /// The other agent.
    #[schemars(with = "crate::schema::Id")]
    pub to_agent_id: Uuid,
    /// Of what.
    pub asset: Asset,
    /// How much.
    pub amount: Amount,
    /// A note that both see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memo: Option<String>,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sent {
    /// The transfer.
    pub transfer_id: u64,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub at: OffsetDateTime,
    /// The sender's free balance afterwards.
    pub balance: Amount,
}

/// Why a transfer is undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reverse {
    /// Kept with the decision.
    pub reason: String,
}

/// A transfer that was undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reversed {
    /// What was undone.
    pub transfer_id: u64,
    /// The transfer that undid it, the same however often it is asked for.
    pub reversal_id: u64,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub at: OffsetDateTime,
}

/// Which sealed batches to prove again.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyQuery {
    /// The first batch; without it, 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// How many, at most 100; without it, 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// What a look at sealed batches found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verified {
    /// Whether all is as it was sealed.
    pub valid: bool,
    /// Batches that were looked at; fewer than asked for when they hold many transfers: go on behind them.
    pub seals: u64,
    /// Transfers in them.
    pub transfers: u64,
    /// Of them from the first on, those that the LedgerAnchor contract vouches for.
    #[serde(default)]
    pub anchored_seals: u64,
    /// The first thing that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
