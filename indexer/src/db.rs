use std::{str::FromStr, time::Duration};

use sqlx::{
    Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::Error;

/// Connections of the query API.
const POOL_CONNECTIONS_MAX: u32 = 16;
/// Connections that write webhooks and their deliveries.
const WRITE_CONNECTIONS_MAX: u32 = 8;
/// How long a request waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a query of the API may run.
const STATEMENT_TIMEOUT_MS: &str = "10000";
/// Advisory lock of the one writer of a database: "florin" and the schema.
const WRITER_LOCK: i64 = 0x666c_6f72_696e_0001;

/// Creates the schema `chain` and brings its tables up to date. Safe to repeat, and to run from several processes at once.
///
/// # Errors
/// When the database is unreachable or a migration fails.
pub async fn migrate(database_url: &str) -> Result<(), Error> {
    let mut conn = connect(&options(database_url)?).await?;
    // Two first starts at once: CREATE SCHEMA IF NOT EXISTS alone can fail with a unique violation.
    sqlx::query("SELECT pg_advisory_lock($1)").bind(WRITER_LOCK + 1).execute(&mut conn).await?;
    sqlx::query("CREATE SCHEMA IF NOT EXISTS chain").execute(&mut conn).await?;
    sqlx::migrate!("./migrations").run_direct(None, &mut conn, false).await?;
    conn.close().await?;
    Ok(())
}

fn options(database_url: &str) -> Result<PgConnectOptions, Error> {
    Ok(PgConnectOptions::from_str(database_url)
        .map_err(Error::DatabaseUrl)?
        .application_name("florin-indexer")
        .options([("search_path", "chain")]))
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, Error> {
    PgConnection::connect_with(options).await.map_err(Error::DatabaseUnreachable)
}

/// A connection for what takes long.
pub(crate) async fn connect_to(database_url: &str) -> Result<PgConnection, Error> {
    connect(&options(database_url)?).await
}

/// Connections for reading.
pub(crate) async fn read_pool(database_url: &str) -> Result<PgPool, Error> {
    let options = options(database_url)?.options([
        ("statement_timeout", STATEMENT_TIMEOUT_MS),
        ("default_transaction_read_only", "on"),
        // A plan for anybody would be wrong for a busy account.
        ("plan_cache_mode", "force_custom_plan"),
    ]);
    PgPoolOptions::new()
        .max_connections(POOL_CONNECTIONS_MAX)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options)
        .await
        .map_err(Error::DatabaseUnreachable)
}

/// Connections for what is registered here by people: webhooks.
pub(crate) async fn write_pool(database_url: &str) -> Result<PgPool, Error> {
    PgPoolOptions::new()
        .max_connections(WRITE_CONNECTIONS_MAX)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options(database_url)?.options([("statement_timeout", STATEMENT_TIMEOUT_MS)]))
        .await
        .map_err(Error::DatabaseUnreachable)
}

/// Whoever holds it delivers webhooks.
pub(crate) struct WebhookLock {
    conn: PgConnection,
    held: bool,
}

impl WebhookLock {
    pub(crate) async fn connect(database_url: &str) -> Result<Self, Error> {
        Ok(Self { conn: connect(&options(database_url)?).await?, held: false })
    }

    /// Whether it is held: taken now, or still, for the connection that holds it answers.
    pub(crate) async fn hold(&mut self) -> Result<bool, Error> {
        if self.held {
            self.conn.ping().await?;
        } else {
            self.held =
                sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(WRITER_LOCK + 2).fetch_one(&mut self.conn).await?;
        }
        Ok(self.held)
    }
}

/// The one connection that writes. It holds the lock that makes it the one, so whoever loses the lock has lost the connection too and
/// cannot write any more.
pub(crate) struct Writer {
    pub(crate) conn: PgConnection,
}

impl Writer {
    /// Connects without becoming the writer.
    pub(crate) async fn connect(database_url: &str) -> Result<Self, Error> {
        // The server notices a writer whose machine is gone, and frees the lock, within seconds.
        let options = options(database_url)?.options([
            ("tcp_keepalives_idle", "3"),
            ("tcp_keepalives_interval", "2"),
            ("tcp_keepalives_count", "3"),
            ("tcp_user_timeout", "10000"),
            ("synchronous_commit", "on"),
            // Statements are planned once: planned for what each block holds, a plan would cost more than to carry it out.
            ("plan_cache_mode", "force_generic_plan"),
            // A plan that reads all of a table would be made while the table is nearly empty.
            ("enable_seqscan", "off"),
        ]);
        Ok(Self { conn: connect(&options).await? })
    }

    /// Becomes the writer unless another is.
    pub(crate) async fn try_lock(&mut self) -> Result<bool, Error> {
        let locked = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(WRITER_LOCK).fetch_one(&mut self.conn).await?;
        Ok(locked)
    }
}
