//! What happens on the chain as one sequence of items that a reader follows from a cursor: rows in the order of the chain, and before the rows
//! that replace others, what was undone. The tables are the queue: nothing is kept per reader, and a reader that comes back misses nothing.

use std::{cmp::Ordering, fmt, str::FromStr, time::Duration};

use alloy::primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool, postgres::PgListener};
use tokio::sync::watch;
use tracing::warn;

use crate::read::{
    self, BlockFilter, EventFilter, HEAD_CHANNEL, Mirror, Order, PaymentFilter, PaymentKind, Position, Span, TransferFilter,
};

/// Items read at a time.
const BATCH: u32 = 200;
/// Reorganisations read at a time.
const REORGS_MAX: i64 = 100;
/// How long to wait before listening again after the database failed.
const LISTEN_RETRY: Duration = Duration::from_secs(1);

/// What items tell of, in the order in which those of one log come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Topic {
    /// Events of our contracts.
    Events,
    /// USDC transfers.
    Transfers,
    /// What was paid.
    Payments,
    /// A block, after everything in it.
    Blocks,
}

impl Topic {
    pub(crate) const ALL: [Self; 4] = [Self::Events, Self::Transfers, Self::Payments, Self::Blocks];

    /// Of its items.
    const fn kind(self) -> &'static str {
        match self {
            Self::Events => "event",
            Self::Transfers => "transfer",
            Self::Payments => "payment",
            Self::Blocks => "block",
        }
    }
}

/// What a reader wants to know. Every condition given must hold; one that a topic does not know leaves the topic as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Wish {
    pub(crate) topics: Vec<Topic>,
    /// Events that mention it, transfers and payments from or to it.
    pub(crate) account: Option<Address>,
    /// Events of this contract.
    pub(crate) contract: Option<Address>,
    /// Events of this name.
    pub(crate) name: Option<String>,
    /// Payments that went this way.
    pub(crate) kind: Option<PaymentKind>,
    /// Blocks are told of once they have so many.
    pub(crate) confirmations: u64,
}

/// How far a reader is: everything up to a place, as the chain was after a reorganisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    position: Position,
    topic: Topic,
    reorg: u64,
    /// Begin of the hash of the position's block; zero before the first block.
    hash: u32,
}

impl Cursor {
    fn end_of(block: u64, hash: u32, reorg: u64) -> Self {
        Self { position: Position::end_of(block), topic: Topic::Blocks, reorg, hash }
    }

    /// The last place of a topic that this is at or beyond.
    fn after(&self, topic: Topic) -> Position {
        let Position { block, log, .. } = self.position;
        match topic.cmp(&self.topic) {
            Ordering::Less => Position { part: u32::MAX, ..self.position },
            Ordering::Equal => self.position,
            Ordering::Greater => match (log.checked_sub(1), block.checked_sub(1)) {
                (Some(log), _) => Position { block, log, part: u32::MAX },
                (None, Some(block)) => Position::end_of(block),
                (None, None) => Position::start_of(0),
            },
        }
    }

    /// Blocks that are all told of.
    fn blocks(&self) -> Option<u64> {
        if self.topic == Topic::Blocks { Some(self.position.block) } else { self.position.block.checked_sub(1) }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { block, log, part } = self.position;
        write!(f, "{block}-{log}-{}-{part}-{}-{:08x}", self.topic as u8, self.reorg, self.hash)
    }
}

impl FromStr for Cursor {
    type Err = FeedError;

    fn from_str(text: &str) -> Result<Self, FeedError> {
        let parts: Vec<&str> = text.split('-').collect();
        let [block, log, topic, part, reorg, hash] = parts[..] else { return Err(FeedError::Malformed) };
        let number = |text: &str| text.parse::<u32>().map_err(|_| FeedError::Malformed);
        let big = |text: &str| text.parse::<i64>().map(i64::unsigned_abs).map_err(|_| FeedError::Malformed);
        let topic = usize::try_from(number(topic)?).ok().and_then(|index| Topic::ALL.get(index)).ok_or(FeedError::Malformed)?;
        let position = Position { block: big(block)?, log: number(log)?, part: number(part)? };
        let hash = u32::from_str_radix(hash, 16).map_err(|_| FeedError::Malformed)?;
        Ok(Self { position, topic: *topic, reorg: big(reorg)?, hash })
    }
}

fn short(hash: &B256) -> u32 {
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
}

/// Why a feed cannot be followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FeedError {
    #[error("the cursor is not one of this feed")]
    Malformed,
    #[error("the cursor is of another mirror than this: begin again at a block (from_block)")]
    Unknown,
    #[error("block {block} is not mirrored yet, the newest is {newest}: begin at {} at the latest, or without from_block at what comes next", newest + 1)]
    NotYet {
        /// Asked for.
        block: u64,
        /// Mirrored.
        newest: u64,
    },
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Item {
    /// `event`, `transfer`, `payment`, `block`; `undo`: what came of `from_block` and later blocks is not of the chain any more.
    pub(crate) kind: &'static str,
    /// Where to go on after it.
    #[serde(serialize_with = "text")]
    pub(crate) cursor: Cursor,
    pub(crate) data: Value,
}

fn text<S: serde::Serializer>(cursor: &Cursor, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(cursor)
}

/// Where a reader without a cursor begins: at the begin of a block, or with what comes next.
pub(crate) async fn begin(conn: &mut PgConnection, from_block: Option<u64>) -> Result<Cursor, FeedError> {
    let mirror = mirror(conn).await?;
    let newest = mirror.head.as_ref().map_or(mirror.start_block.saturating_sub(1), |head| head.number);
    if let Some(block) = from_block.filter(|block| *block > newest + 1) {
        return Err(FeedError::NotYet { block, newest });
    }
    let last = from_block.map_or(newest, |block| block.max(mirror.start_block).saturating_sub(1).min(newest));
    let hash = hash_of(conn, last).await?;
    Ok(Cursor::end_of(last, hash.unwrap_or_default(), mirror.reorgs))
}

/// Whether a reader's cursor is of this mirror. One whose block was undone is: the reader will be told.
pub(crate) async fn check(conn: &mut PgConnection, cursor: &Cursor) -> Result<(), FeedError> {
    // In this order: what undid the block between two of these is seen by the later.
    let same = hash_of(conn, cursor.position.block).await?.unwrap_or_default() == cursor.hash;
    let undone = read::undone_since(conn, cursor.reorg).await?.is_some_and(|from| from <= cursor.position.block);
    let known = cursor.reorg <= mirror(conn).await?.reorgs;
    if known && (same || undone) { Ok(()) } else { Err(FeedError::Unknown) }
}

async fn mirror(conn: &mut PgConnection) -> Result<Mirror, FeedError> {
    read::mirror(conn).await?.ok_or(FeedError::Unknown)
}

async fn hash_of(conn: &mut PgConnection, block: u64) -> Result<Option<u32>, sqlx::Error> {
    Ok(read::block(conn, block).await?.map(|block| short(&block.hash)))
}

/// The items after `cursor`, which is moved behind them; none when there is nothing new.
pub(crate) async fn next(pool: &PgPool, wish: &Wish, cursor: &mut Cursor) -> Result<Vec<Item>, FeedError> {
    loop {
        let (items, more) = look(pool, wish, cursor).await?;
        if !items.is_empty() || !more {
            return Ok(items);
        }
    }
}

/// The items in what one read looks at, and whether there is more to look at.
async fn look(pool: &PgPool, wish: &Wish, cursor: &mut Cursor) -> Result<(Vec<Item>, bool), FeedError> {
    let mut tx = pg::begin_with(pool, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    let mirror = mirror(&mut tx).await?;
    let mut items = undone(&mut tx, &mirror, cursor).await?;
    let Some(head) = &mirror.head else { return Ok((items, false)) };
    let newest = (head.number + 1).saturating_sub(wish.confirmations.max(1));
    if !items.is_empty() || newest < cursor.position.block {
        return Ok((items, false));
    }
    let mut last = newest;
    for topic in &wish.topics {
        if let Some(horizon) = horizon(&mut tx, *topic, wish, cursor, newest).await? {
            // Whole blocks, so that the cursor says how far was looked; at least one, so that it moves.
            last = last.min(horizon.block.saturating_sub(1).max(cursor.position.block + 1));
        }
    }
    for topic in &wish.topics {
        items.extend(read_topic(&mut tx, *topic, wish, cursor, last).await?);
    }
    items.sort_by_key(|item: &Item| {
        (item.cursor.position.block, item.cursor.position.log, item.cursor.topic, item.cursor.position.part)
    });
    let batch = usize::try_from(BATCH).unwrap_or(usize::MAX);
    if items.len() < batch {
        // All there is was read, so a reader whose wishes are rare does not read the same blocks again.
        let hash = if last == head.number { Some(short(&head.hash)) } else { hash_of(&mut tx, last).await? };
        *cursor = Cursor::end_of(last, hash.unwrap_or_default(), mirror.reorgs);
    } else {
        items.truncate(batch);
        *cursor = items[batch - 1].cursor;
    }
    Ok((items, last < newest))
}

/// Tells of what was undone that the reader knows of, and moves the cursor back before it.
async fn undone(conn: &mut PgConnection, mirror: &Mirror, cursor: &mut Cursor) -> Result<Vec<Item>, FeedError> {
    let mut items = Vec::new();
    if cursor.reorg == mirror.reorgs {
        return Ok(items);
    }
    let reorgs: Vec<(i64, i64)> = sqlx::query_as("SELECT id, ancestor FROM chain.reorgs WHERE id > $1 ORDER BY id LIMIT $2")
        .bind(crate::store::int(cursor.reorg))
        .bind(REORGS_MAX)
        .fetch_all(&mut *conn)
        .await?;
    for (id, ancestor) in reorgs {
        let (id, ancestor) = (id.unsigned_abs(), ancestor.unsigned_abs());
        let to_block = cursor.position.block;
        cursor.reorg = id;
        if ancestor < to_block {
            // A later one may have undone the ancestor too: its hash tells then, whatever it is.
            let hash = hash_of(conn, ancestor).await?.unwrap_or_default();
            *cursor = Cursor::end_of(ancestor, hash, id);
            let data = json!({"from_block": ancestor + 1, "to_block": to_block, "reorg": id});
            items.push(Item { kind: "undo", cursor: *cursor, data });
        }
    }
    Ok(items)
}

fn events_of(wish: &Wish, cursor: &Cursor, last: u64) -> EventFilter {
    EventFilter {
        contract: wish.contract,
        name: wish.name.clone(),
        account: wish.account,
        blocks: Span { from: None, to: Some(last) },
        after: Some(cursor.after(Topic::Events)),
        order: Order::Asc,
        limit: BATCH,
        ..Default::default()
    }
}

fn payments_of(wish: &Wish, cursor: &Cursor, last: u64) -> PaymentFilter {
    PaymentFilter {
        account: wish.account,
        kind: wish.kind,
        blocks: Span { from: None, to: Some(last) },
        after: Some(cursor.after(Topic::Payments)),
        order: Order::Asc,
        limit: BATCH,
        ..Default::default()
    }
}

/// How far one read can look for items of a topic, if not to the last block.
async fn horizon(
    conn: &mut PgConnection,
    topic: Topic,
    wish: &Wish,
    cursor: &Cursor,
    last: u64,
) -> Result<Option<Position>, sqlx::Error> {
    match topic {
        Topic::Events => read::events_horizon(conn, &events_of(wish, cursor, last)).await,
        Topic::Payments => read::payments_horizon(conn, &payments_of(wish, cursor, last)).await,
        Topic::Transfers | Topic::Blocks => Ok(None),
    }
}

async fn read_topic(
    conn: &mut PgConnection,
    topic: Topic,
    wish: &Wish,
    cursor: &Cursor,
    last: u64,
) -> Result<Vec<Item>, sqlx::Error> {
    let (blocks, order, limit) = (Span { from: None, to: Some(last) }, Order::Asc, BATCH);
    let item = |position: Position, hash: &B256, data: Value| Item {
        kind: topic.kind(),
        cursor: Cursor { position, topic, reorg: cursor.reorg, hash: short(hash) },
        data,
    };
    match topic {
        Topic::Events => {
            let rows = read::events(conn, &events_of(wish, cursor, last)).await?;
            rows.iter().map(|row| Ok(item(row.place.position(), &row.place.block_hash, to_json(row)?))).collect()
        }
        Topic::Transfers => {
            let after = Some(cursor.after(topic));
            let filter = TransferFilter { account: wish.account, blocks, after, order, limit, ..Default::default() };
            let rows = read::transfers(conn, &filter).await?;
            rows.iter().map(|row| Ok(item(row.place.position(), &row.place.block_hash, to_json(row)?))).collect()
        }
        Topic::Payments => {
            let rows = read::payments(conn, &payments_of(wish, cursor, last)).await?;
            rows.iter().map(|row| Ok(item(row.position(), &row.place.block_hash, to_json(row)?))).collect()
        }
        Topic::Blocks => {
            let filter = BlockFilter { blocks, after: cursor.blocks(), order, limit };
            let rows = read::blocks(conn, &filter).await?;
            rows.iter().map(|row| Ok(item(Position::end_of(row.number), &row.hash, to_json(row)?))).collect()
        }
    }
}

fn to_json(row: &impl Serialize) -> Result<Value, sqlx::Error> {
    serde_json::to_value(row).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// Rings when the mirror changed. It says nothing else: whoever hears it reads the tables.
#[derive(Clone, Debug)]
pub(crate) struct Bell(watch::Receiver<u64>);

impl Bell {
    /// Rings for as long as the task runs that comes with it.
    pub(crate) fn new(pool: PgPool) -> (Self, impl Future<Output = ()> + Send) {
        let (ring, bell) = watch::channel(0);
        let listen = async move {
            loop {
                if let Err(error) = listen(&pool, &ring).await {
                    warn!(%error, "the database does not tell of new blocks, asking again");
                }
                tokio::time::sleep(LISTEN_RETRY).await;
                ring.send_modify(|count| *count += 1);
            }
        };
        (Self(bell), listen)
    }

    /// Ends when it rang since the last time, or after `at_most`.
    pub(crate) async fn rang(&mut self, at_most: Duration) {
        let _ = tokio::time::timeout(at_most, self.0.changed()).await;
    }
}

async fn listen(pool: &PgPool, ring: &watch::Sender<u64>) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(HEAD_CHANNEL).await?;
    ring.send_modify(|count| *count += 1);
    while listener.try_recv().await?.is_some() {
        ring.send_modify(|count| *count += 1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops where an assumption fails")]

    use super::*;

    #[test]
    fn a_cursor_reads_as_it_is_written_and_anything_else_is_refused() {
        let position = Position { block: 7, log: 2, part: 3 };
        let cursor = Cursor { position, topic: Topic::Payments, reorg: 5, hash: 0xab };
        assert_eq!(cursor.to_string(), "7-2-2-3-5-000000ab");
        assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        for text in ["", "1", "7-2-9-3-5-ab", "7-2-2-3-5-", "7-2-2-3-5-ab-1", "99999999999999999999-2-2-3-5-ab"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_one_log_tells_to_several_topics_is_passed_topic_by_topic() {
        let position = Position { block: 7, log: 0, part: 1 };
        let cursor = Cursor { position, topic: Topic::Transfers, reorg: 0, hash: 0 };
        assert_eq!(cursor.after(Topic::Events), Position { block: 7, log: 0, part: u32::MAX });
        assert_eq!(cursor.after(Topic::Transfers), position);
        assert_eq!(cursor.after(Topic::Payments), Position::end_of(6));
        assert_eq!((cursor.blocks(), Cursor::end_of(7, 0, 0).blocks()), (Some(6), Some(7)));
    }
}
