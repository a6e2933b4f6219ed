use alloy::primitives::{Address, B256};
use sqlx::{PgConnection, Row};

use super::{Undo, int};
use crate::{Error, block::Block, derive, read::HEAD_CHANNEL, watch::Kind};

/// A block by number and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tip {
    pub(crate) number: u64,
    pub(crate) hash: B256,
}

impl From<&Block> for Tip {
    fn from(block: &Block) -> Self {
        Self { number: block.number, hash: block.hash }
    }
}

/// What a database mirrors; it never changes without indexing again.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) chain_id: u64,
    pub(crate) start_block: u64,
    pub(crate) usdc: Address,
    pub(crate) transfers: &'static str,
    pub(crate) raw: bool,
    pub(crate) finality_blocks: u64,
}

/// Makes the database the mirror of `identity`, or finds that it is that of something else.
pub(crate) async fn register(conn: &mut PgConnection, identity: &Identity) -> Result<(), Error> {
    let found = sqlx::query(
        "INSERT INTO chain.sync (chain_id, start_block, usdc, transfers, raw, finality_blocks, derivation)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (only_row) DO UPDATE SET finality_blocks = excluded.finality_blocks
         RETURNING chain_id, start_block, usdc, transfers, raw",
    )
    .bind(int(identity.chain_id))
    .bind(int(identity.start_block))
    .bind(identity.usdc.as_slice())
    .bind(identity.transfers)
    .bind(identity.raw)
    .bind(int(identity.finality_blocks))
    .bind(derive::VERSION)
    .fetch_one(conn)
    .await?;
    let describe = |chain: i64, start: i64, usdc: &[u8], transfers: &str, raw: bool| {
        let what = if raw { "raw rows and" } else { "state and" };
        format!("{what} {transfers} transfers of {} on chain {chain} from block {start}", alloy::hex::encode_prefixed(usdc))
    };
    let row = &found;
    let mirrored = describe(row.get("chain_id"), row.get("start_block"), row.get("usdc"), row.get("transfers"), row.get("raw"));
    let (chain, start) = (int(identity.chain_id), int(identity.start_block));
    let asked = describe(chain, start, identity.usdc.as_slice(), identity.transfers, identity.raw);
    if mirrored == asked { Ok(()) } else { Err(Error::OtherMirror { mirrored, asked }) }
}

/// The blocks that may still be undone and the final one before them, oldest first. What a reorganisation made the tip of a shorter chain stays
/// final: the highest tip that ever was counts.
pub(crate) async fn load_recent(conn: &mut PgConnection, finality_blocks: u64) -> Result<Vec<Tip>, sqlx::Error> {
    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "SELECT number, hash FROM chain.blocks
         WHERE number >= least((SELECT max(number) FROM chain.blocks),
                               greatest((SELECT max(number) FROM chain.blocks), (SELECT max(old_tip) FROM chain.reorgs)) - $1)
         ORDER BY number DESC",
    )
    .bind(int(finality_blocks))
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .rev()
        .map(|(number, hash)| Tip { number: number.unsigned_abs(), hash: B256::from_slice(&hash) })
        .collect())
}

/// The hash of a mirrored block.
pub(crate) async fn hash_of(conn: &mut PgConnection, number: u64) -> Result<Option<B256>, sqlx::Error> {
    let hash: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT hash FROM chain.blocks WHERE number = $1").bind(int(number)).fetch_optional(conn).await?;
    hash.map(|hash| B256::try_from(&hash[..]).map_err(|error| sqlx::Error::Decode(error.into()))).transpose()
}

/// Contracts that factories created, as of block `until`.
pub(crate) async fn load_children(conn: &mut PgConnection, until: Option<u64>) -> Result<Vec<(Address, Kind)>, sqlx::Error> {
    let rows: Vec<(Vec<u8>, String)> = sqlx::query_as("SELECT address, kind FROM chain.contracts WHERE block_number <= $1")
        .bind(int(until.unwrap_or(u64::MAX)))
        .fetch_all(conn)
        .await?;
    Ok(rows.into_iter().filter_map(|(address, kind)| Some((Address::from_slice(&address), Kind::parse(&kind)?))).collect())
}

/// Notes how far the chain is and whether all of it is mirrored. `error`: why not.
pub(crate) async fn record_progress(conn: &mut PgConnection, head: Option<u64>, error: Option<&str>) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE chain.sync SET head_number = coalesce($1, head_number), last_error = $2,
                checked_at = CASE WHEN $2 IS NULL THEN now() ELSE checked_at END",
    )
    .bind(head.map(int))
    .bind(error)
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that the writer gets on with an upgrade.
pub(crate) async fn record_upgrade(conn: &mut PgConnection, what: &str) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE chain.sync SET last_error = $1, upgrading_at = now()").bind(what).execute(conn).await?;
    Ok(())
}

/// Notes that an upgrade is over.
pub(crate) async fn record_upgraded(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE chain.sync SET last_error = NULL, upgrading_at = NULL").execute(conn).await?;
    Ok(())
}

/// Notes that rows of blocks changed that readers may have seen.
pub(crate) async fn revise(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE chain.sync SET revision = revision + 1").execute(conn).await?;
    Ok(())
}

/// Tells listeners, when the transaction commits, up to where the mirror now reaches and what was undone.
pub(super) async fn announce(conn: &mut PgConnection, first: u64, tip: Tip, undo: Option<&Undo>) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_notify($1, $2)").bind(HEAD_CHANNEL).bind(news(first, tip, undo)).execute(conn).await?;
    Ok(())
}

/// What listeners are told.
pub(super) fn news(first: u64, tip: Tip, undo: Option<&Undo>) -> String {
    let news = serde_json::json!({
        "number": tip.number,
        "hash": tip.hash,
        "first": first,
        "undone": undo.map(|undo| serde_json::json!({"from": undo.ancestor + 1, "to": undo.old.number})),
    });
    news.to_string()
}
