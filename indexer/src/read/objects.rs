use std::collections::{BTreeMap, HashMap};

use alloy::primitives::{Address, B256};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row, postgres::PgRow, types::Json};
use time::OffsetDateTime;

use super::{Finality, address, hash};
pub use crate::derive::{Agreement, AgreementStatus, Announced, Offer, Service, Subscription, SubscriptionStatus};
use crate::{schema, store::int};

/// Seconds of one bucket of a wallet's spending limit, and how many buckets before the current one still count.
const BUCKET_SECONDS: i64 = 8 * 60 * 60;
const BUCKETS_BEFORE: i64 = 3;

/// A contract or an agreement as it stands.
#[derive(Clone, Debug, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct State<T = Value> {
    /// The block that last changed it.
    pub changed_in_block: u64,
    /// Blocks mirrored from that one on, itself included.
    pub confirmations: u64,
    /// Whether a reorganisation could still undo that change.
    pub finality: Finality,
    /// Its fields.
    #[serde(flatten)]
    pub state: T,
}

/// Reads an agreement in escrow, as of the end of block `at_block` or now.
///
/// # Errors
/// When the database fails.
pub async fn agreement(
    conn: &mut PgConnection,
    id: B256,
    at_block: Option<u64>,
) -> Result<Option<State<Agreement>>, sqlx::Error> {
    state(conn, "agreements", id.as_slice(), at_block).await
}

/// Reads agreements in escrow by their ids in one statement, as of the end of block `at_block` or now. Those that are not funded are left out.
///
/// # Errors
/// When the database fails.
pub async fn agreements_of(
    conn: &mut PgConnection,
    ids: &[B256],
    at_block: Option<u64>,
) -> Result<HashMap<B256, State<Agreement>>, sqlx::Error> {
    let ids: Vec<&[u8]> = ids.iter().map(|id| id.as_slice()).collect();
    let mut query = QueryBuilder::<Postgres>::new(format!("SELECT {COLUMNS} FROM unnest("));
    query.push_bind(ids).push("::bytea[]) AS wanted (id), LATERAL (SELECT * FROM chain.agreements AS o WHERE o.key = wanted.id");
    match at_block {
        Some(block) => query.push(" AND from_block <= ").push_bind(int(block)).push(" ORDER BY from_block DESC LIMIT 1"),
        None => query.push(" AND until_block IS NULL LIMIT 1"),
    };
    query.push(") AS v");
    let rows = query.build().fetch_all(conn).await?;
    rows.iter().map(|row| Ok((hash(row, "key")?, State::read(row)?))).collect()
}

/// Reads a subscription, as of the end of block `at_block` or now.
///
/// # Errors
/// When the database fails.
pub async fn subscription(
    conn: &mut PgConnection,
    id: B256,
    at_block: Option<u64>,
) -> Result<Option<State<Subscription>>, sqlx::Error> {
    state(conn, "subscriptions", id.as_slice(), at_block).await
}

/// Reads a service of a registry, as of the end of block `at_block` or now: parties that were announced count from their time on.
///
/// # Errors
/// When the database fails.
pub async fn service(
    conn: &mut PgConnection,
    registry: Address,
    id: B256,
    at_block: Option<u64>,
) -> Result<Option<State<Service>>, sqlx::Error> {
    let key = [registry.as_slice(), id.as_slice()].concat();
    let found: Option<State<Service>> = state(conn, "services", &key, at_block).await?;
    let Some(mut found) = found else { return Ok(None) };
    found.state.advance(time_of(conn, at_block).await?);
    Ok(Some(found))
}

/// When a block was made, or the newest. Unix seconds.
pub(super) async fn time_of(conn: &mut PgConnection, at_block: Option<u64>) -> Result<u64, sqlx::Error> {
    let time: Option<i64> = sqlx::query_scalar(
        "SELECT extract(epoch FROM timestamp)::bigint FROM chain.blocks WHERE number <= $1 ORDER BY number DESC LIMIT 1",
    )
    .bind(int(at_block.unwrap_or(u64::MAX)))
    .fetch_optional(conn)
    .await?;
    Ok(time.unwrap_or_default().unsigned_abs())
}

/// Reads an agent wallet, as of the end of block `at_block` or now.
///
/// # Errors
/// When the database fails.
pub async fn wallet(conn: &mut PgConnection, address: Address, at_block: Option<u64>) -> Result<Option<State>, sqlx::Error> {
    state(conn, "wallets", address.as_slice(), at_block).await
}

/// Reads a treasury, as of the end of block `at_block` or now.
///
/// # Errors
/// When the database fails.
pub async fn treasury(conn: &mut PgConnection, address: Address, at_block: Option<u64>) -> Result<Option<State>, sqlx::Error> {
    state(conn, "treasuries", address.as_slice(), at_block).await
}

/// Reads an order or change of a treasury by its EIP-712 digest, as of the end of block `at_block` or now.
///
/// # Errors
/// When the database fails.
pub async fn proposal(
    conn: &mut PgConnection,
    treasury: Address,
    id: B256,
    at_block: Option<u64>,
) -> Result<Option<State>, sqlx::Error> {
    state(conn, "proposals", &[treasury.as_slice(), id.as_slice()].concat(), at_block).await
}

async fn state<T: DeserializeOwned + 'static>(
    conn: &mut PgConnection,
    table: &'static str,
    key: &[u8],
    at_block: Option<u64>,
) -> Result<Option<State<T>>, sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new(format!("SELECT {COLUMNS} FROM chain.{table}"));
    query.push(" WHERE key = ").push_bind(key);
    match at_block {
        Some(block) => query.push(" AND from_block <= ").push_bind(int(block)).push(" ORDER BY from_block DESC LIMIT 1"),
        None => query.push(" AND until_block IS NULL"),
    };
    let found = query.build().fetch_optional(conn).await?;
    found.as_ref().map(State::read).transpose()
}

/// The key and what a [`State`] is made of.
pub(super) const COLUMNS: &str =
    "key, from_block, state, (SELECT max(number) FROM chain.blocks) - from_block + 1 AS confirmations,
    (SELECT finality_blocks FROM chain.sync) AS finality_blocks";

impl<T: DeserializeOwned + 'static> State<T> {
    /// Reads a row of [`COLUMNS`].
    pub(super) fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        let Json(state) = row.try_get("state")?;
        let number = |column: &str| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
        let confirmations = number("confirmations")?;
        let finality = Finality::after(confirmations, number("finality_blocks")?);
        Ok(Self { changed_in_block: number("from_block")?, confirmations, finality, state })
    }
}

/// What an operator of a wallet may still pay in a token.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Limit {
    /// The operator.
    #[schemars(with = "schema::Address")]
    pub operator: Address,
    /// The token.
    #[schemars(with = "schema::Address")]
    pub token: Address,
    /// Most that may leave in any 24 hours, in base units.
    #[serde(serialize_with = "text")]
    #[schemars(with = "schema::Units")]
    pub daily_limit: u128,
    /// What counts against it: the payments, funded agreements and bonds of disputes of the last 24 to 32 hours, in base units.
    #[serde(serialize_with = "text")]
    #[schemars(with = "schema::Units")]
    pub spent: u128,
    /// What a payment could carry now, in base units, as far as this limit goes.
    #[serde(serialize_with = "text")]
    #[schemars(with = "schema::Units")]
    pub remaining: u128,
}

/// Works out what remains of each spending limit of a wallet that was read with [`wallet`], at the time `now` or of the newest block if that
/// is later. Payments by x402 authorizations have limits of their own and do not count.
///
/// # Errors
/// When the database fails.
pub async fn limits(
    conn: &mut PgConnection,
    wallet: Address,
    state: &State,
    now: OffsetDateTime,
) -> Result<Vec<Limit>, sqlx::Error> {
    let spent = spent(conn, wallet, state, now).await?;
    let mut limits = Vec::new();
    for (operator, fields) in state.state["operators"].as_object().into_iter().flatten() {
        for (token, policy) in fields["policies"].as_object().into_iter().flatten() {
            let (Ok(operator), Ok(token)) = (operator.parse(), token.parse()) else { continue };
            let daily_limit = policy["dailyLimit"].as_str().and_then(|limit| limit.parse().ok()).unwrap_or_default();
            let spent = spent.get(&(operator, token)).copied().unwrap_or_default();
            limits.push(Limit { operator, token, daily_limit, spent, remaining: u128::saturating_sub(daily_limit, spent) });
        }
    }
    Ok(limits)
}

/// As strings, like all integers of contracts, so that no reader of JSON rounds them.
fn text<S: serde::Serializer>(units: &u128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(units)
}

async fn spent(
    conn: &mut PgConnection,
    wallet: Address,
    state: &State,
    now: OffsetDateTime,
) -> Result<BTreeMap<(Address, Address), u128>, sqlx::Error> {
    // What an operator spent before it was registered as it is now does not count.
    let registered = state.state["operators"].as_object().into_iter().flatten().filter_map(|(operator, fields)| {
        let operator: Address = operator.parse().ok()?;
        Some((operator.to_vec(), int(fields["since_block"].as_u64()?)))
    });
    let (operators, since): (Vec<Vec<u8>>, Vec<i64>) = registered.unzip();
    let Some(first) = window_start(&mut *conn, now).await? else { return Ok(BTreeMap::new()) };
    let rows = sqlx::query(
        "SELECT o.operator, chain.state_bytes(args, 'token') AS token, sum((args ->> 'amount')::numeric)::text AS amount
         FROM chain.events JOIN unnest($3::bytea[], $4::bigint[]) AS o (operator, since)
           ON o.operator = chain.state_bytes(args, 'operator') AND block_number >= o.since
         WHERE contract = $1 AND name IN ('PaymentExecuted', 'EscrowOpened', 'EscrowDisputed') AND block_number >= $2
         GROUP BY 1, 2",
    )
    .bind(wallet.as_slice())
    .bind(first)
    .bind(operators)
    .bind(since)
    .fetch_all(conn)
    .await?;
    let sum = |row: &PgRow| {
        // A token of somebody's own says any amount.
        let amount = row.try_get::<&str, _>("amount")?.parse().unwrap_or(u128::MAX);
        Ok(((address(row, "operator")?, address(row, "token")?), amount))
    };
    rows.iter().map(sum).collect()
}

/// The first block whose payments still count; none when those of no block do.
async fn window_start(conn: &mut PgConnection, now: OffsetDateTime) -> Result<Option<i64>, sqlx::Error> {
    let newest = "SELECT timestamp FROM chain.blocks ORDER BY number DESC LIMIT 1";
    let newest: Option<OffsetDateTime> = sqlx::query_scalar(newest).fetch_optional(&mut *conn).await?;
    let bucket = newest.map_or(now, |newest| newest.max(now)).unix_timestamp().div_euclid(BUCKET_SECONDS);
    let start = OffsetDateTime::from_unix_timestamp((bucket - BUCKETS_BEFORE) * BUCKET_SECONDS).unwrap_or(now);
    // Not min(number), which would be looked for from the oldest block on.
    sqlx::query_scalar("SELECT number FROM chain.blocks WHERE timestamp >= $1 ORDER BY timestamp, number LIMIT 1")
        .bind(start)
        .fetch_optional(conn)
        .await
}
