//! The live feed: what happens at the market, told as it happens.
//!
//! Whoever does something writes an event into an outbox in the same transaction ([`emit`]), without a number: transactions that are open at once
//! commit in any order. One instance at a time, whichever is first, numbers what was committed, so that numbers have no gap and whoever goes on
//! after one misses nothing. What moved in the ledger is read from the ledger, whose writer knows nothing of this. Every instance keeps the newest
//! events in memory, each written once for all readers, and a reader is no more than a place in the feed.

mod hub;
mod leaders;
mod moved;
mod reader;
mod sequence;
mod sse;
mod ticket;
mod viewer;
mod wish;
mod ws;

use std::time::Duration;

use api::{Category, EventType, Topic};
use money::Bps;
use serde_json::Value;
use sqlx::{PgConnection, PgPool, postgres::PgPoolOptions};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

pub(crate) use hub::{Hub, Item, Meta};
pub(crate) use sse::sse;
pub(crate) use ticket::ticket;
pub(crate) use wish::Wish;
pub(crate) use ws::ws;

use crate::db;
use viewer::Places;

/// A connection that takes nothing for longer is ended.
const SLOW: Duration = Duration::from_secs(10);
/// A silent connection is shown to be alive so often.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
/// Agents that one event is for, at most.
const AGENTS_MAX: usize = 1_000;
/// Where the database tells of what came: nothing, for something in the outbox; else that something was numbered.
const CHANNEL: &str = "florin_market_feed";
/// Something is looked for so often also when nothing was told.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOAD_EVERY: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_secs(1);
/// How often what is over is removed, and leaders are looked at.
const CLEAN_EVERY: Duration = Duration::from_secs(20);
/// Rows removed in one go.
const REMOVED_MAX: i64 = 20_000;
/// Readers that read what is not in memory any more at the same time.
const HISTORY_MAX: usize = 3;

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// What.
    pub event_type: EventType,
    /// Who is told.
    pub audience: Audience,
    /// The agent whose doing it is. Of what is for everybody, only 60 of one agent are told in a minute.
    pub actor: Option<Uuid>,
    /// Of which category, if it has one.
    pub category: Option<Category>,
    /// How urgent it is, if that can be said.
    pub urgency_bps: Option<Bps>,
    /// What is to be known of it: an object.
    pub data: Value,
}

/// Who is told.
#[derive(Clone, Debug)]
pub enum Audience {
    /// Everybody who wants to know what is for sale.
    Market,
    /// Everybody who wants to know what is looked for.
    Demand,
    /// These agents, and the creators they belong to. Nobody else ever sees it.
    Agents(Vec<Uuid>),
}

impl Event {
    /// For everybody.
    pub const fn public(event_type: EventType, audience: Audience, data: Value) -> Self {
        Self { event_type, audience, actor: None, category: None, urgency_bps: None, data }
    }

    /// For these agents alone.
    pub fn private(event_type: EventType, agents: impl IntoIterator<Item = Uuid>, data: Value) -> Self {
        Self::public(event_type, Audience::Agents(agents.into_iter().take(AGENTS_MAX).collect()), data)
    }

    /// The same, of a category.
    #[must_use]
    pub fn of(self, category: Category) -> Self {
        Self { category: Some(category), ..self }
    }

    /// The same, done by this agent.
    #[must_use]
    pub fn by(self, actor: Uuid) -> Self {
        Self { actor: Some(actor), ..self }
    }
}

/// Tells of an event once the caller's transaction commits, and not before.
///
/// # Errors
/// When the database fails.
pub async fn emit(conn: &mut PgConnection, event: Event) -> sqlx::Result<()> {
    let (topic, agents) = match event.audience {
        Audience::Market => (Topic::Market, None),
        Audience::Demand => (Topic::Demand, None),
        Audience::Agents(agents) => (Topic::Agent, Some(agents)),
    };
    if agents.as_ref().is_some_and(Vec::is_empty) {
        return Ok(());
    }
    let append = "WITH told AS (INSERT INTO feed_outbox (event_type, topic, agents, actor, category, urgency, data)
             VALUES ($1, $2, $3, $4, $5, $6, $7)) SELECT pg_notify($8, '')";
    sqlx::query(append)
        .bind(event.event_type.as_str())
        .bind(topic.as_str())
        .bind(agents)
        .bind(event.actor)
        .bind(event.category.map(db::name_of))
        .bind(event.urgency_bps.map(|bps| i32::from(bps.get())))
        .bind(event.data)
        .bind(CHANNEL)
        .execute(conn)
        .await
        .map(drop)
}

/// The feed as this instance has it.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) hub: Hub,
    places: Places,
    /// Whose turn it is to read from the table.
    history: Semaphore,
    /// The service ends, and so do all connections.
    closing: CancellationToken,
    outbox: Notify,
    numbered: Notify,
}

impl Feed {
    pub(crate) async fn open(pool: &PgPool, closing: CancellationToken) -> sqlx::Result<Self> {
        Ok(Self {
            hub: Hub::open(pool).await?,
            places: Places::default(),
            history: Semaphore::new(HISTORY_MAX),
            closing,
            outbox: Notify::new(),
            numbered: Notify::new(),
        })
    }

    /// Connections.
    pub(crate) fn readers(&self) -> usize {
        self.places.taken()
    }

    /// Numbers what happened when nobody else does, and takes in what is numbered, until the service ends.
    pub(crate) async fn follow(&self, pool: &PgPool) {
        let all = async { tokio::join!(self.listen(pool), self.number(pool), self.load(pool), self.clean(pool)) };
        self.closing.run_until_cancelled(all).await;
    }

    /// Hears what the database tells, on a connection of its own.
    async fn listen(&self, pool: &PgPool) {
        loop {
            if let Err(error) = self.hear(pool).await {
                warn!(%error, "the database does not tell of events, asking for them");
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn hear(&self, pool: &PgPool) -> sqlx::Result<()> {
        let own = PgPoolOptions::new().max_connections(1).connect_with((*pool.connect_options()).clone()).await?;
        let mut listener = sqlx::postgres::PgListener::connect_with(&own).await?;
        listener.listen(CHANNEL).await?;
        while let Some(told) = listener.try_recv().await? {
            if told.payload().is_empty() { &self.outbox } else { &self.numbered }.notify_one();
        }
        Ok(())
    }

    async fn number(&self, pool: &PgPool) {
        let mut sequencer = sequence::Sequencer::new(pool.clone());
        loop {
            match sequencer.pass().await {
                Ok(true) => {}
                Ok(false) => {
                    let _ = tokio::time::timeout(LOOK_EVERY, self.outbox.notified()).await;
                }
                Err(error) => {
                    warn!(%error, "events are not numbered now, trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn load(&self, pool: &PgPool) {
        loop {
            if let Err(error) = self.hub.load(pool).await {
                warn!(%error, "events cannot be read, trying again");
                tokio::time::sleep(RETRY).await;
            }
            let _ = tokio::time::timeout(LOAD_EVERY, self.numbered.notified()).await;
        }
    }

    async fn clean(&self, pool: &PgPool) {
        loop {
            for done in [leaders::look(pool).await, clean(pool).await] {
                if let Err(error) = done {
                    warn!(%error, "the feed cannot be looked after");
                }
            }
            tokio::time::sleep(CLEAN_EVERY).await;
        }
    }
}

/// Removes what is over: events and whatever was to be posted of them, tickets, and who has not read for long.
///
/// # Errors
/// When the database fails.
pub async fn clean(pool: &PgPool) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM feed_tickets WHERE expires_at < now()").execute(pool).await?;
    sqlx::query("DELETE FROM feed_subscribers WHERE seen_at < now() - interval '7 days'").execute(pool).await?;
    let old = "SELECT greatest(removed_to, (
             SELECT max(seq) FROM (SELECT seq, numbered_at FROM feed_events WHERE seq > removed_to ORDER BY seq LIMIT $1) AS oldest
             WHERE numbered_at < now() - interval '7 days')) FROM feed";
    let upto: i64 = sqlx::query_scalar(old).bind(REMOVED_MAX).fetch_one(pool).await?;
    // First nobody is told of them any more, then they go.
    for gone in [
        "UPDATE feed SET removed_to = $1 WHERE removed_to < $1 AND $2 > 0",
        "DELETE FROM webhook_deliveries WHERE id IN (SELECT id FROM webhook_deliveries WHERE seq > 0 AND seq <= $1 ORDER BY seq LIMIT $2)",
        "DELETE FROM feed_events WHERE seq IN (SELECT seq FROM feed_events WHERE seq <= $1 ORDER BY seq LIMIT $2)",
    ] {
        sqlx::query(gone).bind(upto).bind(REMOVED_MAX).execute(pool).await?;
    }
    Ok(())
}
