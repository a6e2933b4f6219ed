use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use alloy::primitives::B256;
use futures::future::{BoxFuture, FutureExt};
use sqlx::{
    PgPool, Row,
    postgres::{PgArguments, PgRow},
    query::Query,
};

use super::{
    Claim, Kept, LEASE, Lease, PRUNE_EVERY, REMEMBERED, ReservationError, Reservations, Served,
    codec::{claim, encode, store},
};

/// Advisory lock under which the tables are made: "florin" and a number of its own.
const SCHEMA_LOCK: i64 = 0x666c_6f72_696e_0041;
/// Rows removed in one step, at most.
const PRUNE_ROWS_MAX: i64 = 1_000;

/// A lease that lapsed is in the past. `kept` is null while a payment is only reserved.
const SCHEMA: &str = "
    SELECT pg_advisory_xact_lock($1);
    CREATE SCHEMA IF NOT EXISTS x402;
    CREATE TABLE IF NOT EXISTS x402.reservations (
        key bytea PRIMARY KEY, fingerprint bytea NOT NULL, holder bytea NOT NULL, until timestamptz NOT NULL,
        kept bytea, spent boolean NOT NULL DEFAULT false);
    CREATE INDEX IF NOT EXISTS reservations_until ON x402.reservations (until);
    CREATE TABLE IF NOT EXISTS x402.memos (name bytea PRIMARY KEY, value bytea NOT NULL, until timestamptz NOT NULL);
    CREATE INDEX IF NOT EXISTS memos_until ON x402.memos (until)";

const FIND: &str = "
    WITH taken AS (
        UPDATE x402.reservations SET holder = $3, until = clock_timestamp() + $4 * interval '1 ms'
        WHERE key = $1 AND fingerprint = $2 AND NOT spent AND kept IS NOT NULL AND until <= clock_timestamp()
        RETURNING kept)
    SELECT true AS taken, kept, false AS spent FROM taken
    UNION ALL
    SELECT false, kept, spent FROM x402.reservations
    WHERE key = $1 AND fingerprint = $2 AND (spent OR kept IS NOT NULL OR until > clock_timestamp()) AND NOT EXISTS (SELECT FROM taken)";

const RESERVE: &str = "
    WITH taken AS (
        INSERT INTO x402.reservations AS held (key, fingerprint, holder, until)
        VALUES ($1, $2, $3, clock_timestamp() + $4 * interval '1 ms')
        ON CONFLICT (key) DO UPDATE SET fingerprint = $2, holder = $3, until = excluded.until
        WHERE NOT held.spent AND held.until <= clock_timestamp() AND (held.kept IS NULL OR held.fingerprint = $2)
        RETURNING kept)
    SELECT true AS taken, kept, false AS spent FROM taken
    UNION ALL
    SELECT false, kept, spent FROM x402.reservations WHERE key = $1 AND NOT EXISTS (SELECT FROM taken)";

/// Reservations in the schema `x402` of a Postgres database, shared by every copy of a service.
#[derive(Clone, Debug)]
pub struct PostgresReservations {
    pool: PgPool,
    lease: Duration,
    pruned: Arc<Mutex<Option<Instant>>>,
}

impl PostgresReservations {
    /// Uses the database of `pool`; makes the tables when they are missing.
    ///
    /// # Errors
    /// When the database is unreachable or its user may not create a schema.
    pub async fn new(pool: PgPool) -> Result<Self, sqlx::Error> {
        let mut transaction = pg::begin(&pool).await?;
        for statement in SCHEMA.split(';') {
            let query = sqlx::query(statement);
            let query = if statement.contains("$1") { query.bind(SCHEMA_LOCK) } else { query };
            query.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(Self { pool, lease: LEASE, pruned: Arc::default() })
    }

    /// How long a reservation lasts that is not renewed, because who had it died: 30 seconds unless told.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    async fn ask(&self, statement: &'static str, key: B256, fingerprint: B256) -> Result<Option<Claim>, ReservationError> {
        let lease = Lease::of(key);
        let query = sqlx::query(statement).bind(key.to_vec()).bind(fingerprint.to_vec());
        let query = query.bind(lease.holder.to_be_bytes().to_vec()).bind(millis(self.lease));
        let read = |row: PgRow| {
            let taken: bool = row.try_get("taken").map_err(store)?;
            claim(Some(lease).filter(|_| taken), row.try_get("kept").map_err(store)?, row.try_get("spent").map_err(store)?)
        };
        query.fetch_optional(&self.pool).await.map_err(store)?.map(read).transpose()
    }

    async fn change(&self, query: Query<'_, sqlx::Postgres, PgArguments>) -> Result<(), ReservationError> {
        match query.execute(&self.pool).await.map_err(store)?.rows_affected() {
            0 => Err(ReservationError::Lost),
            _ => Ok(()),
        }
    }

    /// Removes what need not be remembered any more, now and then. That it fails hurts nobody.
    async fn prune(&self) {
        {
            let mut pruned = self.pruned.lock().unwrap_or_else(PoisonError::into_inner);
            if pruned.is_some_and(|at| at.elapsed() < PRUNE_EVERY) {
                return;
            }
            *pruned = Some(Instant::now());
        }
        let reservations = sqlx::query(
            "DELETE FROM x402.reservations WHERE ctid = ANY(ARRAY(SELECT ctid FROM x402.reservations
             WHERE until < clock_timestamp() - $1 * interval '1 ms' LIMIT $2 FOR UPDATE SKIP LOCKED))",
        );
        let memos = sqlx::query(
            "DELETE FROM x402.memos WHERE ctid = ANY(ARRAY(SELECT ctid FROM x402.memos
             WHERE until < clock_timestamp() - $1 * interval '1 ms' LIMIT $2 FOR UPDATE SKIP LOCKED))",
        );
        for (query, age) in [(reservations, REMEMBERED), (memos, Duration::ZERO)] {
            if let Err(error) = query.bind(millis(age)).bind(PRUNE_ROWS_MAX).execute(&self.pool).await {
                tracing::warn!(%error, "old reservations could not be removed");
            }
        }
    }
}

impl Reservations for PostgresReservations {
    fn find(&self, key: B256, fingerprint: B256) -> BoxFuture<'_, Result<Option<Claim>, ReservationError>> {
        self.ask(FIND, key, fingerprint).boxed()
    }

    fn reserve(&self, key: B256, fingerprint: B256) -> BoxFuture<'_, Result<Claim, ReservationError>> {
        async move {
            self.prune().await;
            // No row: somebody else's is younger than what this statement sees.
            Ok(self.ask(RESERVE, key, fingerprint).await?.unwrap_or(Claim::Busy))
        }
        .boxed()
    }

    fn keep(&self, lease: Lease, kept: Kept) -> BoxFuture<'_, Result<(), ReservationError>> {
        let statement = "UPDATE x402.reservations SET kept = $3, until = clock_timestamp() + $4 * interval '1 ms'
            WHERE key = $1 AND holder = $2 AND NOT spent AND until > clock_timestamp()";
        let kept = encode(&kept);
        self.change(held(statement, lease).bind(kept).bind(millis(self.lease))).boxed()
    }

    fn renew(&self, lease: Lease) -> BoxFuture<'_, Result<(), ReservationError>> {
        let statement = "UPDATE x402.reservations SET until = clock_timestamp() + $3 * interval '1 ms'
            WHERE key = $1 AND holder = $2 AND NOT spent AND until > clock_timestamp()";
        self.change(held(statement, lease).bind(millis(self.lease))).boxed()
    }

    fn lease_time(&self) -> Duration {
        self.lease
    }

    fn suspend(&self, lease: Lease) -> BoxFuture<'_, Result<(), ReservationError>> {
        let statement = "UPDATE x402.reservations SET until = clock_timestamp()
            WHERE key = $1 AND holder = $2 AND NOT spent AND until > clock_timestamp()";
        self.change(held(statement, lease)).boxed()
    }

    fn spend(&self, lease: Lease, served: Served) -> BoxFuture<'_, Result<(), ReservationError>> {
        let statement = "UPDATE x402.reservations SET kept = $3, spent = true, until = clock_timestamp()
            WHERE key = $1 AND holder = $2 AND NOT spent AND until > clock_timestamp()";
        self.change(held(statement, lease).bind(encode(&served.into()))).boxed()
    }

    fn release(&self, lease: Lease) -> BoxFuture<'_, Result<(), ReservationError>> {
        let statement =
            "DELETE FROM x402.reservations WHERE key = $1 AND holder = $2 AND NOT spent AND until > clock_timestamp()";
        self.change(held(statement, lease)).boxed()
    }

    fn remember(&self, name: B256, value: B256, time: Duration) -> BoxFuture<'_, Result<B256, ReservationError>> {
        // A row that is not changed is not returned, so one that holds is changed to what it is.
        let statement =
            "INSERT INTO x402.memos AS known (name, value, until) VALUES ($1, $2, clock_timestamp() + $3 * interval '1 ms')
            ON CONFLICT (name) DO UPDATE SET
                value = CASE WHEN known.until > clock_timestamp() THEN known.value ELSE excluded.value END,
                until = CASE WHEN known.until > clock_timestamp() THEN known.until ELSE excluded.until END
            RETURNING value";
        let query = sqlx::query(statement).bind(name.to_vec()).bind(value.to_vec()).bind(millis(time));
        async move { memo(&query.fetch_one(&self.pool).await.map_err(store)?) }.boxed()
    }

    fn recall(&self, name: B256) -> BoxFuture<'_, Result<Option<B256>, ReservationError>> {
        let query = sqlx::query("SELECT value FROM x402.memos WHERE name = $1 AND until > clock_timestamp()").bind(name.to_vec());
        async move { query.fetch_optional(&self.pool).await.map_err(store)?.as_ref().map(memo).transpose() }.boxed()
    }
}

fn held(statement: &'static str, lease: Lease) -> Query<'static, sqlx::Postgres, PgArguments> {
    sqlx::query(statement).bind(lease.key.to_vec()).bind(lease.holder.to_be_bytes().to_vec())
}

fn memo(row: &PgRow) -> Result<B256, ReservationError> {
    let value: &[u8] = row.try_get("value").map_err(store)?;
    B256::try_from(value).map_err(store)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 2)
}
