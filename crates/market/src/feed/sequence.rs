//! Numbers what was committed. Whoever holds the lock of the feed's end does, and all see the numbers in the order in which they were given.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use api::{FeedEvent, Topic, Visibility};
use serde::Serialize;
use serde_json::Value;
use sqlx::{PgConnection, PgPool, Row, postgres::PgRow};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{CHANNEL, moved};
use crate::db;

/// Rows of the outbox, and transfers of the ledger, in one transaction.
const OUTBOX_MAX: i64 = 500;
const TRANSFERS_MAX: i64 = 1_000;
/// After transfers were looked at, so many times as long as it took belong to others: whoever buys waits for the same database.
const REST: u32 = 10;
/// While nobody listens to what is private, the ledger is passed by so often.
const UNHEARD_EVERY: Duration = Duration::from_secs(1);
/// Events for everybody that one agent may cause in a minute. What is beyond them is not told.
const OF_ONE_MAX: u32 = 60;

/// What is to be numbered.
pub(super) struct New {
    pub(super) event_type: String,
    pub(super) topic: Topic,
    /// Who is told; nobody in particular for what everybody is told.
    pub(super) agents: Option<Vec<Uuid>>,
    pub(super) category: Option<String>,
    pub(super) urgency: Option<i32>,
    pub(super) occurred_at: OffsetDateTime,
    pub(super) data: Value,
}

/// As [`FeedEvent`], written by whichever version numbers it.
#[derive(Serialize)]
struct Written<'a> {
    event_id: Uuid,
    seq: i64,
    event_type: &'a str,
    #[serde(with = "time::serde::rfc3339")]
    occurred_at: OffsetDateTime,
    visibility: Visibility,
    topic: Topic,
    schema_version: u16,
    data: &'a Value,
}

pub(super) struct Sequencer {
    pool: PgPool,
    /// When the ledger is looked at again.
    ledger_at: Instant,
    /// Events for everybody in this minute, by the agents that caused them.
    caused: (i64, HashMap<Uuid, u32>),
}

impl Sequencer {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool, ledger_at: Instant::now(), caused: (0, HashMap::new()) }
    }

    /// Numbers the next events, unless another instance does. Whether there are more already.
    pub(super) async fn pass(&mut self) -> sqlx::Result<bool> {
        let caused = self.caused.clone();
        let more = self.number_next().await;
        if more.is_err() {
            // What was not committed comes again, and counts once.
            self.caused = caused;
        }
        more
    }

    async fn number_next(&mut self) -> sqlx::Result<bool> {
        let begun = Instant::now();
        let ledger = self.ledger_at <= begun;
        // Nothing is locked, and nothing waits for the disk, while nothing happens.
        let news = "SELECT EXISTS (SELECT FROM feed_outbox)
                 OR ($1 AND (l.last_id > f.ledger_to OR EXISTS (SELECT FROM purchases WHERE status = 'settled' AND NOT told)))
             FROM feed AS f, ledger AS l";
        if !sqlx::query_scalar::<_, bool>(news).bind(ledger).fetch_one(&self.pool).await? {
            return Ok(false);
        }
        let mut tx = pg::begin(&self.pool).await?;
        // The row of `ledger` may be older than the one that is locked. While nobody listens, what moved is passed by.
        let state = "SELECT f.last_seq, f.ledger_to, EXISTS (SELECT FROM feed_listeners) AS heard,
                 CASE WHEN NOT $1 THEN f.ledger_to
                      WHEN EXISTS (SELECT FROM feed_listeners) THEN greatest(f.ledger_to, least(l.last_id, f.ledger_to + $2))
                      ELSE greatest(f.ledger_to, l.last_id) END AS upto
             FROM feed AS f, ledger AS l FOR UPDATE OF f SKIP LOCKED";
        let state = sqlx::query(state).bind(ledger).bind(TRANSFERS_MAX).fetch_optional(&mut *tx).await?;
        let Some(state) = state else { return Ok(false) };
        let (last, from, upto): (i64, i64, i64) =
            (state.try_get("last_seq")?, state.try_get("ledger_to")?, state.try_get("upto")?);
        let (mut new, taken) = self.outbox(&mut tx).await?;
        if ledger {
            new.extend(moved::settled(&mut tx, TRANSFERS_MAX).await?);
        }
        let heard: bool = state.try_get("heard")?;
        if upto > from && heard {
            new.extend(moved::since(&mut tx, from, upto).await?);
        }
        if new.is_empty() {
            // What is forgotten in a crash of the database is done again, and nobody saw anything of it.
            sqlx::query("SET LOCAL synchronous_commit = off").execute(&mut *tx).await?;
        } else {
            number(&mut tx, last, &new).await?;
            sqlx::query("SELECT pg_notify($1, 'numbered')").bind(CHANNEL).execute(&mut *tx).await?;
        }
        let done = sqlx::query("UPDATE feed SET last_seq = $1, ledger_to = $2");
        done.bind(last + new.len() as i64).bind(upto).execute(&mut *tx).await?;
        tx.commit().await?;
        if ledger {
            self.ledger_at = Instant::now() + if heard { (begun.elapsed() * REST).min(UNHEARD_EVERY) } else { UNHEARD_EVERY };
        }
        Ok(taken >= OUTBOX_MAX)
    }

    /// Takes the next rows of the outbox; how many there were. What is for agents of whom none listens is told to nobody.
    async fn outbox(&mut self, conn: &mut PgConnection) -> sqlx::Result<(Vec<New>, i64)> {
        let take =
            "WITH taken AS (DELETE FROM feed_outbox WHERE id IN (SELECT id FROM feed_outbox ORDER BY id LIMIT $1) RETURNING *)
             SELECT *, agents IS NULL OR EXISTS (SELECT FROM feed_listeners AS l WHERE l.agent_id = ANY(taken.agents)) AS heard
             FROM taken ORDER BY id";
        let rows = sqlx::query(take).bind(OUTBOX_MAX).fetch_all(conn).await?;
        let mut new = Vec::with_capacity(rows.len());
        for row in &rows {
            let agents: Option<Vec<Uuid>> = row.try_get("agents")?;
            let actor: Option<Uuid> = row.try_get("actor")?;
            let too_much = agents.is_none() && actor.is_some_and(|actor| self.is_too_much(actor));
            if row.try_get("heard")? && !too_much {
                new.push(read(row, agents)?);
            }
        }
        Ok((new, rows.len() as i64))
    }

    /// Counts something that an agent caused for everybody.
    fn is_too_much(&mut self, actor: Uuid) -> bool {
        let minute = OffsetDateTime::now_utc().unix_timestamp() / 60;
        if self.caused.0 != minute {
            self.caused = (minute, HashMap::new());
        }
        let count = self.caused.1.entry(actor).or_default();
        *count += 1;
        *count > OF_ONE_MAX
    }
}

fn read(row: &PgRow, agents: Option<Vec<Uuid>>) -> sqlx::Result<New> {
    Ok(New {
        event_type: row.try_get("event_type")?,
        topic: db::named(row, "topic")?,
        agents,
        category: row.try_get("category")?,
        urgency: row.try_get("urgency")?,
        occurred_at: row.try_get("occurred_at")?,
        data: row.try_get("data")?,
    })
}

async fn number(conn: &mut PgConnection, last: i64, new: &[New]) -> sqlx::Result<()> {
    let seqs: Vec<i64> = (last + 1..).take(new.len()).collect();
    let ids: Vec<Uuid> = new.iter().map(|_| Uuid::now_v7()).collect();
    let write = |((event, seq), id): ((&New, &i64), &Uuid)| {
        serde_json::to_string(&Written {
            event_id: *id,
            seq: *seq,
            event_type: &event.event_type,
            occurred_at: event.occurred_at,
            visibility: event.topic.visibility(),
            topic: event.topic,
            schema_version: FeedEvent::SCHEMA_VERSION,
            data: &event.data,
        })
    };
    let bodies = new.iter().zip(&seqs).zip(&ids).map(write).collect::<Result<Vec<_>, _>>();
    let bodies = bodies.map_err(|error| sqlx::Error::Encode(error.into()))?;
    // An array of arrays would have to be as wide everywhere.
    let agents =
        |event: &New| event.agents.as_ref().map(|agents| agents.iter().map(Uuid::to_string).collect::<Vec<_>>().join(","));
    let insert = "INSERT INTO feed_events (seq, event_id, event_type, topic, agents, category, urgency, occurred_at, body)
         SELECT seq, event_id, event_type, topic, string_to_array(agents, ',')::uuid[], category, urgency, occurred_at, body
         FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::integer[], $8::timestamptz[], $9::text[])
             AS new (seq, event_id, event_type, topic, agents, category, urgency, occurred_at, body)";
    sqlx::query(insert)
        .bind(&seqs)
        .bind(&ids)
        .bind(new.iter().map(|event| event.event_type.as_str()).collect::<Vec<_>>())
        .bind(new.iter().map(|event| event.topic.as_str()).collect::<Vec<_>>())
        .bind(new.iter().map(agents).collect::<Vec<_>>())
        .bind(new.iter().map(|event| event.category.as_deref()).collect::<Vec<_>>())
        .bind(new.iter().map(|event| event.urgency).collect::<Vec<_>>())
        .bind(new.iter().map(|event| event.occurred_at).collect::<Vec<_>>())
        .bind(bodies)
        .execute(conn)
        .await
        .map(drop)
}
