//! What is worked out of the ledger beside the buyers waits while they rush: they wait for the same database.

use std::time::{Duration, Instant};

use sqlx::PgPool;

/// So many transfers a second are a rush.
const RUSH: u128 = 500;

/// Tells whether calmer times are to be waited for.
pub(crate) struct Calm {
    /// The ledger's last transfer, and when that was looked at.
    last: Option<(i64, Instant)>,
    /// When there was nothing left to do.
    idle: Instant,
    wait_max: Duration,
}

impl Calm {
    /// For work that waits no longer than this.
    pub(crate) fn new(wait_max: Duration) -> Self {
        Self { last: None, idle: Instant::now(), wait_max }
    }

    /// Whether it is a rush now, since the last look, that may still be waited for.
    pub(crate) async fn is_to_come(&mut self, pool: &PgPool) -> bool {
        let last = sqlx::query_scalar("SELECT last_id FROM ledger").fetch_one(pool).await;
        let Ok(last) = last else { return false };
        let now = Instant::now();
        let Some((before, at)) = self.last.replace((last, now)) else { return false };
        let rate = u128::from(last.abs_diff(before)) * 1_000 / (now - at).as_millis().max(1);
        rate > RUSH && self.idle.elapsed() < self.wait_max
    }

    /// All of it is done.
    pub(crate) fn used(&mut self) {
        self.idle = Instant::now();
    }
}
