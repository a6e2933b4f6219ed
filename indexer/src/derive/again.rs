//! Everything that follows from the rows, made again from the rows: after an upgrade that reads more events or draws other conclusions, and
//! after contracts were filled in. The chain is not asked.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use alloy::primitives::{Address, B256};
use futures::TryStreamExt;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, postgres::PgRow, types::Json};

use super::{TABLES, apply_events, balances, payments};
use crate::{
    block::{Block, Event},
    decode::{self, Decoded},
    node::Log,
    watch::Kind,
};

/// Version of the rules. Raise it when the same rows give other state or payments: every mirror makes them again at its next start.
pub(crate) const VERSION: i32 = 3;

/// Events that are held in memory at a time; at least those of a block.
const EVENTS_AT_ONCE: i64 = 10_000;
/// Blocks whose payments are found with one statement: few enough for it to take seconds.
const BLOCKS_AT_ONCE: i64 = 10_000;

/// Whether state and payments are those of other rules than these, or an event can be read now that could not be.
pub(crate) async fn is_due(conn: &mut PgConnection, usdc: Address) -> Result<bool, sqlx::Error> {
    let version: i32 = sqlx::query_scalar("SELECT derivation FROM chain.sync").fetch_one(&mut *conn).await?;
    let mut unread = sqlx::query("SELECT contract, topics, data FROM chain.events WHERE name IS NULL").fetch(conn);
    let mut due = version != VERSION;
    while let (false, Some(row)) = (due, unread.try_next().await?) {
        due = decode::stored(&log(&row)?, usdc).is_some();
    }
    Ok(due)
}

/// Reads every event again and makes state and payments again, balances too if `with_balances`. Readers see the old until all is done; killed
/// meanwhile, nothing has happened. Each step that was done is added to `steps`.
pub(crate) async fn again(
    conn: &mut PgConnection,
    usdc: Address,
    raw: bool,
    with_balances: bool,
    steps: &AtomicU64,
) -> Result<(), sqlx::Error> {
    let mut tx = conn.begin().await?;
    for table in TABLES.into_iter().chain(["payment_hours"]) {
        sqlx::query(AssertSqlSafe(format!("DELETE FROM chain.{table}"))).execute(&mut *tx).await?;
        steps.fetch_add(1, Ordering::Relaxed);
    }
    if with_balances && !raw {
        balances::again(&mut tx, None).await?;
    }
    let kinds = kinds(&mut tx).await?;
    let bounds = "SELECT coalesce(min(number), 0), coalesce(max(number), -1) FROM chain.blocks";
    let (mut from, last): (i64, i64) = sqlx::query_as(bounds).fetch_one(&mut *tx).await?;
    while from <= last {
        let to = page_end(&mut tx, from).await?.min(last);
        let blocks = read(&mut tx, from, to, usdc, &kinds).await?;
        payments::forget(&mut tx, from, to).await?;
        if !raw {
            apply_events(&mut tx, &blocks).await?;
            payments::find(&mut tx, from, to).await?;
        }
        steps.fetch_add(1, Ordering::Relaxed);
        from = to + 1;
    }
    sqlx::query("UPDATE chain.sync SET derivation = $1").bind(VERSION).execute(&mut *tx).await?;
    sqlx::query("UPDATE chain.watched SET filled_to = NULL").execute(&mut *tx).await?;
    crate::store::revise(&mut tx).await?;
    tx.commit().await
}

/// What follows from the transfers of a block to which some were added.
pub(crate) async fn again_in_block(conn: &mut PgConnection, block: &Block) -> Result<(), sqlx::Error> {
    let sides = block.transfers.iter().flat_map(|transfer| [transfer.sender.to_vec(), transfer.recipient.to_vec()]);
    balances::again(conn, Some(sides.collect())).await?;
    payments::again(conn, block.number).await
}

async fn kinds(conn: &mut PgConnection) -> Result<HashMap<Address, Kind>, sqlx::Error> {
    Ok(crate::store::load_children(conn, None).await?.into_iter().collect())
}

async fn page_end(conn: &mut PgConnection, from: i64) -> Result<i64, sqlx::Error> {
    let full: Option<i64> = sqlx::query_scalar(
        "SELECT block_number FROM chain.events WHERE block_number >= $1 ORDER BY block_number, log_index OFFSET $2 LIMIT 1",
    )
    .bind(from)
    .bind(EVENTS_AT_ONCE)
    .fetch_optional(conn)
    .await?;
    let widest = from.saturating_add(BLOCKS_AT_ONCE - 1);
    Ok(full.map_or(widest, |full| full.min(widest)))
}

/// The events of blocks as they read now, and corrects the rows of those that read otherwise before.
async fn read(
    conn: &mut PgConnection,
    from: i64,
    to: i64,
    usdc: Address,
    kinds: &HashMap<Address, Kind>,
) -> Result<Vec<Block>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT block_number, log_index, tx_index, contract, topics, data, name, args, extract(epoch FROM timestamp)::bigint AS time
         FROM chain.events JOIN chain.blocks ON number = block_number
         WHERE block_number BETWEEN $1 AND $2 ORDER BY block_number, log_index",
    )
    .bind(from)
    .bind(to)
    .fetch_all(&mut *conn)
    .await?;
    let (mut blocks, mut changed) = (Vec::<Block>::new(), Vec::new());
    for row in &rows {
        let number: i64 = row.try_get("block_number")?;
        let log_index: i32 = row.try_get("log_index")?;
        let log = log(row)?;
        let decoded = decode::stored(&log, usdc);
        let (name, args): (Option<String>, Option<Json<Value>>) = (row.try_get("name")?, row.try_get("args")?);
        if decoded.as_ref().map(|event| (&event.name, &event.args)) != name.as_ref().zip(args.as_ref().map(|args| &args.0)) {
            changed.push((number, log_index, decode::stored(&log, usdc)));
        }
        let number = number.unsigned_abs();
        if blocks.last().is_none_or(|block| block.number != number) {
            blocks.push(Block::of_events(number, row.try_get::<i64, _>("time")?.unsigned_abs()));
        }
        let event = Event {
            log_index: log_index.unsigned_abs(),
            tx_index: row.try_get::<i32, _>("tx_index")?.unsigned_abs(),
            kind: kinds.get(&log.address).copied().unwrap_or(Kind::Deployed),
            log,
            decoded,
        };
        blocks.last_mut().expect("it was just there or added").events.push(event);
    }
    correct(conn, changed).await?;
    Ok(blocks)
}

fn log(row: &PgRow) -> Result<Log, sqlx::Error> {
    let topics: Vec<Vec<u8>> = row.try_get("topics")?;
    Ok(Log {
        address: Address::from_slice(row.try_get("contract")?),
        topics: topics.iter().map(|topic| B256::from_slice(topic)).collect(),
        data: row.try_get::<Vec<u8>, _>("data")?.into(),
    })
}

async fn correct(conn: &mut PgConnection, changed: Vec<(i64, i32, Option<Decoded>)>) -> Result<(), sqlx::Error> {
    if changed.is_empty() {
        return Ok(());
    }
    let (mut blocks, mut logs, mut names, mut args) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut keys, mut key_blocks, mut key_logs) = (Vec::new(), Vec::new(), Vec::new());
    for (block, log, decoded) in changed {
        for key in decoded.iter().flat_map(|event| decode::keys(&event.args)) {
            keys.push(key);
            key_blocks.push(block);
            key_logs.push(log);
        }
        let (name, read) = decoded.map(|event| (event.name, Json(event.args))).unzip();
        blocks.push(block);
        logs.push(log);
        names.push(name);
        args.push(read);
    }
    let which = "unnest($1::bigint[], $2::int[]) AS c (block_number, log_index)";
    let forget = format!(
        "DELETE FROM chain.event_keys AS k USING {which} WHERE k.block_number = c.block_number AND k.log_index = c.log_index"
    );
    sqlx::query(AssertSqlSafe(forget)).bind(&blocks).bind(&logs).execute(&mut *conn).await?;
    sqlx::query(
        "UPDATE chain.events AS e SET name = c.name, args = c.args
         FROM unnest($1::bigint[], $2::int[], $3::text[], $4::jsonb[]) AS c (block_number, log_index, name, args)
         WHERE e.block_number = c.block_number AND e.log_index = c.log_index",
    )
    .bind(&blocks)
    .bind(&logs)
    .bind(names)
    .bind(args)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "INSERT INTO chain.event_keys (key, block_number, log_index) SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::int[])",
    )
    .bind(keys)
    .bind(key_blocks)
    .bind(key_logs)
    .execute(conn)
    .await?;
    Ok(())
}
