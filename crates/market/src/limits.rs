//! How often one principal may ask in a minute, over all instances.
//!
//! An instance takes places of the shared minute some at a time and hands them out itself: all instances together never hand out more than the
//! limit, and a busy principal costs one statement for many requests.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use moka::future::Cache;
use sqlx::{PgPool, Row};
use time::OffsetDateTime;
use tracing::warn;

/// Principals that an instance remembers.
const KNOWN_MAX: u64 = 100_000;
/// Each statement takes this part of the limit.
const PART: u32 = 16;
const MINUTE_SECONDS: i64 = 60;

/// The limits, and what was handed out.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Requests a minute of who has proven who it is; none for no limit.
    pub(crate) known: Option<u32>,
    /// Of one address without credentials.
    pub(crate) unknown: Option<u32>,
    minutes: Cache<String, Arc<Mutex<Minute>>>,
}

/// What an instance has of one minute.
#[derive(Clone, Copy, Debug, Default)]
struct Minute {
    number: i64,
    /// Places taken from the shared minute and not handed out yet.
    left: u32,
    /// Places that nobody has taken.
    shared: u32,
}

/// Where a principal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) limit: u32,
    /// At least: other instances may hold some more.
    pub(crate) remaining: u32,
    /// Until the next minute.
    pub(crate) reset_seconds: u64,
    pub(crate) refused: bool,
}

impl Limits {
    pub(crate) fn new(known: u32, unknown: u32) -> Self {
        let minutes = Cache::builder().max_capacity(KNOWN_MAX).time_to_idle(Duration::from_secs(120)).build();
        let some = |limit: u32| Some(limit).filter(|limit| *limit > 0);
        Self { known: some(known), unknown: some(unknown), minutes }
    }

    /// Takes one place. `None` when there is no limit, or the database does not answer: then no request gets far anyway.
    pub(crate) async fn take(&self, pool: &PgPool, name: &str, limit: Option<u32>) -> Option<Standing> {
        let limit = limit?;
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let (number, reset_seconds) = (now / MINUTE_SECONDS, (MINUTE_SECONDS - now % MINUTE_SECONDS).unsigned_abs());
        let minute = self.minutes.get_with_by_ref(name, async { Arc::default() }).await;
        let standing =
            |minute: &Minute, refused| Standing { limit, remaining: minute.left + minute.shared, reset_seconds, refused };
        {
            let mut minute = minute.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if minute.number == number {
                if minute.left > 0 {
                    minute.left -= 1;
                    return Some(standing(&minute, false));
                }
                if minute.shared == 0 {
                    return Some(standing(&minute, true));
                }
            }
        }
        let part = (limit / PART).max(1);
        let used = used(pool, name, number, part).await.inspect_err(|error| warn!(%error, "requests cannot be counted")).ok()?;
        let before = used.saturating_sub(part);
        let got = part.min(limit.saturating_sub(before));
        let mut minute = minute.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if minute.number != number {
            *minute = Minute { number, left: 0, shared: 0 };
        }
        minute.shared = limit.saturating_sub(used);
        minute.left += got;
        let refused = minute.left == 0;
        minute.left = minute.left.saturating_sub(1);
        Some(standing(&minute, refused))
    }
}

/// Takes places of a minute that all instances share, and says how many are taken.
async fn used(pool: &PgPool, name: &str, minute: i64, part: u32) -> sqlx::Result<u32> {
    let taken = sqlx::query(
        "INSERT INTO request_counts AS c (principal, minute, used) VALUES ($1, $2, $3)
         ON CONFLICT (principal) DO UPDATE SET minute = excluded.minute,
             used = CASE WHEN c.minute = excluded.minute THEN least(c.used + excluded.used, 2000000000) ELSE excluded.used END
         RETURNING used",
    );
    let row = taken.bind(name).bind(minute).bind(part.cast_signed()).fetch_one(pool).await?;
    row.try_get::<i32, _>("used").map(i32::unsigned_abs)
}

/// Removes the counts of minutes that are over.
pub(crate) async fn clean(pool: &PgPool) -> sqlx::Result<()> {
    let minute = OffsetDateTime::now_utc().unix_timestamp() / MINUTE_SECONDS;
    sqlx::query("DELETE FROM request_counts WHERE minute < $1").bind(minute - 2).execute(pool).await.map(drop)
}
