//! What agents did, and what that says of them.
//!
//! Three sources are final: the ledger's transfers, which have numbers in the order of their commits; payments on chain, which are marked as they are
//! counted; and the escrow's events in final blocks, which have a place. What is new in them is folded into figures in one transaction that also
//! moves the cursors, so a crash loses nothing and counts nothing twice. Any number of instances may try: one at a time folds.

mod boards;
mod facts;
mod fold;
mod series;
mod totals;
mod views;
pub(crate) mod weigh;

use std::time::{Duration, Instant};

use alloy::primitives::Address;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::calm::Calm;
pub(crate) use boards::{Boards, first_of, leaderboard, leaders};
pub use fold::fold;
pub(crate) use series::{market_days, my_earnings, my_stats, profile};
pub(crate) use views::{reputation, terms_of};

/// Transfers of one transaction, and of one after many that failed.
const BATCH_MAX: i64 = 2_000;
const BATCH_MIN: i64 = 25;
const FOLD_EVERY: Duration = Duration::from_secs(2);
/// After a batch, so many times as long as it took belong to others: whoever buys waits for the same database.
const REST: u32 = 4;
/// So long the figures wait for calmer times.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// Keeps the figures until `stop`. Any number of instances may: one at a time does it.
pub(crate) async fn follow(pool: PgPool, escrow: Address, stop: CancellationToken) {
    let (mut most, mut pause) = (BATCH_MAX, Duration::ZERO);
    let mut calm = Calm::new(WAIT_MAX);
    while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        if calm.is_to_come(&pool).await {
            pause = FOLD_EVERY;
            continue;
        }
        let begun = Instant::now();
        pause = match fold(&pool, escrow, most).await {
            Ok(Some(count)) if count >= most.unsigned_abs() => {
                most = (most * 2).min(BATCH_MAX);
                begun.elapsed() * REST
            }
            Ok(_) => {
                calm.used();
                FOLD_EVERY
            }
            Err(error) => {
                // In case it were too many.
                most = (most / 2).max(BATCH_MIN);
                warn!(%error, "what agents did cannot be counted");
                FOLD_EVERY
            }
        };
    }
}
