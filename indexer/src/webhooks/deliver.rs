use std::{collections::HashMap, time::Duration};

use futures::{StreamExt, stream};
use serde_json::json;
use sqlx::{PgPool, types::Json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};
use uuid::Uuid;
use webhook::{Guard, Message, Outcome, Secret, Sender};

use super::WAITING_MAX;
use crate::{
    Error, db,
    feed::{self, Bell, Cursor, FeedError, Wish},
};

/// Seconds until the next attempt, after the first, the second and so on; after the last the delivery is a dead letter.
const RETRY_SECONDS: [u64; 9] = [1, 5, 30, 300, 1_800, 7_200, 18_000, 36_000, 86_400];
/// Deliveries of an endpoint under way at the same time.
const PARALLEL: usize = 8;
/// How often registrations are looked at, and what is due although nothing happened.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How long to wait after the database failed, or while another instance delivers.
const RETRY: Duration = Duration::from_secs(1);

/// Delivers for as long as it is polled. Of several instances on one database, one does.
pub(crate) async fn run(database_url: String, pool: PgPool, chain_id: u64, guard: Guard, bell: Bell) {
    loop {
        if let Err(error) = lead(&database_url, &pool, chain_id, guard, &bell).await {
            warn!(%error, "webhooks are not delivered now, trying again");
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Holds the lock that makes this instance the one, and a task per endpoint: a slow one holds up no other.
async fn lead(database_url: &str, pool: &PgPool, chain_id: u64, guard: Guard, bell: &Bell) -> Result<(), Error> {
    let mut lock = db::WebhookLock::connect(database_url).await?;
    let mut tasks: HashMap<Uuid, AbortOnDropHandle<()>> = HashMap::new();
    while lock.hold().await? {
        let enabled: Vec<(Uuid,)> =
            sqlx::query_as("SELECT id FROM webhooks.endpoints WHERE disabled IS NULL").fetch_all(pool).await?;
        tasks.retain(|id, task| !task.is_finished() && enabled.contains(&(*id,)));
        for (id,) in enabled {
            let worker = Worker { id, pool: pool.clone(), chain_id, guard, bell: bell.clone() };
            tasks.entry(id).or_insert_with(|| AbortOnDropHandle::new(tokio::spawn(worker.run())));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    Ok(())
}

struct Worker {
    id: Uuid,
    pool: PgPool,
    chain_id: u64,
    guard: Guard,
    bell: Bell,
}

#[derive(sqlx::FromRow)]
struct Delivery {
    id: Uuid,
    body: String,
    attempts: i32,
}

impl Worker {
    async fn run(mut self) {
        let sender = match Sender::new(self.guard) {
            Ok(sender) => sender,
            Err(error) => return warn!(%error, "no HTTP client for webhooks"),
        };
        loop {
            match self.round(&sender).await {
                Ok(true) => {}
                Ok(false) => self.bell.rang(LOOK_INTERVAL).await,
                Err(FeedError::Database(error)) => {
                    warn!(%error, webhook = %self.id, "the database failed, trying again");
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => {
                    let why = format!("{error}; replay it from a block");
                    if self.disable(&why).await.is_ok() {
                        return;
                    }
                }
            }
        }
    }

    /// Whether anything was done.
    async fn round(&self, sender: &Sender) -> Result<bool, FeedError> {
        let endpoint: Option<(String, Vec<u8>, Json<Wish>, String)> =
            sqlx::query_as("SELECT url, secret, wish, cursor FROM webhooks.endpoints WHERE id = $1 AND disabled IS NULL")
                .bind(self.id)
                .fetch_optional(&self.pool)
                .await?;
        let Some((url, secret, Json(wish), cursor)) = endpoint else { return Ok(false) };
        let secret = Secret::from(secret);
        let found = self.find(&wish, &cursor).await?;
        let due: Vec<Delivery> = sqlx::query_as(
            "SELECT id, body, attempts FROM webhooks.deliveries WHERE endpoint = $1 AND due_at <= now() ORDER BY id LIMIT $2",
        )
        .bind(self.id)
        .bind(i64::try_from(PARALLEL).unwrap_or(i64::MAX))
        .fetch_all(&self.pool)
        .await?;
        let any = found || !due.is_empty();
        let attempts = stream::iter(due).map(|delivery| self.attempt(sender, &url, &secret, delivery)).buffer_unordered(PARALLEL);
        let outcomes: Vec<Result<(), sqlx::Error>> = attempts.collect().await;
        outcomes.into_iter().collect::<Result<(), _>>()?;
        Ok(any)
    }

    /// Puts what happened next into the table of deliveries, together with the cursor behind it.
    async fn find(&self, wish: &Wish, at: &str) -> Result<bool, FeedError> {
        let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM webhooks.deliveries WHERE endpoint = $1")
            .bind(self.id)
            .fetch_one(&self.pool)
            .await?;
        if waiting >= WAITING_MAX {
            return Ok(false);
        }
        let mut cursor: Cursor = at.parse()?;
        feed::check(&mut *self.pool.acquire().await?, &cursor).await?;
        let items = feed::next(&self.pool, wish, &mut cursor).await?;
        if items.is_empty() && cursor.to_string() == at {
            return Ok(false);
        }
        let now = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        let body = |item: &feed::Item| {
            let data = json!({"chain_id": self.chain_id, "cursor": item.cursor.to_string(), item.kind: item.data});
            json!({"type": format!("chain.{}", item.kind), "timestamp": now, "data": data}).to_string()
        };
        let bodies: Vec<String> = items.iter().map(body).collect();
        let ids: Vec<Uuid> = items.iter().map(|_| Uuid::now_v7()).collect();
        let mut tx = pg::begin(&self.pool).await?;
        // Whoever replayed it meanwhile has moved the cursor.
        let moved = sqlx::query("UPDATE webhooks.endpoints SET cursor = $3 WHERE id = $1 AND cursor = $2")
            .bind(self.id)
            .bind(at)
            .bind(cursor.to_string())
            .execute(&mut *tx)
            .await?;
        if moved.rows_affected() == 0 {
            return Ok(true);
        }
        sqlx::query(
            "INSERT INTO webhooks.deliveries (id, endpoint, body, due_at)
             SELECT id, $1, body, now() FROM unnest($2::uuid[], $3::text[]) AS new (id, body)",
        )
        .bind(self.id)
        .bind(ids)
        .bind(&bodies)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(!bodies.is_empty())
    }

    /// Tries once. The row goes when the endpoint has taken the message: a crash in between sends it again, with the same id.
    async fn attempt(&self, sender: &Sender, url: &str, secret: &Secret, delivery: Delivery) -> Result<(), sqlx::Error> {
        let id = format!("msg_{}", delivery.id.simple());
        let message = Message { id: &id, body: &delivery.body, secrets: std::slice::from_ref(secret), bearer: None };
        let error = match sender.post(url, message).await {
            Outcome::Taken => {
                sqlx::query("DELETE FROM webhooks.deliveries WHERE id = $1").bind(delivery.id).execute(&self.pool).await?;
                return Ok(());
            }
            Outcome::Gone => return self.disable("it answered 410 Gone").await,
            Outcome::Failed(error) => error,
        };
        let attempts = usize::try_from(delivery.attempts).unwrap_or(usize::MAX).saturating_add(1);
        let wait = webhook::wait(&RETRY_SECONDS, attempts).and_then(|wait| i64::try_from(wait.as_millis()).ok());
        sqlx::query(
            "UPDATE webhooks.deliveries SET attempts = attempts + 1, last_error = $2, due_at = now() + $3 * interval '1 millisecond'
             WHERE id = $1",
        )
        .bind(delivery.id)
        .bind(error)
        .bind(wait)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn disable(&self, why: &str) -> Result<(), sqlx::Error> {
        info!(webhook = %self.id, why, "a webhook is disabled");
        sqlx::query("UPDATE webhooks.endpoints SET disabled = $2 WHERE id = $1")
            .bind(self.id)
            .bind(why)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
