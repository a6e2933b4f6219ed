//! The newest events of the feed in memory, for all readers of this instance.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, RwLock},
};

use api::Topic;
use axum::extract::ws::Utf8Bytes;
use bytes::Bytes;
use sqlx::{PgPool, Row, postgres::PgRow};
use tokio::sync::watch;
use uuid::Uuid;

use super::Wish;
use crate::db;

/// Events that are kept in memory, and their bytes.
const ITEMS_MAX: usize = 20_000;
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Events read from the table in one go.
pub(super) const PAGE: i64 = 500;
/// Events that a reader looks at, and takes, in one go.
const LOOKED_AT_MAX: usize = 1_000;
const TAKEN_MAX: usize = 64;
/// What an [`Item`] is read from.
const AFTER: &str =
    "SELECT seq, event_type, topic, agents, category, urgency, body FROM feed_events WHERE seq > $1 ORDER BY seq LIMIT $2";

/// What decides who is told of an event.
#[derive(Clone, Debug)]
pub(crate) struct Meta {
    pub(crate) topic: Topic,
    pub(crate) event_type: String,
    pub(crate) agents: Option<Vec<Uuid>>,
    pub(crate) category: Option<String>,
    pub(crate) urgency: Option<i32>,
}

impl Meta {
    /// Of a row of `feed_events`.
    pub(crate) fn read(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            topic: db::named(row, "topic")?,
            event_type: row.try_get("event_type")?,
            agents: row.try_get("agents")?,
            category: row.try_get("category")?,
            urgency: row.try_get("urgency")?,
        })
    }
}

/// An event with what is sent of it, written once for however many readers.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) seq: i64,
    pub(crate) meta: Meta,
    /// As a server-sent event.
    pub(super) sse: Bytes,
    /// As a message of a WebSocket: a part of the same bytes.
    pub(super) text: Utf8Bytes,
}

impl Item {
    fn read(row: &PgRow) -> sqlx::Result<Self> {
        let (seq, meta, body): (i64, Meta, &str) = (row.try_get("seq")?, Meta::read(row)?, row.try_get("body")?);
        let head = format!("id: {seq}\nevent: {}\ndata: ", meta.event_type);
        let sse = Bytes::from(format!("{head}{body}\n\n"));
        let text = sse.slice(head.len()..head.len() + body.len());
        let text = Utf8Bytes::try_from(text).map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok(Self { seq, meta, sse, text })
    }
}

/// What there is after a place.
pub(super) enum Step {
    /// These are wanted, and everything up to this number was looked at.
    Items(Vec<Arc<Item>>, i64),
    /// Nothing yet.
    Nothing,
    /// What is next is not in memory any more.
    Behind,
}

/// The newest events.
#[derive(Debug)]
pub(crate) struct Hub {
    ring: RwLock<Ring>,
    newest: watch::Sender<i64>,
}

#[derive(Debug)]
struct Ring {
    /// Without a gap up to `last`.
    items: VecDeque<Arc<Item>>,
    bytes: usize,
    last: i64,
}

impl Ring {
    fn push(&mut self, item: Item) {
        if item.seq != self.last + 1 {
            // This instance stood still for longer than events are kept.
            self.items.clear();
            self.bytes = 0;
        }
        self.last = item.seq;
        self.bytes += item.sse.len();
        self.items.push_back(Arc::new(item));
        while self.items.len() > ITEMS_MAX || self.bytes > BYTES_MAX {
            let gone = self.items.pop_front().map_or(0, |item| item.sse.len());
            self.bytes -= gone;
        }
    }

    /// The place of what comes after `seq`, which is not newer than the newest; none when that is gone.
    fn index_after(&self, seq: i64) -> Option<usize> {
        let newer = usize::try_from(self.last - seq).ok()?;
        self.items.len().checked_sub(newer)
    }
}

impl Hub {
    pub(super) async fn open(pool: &PgPool) -> sqlx::Result<Self> {
        let last: i64 = sqlx::query_scalar("SELECT last_seq FROM feed").fetch_one(pool).await?;
        Ok(Self { ring: RwLock::new(Ring { items: VecDeque::new(), bytes: 0, last }), newest: watch::Sender::new(last) })
    }

    /// Tells when there is something new.
    pub(crate) fn newest(&self) -> watch::Receiver<i64> {
        self.newest.subscribe()
    }

    /// Takes in what was numbered since.
    pub(super) async fn load(&self, pool: &PgPool) -> sqlx::Result<()> {
        loop {
            let after = *self.newest.borrow();
            let items = page(pool, after).await?;
            let count = items.len();
            let Some(last) = items.last().map(|item| item.seq) else { return Ok(()) };
            {
                let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
                items.into_iter().for_each(|item| ring.push(item));
            }
            self.newest.send_replace(last);
            if count < PAGE as usize {
                return Ok(());
            }
        }
    }

    /// What a reader at this place is told next.
    pub(super) fn after(&self, seq: i64, wish: &Wish, mine: &[Uuid]) -> Step {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        if seq >= ring.last {
            return Step::Nothing;
        }
        let Some(begin) = ring.index_after(seq) else { return Step::Behind };
        let (mut taken, mut upto) = (Vec::new(), seq);
        for item in ring.items.range(begin..).take(LOOKED_AT_MAX) {
            upto = item.seq;
            if wish.wants(&item.meta, mine) {
                taken.push(item.clone());
                if taken.len() == TAKEN_MAX {
                    break;
                }
            }
        }
        Step::Items(taken, upto)
    }
}

/// The events after a number, as many as are read in one go.
pub(super) async fn page(pool: &PgPool, after: i64) -> sqlx::Result<Vec<Item>> {
    sqlx::query(AFTER).bind(after).bind(PAGE).fetch_all(pool).await?.iter().map(Item::read).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use api::FeedQuery;

    use super::*;

    fn item(seq: i64) -> Item {
        let meta =
            Meta { topic: Topic::Market, event_type: "listing_created".into(), agents: None, category: None, urgency: None };
        Item { seq, meta, sse: Bytes::from_static(b"x"), text: Utf8Bytes::from_static("x") }
    }

    fn seqs(hub: &Hub, after: i64) -> Option<Vec<i64>> {
        match hub.after(after, &Wish::of(&FeedQuery::default()).unwrap(), &[]) {
            Step::Items(items, upto) => {
                assert_eq!(items.last().unwrap().seq, upto);
                Some(items.iter().map(|item| item.seq).collect())
            }
            Step::Nothing => Some(Vec::new()),
            Step::Behind => None,
        }
    }

    #[test]
    fn a_reader_goes_on_at_any_place_that_is_in_memory() {
        let ring = RwLock::new(Ring { items: VecDeque::new(), bytes: 0, last: 7 });
        let hub = Hub { ring, newest: watch::Sender::new(7) };
        assert_eq!((seqs(&hub, 7), seqs(&hub, 8), seqs(&hub, 6)), (Some(vec![]), Some(vec![]), None));
        for seq in 8..=10 {
            hub.ring.write().unwrap().push(item(seq));
        }
        assert_eq!((seqs(&hub, 7), seqs(&hub, 9), seqs(&hub, 10)), (Some(vec![8, 9, 10]), Some(vec![10]), Some(vec![])));
        assert_eq!(seqs(&hub, 6), None, "7 was never here");
        hub.ring.write().unwrap().push(item(15));
        assert_eq!((seqs(&hub, 14), seqs(&hub, 10)), (Some(vec![15]), None), "after a gap nothing older is told from memory");
        for seq in 16..16 + ITEMS_MAX as i64 {
            hub.ring.write().unwrap().push(item(seq));
        }
        assert_eq!((seqs(&hub, 14), seqs(&hub, 15).unwrap().len()), (None, TAKEN_MAX));
    }
}
