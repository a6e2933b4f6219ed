//! What is worked out of the ledger beside the buyers: some at a time, and not while they rush, for they wait for the same database.

use std::time::{Duration, Instant};

use sqlx::PgPool;
use tracing::warn;

/// So many transfers a second are a rush.
const RUSH: u128 = 500;
/// Transfers of one turn after many that failed.
const BATCH_MIN: i64 = 25;
/// When there is nothing to do, and while calmer times are waited for.
const EVERY: Duration = Duration::from_secs(2);

/// How such work goes on.
pub(crate) struct Pace {
    /// Transfers of one turn.
    pub(crate) batch_max: i64,
    /// After a full turn, so many times as long as it took belong to others.
    pub(crate) rest: u32,
    /// So long it waits for calmer times.
    pub(crate) wait_max: Duration,
}

/// Work under way.
pub(crate) struct Work {
    pace: Pace,
    most: i64,
    begun: Instant,
    /// The ledger's last transfer, and when that was looked at.
    last: Option<(i64, Instant)>,
    /// When there was nothing left to do.
    idle: Instant,
}

impl Work {
    pub(crate) fn new(pace: Pace) -> Self {
        let now = Instant::now();
        Self { most: pace.batch_max, pace, begun: now, last: None, idle: now }
    }

    /// How many transfers the next turn takes; none while calmer times are waited for.
    pub(crate) async fn turn(&mut self, pool: &PgPool) -> Option<i64> {
        let waits = self.is_rush(pool).await && self.idle.elapsed() < self.pace.wait_max;
        self.begun = Instant::now();
        (!waits).then_some(self.most)
    }

    /// When the next turn is, after one that did so much (nothing when another instance has it), or was none.
    pub(crate) fn next(&mut self, done: Option<sqlx::Result<Option<u64>>>, what: &str) -> Duration {
        match done {
            None => EVERY,
            Some(Ok(Some(count))) if count >= self.most.unsigned_abs() => {
                self.most = (self.most * 2).min(self.pace.batch_max);
                self.begun.elapsed() * self.pace.rest
            }
            Some(Ok(_)) => {
                self.idle = Instant::now();
                EVERY
            }
            Some(Err(error)) => {
                // In case it were too many.
                self.most = (self.most / 2).max(BATCH_MIN);
                warn!(%error, "{what} does not go on, trying again");
                EVERY
            }
        }
    }

    /// Whether the ledger has grown fast since the last look.
    async fn is_rush(&mut self, pool: &PgPool) -> bool {
        let last = sqlx::query_scalar("SELECT last_id FROM ledger").fetch_one(pool).await;
        let Ok(last) = last else { return false };
        let now = Instant::now();
        let Some((before, at)) = self.last.replace((last, now)) else { return false };
        u128::from(i64::abs_diff(last, before)) * 1_000 / (now - at).as_millis().max(1) > RUSH
    }
}
