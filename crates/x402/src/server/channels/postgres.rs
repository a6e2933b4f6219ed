use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use alloy::primitives::B256;
use futures::future::{BoxFuture, FutureExt};
use sqlx::{PgPool, Row, types::Json};
use tokio::sync::{mpsc, oneshot};

use super::{Channel, ChannelStore};
use crate::server::ReservationError;

/// Advisory lock under which the table is made: "florin" and a number of its own.
const SCHEMA_LOCK: i64 = 0x666c_6f72_696e_0042;
/// Writes that go into one commit, at most.
const BATCH_MAX: usize = 512;
/// Writes that wait, at most.
const WAITING_MAX: usize = 8_192;
/// Channels remembered by this process, at most.
const RECALLED_MAX: usize = 100_000;
/// How often a commit is tried that another instance's commit stood in the way of.
const TRIES: usize = 5;

const SCHEMA: [&str; 2] = [
    "CREATE SCHEMA IF NOT EXISTS x402",
    "CREATE TABLE IF NOT EXISTS x402.channels (id bytea PRIMARY KEY, version bigint NOT NULL, record jsonb NOT NULL)",
];

const SWAP: &str = "
    WITH given AS (SELECT * FROM UNNEST($1::bytea[], $2::bigint[], $3::jsonb[]) AS given (id, version, record)),
    changed AS (
        UPDATE x402.channels AS channel SET version = given.version, record = given.record FROM given
        WHERE channel.id = given.id AND channel.version = given.version - 1 RETURNING channel.id),
    made AS (
        INSERT INTO x402.channels SELECT id, version, record FROM given WHERE version = 1 ON CONFLICT (id) DO NOTHING RETURNING id)
    SELECT id FROM changed UNION ALL SELECT id FROM made";

/// Channels in the schema `x402` of a Postgres database, shared by every copy of a service. Writes of many requests share one commit.
#[derive(Clone, Debug)]
pub struct PostgresChannels {
    pool: PgPool,
    writer: mpsc::Sender<Write>,
    recalled: Arc<Mutex<HashMap<B256, Channel>>>,
}

#[derive(Debug)]
struct Write {
    next: Channel,
    answer: oneshot::Sender<Result<bool, Arc<sqlx::Error>>>,
}

impl PostgresChannels {
    /// Uses the database of `pool`; makes the table when it is missing. The writer ends with the last clone.
    ///
    /// # Errors
    /// When the database is unreachable or its user may not create a schema.
    pub async fn new(pool: PgPool) -> Result<Self, sqlx::Error> {
        let mut transaction = pg::begin(&pool).await?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(SCHEMA_LOCK).execute(&mut *transaction).await?;
        for statement in SCHEMA {
            sqlx::query(statement).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        let (writer, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(write(pool.clone(), waiting));
        Ok(Self { pool, writer, recalled: Arc::default() })
    }

    fn remember(&self, channel: Channel) {
        let mut recalled = self.recalled.lock().unwrap_or_else(PoisonError::into_inner);
        if recalled.len() >= RECALLED_MAX {
            recalled.clear();
        }
        if recalled.get(&channel.id).is_none_or(|known| known.version < channel.version) {
            recalled.insert(channel.id, channel);
        }
    }

    fn forget(&self, id: B256) {
        self.recalled.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

/// Commits what waits, all of it at once, again and again.
async fn write(pool: PgPool, mut waiting: mpsc::Receiver<Write>) {
    let mut batch: Vec<Write> = Vec::new();
    while waiting.recv_many(&mut batch, BATCH_MAX).await > 0 {
        while !batch.is_empty() {
            // Two writes of one channel cannot go together: the second builds on the first.
            let (mut now, mut later, mut seen) = (Vec::new(), Vec::new(), std::collections::HashSet::new());
            for write in batch.drain(..) {
                if seen.insert(write.next.id) { now.push(write) } else { later.push(write) }
            }
            batch = later;
            let outcome = commit(&pool, &now).await.map_err(Arc::new);
            for Write { next, answer } in now {
                let written = outcome.as_ref().map(|written| written.contains(&next.id)).map_err(Arc::clone);
                let _gone = answer.send(written);
            }
        }
    }
}

/// The channels that were written.
async fn commit(pool: &PgPool, batch: &[Write]) -> Result<std::collections::HashSet<B256>, sqlx::Error> {
    let ids: Vec<_> = batch.iter().map(|write| write.next.id.to_vec()).collect();
    let versions: Vec<_> = batch.iter().map(|write| write.next.version.cast_signed()).collect();
    let records: Vec<_> = batch.iter().map(|write| Json(&write.next)).collect();
    let mut tries = 0;
    loop {
        let query = sqlx::query(SWAP).bind(&ids).bind(&versions).bind(&records);
        match query.fetch_all(pool).await {
            Ok(rows) => return rows.iter().map(|row| Ok(B256::from_slice(row.try_get("id")?))).collect(),
            // Two instances wrote the same two channels in opposite order, and nothing of this commit was written.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("40P01") && tries < TRIES => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

fn store(error: impl std::error::Error + Send + Sync + 'static) -> ReservationError {
    ReservationError::Store(Box::new(error))
}

impl ChannelStore for PostgresChannels {
    fn load(&self, id: B256) -> BoxFuture<'_, Result<Option<Channel>, ReservationError>> {
        async move {
            let query = sqlx::query_scalar("SELECT record FROM x402.channels WHERE id = $1").bind(id.to_vec());
            let found: Option<Json<Channel>> = query.fetch_optional(&self.pool).await.map_err(store)?;
            match found {
                Some(Json(channel)) => {
                    self.remember(channel.clone());
                    Ok(Some(channel))
                }
                None => {
                    self.forget(id);
                    Ok(None)
                }
            }
        }
        .boxed()
    }

    fn recall(&self, id: B256) -> Option<Channel> {
        self.recalled.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn swap(&self, next: Channel) -> BoxFuture<'_, Result<bool, ReservationError>> {
        async move {
            let (answer, written) = oneshot::channel();
            let stopped = || ReservationError::Store("the writer of channels has stopped".into());
            self.writer.send(Write { next: next.clone(), answer }).await.map_err(|_| stopped())?;
            match written.await.map_err(|_| stopped())? {
                Ok(true) => {
                    self.remember(next);
                    Ok(true)
                }
                Ok(false) => {
                    self.forget(next.id);
                    Ok(false)
                }
                Err(error) => {
                    self.forget(next.id);
                    Err(store(error))
                }
            }
        }
        .boxed()
    }

    fn list(&self, after: Option<B256>, limit: usize) -> BoxFuture<'_, Result<Vec<Channel>, ReservationError>> {
        async move {
            let query =
                sqlx::query_scalar("SELECT record FROM x402.channels WHERE $1::bytea IS NULL OR id > $1 ORDER BY id LIMIT $2");
            let query = query.bind(after.map(|id| id.to_vec())).bind(i64::try_from(limit).unwrap_or(i64::MAX));
            let page: Vec<Json<Channel>> = query.fetch_all(&self.pool).await.map_err(store)?;
            Ok(page.into_iter().map(|Json(channel)| channel).collect())
        }
        .boxed()
    }
}
