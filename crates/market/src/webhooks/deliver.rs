//! Delivers what is due.
//!
//! Places are few, and a receiver keeps its own for as long as it likes to think. So whoever answered slowly lately has half of all at most, and with
//! those who have not shown yet how they answer three quarters: who answers at once finds a place, whatever the others do.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{PgPool, Row, postgres::PgRow};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::task::JoinSet;
use tracing::{info, warn};
use uuid::Uuid;
use webhook::{Message, Outcome, Secret, Sender};

use super::{DEAD_IN_ROW_MAX, LOOK_EVERY, RETRY, RETRY_SECONDS, Webhooks};

/// Deliveries under way at the same time, of one webhook and of all, at one instance. Those of one webhook end before the next of it begin.
const OF_ONE_MAX: i64 = 16;
const OF_ALL_MAX: usize = 256;
/// Of all, what slow ones have at most, and slow and new ones together.
const OF_SLOW_MAX: usize = OF_ALL_MAX / 2;
const OF_UNPROVEN_MAX: usize = OF_ALL_MAX * 3 / 4;
/// An attempt that takes longer is a slow one.
const SLOW: Duration = Duration::from_secs(1);
/// Whoever took a delivery and says nothing for longer is gone; longer than an attempt may take.
pub(super) const LEASE: &str = "60 seconds";

/// How a webhook answers, as [`PACE`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// Nothing of it was slow lately.
    Quick,
    /// It is not known: one that was registered just now can be made again and again.
    New,
    /// Something was.
    Slow,
}

/// The number of a webhook's pace.
const PACE: &str = "CASE WHEN h.slow_at > now() - interval '10 minutes' THEN 2
    WHEN h.last_delivered_at IS NULL OR h.created_at > now() - interval '10 minutes' THEN 1 ELSE 0 END";

/// Deliveries under way: of a webhook, how many, and its pace when they were taken.
type UnderWay = HashMap<Uuid, (Pace, usize)>;

/// A delivery that was taken.
struct Delivery {
    id: Uuid,
    webhook: Uuid,
    pace: Pace,
    url: String,
    secrets: Vec<Secret>,
    bearer: Option<String>,
    attempts: usize,
    /// `None` when its event is not kept any more.
    body: Option<String>,
    message_id: String,
}

/// What came of one.
struct Tried {
    id: Uuid,
    webhook: Uuid,
    took: Duration,
    outcome: Outcome,
    /// Until it is tried again.
    wait: Option<Duration>,
}

/// Delivers for as long as it is polled.
pub(super) async fn run(webhooks: &Webhooks, pool: &PgPool) {
    let sender = match Sender::new(webhooks.guard) {
        Ok(sender) => Arc::new(sender),
        Err(error) => return warn!(%error, "no HTTP client, so nothing is delivered"),
    };
    let mut under_way: JoinSet<Tried> = JoinSet::new();
    let mut of_hooks = UnderWay::new();
    let mut tried: Vec<Tried> = Vec::new();
    loop {
        let free = OF_ALL_MAX - under_way.len();
        let mut taken = Vec::new();
        let looked = async {
            mark(pool, &tried).await?;
            // Written down once, whatever comes after.
            tried.clear();
            take(pool, &of_hooks, free, &mut taken).await
        };
        let looked = looked.await;
        // Also when something failed after they were taken.
        for delivery in taken {
            of_hooks.entry(delivery.webhook).or_insert((delivery.pace, 0)).1 += 1;
            under_way.spawn(attempt(sender.clone(), delivery));
        }
        if let Err(error) = looked {
            warn!(%error, "webhooks are not delivered now, trying again");
            tokio::time::sleep(RETRY).await;
        }
        let before = tried.len();
        tokio::select! {
            Some(done) = under_way.join_next() => {
                tried.extend(done.ok());
                // What ended together is written down together.
                while let Some(done) = under_way.try_join_next() {
                    tried.extend(done.ok());
                }
            }
            () = webhooks.bell.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        for done in &tried[before..] {
            if let Some((_, count)) = of_hooks.get_mut(&done.webhook) {
                *count -= 1;
                if *count == 0 {
                    of_hooks.remove(&done.webhook);
                }
            }
        }
        if under_way.is_empty() {
            of_hooks.clear();
        }
    }
}

/// Takes what is due, at most so many: first of those who answer at once, then of the others what they may have.
async fn take(pool: &PgPool, of_hooks: &UnderWay, mut free: usize, taken: &mut Vec<Delivery>) -> sqlx::Result<()> {
    let mut busy: Vec<Uuid> = of_hooks.keys().copied().collect();
    let of = |pace: Pace| of_hooks.values().filter(|(of, _)| *of == pace).map(|(_, count)| count).sum::<usize>();
    let of_slow = of(Pace::Slow);
    let mut of_unproven = of(Pace::New) + of_slow;
    for pace in [Pace::Quick, Pace::New, Pace::Slow] {
        let most = match pace {
            Pace::Quick => OF_ALL_MAX,
            Pace::New => OF_UNPROVEN_MAX.saturating_sub(of_unproven),
            Pace::Slow => OF_SLOW_MAX.saturating_sub(of_slow).min(OF_UNPROVEN_MAX.saturating_sub(of_unproven)),
        };
        let of_pace = take_of(pool, pace, &busy, most.min(free)).await?;
        free -= of_pace.len();
        if pace == Pace::New {
            of_unproven += of_pace.len();
        }
        busy.extend(of_pace.iter().map(|delivery| delivery.webhook));
        taken.extend(of_pace);
    }
    Ok(())
}

/// Takes what is due of the webhooks with a pace: of each the first, but nothing of those that are busy here.
async fn take_of(pool: &PgPool, pace: Pace, busy: &[Uuid], most: usize) -> sqlx::Result<Vec<Delivery>> {
    if most == 0 {
        return Ok(Vec::new());
    }
    let take = format!(
        "WITH next AS (
             SELECT d.id FROM webhooks AS h CROSS JOIN LATERAL (
                 SELECT id FROM webhook_deliveries WHERE webhook_id = h.id AND due_at <= now() ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED) AS d
             WHERE h.paused IS NULL AND h.id <> ALL($1) AND {PACE} = $5 LIMIT $3),
         taken AS (
             UPDATE webhook_deliveries AS d SET due_at = now() + $4::interval, attempts = attempts + 1 FROM next WHERE d.id = next.id RETURNING d.*)
         SELECT t.id, t.webhook_id, t.attempts, t.event_id, t.event_type, t.body, e.body AS event, e.occurred_at, h.url, h.secret, h.bearer,
             CASE WHEN h.previous_until > now() THEN h.previous_secret END AS previous_secret
         FROM taken AS t JOIN webhooks AS h ON h.id = t.webhook_id LEFT JOIN feed_events AS e ON e.seq = t.seq"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(take)).bind(busy).bind(OF_ONE_MAX);
    let rows = rows.bind(i64::try_from(most).unwrap_or(i64::MAX)).bind(LEASE).bind(pace as i32);
    rows.fetch_all(pool).await?.iter().map(|row| delivery(row, pace)).collect()
}

fn delivery(row: &PgRow, pace: Pace) -> sqlx::Result<Delivery> {
    let secrets = [row.try_get::<Option<Vec<u8>>, _>("secret")?, row.try_get("previous_secret")?];
    let event: Option<&str> = row.try_get("event")?;
    let event = match event {
        Some(event) => Some(body(row.try_get("event_type")?, row.try_get("occurred_at")?, event)),
        None => None,
    };
    Ok(Delivery {
        id: row.try_get("id")?,
        webhook: row.try_get("webhook_id")?,
        pace,
        url: row.try_get("url")?,
        secrets: secrets.into_iter().flatten().map(Secret::from).collect(),
        bearer: row.try_get("bearer")?,
        attempts: usize::try_from(row.try_get::<i32, _>("attempts")?).unwrap_or_default(),
        body: row.try_get::<Option<String>, _>("body")?.or(event),
        message_id: format!("msg_{}", row.try_get::<Uuid, _>("event_id")?.simple()),
    })
}

/// As the specification has it.
pub(super) fn body(event_type: &str, at: OffsetDateTime, event: &str) -> String {
    let at = at.format(&Rfc3339).unwrap_or_default();
    format!("{{\"type\":\"{event_type}\",\"timestamp\":\"{at}\",\"data\":{event}}}")
}

async fn attempt(sender: Arc<Sender>, delivery: Delivery) -> Tried {
    let Delivery { id, webhook, url, secrets, bearer, attempts, body, message_id, .. } = delivery;
    let Some(body) = body else {
        let outcome = Outcome::Failed("its event is not kept any more".into());
        return Tried { id, webhook, took: Duration::ZERO, outcome, wait: None };
    };
    let message = Message { id: &message_id, body: &body, secrets: &secrets, bearer: bearer.as_deref() };
    let begun = Instant::now();
    let outcome = sender.post(&url, message).await;
    let wait = if matches!(outcome, Outcome::Failed(_)) { webhook::wait(&RETRY_SECONDS, attempts) } else { None };
    Tried { id, webhook, took: begun.elapsed(), outcome, wait }
}

/// Writes down what came of deliveries, and what that says of their webhooks.
async fn mark(pool: &PgPool, tried: &[Tried]) -> sqlx::Result<()> {
    if tried.is_empty() {
        return Ok(());
    }
    let error = |tried: &Tried| match &tried.outcome {
        Outcome::Taken => None,
        Outcome::Gone => Some("it answered 410 Gone".to_owned()),
        Outcome::Failed(error) => Some(error.clone()),
    };
    let wait = |tried: &Tried| tried.wait.map(|wait| i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
    let mut tx = pg::begin(pool).await?;
    let done = "UPDATE webhook_deliveries AS d SET due_at = now() + t.wait * interval '1 millisecond', last_error = coalesce(t.error, d.last_error),
             delivered_at = CASE WHEN t.error IS NULL THEN now() END
         FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS t (id, error, wait) WHERE d.id = t.id AND d.delivered_at IS NULL";
    sqlx::query(done)
        .bind(tried.iter().map(|tried| tried.id).collect::<Vec<_>>())
        .bind(tried.iter().map(error).collect::<Vec<_>>())
        .bind(tried.iter().map(wait).collect::<Vec<_>>())
        .execute(&mut *tx)
        .await?;
    // In the order of ids, so that two instances cannot wait for each other.
    let mut hooks: Vec<Uuid> = tried.iter().map(|tried| tried.webhook).collect::<HashSet<_>>().into_iter().collect();
    hooks.sort_unstable();
    for hook in hooks {
        let of_hook = || tried.iter().filter(move |tried| tried.webhook == hook);
        let arrived = of_hook().any(|tried| tried.outcome == Outcome::Taken);
        let gone = of_hook().any(|tried| tried.outcome == Outcome::Gone);
        let slow = of_hook().any(|tried| tried.took > SLOW);
        let dead = of_hook().filter(|tried| tried.outcome != Outcome::Taken && tried.wait.is_none()).count();
        if arrived || gone || slow || dead > 0 {
            outcome(&mut tx, hook, arrived, gone, slow, i32::try_from(dead).unwrap_or(i32::MAX)).await?;
        }
    }
    tx.commit().await
}

async fn outcome(
    conn: &mut sqlx::PgConnection,
    hook: Uuid,
    arrived: bool,
    gone: bool,
    slow: bool,
    dead: i32,
) -> sqlx::Result<()> {
    let outcome = "UPDATE webhooks SET dead_in_row = CASE WHEN $2 THEN 0 ELSE dead_in_row + $4 END,
             last_delivered_at = CASE WHEN $2 THEN now() ELSE last_delivered_at END,
             slow_at = CASE WHEN $6 THEN now() ELSE slow_at END,
             paused = coalesce(paused, CASE WHEN $3 THEN 'it answered 410 Gone'
                 WHEN NOT $2 AND dead_in_row + $4 >= $5 THEN 'too much in a row was given up' END),
             paused_after = coalesce(paused_after, CASE WHEN $3 OR (NOT $2 AND dead_in_row + $4 >= $5) THEN (SELECT seq FROM webhook_cursor) END)
         WHERE id = $1 RETURNING paused";
    let row = sqlx::query(outcome).bind(hook).bind(arrived).bind(gone).bind(dead).bind(DEAD_IN_ROW_MAX).bind(slow);
    let paused: Option<Option<String>> = row.fetch_optional(conn).await?.map(|row| row.try_get("paused")).transpose()?;
    if let Some(why) = paused.flatten() {
        info!(webhook = %hook, why, "a webhook is paused");
    }
    Ok(())
}
