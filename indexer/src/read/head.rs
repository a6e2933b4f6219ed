use std::time::Duration;

use alloy::primitives::B256;
use sqlx::{PgConnection, PgPool, Row, postgres::PgListener};
use time::OffsetDateTime;

use super::{HEAD_CHANNEL, hash};
use crate::{Error, schema, store::int};

/// The newest mirrored block.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Head {
    /// Block number.
    pub number: u64,
    /// Block hash.
    #[schemars(with = "schema::Hash")]
    pub hash: B256,
    /// Time of the block.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "schema::Time")]
    pub timestamp: OffsetDateTime,
}

/// Reads the newest mirrored block; none before the first.
///
/// # Errors
/// When the database fails.
pub async fn head(conn: &mut PgConnection) -> Result<Option<Head>, sqlx::Error> {
    let row =
        sqlx::query("SELECT number, hash, timestamp FROM chain.blocks ORDER BY number DESC LIMIT 1").fetch_optional(conn).await?;
    row.map(|row| {
        Ok(Head {
            number: row.try_get::<i64, _>("number")?.unsigned_abs(),
            hash: hash(&row, "hash")?,
            timestamp: row.try_get("timestamp")?,
        })
    })
    .transpose()
}

/// What a mirror holds, as one transaction sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The newest block; none before the first.
    pub head: Option<Head>,
    /// First mirrored block.
    pub start_block: u64,
    /// Confirmations after which a block is final.
    pub finality_blocks: u64,
    /// Number of the last reorganisation; 0 before the first.
    pub reorgs: u64,
    /// Grows when rows of earlier blocks change, as they do after an upgrade.
    pub revision: u64,
}

/// Reads what the mirror holds; none before its first start.
///
/// # Errors
/// When the database fails.
pub async fn mirror(conn: &mut PgConnection) -> Result<Option<Mirror>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT number, hash, timestamp, start_block, finality_blocks, revision, (SELECT coalesce(max(id), 0) FROM chain.reorgs) AS reorgs
         FROM chain.sync LEFT JOIN LATERAL (SELECT * FROM chain.blocks ORDER BY number DESC LIMIT 1) AS head ON TRUE",
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let count = |column: &str| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
    let head = match row.try_get::<Option<i64>, _>("number")? {
        Some(number) => {
            Some(Head { number: number.unsigned_abs(), hash: hash(&row, "hash")?, timestamp: row.try_get("timestamp")? })
        }
        None => None,
    };
    let (start_block, finality_blocks, reorgs) = (count("start_block")?, count("finality_blocks")?, count("reorgs")?);
    Ok(Some(Mirror { head, start_block, finality_blocks, reorgs, revision: count("revision")? }))
}

/// The lowest block that was undone since reorganisation `reorg`, if any was.
///
/// # Errors
/// When the database fails.
pub async fn undone_since(conn: &mut PgConnection, reorg: u64) -> Result<Option<u64>, sqlx::Error> {
    let lowest: Option<i64> =
        sqlx::query_scalar("SELECT min(ancestor) + 1 FROM chain.reorgs WHERE id > $1").bind(int(reorg)).fetch_one(conn).await?;
    Ok(lowest.map(i64::unsigned_abs))
}

/// How the mirror stands to the chain.
#[derive(Clone, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct Status {
    /// The chain.
    pub chain_id: u64,
    /// First mirrored block.
    pub start_block: u64,
    /// Every USDC transfer is mirrored, with balances and payments: neither `--transfers ours` nor `--raw`.
    pub everything: bool,
    /// Newest block that the node announced.
    pub head_block: Option<u64>,
    /// Newest mirrored block.
    pub indexed: Option<Head>,
    /// Announced and not mirrored.
    pub lag_blocks: u64,
    /// Confirmations after which a block is final.
    pub finality_blocks: u64,
    /// Reorganisations followed so far.
    pub reorgs: u64,
    /// Seconds since the mirror was last known to be complete; none before the first time.
    pub checked_seconds_ago: Option<u64>,
    /// Seconds since the newest mirrored block was made, by its own time: what a node that stands still does not hide.
    pub block_age_seconds: Option<u64>,
    /// Whether the writer is getting on with an upgrade, before which no block is added.
    pub upgrading: bool,
    /// Version of the rules by which state and payments were made of the chain's rows. A program that reads by others does not find what it looks for.
    pub derivation: i32,
    /// Why it is not complete.
    pub last_error: Option<String>,
}

/// Reads how the mirror stands; none before its first start.
///
/// # Errors
/// When the database fails.
pub async fn status(conn: &mut PgConnection) -> Result<Option<Status>, sqlx::Error> {
    let indexed = head(conn).await?;
    let row = sqlx::query(
        "SELECT chain_id, start_block, transfers = 'all' AND NOT raw AS everything, head_number, finality_blocks, last_error,
                floor(extract(epoch FROM clock_timestamp() - checked_at))::bigint AS checked_seconds_ago,
                (SELECT floor(extract(epoch FROM clock_timestamp() - timestamp))::bigint FROM chain.blocks
                 ORDER BY number DESC LIMIT 1) AS block_age_seconds,
                coalesce(clock_timestamp() - upgrading_at < interval '5 minutes', FALSE) AS upgrading, derivation,
                (SELECT count(*) FROM chain.reorgs) AS reorgs
         FROM chain.sync",
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let count = |column: &str| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
    let start_block = count("start_block")?;
    let recorded = row.try_get::<Option<i64>, _>("head_number")?.map(i64::unsigned_abs);
    let mirrored = indexed.as_ref().map(|head| head.number);
    // Blocks are committed before the progress is noted.
    let head_block = recorded.max(mirrored);
    let next = mirrored.map_or(start_block, |number| number + 1);
    Ok(Some(Status {
        chain_id: count("chain_id")?,
        start_block,
        everything: row.try_get("everything")?,
        head_block,
        lag_blocks: head_block.map_or(0, |head| (head + 1).saturating_sub(next)),
        indexed,
        finality_blocks: count("finality_blocks")?,
        reorgs: count("reorgs")?,
        checked_seconds_ago: row.try_get::<Option<i64>, _>("checked_seconds_ago")?.map(|seconds| seconds.max(0).unsigned_abs()),
        block_age_seconds: row.try_get::<Option<i64>, _>("block_age_seconds")?.map(|seconds| seconds.max(0).unsigned_abs()),
        upgrading: row.try_get("upgrading")?,
        derivation: row.try_get("derivation")?,
        last_error: row.try_get("last_error")?,
    }))
}

/// Waits until block `number` is mirrored and returns the newest block then. Ends as soon as the block is committed, without polling.
///
/// # Errors
/// [`Error::NotMirrored`] after `timeout`, [`Error::Database`] when the database fails.
pub async fn wait_for_block(pool: &PgPool, number: u64, timeout: Duration) -> Result<Head, Error> {
    let wait = async {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(HEAD_CHANNEL).await?;
        loop {
            let mut conn = pool.acquire().await?;
            if let Some(head) = head(&mut conn).await?.filter(|head| head.number >= number) {
                return Ok(head);
            }
            drop(conn);
            listener.recv().await?;
        }
    };
    tokio::time::timeout(timeout, wait).await.unwrap_or(Err(Error::NotMirrored { block: number, timeout }))
}
