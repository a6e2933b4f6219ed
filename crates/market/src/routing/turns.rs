//! Whose turn it is, for each who asks.

use std::collections::HashMap;

use sqlx::{PgPool, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Candidate;

/// Advisory locks of turns, beside the hash of who asks for what.
const LOCK: i32 = 0x666c_6f72;
/// Turns kept of who asks for one thing: who has more to choose from begins anew with the oldest.
const KEPT_MAX: i64 = 1_000;
/// Removed in one go, once they are older than seven days.
const REMOVED_MAX: i64 = 20_000;

/// Gives the turn to whoever had it longest ago, and says of each how many come before. Requests of one person for one thing come one after the other,
/// at whatever instance. A crash of the database may forget the last turns, which harms nobody.
pub(super) async fn take(pool: &PgPool, person: Uuid, what: &str, found: &mut [Candidate]) -> sqlx::Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    let mut tx = pg::begin(pool).await?;
    sqlx::query("SET LOCAL synchronous_commit = off").execute(&mut *tx).await?;
    let lock = "SELECT pg_advisory_xact_lock($1, hashtext($2))";
    sqlx::query(lock).bind(LOCK).bind(format!("{person} {what}")).execute(&mut *tx).await?;
    let ids: Vec<Uuid> = found.iter().map(|one| one.id).collect();
    let last = "SELECT subject, at FROM turns WHERE person = $1 AND what = $2 AND subject = ANY($3)";
    let last = sqlx::query(last).bind(person).bind(what).bind(&ids).fetch_all(&mut *tx).await?;
    let last: HashMap<Uuid, OffsetDateTime> =
        last.iter().map(|row| Ok((row.try_get("subject")?, row.try_get("at")?))).collect::<sqlx::Result<_>>()?;
    let mut order: Vec<usize> = (0..found.len()).collect();
    order.sort_by_key(|at| (last.get(&found[*at].id), found[*at].id));
    for (before, at) in order.iter().enumerate() {
        found[*at].facts.before = before as u64;
    }
    let take = "INSERT INTO turns (person, what, subject, at) VALUES ($1, $2, $3, clock_timestamp())
         ON CONFLICT (person, what, subject) DO UPDATE SET at = excluded.at";
    sqlx::query(take).bind(person).bind(what).bind(found[order[0]].id).execute(&mut *tx).await?;
    let forget = "DELETE FROM turns WHERE person = $1 AND what = $2
         AND at < (SELECT at FROM turns WHERE person = $1 AND what = $2 ORDER BY at DESC OFFSET $3 LIMIT 1)";
    sqlx::query(forget).bind(person).bind(what).bind(KEPT_MAX).execute(&mut *tx).await?;
    tx.commit().await
}

/// Removes turns that nobody remembers.
pub(crate) async fn clean(pool: &PgPool) -> sqlx::Result<()> {
    let old = "DELETE FROM turns WHERE ctid = ANY(ARRAY(SELECT ctid FROM turns WHERE at < now() - interval '7 days' ORDER BY at LIMIT $1))";
    sqlx::query(old).bind(REMOVED_MAX).execute(pool).await.map(drop)
}
