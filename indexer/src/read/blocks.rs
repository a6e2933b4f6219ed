use alloy::primitives::B256;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row, postgres::PgRow};
use time::OffsetDateTime;

use super::{Finality, Order, Span, hash};
use crate::{schema, store::int};

/// A mirrored block.
#[derive(Clone, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct Block {
    /// Block number.
    pub number: u64,
    /// Block hash.
    #[schemars(with = "schema::Hash")]
    pub hash: B256,
    /// Hash of the block before it.
    #[schemars(with = "schema::Hash")]
    pub parent_hash: B256,
    /// Time of the block.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "schema::Time")]
    pub timestamp: OffsetDateTime,
    /// Why nothing of it is missing.
    pub proof: Proof,
    /// Blocks mirrored from this one on, itself included.
    pub confirmations: u64,
    /// Whether a reorganisation could still undo it.
    pub finality: Finality,
}

/// How a block was proved to be mirrored completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// The bloom of its header excludes everything mirrored.
    Bloom,
    /// Its receipts rebuild the root in its header.
    Receipts,
    /// It was not: its node was trusted (--trust-node).
    Told,
}

/// Which blocks to read.
#[derive(Clone, Debug, Default)]
pub struct BlockFilter {
    /// These.
    pub blocks: Span,
    /// Beyond this one in the order of the page.
    pub after: Option<u64>,
    /// Which come first.
    pub order: Order,
    /// Most rows.
    pub limit: u32,
}

fn select() -> QueryBuilder<Postgres> {
    QueryBuilder::new(
        "SELECT block_number, hash, parent_hash, timestamp, proof::text AS proof,
                (SELECT max(number) FROM chain.blocks) - block_number + 1 AS confirmations,
                (SELECT finality_blocks FROM chain.sync) AS finality_blocks
         FROM (SELECT number AS block_number, * FROM chain.blocks) AS b WHERE TRUE",
    )
}

/// Reads a page of blocks.
///
/// # Errors
/// When the database fails.
pub async fn blocks(conn: &mut PgConnection, filter: &BlockFilter) -> Result<Vec<Block>, sqlx::Error> {
    let mut query = select();
    filter.blocks.conditions(&mut query, "b");
    let (beyond, direction) = filter.order.words();
    if let Some(after) = filter.after {
        query.push(format!(" AND block_number {beyond} ")).push_bind(int(after));
    }
    query.push(format!(" ORDER BY block_number {direction} LIMIT ")).push_bind(i64::from(filter.limit));
    query.build().fetch_all(conn).await?.iter().map(read).collect()
}

/// Reads a block by number.
///
/// # Errors
/// When the database fails.
pub async fn block(conn: &mut PgConnection, number: u64) -> Result<Option<Block>, sqlx::Error> {
    let mut query = select();
    query.push(" AND block_number = ").push_bind(int(number));
    query.build().fetch_optional(conn).await?.as_ref().map(read).transpose()
}

fn read(row: &PgRow) -> Result<Block, sqlx::Error> {
    let number = |column: &str| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
    let confirmations = number("confirmations")?;
    Ok(Block {
        number: number("block_number")?,
        hash: hash(row, "hash")?,
        parent_hash: hash(row, "parent_hash")?,
        timestamp: row.try_get("timestamp")?,
        proof: match row.try_get::<&str, _>("proof")? {
            "b" => Proof::Bloom,
            "r" => Proof::Receipts,
            _ => Proof::Told,
        },
        confirmations,
        finality: Finality::after(confirmations, number("finality_blocks")?),
    })
}
