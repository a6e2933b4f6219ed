//! Makes deliveries of events, in their order.

use api::Topic;
use sqlx::{PgConnection, PgPool, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    db,
    feed::{Meta, Wish},
};

/// Events looked at in one transaction, and deliveries made in it, unless one event has more.
const EVENTS_MAX: i64 = 500;
const DELIVERIES_MAX: usize = 20_000;

/// What one pass did.
pub(super) struct Pass {
    pub(super) deliveries: usize,
    /// Whether there is more already.
    pub(super) more: bool,
}

/// An event as deliveries are made of it.
pub(super) struct Told {
    pub(super) seq: i64,
    pub(super) event_id: Uuid,
    pub(super) meta: Meta,
}

/// A webhook, as far as it decides what goes to it.
pub(super) struct Hook {
    pub(super) id: Uuid,
    agent_id: Uuid,
    pub(super) since: i64,
    wish: Wish,
}

impl Hook {
    pub(super) fn read(row: &PgRow) -> sqlx::Result<Self> {
        let topics: Vec<String> = row.try_get("topics")?;
        Ok(Self {
            id: row.try_get("id")?,
            agent_id: row.try_get("agent_id")?,
            since: row.try_get("since")?,
            wish: Wish {
                topics: topics.iter().filter_map(|name| Topic::named(name)).collect(),
                event_types: row.try_get("event_types")?,
                categories: row.try_get("categories")?,
                min_urgency: row.try_get("urgency_min")?,
            },
        })
    }

    pub(super) fn wants(&self, event: &Told) -> bool {
        event.seq > self.since && self.wish.wants(&event.meta, &[self.agent_id])
    }
}

/// Makes the deliveries of the next events, unless another instance does.
pub(super) async fn pass(pool: &PgPool) -> sqlx::Result<Pass> {
    let none = Pass { deliveries: 0, more: false };
    let news = "SELECT f.last_seq > c.seq FROM feed AS f, webhook_cursor AS c";
    if !sqlx::query_scalar::<_, bool>(news).fetch_one(pool).await? {
        return Ok(none);
    }
    let mut tx = pg::begin(pool).await?;
    let cursor = "SELECT seq FROM webhook_cursor FOR UPDATE SKIP LOCKED";
    let Some(cursor): Option<i64> = sqlx::query_scalar(cursor).fetch_optional(&mut *tx).await? else { return Ok(none) };
    let mut events = events(&mut tx, cursor, EVENTS_MAX).await?;
    let Some(mut last) = events.last().map(|event| event.seq) else { return Ok(none) };
    let full = events.len() as i64 == EVENTS_MAX;
    let hooks = hooks(&mut tx, &events).await?;
    let (mut made, mut cut) = (Vec::new(), false);
    for (at, event) in events.iter().enumerate() {
        if made.len() >= DELIVERIES_MAX {
            (last, cut) = (events[at - 1].seq, true);
            break;
        }
        made.extend(hooks.iter().filter(|hook| hook.wants(event)).map(|hook| (hook.id, at)));
    }
    events.truncate(made.last().map_or(0, |(_, at)| at + 1));
    insert(&mut tx, &events, &made).await?;
    sqlx::query("UPDATE webhook_cursor SET seq = $1").bind(last).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(Pass { deliveries: made.len(), more: full || cut })
}

/// The events after a number, at most so many.
pub(super) async fn events(conn: &mut PgConnection, after: i64, most: i64) -> sqlx::Result<Vec<Told>> {
    let next = "SELECT seq, event_id, event_type, topic, agents, category, urgency FROM feed_events WHERE seq > $1 ORDER BY seq LIMIT $2";
    let rows = sqlx::query(next).bind(after).bind(most).fetch_all(conn).await?;
    let told = |row: &PgRow| Ok(Told { seq: row.try_get("seq")?, event_id: row.try_get("event_id")?, meta: Meta::read(row)? });
    rows.iter().map(told).collect()
}

/// The webhooks that some of these events may be for. They are there until the transaction ends.
async fn hooks(conn: &mut PgConnection, events: &[Told]) -> sqlx::Result<Vec<Hook>> {
    let mut topics: Vec<String> =
        events.iter().filter(|event| event.meta.agents.is_none()).map(|e| db::name_of(e.meta.topic)).collect();
    topics.sort_unstable();
    topics.dedup();
    let mut agents: Vec<Uuid> = events.iter().filter_map(|event| event.meta.agents.as_deref()).flatten().copied().collect();
    agents.sort_unstable();
    agents.dedup();
    let hooks = "SELECT id, agent_id, topics, event_types, categories, urgency_min, since FROM webhooks
         WHERE paused IS NULL AND (topics && $1 OR agent_id = ANY($2)) FOR KEY SHARE";
    sqlx::query(hooks).bind(topics).bind(agents).fetch_all(conn).await?.iter().map(Hook::read).collect()
}

/// Writes deliveries down, to be tried now: of each webhook the event at a place of `events`, unless it has a delivery. How many there were.
pub(super) async fn insert(conn: &mut PgConnection, events: &[Told], made: &[(Uuid, usize)]) -> sqlx::Result<u64> {
    if made.is_empty() {
        return Ok(0);
    }
    let of = |at: usize| &events[at];
    let insert = "INSERT INTO webhook_deliveries (id, webhook_id, seq, event_id, event_type, due_at)
         SELECT id, webhook_id, seq, event_id, event_type, now()
         FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::text[]) AS new (id, webhook_id, seq, event_id, event_type)
         ON CONFLICT (seq, webhook_id) WHERE seq > 0 DO NOTHING";
    sqlx::query(insert)
        .bind(made.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
        .bind(made.iter().map(|(hook, _)| *hook).collect::<Vec<_>>())
        .bind(made.iter().map(|(_, at)| of(*at).seq).collect::<Vec<_>>())
        .bind(made.iter().map(|(_, at)| of(*at).event_id).collect::<Vec<_>>())
        .bind(made.iter().map(|(_, at)| of(*at).meta.event_type.as_str()).collect::<Vec<_>>())
        .execute(conn)
        .await
        .map(|inserted| inserted.rows_affected())
}
