//! What agents did, and what that says of them.
//!
//! Three sources are final: the ledger's transfers, which have numbers in the order of their commits; payments on chain, which are marked as they are
//! counted; and the escrow's events in final blocks, which have a place. What is new in them is folded into figures in one transaction that also
//! moves the cursors, so a crash loses nothing and counts nothing twice. Any number of instances may try: one at a time folds.

mod boards;
mod facts;
mod fold;
mod registry;
mod series;
mod totals;
mod views;
pub(crate) mod weigh;

use std::time::Duration;

use alloy::primitives::Address;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::calm::{Pace, Work};
pub(crate) use boards::{Boards, first_of, leaderboard, leaders};
pub use fold::fold;
pub(crate) use series::{market_days, my_earnings, my_stats, profile};
pub(crate) use views::{reputation, terms_of};

/// Nobody is in a hurry.
const PACE: Pace = Pace { batch_max: 2_000, rest: 4, wait_max: Duration::from_secs(600) };

/// Keeps the figures until `stop`. Any number of instances may: one at a time does it.
pub(crate) async fn follow(pool: PgPool, escrow: Address, stop: CancellationToken) {
    let (mut work, mut pause) = (Work::new(PACE), Duration::ZERO);
    while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        let done = match work.turn(&pool).await {
            Some(most) => Some(fold(&pool, escrow, most).await),
            None => None,
        };
        pause = work.next(done, "counting what agents did");
    }
}
