//! How the market stands, in one answer: what is kept or counted anyway, and nothing whose cost grows with the market.

use alloy::signers::local::PrivateKeySigner;
use api::{AdminDashboard, BooksFound, MarketDay};
use axum::{Json, extract::State};
use money::Usdc;
use sqlx::{Row, postgres::PgRow};
use time::OffsetDateTime;

use crate::{health, ledger, problem::Problem, service::Market};

/// Rows of each kind that are counted, at most.
const COUNTED_MAX: i64 = 10_000;
const DAY_SECONDS: i64 = 86_400;

/// `GET /api/v1/admin/dashboard`
pub(crate) async fn show(State(market): State<Market>) -> Result<Json<AdminDashboard>, Problem> {
    let [agents, listings, _] = health::counted(&market).await?;
    let day = OffsetDateTime::now_utc().unix_timestamp().div_euclid(DAY_SECONDS);
    let row = sqlx::query(
        "SELECT owed, covered, violation, nullif(checked_at, 'epoch') AS checked_at,
             (SELECT count(*) FROM (SELECT FROM creators WHERE active LIMIT $1) AS c) AS creators,
             (SELECT count(*) FROM (SELECT FROM transactions WHERE status = 'disputed' LIMIT $1) AS d) AS disputes,
             (SELECT differing FROM transaction_checks) AS differing,
             (SELECT count(*) FROM (SELECT FROM fraud_findings WHERE status = 'open' LIMIT $1) AS f) AS findings,
             (SELECT count(*) FROM (SELECT FROM fraud_findings WHERE status = 'open' AND action <> 'flag' LIMIT $1) AS f) AS acting,
             awaiting.count AS awaiting, awaiting.units AS awaiting_units, awaiting.since AS awaiting_since,
             (SELECT count(*) FROM (SELECT FROM redemptions WHERE status IN ('pending', 'processing') LIMIT $1) AS r) AS redemptions,
             (SELECT count(*) FROM (SELECT FROM unmatched LIMIT $1) AS u) AS unmatched,
             last_id - coalesce((SELECT first_id + count - 1 FROM seals ORDER BY sequence DESC LIMIT 1), 0) AS unsealed,
             (SELECT count(*) FROM (SELECT FROM audit_events WHERE number IS NULL LIMIT $1) AS e) AS unsealed_events,
             coalesce((SELECT sequence FROM seals ORDER BY sequence DESC LIMIT 1), 0)
                 - coalesce((SELECT first_seal + count - 1 FROM anchors WHERE operator = $3 AND transaction_hash IS NOT NULL
                             ORDER BY sequence DESC LIMIT 1), 0) AS unanchored,
             today.*
         FROM books, ledger,
             (SELECT count(*) AS count, coalesce(sum(amount), 0)::bigint AS units, min(created_at) AS since
              FROM (SELECT amount, created_at FROM withdrawals WHERE status = 'awaiting_approval' ORDER BY id LIMIT $1) AS w) AS awaiting,
             (SELECT coalesce(sum(sold), 0)::bigint AS sold, coalesce(sum(usdc), 0)::bigint AS usdc, coalesce(sum(ard), 0)::bigint AS ard,
                  coalesce(sum(fees_usdc), 0)::bigint AS fees_usdc, coalesce(sum(fees_ard), 0)::bigint AS fees_ard
              FROM market_days WHERE day = $2) AS today",
    );
    let operator = market.ledger_key.as_ref().filter(|_| market.anchor_every.is_some()).map(PrivateKeySigner::address);
    let row = row.bind(COUNTED_MAX).bind(i32::try_from(day).unwrap_or_default()).bind(operator.map(|address| address.to_vec()));
    let row = row.fetch_one(&market.pool).await?;
    let today = MarketDay {
        day: OffsetDateTime::from_unix_timestamp(day * DAY_SECONDS).unwrap_or(OffsetDateTime::UNIX_EPOCH),
        sold: count(&row, "sold")?,
        usdc: usdc(&row, "usdc")?,
        ard: ledger::amount(row.try_get("ard")?),
        fees_usdc: usdc(&row, "fees_usdc")?,
        fees_ard: ledger::amount(row.try_get("fees_ard")?),
    };
    let (owed, covered) = (usdc(&row, "owed")?, usdc(&row, "covered")?);
    let books = BooksFound {
        owed,
        covered,
        missing: owed.checked_sub(covered).unwrap_or(Usdc::ZERO),
        violation: row.try_get("violation")?,
        checked_at: row.try_get("checked_at")?,
    };
    let unanchored = count(&row, "unanchored")?;
    Ok(Json(AdminDashboard {
        agents,
        creators: count(&row, "creators")?,
        listings,
        today,
        disputes: count(&row, "disputes")?,
        transactions_differing: count(&row, "differing")?,
        findings_open: count(&row, "findings")?,
        findings_acting: count(&row, "acting")?,
        withdrawals_awaiting: count(&row, "awaiting")?,
        withdrawals_awaiting_usdc: usdc(&row, "awaiting_units")?,
        withdrawals_awaiting_since: row.try_get("awaiting_since")?,
        redemptions_open: count(&row, "redemptions")?,
        deposits_unmatched: count(&row, "unmatched")?,
        transfers_unsealed: count(&row, "unsealed")?,
        events_unsealed: count(&row, "unsealed_events")?,
        seals_unanchored: operator.map(|_| unanchored),
        books,
    }))
}

/// Below zero, for a moment between two reads or on a day of which more was reversed than sold, is none.
fn count(row: &PgRow, column: &str) -> sqlx::Result<u64> {
    row.try_get::<i64, _>(column).map(|count| u64::try_from(count).unwrap_or_default())
}

fn usdc(row: &PgRow, column: &str) -> sqlx::Result<Usdc> {
    count(row, column).map(Usdc::from_base_units)
}
