//! Asks what listings mean, some at a time.
//!
//! A trigger says which are new or changed, so that a look costs what there is to do. Whoever asks puts these off for a while first, in a statement
//! of its own, and writes what it was told only where nobody put them off since: neither a crash nor another instance loses or reverts a change, and
//! no connection is held while the endpoint thinks.

use std::time::Duration;

use sqlx::{PgPool, Row};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use super::{Endpoint, Meaning, Unknown};
use crate::service::Market;

/// Texts of one question, and characters of one.
const BATCH_MAX: usize = 64;
const TEXT_LEN_MAX_CHARS: usize = 2_000;
/// How long the endpoint may take for them, and how long they are left to who asks.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const LEASE_SECONDS: f64 = 60.0;
/// When it is tried again with one that failed alone; others are at once, with fewer, because one of them may be what the endpoint does not take.
const RETRY_SECONDS: f64 = 600.0;
/// Listings looked at in one go for those without a meaning by this model.
const FILLED_MAX: i64 = 1_000;
const LOOK_EVERY: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What was not done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Endpoint(#[from] Unknown),
}

/// Keeps the meanings of what is for sale until `stop`. Any number of instances may.
pub(crate) async fn follow(market: Market, stop: CancellationToken) {
    let (pool, Some(endpoint)) = (&market.pool, &market.meanings.0) else { return };
    let (mut most, mut pause, mut failed) = (BATCH_MAX, Duration::ZERO, false);
    let mut begun = false;
    while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        let look = async {
            if !begun {
                begin(pool, &endpoint.model).await?;
                begun = true;
            }
            look(pool, endpoint, most).await
        };
        // What is broken off is done by whoever looks next.
        let Some(done) = stop.run_until_cancelled(look).await else { return };
        pause = match done {
            Ok(is_all) => {
                (most, failed) = ((most * 2).min(BATCH_MAX), false);
                if is_all { LOOK_EVERY } else { Duration::ZERO }
            }
            Err(Failure::Endpoint(_)) if most > 1 => {
                // In case it were too many, or one among them.
                most /= 2;
                Duration::ZERO
            }
            Err(failure) => {
                if let Failure::Database(error) = &failure {
                    warn!(%error, "what listings mean cannot be kept");
                }
                let longer = if failed { pause * 2 } else { LOOK_EVERY };
                failed = true;
                longer.min(PAUSE_MAX)
            }
        };
    }
}

/// Says that meanings are wanted from now on, by this model.
async fn begin(pool: &PgPool, model: &str) -> sqlx::Result<()> {
    let mut tx = pg::begin(pool).await?;
    let kept: Option<String> = sqlx::query_scalar("SELECT model FROM meanings").fetch_optional(&mut *tx).await?;
    if kept.as_deref() != Some(model) {
        // Who publishes at this moment may not know it yet: they are waited for, so that what was there before is all that is to be filled in.
        sqlx::query("SET LOCAL lock_timeout = '2s'").execute(&mut *tx).await?;
        sqlx::query("LOCK TABLE listings IN SHARE MODE").execute(&mut *tx).await?;
        let begin = "INSERT INTO meanings (model) VALUES ($1)
             ON CONFLICT (only_row) DO UPDATE SET model = excluded.model, filled_to = excluded.filled_to";
        sqlx::query(begin).bind(model).execute(&mut *tx).await?;
    }
    tx.commit().await
}

/// Asks about the next listings, at most so many. Whether that was all there was to do.
async fn look(pool: &PgPool, endpoint: &Endpoint, most: usize) -> Result<bool, Failure> {
    let Some((ids, until)) = take(pool, &endpoint.model, most).await? else {
        return Ok(!fill(pool, &endpoint.model).await?);
    };
    // Read after they were taken: what changes from here on is due again.
    let active = "SELECT id, title, tags, description FROM listings WHERE id = ANY($1) AND status = 'active'";
    let rows = sqlx::query(active).bind(&ids).fetch_all(pool).await?;
    let (mut active, mut texts) = (Vec::<Uuid>::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
    for row in &rows {
        active.push(row.try_get("id")?);
        texts.push(text(row.try_get("title")?, &row.try_get::<Vec<String>, _>("tags")?, row.try_get("description")?));
    }
    let answer = if texts.is_empty() { Ok(Vec::new()) } else { endpoint.ask(&texts, ANSWER_TIMEOUT).await };
    match answer {
        Ok(meanings) => keep(pool, &endpoint.model, (&ids, until), &active, &meanings).await?,
        Err(why) => {
            // What the endpoint does not take has no meaning until it changes.
            let is_hopeless = ids.len() == 1 && why.is_of_the_text();
            if is_hopeless {
                keep(pool, &endpoint.model, (&ids, until), &[], &[]).await?;
            } else {
                put_off(pool, (&ids, until)).await?;
            }
            return Err(why.into());
        }
    }
    Ok(false)
}

/// What the endpoint is told of a listing: what matters most first, since the rest may be cut off.
fn text(title: &str, tags: &[String], description: &str) -> String {
    format!("{title}\n{}\n{description}", tags.join(", ")).chars().take(TEXT_LEN_MAX_CHARS).collect()
}

/// The newest that are due, put off until a time by which they are known. None when nothing is due, or by another model.
async fn take(pool: &PgPool, model: &str, most: usize) -> sqlx::Result<Option<(Vec<Uuid>, OffsetDateTime)>> {
    let take = "WITH next AS MATERIALIZED (
             SELECT listing_id FROM meanings_due WHERE due_at <= now() AND EXISTS (SELECT FROM meanings WHERE model = $1)
             ORDER BY listing_id DESC LIMIT $2 FOR UPDATE SKIP LOCKED)
         UPDATE meanings_due AS d SET due_at = now() + make_interval(secs => $3) FROM next WHERE d.listing_id = next.listing_id
         RETURNING d.listing_id, d.due_at";
    let rows = sqlx::query(take).bind(model).bind(most as i64).bind(LEASE_SECONDS).fetch_all(pool).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let until = first.try_get("due_at")?;
    Ok(Some((rows.iter().map(|row| row.try_get("listing_id")).collect::<sqlx::Result<_>>()?, until)))
}

/// Of those that were there before, puts the next among what is due. Whether there were any.
async fn fill(pool: &PgPool, model: &str) -> sqlx::Result<bool> {
    let mut tx = pg::begin(pool).await?;
    let from = "SELECT filled_to FROM meanings WHERE model = $1 AND filled_to > $2 FOR UPDATE SKIP LOCKED";
    let from: Option<Uuid> = sqlx::query_scalar(from).bind(model).bind(Uuid::nil()).fetch_optional(&mut *tx).await?;
    let Some(from) = from else { return Ok(false) };
    let fill = "WITH next AS MATERIALIZED (SELECT id FROM listings WHERE status = 'active' AND id < $1 ORDER BY id DESC LIMIT $2),
         due AS (INSERT INTO meanings_due (listing_id)
             SELECT id FROM next WHERE NOT EXISTS (SELECT FROM listing_meanings AS m WHERE m.listing_id = id AND m.model = $3) ORDER BY id
             ON CONFLICT DO NOTHING)
         UPDATE meanings SET filled_to = coalesce((SELECT id FROM next ORDER BY id LIMIT 1), $4)";
    sqlx::query(fill).bind(from).bind(FILLED_MAX).bind(model).bind(Uuid::nil()).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(true)
}

/// Writes the meanings of `active`, and removes those of what is so no more, where nobody put them off since they were taken.
async fn keep(
    pool: &PgPool,
    model: &str,
    (ids, until): (&[Uuid], OffsetDateTime),
    active: &[Uuid],
    meanings: &[Meaning],
) -> sqlx::Result<()> {
    let keep = "WITH done AS (DELETE FROM meanings_due WHERE listing_id = ANY($1) AND due_at = $2 RETURNING listing_id),
         gone AS (DELETE FROM listing_meanings WHERE listing_id IN (SELECT listing_id FROM done) AND listing_id <> ALL($3))
         INSERT INTO listing_meanings (listing_id, model, dimension, bits)
         SELECT listing_id, $4, dimension, bits::bit(1024) FROM unnest($3::uuid[], $5::integer[], $6::text[]) AS m (listing_id, dimension, bits)
         WHERE listing_id IN (SELECT listing_id FROM done) ORDER BY listing_id
         ON CONFLICT (listing_id) DO UPDATE SET model = excluded.model, dimension = excluded.dimension, bits = excluded.bits,
             made_at = excluded.made_at";
    sqlx::query(keep)
        .bind(ids)
        .bind(until)
        .bind(active)
        .bind(model)
        .bind(meanings.iter().map(Meaning::dimension).collect::<Vec<_>>())
        .bind(meanings.iter().map(Meaning::bit_string).collect::<Vec<_>>())
        .execute(pool)
        .await?;
    Ok(())
}

/// Leaves them to the next look, or one alone for longer.
async fn put_off(pool: &PgPool, (ids, until): (&[Uuid], OffsetDateTime)) -> sqlx::Result<()> {
    let seconds = if ids.len() == 1 { RETRY_SECONDS } else { 0.0 };
    let put_off = "UPDATE meanings_due SET due_at = now() + make_interval(secs => $3) WHERE listing_id = ANY($1) AND due_at = $2";
    sqlx::query(put_off).bind(ids).bind(until).bind(seconds).execute(pool).await?;
    Ok(())
}
