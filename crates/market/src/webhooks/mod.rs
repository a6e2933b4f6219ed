//! Webhooks by the Standard Webhooks specification (standardwebhooks.com): the feed, posted to whoever registered for it.
//!
//! One instance at a time makes deliveries of what was numbered since ([`fan_out`]), in the transaction that moves the cursor. Any number of instances
//! deliver: whoever takes a delivery moves the time at which it is due on first, posts it without holding a connection of the database, and
//! writes down what came of it. After a crash in between it is posted again, with the same id.

mod deliver;
mod fan_out;
mod manage;
mod openclaw;

use std::time::Duration;

use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use webhook::Guard;

pub(crate) use manage::{deliveries, list, register, remove, replay, rotate, test};
pub(crate) use openclaw::{
    list as list_openclaw, register as register_openclaw, remove as remove_openclaw, status as openclaw_status,
    test as test_openclaw,
};

/// Seconds until the next attempt, after the first, the second and so on; after the last the delivery is a dead letter.
const RETRY_SECONDS: [u64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// Dead letters in a row after which a webhook is paused, and deliveries that wait.
const DEAD_IN_ROW_MAX: i32 = 10;
const WAITING_MAX: i64 = 10_000;
const LOOK_EVERY: Duration = Duration::from_millis(500);
const CLEAN_EVERY: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_secs(1);
/// Rows removed in one go.
const REMOVED_MAX: i64 = 20_000;

/// Webhooks as this instance has them.
#[derive(Debug)]
pub(crate) struct Webhooks {
    /// Whom they may go to.
    guard: Guard,
    /// Rings when something is due.
    bell: Notify,
    /// Whose turn it is to have much posted again.
    replaying: Semaphore,
}

impl Webhooks {
    /// `loopback` for development: they may also go to this machine, and without TLS.
    pub(crate) fn new(loopback: bool) -> Self {
        Self { guard: Guard { loopback }, bell: Notify::new(), replaying: Semaphore::new(1) }
    }

    /// Makes deliveries and delivers them until `stop`; `newest` tells when there is something new.
    pub(crate) async fn follow(&self, pool: &PgPool, newest: watch::Receiver<i64>, stop: CancellationToken) {
        let all = async { tokio::join!(self.fan_out(pool, newest), deliver::run(self, pool), self.clean(pool)) };
        stop.run_until_cancelled(all).await;
    }

    async fn fan_out(&self, pool: &PgPool, mut newest: watch::Receiver<i64>) {
        loop {
            match fan_out::pass(pool).await {
                Ok(fan_out::Pass { deliveries, more }) => {
                    if deliveries > 0 {
                        self.bell.notify_one();
                    }
                    if !more {
                        let _ = tokio::time::timeout(LOOK_EVERY * 2, newest.changed()).await;
                    }
                }
                Err(error) => {
                    warn!(%error, "deliveries cannot be made now, trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn clean(&self, pool: &PgPool) {
        loop {
            if let Err(error) = clean(pool).await {
                warn!(%error, "webhooks cannot be looked after");
            }
            tokio::time::sleep(CLEAN_EVERY).await;
        }
    }
}

/// Pauses those for whom too much waits, and removes what was delivered long ago.
async fn clean(pool: &PgPool) -> sqlx::Result<()> {
    let pause = "UPDATE webhooks AS h SET paused = 'too much waited to be delivered', paused_after = (SELECT seq FROM webhook_cursor)
         WHERE paused IS NULL AND EXISTS (SELECT FROM webhook_deliveries AS d WHERE d.webhook_id = h.id AND d.due_at IS NOT NULL OFFSET $1)";
    sqlx::query(pause).bind(WAITING_MAX).execute(pool).await?;
    let old = "DELETE FROM webhook_deliveries WHERE id IN (SELECT id FROM webhook_deliveries
             WHERE delivered_at < now() - interval '1 day' ORDER BY delivered_at LIMIT $1)";
    sqlx::query(old).bind(REMOVED_MAX).execute(pool).await?;
    // Tests are of no event that would take them along when it goes.
    let week_ago = (OffsetDateTime::now_utc() - time::Duration::WEEK).unix_timestamp_nanos() / 1_000_000;
    let week_ago = uuid::Builder::from_unix_timestamp_millis(u64::try_from(week_ago).unwrap_or_default(), &[0; 10]).into_uuid();
    let tests = "DELETE FROM webhook_deliveries WHERE seq = 0 AND id < $1";
    sqlx::query(tests).bind(week_ago).execute(pool).await?;
    Ok(())
}
