use std::{str::FromStr, time::Duration};

use alloy::primitives::{Address, B256};
use sqlx::{
    Connection, PgConnection, PgPool, Row,
    postgres::{PgConnectOptions, PgPoolOptions, PgRow},
};

use url::Url;

use crate::Error;

const POOL_CONNECTIONS_MAX: u32 = 16;
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that did nothing for so long is tried before it is used.
pub(crate) const TRUSTED: Duration = Duration::from_secs(1);
const STATEMENT_TIMEOUT_MS: &str = "10000";
/// An instance that stands still in a transaction may hold the end of the ledger: it loses it after that long.
const IDLE_TIMEOUT_MS: &str = "10000";
/// Advisory lock of migrations: "florin" and the schema.
const MIGRATION_LOCK: i64 = 0x666c_6f72_696e_0021;

/// Creates the schema `market` and brings its tables up to date. Safe to repeat, and to run from several processes at once.
///
/// # Errors
/// When the database is unreachable or a migration fails.
pub async fn migrate(database_url: &str) -> Result<(), Error> {
    let mut conn = PgConnection::connect_with(&options(database_url)?).await.map_err(Error::DatabaseUnreachable)?;
    // Two first starts at once: CREATE SCHEMA IF NOT EXISTS alone can fail with a unique violation.
    sqlx::query("SELECT pg_advisory_lock($1)").bind(MIGRATION_LOCK).execute(&mut conn).await?;
    sqlx::query("CREATE SCHEMA IF NOT EXISTS market").execute(&mut conn).await?;
    sqlx::migrate!("./migrations").run_direct(None, &mut conn, false).await?;
    conn.close().await?;
    Ok(())
}

fn options(database_url: &str) -> Result<PgConnectOptions, Error> {
    let options = PgConnectOptions::from_str(database_url).map_err(Error::DatabaseUrl)?;
    Ok(options.application_name("florin-market").options([("search_path", "market")]))
}

/// Connections of the marketplace, in its schema, durable.
///
/// # Errors
/// When the database is unreachable.
pub async fn pool(database_url: &str) -> Result<PgPool, Error> {
    let options = options(database_url)?.options([
        ("statement_timeout", STATEMENT_TIMEOUT_MS),
        ("idle_in_transaction_session_timeout", IDLE_TIMEOUT_MS),
        ("synchronous_commit", "on"),
    ]);
    let pool = PgPoolOptions::new()
        .max_connections(POOL_CONNECTIONS_MAX)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|conn, used| {
            Box::pin(async move {
                if used.idle_for > TRUSTED {
                    conn.ping().await?;
                }
                Ok(true)
            })
        });
    pool.connect_with(options).await.map_err(Error::DatabaseUnreachable)
}

/// Where the market is, which all instances agree on: what this one says, else what another said before.
pub(crate) async fn public_url(pool: &PgPool, given: Option<&Url>, moved_from: Option<&Url>) -> Result<Option<Url>, Error> {
    if let Some(given) = given {
        let first =
            "INSERT INTO settings (public_url) VALUES ($1) ON CONFLICT (only_row) DO UPDATE SET public_url = excluded.public_url
             WHERE settings.public_url = $2";
        sqlx::query(first).bind(given.as_str()).bind(moved_from.map(Url::as_str)).execute(pool).await?;
    }
    let kept: Option<String> = sqlx::query_scalar("SELECT public_url FROM settings").fetch_optional(pool).await?;
    match (given, kept) {
        (Some(given), Some(kept)) if given.as_str() != kept => Err(Error::PublicUrl { given: given.clone(), kept }),
        (_, kept) => Ok(kept.and_then(|kept| kept.parse().ok())),
    }
}

/// The account that backs the ledger's USDC, which all instances agree on and which stays: what this one says, else what another said before.
pub(crate) async fn custody(pool: &PgPool, given: Option<Address>) -> Result<Option<Address>, Error> {
    if let Some(given) = given {
        // Nothing is walked yet, not even block 0.
        let first = "INSERT INTO custody (address, walked_to) VALUES ($1, -1) ON CONFLICT DO NOTHING";
        sqlx::query(first).bind(given.as_slice()).execute(pool).await?;
    }
    let kept = sqlx::query("SELECT address FROM custody").fetch_optional(pool).await?;
    let kept = kept.map(|row| address(&row, "address")).transpose()?;
    match (given, kept) {
        (Some(given), Some(kept)) if given != kept => Err(Error::Custody { given, kept }),
        (_, kept) => Ok(kept),
    }
}

/// Names another account to back the ledger's USDC, which must owe nothing and expect nothing: what came to the old one is not walked again.
pub(crate) async fn replace_custody(pool: &PgPool, new: Address) -> Result<Option<Address>, Error> {
    let mut tx = pg::begin(pool).await?;
    // Nobody walks, and nobody appends, until this is over.
    let row = sqlx::query("SELECT address FROM custody FOR UPDATE").fetch_optional(&mut *tx).await?;
    let Some(old) = row.map(|row| address(&row, "address")).transpose()? else { return Ok(None) };
    sqlx::query("SELECT FROM ledger FOR UPDATE").execute(&mut *tx).await?;
    let bound = sqlx::query(
        "SELECT -balance AS owed, (SELECT count(*) FROM withdrawals WHERE status IN ('awaiting_approval', 'pending', 'processing'))
             + (SELECT count(*) FROM batches WHERE status = 'open')
             + (SELECT count(*) FROM deposits WHERE status = 'arrived' OR (status = 'pending' AND payer_nonce IS NOT NULL)) AS open
         FROM accounts WHERE id = $1",
    );
    let bound = bound.bind(crate::ledger::OUTSIDE).fetch_one(&mut *tx).await?;
    let (owed, open): (i64, i64) = (bound.try_get("owed")?, bound.try_get("open")?);
    if owed != 0 || open != 0 {
        return Err(Error::CustodyOwes { owed: money::Usdc::from_base_units(owed.unsigned_abs()), open: open.unsigned_abs() });
    }
    // What nobody known sent to the old account is not this ledger's.
    sqlx::query("DELETE FROM unmatched").execute(&mut *tx).await?;
    sqlx::query("UPDATE custody SET address = $1, walked_to = -1").bind(new.as_slice()).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(Some(old))
}

pub(crate) fn address(row: &PgRow, column: &str) -> Result<Address, sqlx::Error> {
    let bytes: &[u8] = row.try_get(column)?;
    Address::try_from(bytes).map_err(|e| sqlx::Error::Decode(e.into()))
}

pub(crate) fn maybe_address(row: &PgRow, column: &str) -> Result<Option<Address>, sqlx::Error> {
    let bytes: Option<&[u8]> = row.try_get(column)?;
    bytes.map(Address::try_from).transpose().map_err(|e| sqlx::Error::Decode(e.into()))
}

pub(crate) fn hash(row: &PgRow, column: &str) -> Result<B256, sqlx::Error> {
    maybe_hash(row, column)?.ok_or_else(|| sqlx::Error::Decode(format!("{column} is null").into()))
}

pub(crate) fn maybe_hash(row: &PgRow, column: &str) -> Result<Option<B256>, sqlx::Error> {
    let bytes: Option<&[u8]> = row.try_get(column)?;
    bytes.map(B256::try_from).transpose().map_err(|e| sqlx::Error::Decode(e.into()))
}

/// A column that holds the name of a variant, as on the wire.
pub(crate) fn named<T: serde::de::DeserializeOwned>(row: &PgRow, column: &str) -> Result<T, sqlx::Error> {
    let text: String = row.try_get(column)?;
    serde_json::from_value(text.into()).map_err(|e| sqlx::Error::Decode(e.into()))
}

/// The name of a variant, as on the wire.
pub(crate) fn name_of(variant: impl serde::Serialize) -> String {
    match serde_json::to_value(variant) {
        Ok(serde_json::Value::String(name)) => name,
        _ => unreachable!("variants without fields are written as their names"),
    }
}
