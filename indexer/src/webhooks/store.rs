use sqlx::{PgPool, types::Json};
use time::OffsetDateTime;
use uuid::Uuid;
use webhook::{OsError, Secret};

use super::ENDPOINTS_MAX;
use crate::feed::{self, Wish};

/// Dead letters shown at a time.
const SHOWN_MAX: i64 = 100;

/// An endpoint that was just registered.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub(crate) struct Registered {
    /// Names it.
    #[schemars(with = "crate::schema::Id")]
    pub(crate) id: Uuid,
    /// Checks the signatures. It is shown this once.
    pub(crate) secret: String,
}

/// An endpoint.
#[derive(Debug, serde::Serialize, sqlx::FromRow, schemars::JsonSchema)]
pub(crate) struct Shown {
    /// Names it.
    #[schemars(with = "crate::schema::Id")]
    pub(crate) id: Uuid,
    /// Where deliveries are posted to.
    pub(crate) url: String,
    /// Why it is told nothing any more; null: it is.
    pub(crate) disabled: Option<String>,
    /// Deliveries that are to be tried again.
    pub(crate) waiting: i64,
    /// Deliveries that were given up.
    pub(crate) dead: i64,
    /// What went wrong last.
    pub(crate) last_error: Option<String>,
}

/// A delivery that was given up.
#[derive(Debug, serde::Serialize, sqlx::FromRow, schemars::JsonSchema)]
pub(crate) struct Dead {
    /// Id of the message.
    #[schemars(with = "crate::schema::Id")]
    pub(crate) id: Uuid,
    /// The message.
    pub(crate) body: String,
    /// How often it was tried.
    pub(crate) attempts: i32,
    /// What went wrong last.
    pub(crate) last_error: Option<String>,
    /// When it was found on the chain.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub(crate) created_at: OffsetDateTime,
}

/// Why an endpoint is not registered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegisterError {
    #[error("{ENDPOINTS_MAX} webhooks are registered, remove one first")]
    TooMany,
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] OsError),
    #[error(transparent)]
    Feed(#[from] feed::FeedError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Registers an endpoint for what happens from a block on, or from now on.
pub(crate) async fn register(
    pool: &PgPool,
    url: &str,
    wish: &Wish,
    from_block: Option<u64>,
) -> Result<Registered, RegisterError> {
    let (id, secret) = (Uuid::now_v7(), Secret::random()?);
    let mut tx = pg::begin(pool).await?;
    let cursor = feed::begin(&mut tx, from_block).await?;
    // One at a time, or two could both be the last that fits.
    sqlx::query("LOCK TABLE webhooks.endpoints IN SHARE ROW EXCLUSIVE MODE").execute(&mut *tx).await?;
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM webhooks.endpoints").fetch_one(&mut *tx).await?;
    if count >= ENDPOINTS_MAX {
        return Err(RegisterError::TooMany);
    }
    sqlx::query("INSERT INTO webhooks.endpoints (id, url, secret, wish, cursor) VALUES ($1, $2, $3, $4, $5)")
        .bind(id)
        .bind(url)
        .bind(secret.as_bytes())
        .bind(Json(wish))
        .bind(cursor.to_string())
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(Registered { id, secret: secret.show() })
}

/// Every endpoint, the oldest first.
pub(crate) async fn list(pool: &PgPool) -> Result<Vec<Shown>, sqlx::Error> {
    sqlx::query_as(
        "SELECT e.id, e.url, e.disabled, count(d.due_at) AS waiting, count(d.id) - count(d.due_at) AS dead,
                (array_agg(d.last_error ORDER BY d.id) FILTER (WHERE d.last_error IS NOT NULL))[1] AS last_error
         FROM webhooks.endpoints AS e LEFT JOIN webhooks.deliveries AS d ON d.endpoint = e.id GROUP BY e.id ORDER BY e.id",
    )
    .fetch_all(pool)
    .await
}

/// Removes an endpoint with all that waits for it; whether there was one.
pub(crate) async fn remove(pool: &PgPool, id: Uuid) -> Result<bool, sqlx::Error> {
    let gone = sqlx::query("DELETE FROM webhooks.endpoints WHERE id = $1").bind(id).execute(pool).await?;
    Ok(gone.rows_affected() > 0)
}

/// What was given up of an endpoint, the oldest first.
pub(crate) async fn dead_letters(pool: &PgPool, id: Uuid) -> Result<Vec<Dead>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, body, attempts, last_error, created_at FROM webhooks.deliveries
         WHERE endpoint = $1 AND due_at IS NULL ORDER BY id LIMIT $2",
    )
    .bind(id)
    .bind(SHOWN_MAX)
    .fetch_all(pool)
    .await
}

/// Enables an endpoint again and tries its dead letters again; with a block, tells everything from there on again. Whether there is one.
pub(crate) async fn replay(pool: &PgPool, id: Uuid, from_block: Option<u64>) -> Result<bool, feed::FeedError> {
    let mut tx = pg::begin(pool).await?;
    let cursor = match from_block {
        Some(block) => Some(feed::begin(&mut tx, Some(block)).await?.to_string()),
        None => None,
    };
    let found = sqlx::query("UPDATE webhooks.endpoints SET disabled = NULL, cursor = coalesce($2, cursor) WHERE id = $1")
        .bind(id)
        .bind(cursor)
        .execute(&mut *tx)
        .await?;
    sqlx::query("UPDATE webhooks.deliveries SET due_at = now(), attempts = 0 WHERE endpoint = $1 AND due_at IS NULL")
        .bind(id)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(found.rows_affected() > 0)
}
