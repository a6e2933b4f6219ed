//! Proving again what is already mirrored.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use alloy::primitives::{Address, B256, Bytes};
use sqlx::{PgConnection, Row};

use super::{Fetched, Node};
use crate::{
    Error,
    block::{self, Block},
    store::int,
    watch::Watch,
};

/// Blocks that are fetched and compared at a time.
const BLOCKS_AT_ONCE: u64 = 64;

/// What proving again found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Blocks proved again.
    pub blocks: u64,
    /// Rows compared: events, transfers and the transactions they are of.
    pub rows: u64,
    /// Where mirror and chain differ, oldest first.
    pub differences: Vec<Difference>,
}

/// A block whose rows are not what the chain says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The block.
    pub block: u64,
    /// What is wrong with it.
    pub what: String,
}

/// A row that the chain decides, without what is only told by the node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fact {
    Event { log: u32, tx: u32, contract: Address, topics: Vec<B256>, data: Bytes },
    Transfer { log: u32, tx: u32, token: Address, from: Address, to: Address, amount: i64, nonce: Option<B256> },
    Transaction { tx: u32, hash: B256 },
}

type Facts = BTreeSet<(u64, Fact)>;

/// Fetches and proves the blocks of `range` again and compares their rows.
pub(crate) async fn verify(
    conn: &mut PgConnection,
    node: &Node,
    watch: &Watch,
    range: RangeInclusive<u64>,
    mut progress: impl FnMut(u64),
) -> Result<Report, Error> {
    let mut report = Report::default();
    let (mut from, last) = range.into_inner();
    while from <= last {
        let to = last.min(from + BLOCKS_AT_ONCE - 1);
        let mut compared = compare(conn, &fetch(node, watch, from, to).await?).await?;
        if !compared.differences.is_empty() {
            // A reorganisation between the two readings looks like a difference. Only what lasts is one.
            compared = compare(conn, &fetch(node, watch, from, to).await?).await?;
        }
        report.blocks += compared.blocks;
        report.rows += compared.rows;
        report.differences.extend(compared.differences);
        progress(to);
        from = to + 1;
    }
    Ok(report)
}

async fn fetch(node: &Node, watch: &Watch, from: u64, to: u64) -> Result<Vec<Block>, Error> {
    let fetched = Fetched::complete(node, watch, node.headers(from, to).await?).await?;
    let mut watch = watch.clone();
    fetched.into_iter().map(|block| block::mirror(&block.header, block.receipts.as_deref(), &mut watch)).collect()
}

async fn compare(conn: &mut PgConnection, blocks: &[Block]) -> Result<Report, Error> {
    let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else { return Ok(Report::default()) };
    let (mirrored, hashes) = mirrored(conn, first.number, last.number).await?;
    let expected = blocks.iter().flat_map(facts).collect::<Facts>();
    // Of each block: rows that the mirror lacks, and rows that the chain does not have.
    let mut wrong: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
    expected.difference(&mirrored).for_each(|(block, _)| wrong.entry(*block).or_default().0 += 1);
    mirrored.difference(&expected).for_each(|(block, _)| wrong.entry(*block).or_default().1 += 1);
    let differ = |block: &Block| match hashes.get(&block.number) {
        None => Some("the mirror does not have it".into()),
        Some(hash) if *hash != block.hash => Some(format!("the mirror has {hash}, the chain {}", block.hash)),
        Some(_) => wrong
            .get(&block.number)
            .map(|(missing, surplus)| format!("{missing} rows are missing or changed, {surplus} are not the chain's")),
    };
    Ok(Report {
        blocks: u64::try_from(blocks.len()).unwrap_or(u64::MAX),
        rows: u64::try_from(expected.len()).unwrap_or(u64::MAX),
        differences: blocks.iter().filter_map(|b| differ(b).map(|what| Difference { block: b.number, what })).collect(),
    })
}

fn facts(block: &Block) -> impl Iterator<Item = (u64, Fact)> {
    let events = block.events.iter().map(|event| Fact::Event {
        log: event.log_index,
        tx: event.tx_index,
        contract: event.log.address,
        topics: event.log.topics.to_vec(),
        data: event.log.data.clone(),
    });
    let transfers = block.transfers.iter().map(|transfer| Fact::Transfer {
        log: transfer.log_index,
        tx: transfer.tx_index,
        token: transfer.token,
        from: transfer.sender,
        to: transfer.recipient,
        amount: transfer.amount,
        nonce: transfer.authorization_nonce,
    });
    let transactions = block.transactions.iter().map(|tx| Fact::Transaction { tx: tx.index, hash: tx.hash });
    events.chain(transfers).chain(transactions).map(|fact| (block.number, fact))
}

async fn mirrored(conn: &mut PgConnection, from: u64, to: u64) -> Result<(Facts, BTreeMap<u64, B256>), sqlx::Error> {
    let mut facts = Facts::new();
    let index = |row: &sqlx::postgres::PgRow, name: &str| row.try_get::<i32, _>(name).map(i32::unsigned_abs);
    let address = |row: &sqlx::postgres::PgRow, name: &str| row.try_get::<Vec<u8>, _>(name).map(|a| Address::from_slice(&a));
    let number = |row: &sqlx::postgres::PgRow| row.try_get::<i64, _>("block_number").map(i64::unsigned_abs);
    let between = |select: &'static str| sqlx::query(select).bind(int(from)).bind(int(to));

    let events =
        "SELECT block_number, log_index, tx_index, contract, topics, data FROM chain.events WHERE block_number BETWEEN $1 AND $2";
    for row in between(events).fetch_all(&mut *conn).await? {
        let topics: Vec<Vec<u8>> = row.try_get("topics")?;
        let event = Fact::Event {
            log: index(&row, "log_index")?,
            tx: index(&row, "tx_index")?,
            contract: address(&row, "contract")?,
            topics: topics.iter().map(|topic| B256::from_slice(topic)).collect(),
            data: row.try_get::<Vec<u8>, _>("data")?.into(),
        };
        facts.insert((number(&row)?, event));
    }
    let transfers = "SELECT block_number, log_index, tx_index, token, sender, recipient, amount, authorization_nonce
                     FROM chain.transfers WHERE block_number BETWEEN $1 AND $2";
    for row in between(transfers).fetch_all(&mut *conn).await? {
        let nonce: Option<Vec<u8>> = row.try_get("authorization_nonce")?;
        let transfer = Fact::Transfer {
            log: index(&row, "log_index")?,
            tx: index(&row, "tx_index")?,
            token: address(&row, "token")?,
            from: address(&row, "sender")?,
            to: address(&row, "recipient")?,
            amount: row.try_get("amount")?,
            nonce: nonce.map(|nonce| B256::from_slice(&nonce)),
        };
        facts.insert((number(&row)?, transfer));
    }
    let transactions = "SELECT block_number, tx_index, hash FROM chain.transactions WHERE block_number BETWEEN $1 AND $2";
    for row in between(transactions).fetch_all(&mut *conn).await? {
        let hash: Vec<u8> = row.try_get("hash")?;
        facts.insert((number(&row)?, Fact::Transaction { tx: index(&row, "tx_index")?, hash: B256::from_slice(&hash) }));
    }
    let blocks = sqlx::query_as("SELECT number, hash FROM chain.blocks WHERE number BETWEEN $1 AND $2");
    let blocks: Vec<(i64, Vec<u8>)> = blocks.bind(int(from)).bind(int(to)).fetch_all(conn).await?;
    let hashes = blocks.into_iter().map(|(number, hash)| (number.unsigned_abs(), B256::from_slice(&hash))).collect();
    Ok((facts, hashes))
}
