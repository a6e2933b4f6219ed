//! The contracts of the deployment that are mirrored. One that is added to a mirror is filled in; one that a later deployment no longer names
//! stays, because what it holds and logs goes on.

use alloy::primitives::Address;
use sqlx::{Connection, PgConnection};

use super::{RowTypes, int, revise, rows::Rows};
use crate::{block::Block, watch::Kind};

/// Contracts whose logs of earlier blocks are not here yet.
#[derive(Debug)]
pub(crate) struct Missing {
    pub(crate) contracts: Vec<Address>,
    /// The first block to look for them in.
    pub(crate) from: u64,
}

/// Watches these contracts from now on. Those that a mirror with blocks did not watch so far are [`missing`].
pub(crate) async fn watch(conn: &mut PgConnection, contracts: &[Address], start_block: u64) -> Result<(), sqlx::Error> {
    let contracts: Vec<&[u8]> = contracts.iter().map(|address| address.as_slice()).collect();
    sqlx::query(
        "INSERT INTO chain.watched (address, filled_to)
         SELECT address, CASE WHEN EXISTS (SELECT FROM chain.blocks) THEN $2 - 1 END FROM unnest($1::bytea[]) AS address
         ON CONFLICT DO NOTHING",
    )
    .bind(contracts)
    .bind(int(start_block))
    .execute(conn)
    .await?;
    Ok(())
}

/// Every contract that is watched, those left out that factories created.
pub(crate) async fn load_watched(conn: &mut PgConnection) -> Result<Vec<Address>, sqlx::Error> {
    addresses(conn, "SELECT address FROM chain.watched ORDER BY address").await
}

/// What is to be filled in, if anything is.
pub(crate) async fn missing(conn: &mut PgConnection) -> Result<Option<Missing>, sqlx::Error> {
    let select = "SELECT min(filled_to) + 1 FROM chain.watched";
    let Some(from) = sqlx::query_scalar::<_, Option<i64>>(select).fetch_one(&mut *conn).await? else { return Ok(None) };
    let contracts = addresses(conn, "SELECT address FROM chain.watched WHERE filled_to IS NOT NULL ORDER BY address").await?;
    Ok(Some(Missing { contracts, from: u64::try_from(from).unwrap_or_default() }))
}

async fn addresses(conn: &mut PgConnection, select: &'static str) -> Result<Vec<Address>, sqlx::Error> {
    let rows: Vec<Vec<u8>> = sqlx::query_scalar(select).fetch_all(conn).await?;
    Ok(rows.iter().map(|address| Address::from_slice(address)).collect())
}

/// Contracts that these factories created, as far as the mirror knows.
pub(crate) async fn load_children_of(
    conn: &mut PgConnection,
    factories: &[Address],
) -> Result<Vec<(Address, Kind)>, sqlx::Error> {
    let factories: Vec<&[u8]> = factories.iter().map(|address| address.as_slice()).collect();
    let rows: Vec<(Vec<u8>, String)> = sqlx::query_as(
        "SELECT c.address, c.kind FROM chain.contracts AS c JOIN chain.events AS e USING (block_number, log_index)
         WHERE e.contract = ANY($1)",
    )
    .bind(factories)
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().filter_map(|(address, kind)| Some((Address::from_slice(&address), Kind::parse(&kind)?))).collect())
}

/// Adds the rows that mirrored blocks lack; those that are there already stay as they are.
const FILL: &str = "
    WITH proofs AS (UPDATE chain.blocks AS b SET proof = 'r' FROM unnest($1) AS n
                    WHERE b.number = n.number AND n.proof = 'r' AND b.proof <> 'r'),
         transactions AS (INSERT INTO chain.transactions SELECT * FROM unnest($2) ON CONFLICT DO NOTHING),
         contracts AS (INSERT INTO chain.contracts SELECT * FROM unnest($3) ON CONFLICT DO NOTHING),
         new AS (INSERT INTO chain.events SELECT * FROM unnest($4) ON CONFLICT DO NOTHING RETURNING block_number, log_index),
         event_keys AS (INSERT INTO chain.event_keys
                        SELECT k.key, k.block_number, k.log_index FROM unnest($5) AS k JOIN new USING (block_number, log_index)),
         transfers AS (INSERT INTO chain.transfers SELECT * FROM unnest($6) ON CONFLICT DO NOTHING)
    SELECT";

/// Fills in what `blocks` hold of [`missing`] contracts. False, with nothing changed, when one of them is not the mirror's.
///
/// What follows from the rows is made when all of them are there (see [`crate::derive::again`]).
pub(crate) async fn fill(conn: &mut PgConnection, types: &RowTypes, blocks: &[Block]) -> Result<bool, sqlx::Error> {
    let Some(last) = blocks.last() else { return Ok(true) };
    let mut tx = conn.begin().await?;
    if !add_rows(&mut tx, types, blocks).await? {
        return Ok(false);
    }
    sqlx::query("UPDATE chain.watched SET filled_to = $1 WHERE filled_to < $1").bind(int(last.number)).execute(&mut *tx).await?;
    revise(&mut tx).await?;
    tx.commit().await?;
    Ok(true)
}

/// Adds the rows that mirrored blocks lack. False when one of the blocks is not the mirror's.
pub(super) async fn add_rows(conn: &mut PgConnection, types: &RowTypes, blocks: &[Block]) -> Result<bool, sqlx::Error> {
    if !are_mirrored(conn, blocks).await? {
        return Ok(false);
    }
    let mut fill = sqlx::query(FILL);
    for rows in Rows::of(blocks).arrays(types) {
        fill = fill.bind(rows);
    }
    fill.execute(conn).await?;
    Ok(true)
}

async fn are_mirrored(conn: &mut PgConnection, blocks: &[Block]) -> Result<bool, sqlx::Error> {
    let (numbers, hashes): (Vec<i64>, Vec<&[u8]>) = blocks.iter().map(|block| (int(block.number), block.hash.as_slice())).unzip();
    let same: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM unnest($1::bigint[], $2::bytea[]) AS n (number, hash) JOIN chain.blocks AS b
         ON b.number = n.number AND b.hash = n.hash",
    )
    .bind(numbers)
    .bind(hashes)
    .fetch_one(conn)
    .await?;
    Ok(usize::try_from(same).is_ok_and(|same| same == blocks.len()))
}
