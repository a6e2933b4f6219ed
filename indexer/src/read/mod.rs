//! Plain queries over schema `chain`, for every service that shares the database.
//!
//! Tables are named with their schema, so any connection that may read them will do. Nothing here writes.

mod accounts;
mod authorizations;
mod blocks;
mod events;
mod head;
mod lists;
mod objects;
mod page;
mod payments;
mod statement;
mod stats;

use alloy::primitives::{Address, B256};

use crate::{schema, store::int};

pub use accounts::{Account, SignedUsdc, Transfer, TransferFilter, account, transfers};
pub use authorizations::{Authorization, AuthorizationState, authorization};
pub use blocks::{Block, BlockFilter, Proof, block, blocks};
pub use events::{Event, EventFilter, events, events_horizon};
pub use head::{Head, Mirror, Status, head, mirror, status, undone_since, wait_for_block};
pub use lists::{
    AgreementFilter, Found, KEYS_LOOKED_AT_MAX, Named, ProposalFilter, ServiceFilter, SubscriptionFilter, WalletFilter,
    agreements, id, proposals, services, subscriptions, treasuries, wallets,
};
pub use objects::{
    Agreement, AgreementStatus, Announced, Limit, Offer, Service, State, Subscription, SubscriptionStatus, agreement,
    agreements_of, limits, proposal, service, subscription, treasury, wallet,
};
pub use page::LOOKED_AT_MAX;
pub use payments::{Payment, PaymentFilter, PaymentKind, payments, payments_horizon};
pub use statement::{Line, Statement, StatementFilter, statement};
pub use stats::{Stat, StatFilter, stats};

/// Channel of `LISTEN`: one notification per commit of the mirror, a JSON object with `number` and `hash` of the newest block, `first` of the
/// blocks that are new, and `undone` (`from`, `to`) when blocks were replaced.
pub const HEAD_CHANNEL: &str = "chain_head";

/// Where a log is on the chain. Pages continue from it, so they neither repeat nor skip rows when blocks arrive in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Block number.
    pub block: u64,
    /// Index of the log within the block.
    pub log: u32,
    /// Which of several payments that one log tells of; otherwise 0.
    pub part: u32,
}

impl Position {
    /// Before everything in a block.
    pub const fn start_of(block: u64) -> Self {
        Self { block, log: 0, part: 0 }
    }

    /// After everything in a block.
    pub const fn end_of(block: u64) -> Self {
        Self { block, log: u32::MAX, part: u32::MAX }
    }
}

/// Blocks from one to another, both included; without bounds all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First block.
    pub from: Option<u64>,
    /// Last block.
    pub to: Option<u64>,
}

impl Span {
    fn conditions(self, query: &mut sqlx::QueryBuilder<sqlx::Postgres>, table: &str) {
        if let Some(from) = self.from {
            query.push(format!(" AND {table}.block_number >= ")).push_bind(int(from));
        }
        if let Some(to) = self.to {
            query.push(format!(" AND {table}.block_number <= ")).push_bind(int(to));
        }
    }
}

/// An index within a block as Postgres counts.
fn index(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// Which rows come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Newest first.
    #[default]
    Desc,
    /// Oldest first.
    Asc,
}

impl Order {
    /// The comparison that continues a page, and the direction of ORDER BY.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Desc => ("<", "DESC"),
            Self::Asc => (">", "ASC"),
        }
    }
}

/// A block of a row, and how sure it is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Place {
    /// Block number.
    pub block_number: u64,
    /// Block hash.
    #[schemars(with = "schema::Hash")]
    pub block_hash: B256,
    /// Time of the block.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "schema::Time")]
    pub timestamp: time::OffsetDateTime,
    /// Transaction hash.
    #[schemars(with = "schema::Hash")]
    pub transaction_hash: B256,
    /// Index of the log within the block.
    pub log_index: u32,
    /// Blocks mirrored from this one on, itself included.
    pub confirmations: u64,
    /// Whether a reorganisation could still undo it.
    pub finality: Finality,
}

impl Place {
    /// The cursor at which the next page continues.
    pub const fn position(&self) -> Position {
        Position { block: self.block_number, log: self.log_index, part: 0 }
    }
}

/// Whether a block can still be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Finality {
    /// It can.
    Pending,
    /// The indexer stops rather than undo it.
    Final,
}

impl Finality {
    const fn after(confirmations: u64, finality_blocks: u64) -> Self {
        if confirmations > finality_blocks { Self::Final } else { Self::Pending }
    }
}

/// Columns of [`Place`], for tables aliased `t` joined by [`PLACE_JOIN`].
const PLACE: &str = "t.block_number, b.hash AS block_hash, b.timestamp, x.hash AS transaction_hash, t.log_index,
    (SELECT max(number) FROM chain.blocks) - t.block_number + 1 AS confirmations,
    (SELECT finality_blocks FROM chain.sync) AS finality_blocks";
const PLACE_JOIN: &str = "JOIN chain.blocks AS b ON b.number = t.block_number
    JOIN chain.transactions AS x ON x.block_number = t.block_number AND x.tx_index = t.tx_index";

fn place(row: &sqlx::postgres::PgRow) -> Result<Place, sqlx::Error> {
    use sqlx::Row;
    let confirmations = row.try_get::<i64, _>("confirmations")?.unsigned_abs();
    let finality_blocks = row.try_get::<i64, _>("finality_blocks")?.unsigned_abs();
    Ok(Place {
        block_number: row.try_get::<i64, _>("block_number")?.unsigned_abs(),
        block_hash: hash(row, "block_hash")?,
        timestamp: row.try_get("timestamp")?,
        transaction_hash: hash(row, "transaction_hash")?,
        log_index: row.try_get::<i32, _>("log_index")?.unsigned_abs(),
        confirmations,
        finality: Finality::after(confirmations, finality_blocks),
    })
}

fn hash(row: &sqlx::postgres::PgRow, column: &str) -> Result<B256, sqlx::Error> {
    use sqlx::Row;
    let bytes: &[u8] = row.try_get(column)?;
    B256::try_from(bytes).map_err(|e| sqlx::Error::Decode(e.into()))
}

fn address(row: &sqlx::postgres::PgRow, column: &str) -> Result<Address, sqlx::Error> {
    use sqlx::Row;
    let bytes: &[u8] = row.try_get(column)?;
    Address::try_from(bytes).map_err(|e| sqlx::Error::Decode(e.into()))
}
