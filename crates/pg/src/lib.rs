//! Transactions that survive being abandoned.
//!
//! A request whose client hangs up is dropped wherever it waits. Dropped while `BEGIN` is on its way, sqlx 0.9.0 takes the connection back into
//! the pool with the transaction open (<https://github.com/transact-rs/sqlx/issues/4393>): whoever gets it next reads what was, and writes
//! what is lost. So nobody but this crate begins a transaction on a pool; clippy says so.

use std::panic::resume_unwind;

use sqlx::{Error, PgPool, PgTransaction, SqlSafeStr};

/// Begins a transaction, or leaves no trace when the caller is dropped meanwhile.
///
/// # Errors
/// When there is no connection, or the database fails.
pub async fn begin(pool: &PgPool) -> Result<PgTransaction<'static>, Error> {
    begin_with(pool, "BEGIN").await
}

/// The same with a statement that begins it, such as `BEGIN READ ONLY`.
///
/// # Errors
/// When there is no connection, or the database fails.
#[expect(clippy::disallowed_methods, reason = "here it is done in a task of its own, which nobody drops")]
pub async fn begin_with(pool: &PgPool, statement: impl SqlSafeStr + Send + 'static) -> Result<PgTransaction<'static>, Error> {
    let pool = pool.clone();
    match tokio::spawn(async move { pool.begin_with(statement).await }).await {
        Ok(begun) => begun,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime ends.
            Err(_) => Err(Error::PoolClosed),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Waker},
        time::Duration,
    };

    use sqlx::postgres::PgPoolOptions;
    use stack::Postgres;

    #[tokio::test(flavor = "multi_thread")]
    async fn who_leaves_while_a_transaction_begins_leaves_none_behind() {
        let server = Postgres::start(None).await.unwrap();
        let url = server.create("pg_begin", None).await.unwrap().url;
        let pool = PgPoolOptions::new().max_connections(1).connect(&url).await.unwrap();
        sqlx::query("CREATE TABLE rows ()").execute(&pool).await.unwrap();
        for turns in 1..10 {
            // It goes on only when it is polled, so this leaves it wherever it can wait.
            let mut begun = pin!(super::begin(&pool));
            for _ in 0..turns {
                if begun.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            begun.set(super::begin(&pool));
            sqlx::query("INSERT INTO rows DEFAULT VALUES").execute(&pool).await.unwrap();
            let open: bool =
                sqlx::query_scalar("SELECT pg_current_xact_id_if_assigned() IS NOT NULL").fetch_one(&pool).await.unwrap();
            assert!(!open, "a transaction is open that nobody holds, left after {turns} turns");
        }
    }
}
