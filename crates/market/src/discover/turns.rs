//! Whose turn it is to search.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::db::TRUSTED;

/// Searches at a time: a quarter of the connections, so that nobody who buys waits for one behind searches. Where the database has few cores, more at a
/// time take no less time in all, and each takes longer.
const AT_A_TIME: usize = 4;

/// Gives searches their turns, in the order they came, and connections. A connection goes from search to search, since the pool would ask the database
/// each time whether it is still there. After a moment the next search gives it back; when none comes, as many as have a turn at a time stay here.
#[derive(Debug)]
pub(crate) struct Turns {
    pool: PgPool,
    permits: Arc<Semaphore>,
    kept: Mutex<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    conn: PoolConnection<Postgres>,
    since: Instant,
}

impl Turns {
    pub(crate) fn new(pool: PgPool) -> Arc<Self> {
        Arc::new(Self { pool, permits: Arc::new(Semaphore::new(AT_A_TIME)), kept: Mutex::default() })
    }

    /// Waits for a turn.
    pub(super) async fn next(self: Arc<Self>) -> Turn {
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        Turn { held: None, turns: self, _permit: permit }
    }
}

/// Over when it is dropped.
pub(super) struct Turn {
    held: Option<Kept>,
    turns: Arc<Turns>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Turn {
    /// A connection, until the turn is over.
    pub(super) async fn connection(&mut self) -> sqlx::Result<&mut PgConnection> {
        let kept = {
            let mut kept = self.turns.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.retain(|kept| kept.since.elapsed() < TRUSTED);
            kept.pop()
        };
        let held = match kept {
            Some(kept) => kept,
            None => Kept { conn: self.turns.pool.acquire().await?, since: Instant::now() },
        };
        Ok(&mut self.held.insert(held).conn)
    }

    /// Leaves the connection to the next, after statements that came to their ends.
    pub(super) fn pass(mut self) {
        self.turns.kept.lock().unwrap_or_else(PoisonError::into_inner).extend(self.held.take());
    }
}
