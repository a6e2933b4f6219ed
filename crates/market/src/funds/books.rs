//! Whether the books are right: looked at again and again, at the cost of what is new.
//!
//! Each look takes the transfers since the last one and a slice of all accounts. A transfer sums to zero in each asset and its legs are its
//! entries; an account's entries lead from the balance before to the balance after; the balance is that of the last entry. By induction all
//! entries sum to zero and every balance is the sum of its entries. What the ledger owes in USDC is then minus the balance of the outside, and
//! the custody account must have it.

use std::{collections::BTreeSet, fmt::Write as _};

use alloy::primitives::Address;
use api::Code;
use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::IntoResponse,
};
use indexer::read;
use sqlx::{PgConnection, PgPool, Row};
use subtle::ConstantTimeEq;
use time::OffsetDateTime;
use tracing::error;

use crate::{ledger, problem::Problem, service::Market};

/// Transfers and accounts of one look, at most.
const TRANSFERS_MAX: i64 = 10_000;
const ACCOUNTS_MAX: i64 = 1_000;
/// A look that is older than this is none.
const GOOD_FOR: &str = "5 minutes";

/// Whether withdrawals may leave.
pub(super) async fn clean(pool: &PgPool) -> sqlx::Result<bool> {
    let clean = "SELECT violation IS NULL AND checked_at > now() - $1::interval FROM books";
    sqlx::query_scalar(clean).bind(GOOD_FOR).fetch_one(pool).await
}

/// Looks, and writes down what was found.
pub(super) async fn look(market: &Market, custody: Address) -> sqlx::Result<()> {
    let mut tx = pg::begin(&market.pool).await?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut *tx).await?;
    let last =
        sqlx::query("SELECT now() AS begun, checked_to, scanned_to, last_id FROM books, ledger").fetch_one(&mut *tx).await?;
    let begun: OffsetDateTime = last.try_get("begun")?;
    let (checked_to, scanned_to, last_id): (i64, i64, i64) =
        (last.try_get("checked_to")?, last.try_get("scanned_to")?, last.try_get("last_id")?);
    let to = last_id.min(checked_to + TRANSFERS_MAX);
    let mut violation = transfers(&mut tx, checked_to, to).await?;
    let (scanned, differs) = accounts(&mut tx, scanned_to).await?;
    violation = violation.or(differs);
    let (owed, covered) = cover(&mut tx, market, custody).await?;
    if owed > covered {
        violation =
            violation.or(Some(format!("the ledger owes {owed} base units of USDC and the custody account covers {covered}")));
    }
    tx.commit().await?;
    if let Some(violation) = &violation {
        error!(%violation, "the books are not right; withdrawals stop");
    }
    // What is wrong stays in the range of the next look.
    let done = if violation.is_some() { (checked_to, scanned_to) } else { (to, scanned) };
    // Another instance may have looked at something newer meanwhile.
    let found = "UPDATE books SET checked_to = $1, scanned_to = $2, owed = $3, covered = $4, violation = $5, checked_at = $6
         WHERE checked_at < $6";
    let found = sqlx::query(found).bind(done.0).bind(done.1).bind(owed).bind(covered).bind(violation).bind(begun);
    found.execute(&market.pool).await?;
    Ok(())
}

/// What is wrong with the transfers after one and up to another, if anything.
async fn transfers(conn: &mut PgConnection, after: i64, to: i64) -> sqlx::Result<Option<String>> {
    let bodies = "SELECT id, body FROM transfers WHERE id > $1 AND id <= $2 ORDER BY id";
    let bodies = sqlx::query(bodies).bind(after).bind(to).fetch_all(&mut *conn).await?;
    let mut legs: [Vec<i64>; 3] = Default::default();
    for (row, expected) in bodies.iter().zip(after + 1..) {
        let id: i64 = row.try_get("id")?;
        let transfer = api::ledger::Transfer::from_body(row.try_get("body")?);
        let Some(transfer) = transfer.ok().filter(|transfer| id == expected && transfer.id == id.unsigned_abs()) else {
            return Ok(Some(format!("transfer {expected} is missing, cannot be read or does not sum to zero")));
        };
        for leg in &transfer.legs {
            let row = [leg.account.cast_signed(), id, leg.amount];
            legs.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
        }
    }
    if i64::try_from(bodies.len()).unwrap_or(i64::MAX) != to - after {
        return Ok(Some(format!("transfers between {after} and {to} are missing")));
    }
    let touched: Vec<i64> = legs[0].iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let count = i64::try_from(legs[0].len()).unwrap_or(i64::MAX);
    let [accounts, ids, amounts] = legs;
    let wrong = "SELECT min(leg.transfer) FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS leg (account, transfer, amount)
         LEFT JOIN entries AS e ON e.account = leg.account AND e.transfer = leg.transfer WHERE e.amount IS DISTINCT FROM leg.amount";
    let wrong: Option<i64> = sqlx::query_scalar(wrong).bind(accounts).bind(ids).bind(amounts).fetch_one(&mut *conn).await?;
    if let Some(id) = wrong {
        return Ok(Some(format!("the entries of transfer {id} are not its legs")));
    }
    // The balance before is that of the last entry before; and the entries are no more than the legs.
    let row = sqlx::query(
        "SELECT coalesce(sum(entries), 0)::bigint AS entries, min(account) FILTER (WHERE moved IS DISTINCT FROM now_has - had) AS wrong
         FROM (SELECT a.account,
                   (SELECT count(*) FROM entries AS e WHERE e.account = a.account AND transfer > $2 AND transfer <= $3) AS entries,
                   (SELECT sum(amount) FROM entries AS e WHERE e.account = a.account AND transfer > $2 AND transfer <= $3) AS moved,
                   coalesce((SELECT balance FROM entries AS e WHERE e.account = a.account AND transfer <= $2
                             ORDER BY transfer DESC LIMIT 1), 0) AS had,
                   (SELECT balance FROM entries AS e WHERE e.account = a.account AND transfer <= $3
                    ORDER BY transfer DESC LIMIT 1) AS now_has
               FROM unnest($1::bigint[]) AS a (account)) AS walked",
    );
    let row = row.bind(touched).bind(after).bind(to).fetch_one(conn).await?;
    if let Some(account) = row.try_get::<Option<i64>, _>("wrong")? {
        return Ok(Some(format!("the entries of account {account} do not lead from its balance to its balance")));
    }
    let entries: i64 = row.try_get("entries")?;
    Ok((entries != count).then(|| format!("there are {entries} entries for {count} legs after transfer {after}")))
}

/// The next slice of accounts: each has the balance of its last entry. Where to go on, and what is wrong.
async fn accounts(conn: &mut PgConnection, after: i64) -> sqlx::Result<(i64, Option<String>)> {
    let row = sqlx::query(
        "SELECT max(id) AS last, count(*) AS accounts, min(id) FILTER (WHERE balance <> last_balance) AS wrong
         FROM (SELECT id, balance, coalesce((SELECT e.balance FROM entries AS e WHERE e.account = a.id ORDER BY transfer DESC LIMIT 1), 0)
                   AS last_balance
               FROM accounts AS a WHERE id > $1 ORDER BY id LIMIT $2) AS slice",
    );
    let row = row.bind(after).bind(ACCOUNTS_MAX).fetch_one(conn).await?;
    let wrong: Option<i64> = row.try_get("wrong")?;
    let wrong = wrong.map(|account| format!("the balance of account {account} is not that of its last entry"));
    let is_end = row.try_get::<i64, _>("accounts")? < ACCOUNTS_MAX;
    let next = if is_end { 0 } else { row.try_get::<Option<i64>, _>("last")?.unwrap_or_default() };
    Ok((next, wrong))
}

/// What the ledger owes in USDC and what the custody account has, both as of the last block that was walked.
async fn cover(conn: &mut PgConnection, market: &Market, custody: Address) -> sqlx::Result<(i64, i64)> {
    // Paid out in a final block and still held in the ledger; settled and not yet in a final block, credited or about to be.
    let row = sqlx::query(
        "SELECT -balance - coalesce((SELECT sum(w.amount) FROM holds JOIN withdrawals AS w USING (id) WHERE state = 1 AND status = 'completed'), 0)::bigint
                 AS owed,
             walked_to,
             coalesce((SELECT sum(amount) FROM deposits WHERE payer_nonce IS NOT NULL AND block_number IS NULL AND status IN ('arrived', 'completed')
                           AND valid_before > coalesce((SELECT extract(epoch FROM b.timestamp)::bigint FROM chain.blocks AS b WHERE b.number = walked_to), 0)),
                 0)::bigint AS early
         FROM accounts, custody WHERE id = $1",
    );
    let row = row.bind(ledger::OUTSIDE).fetch_one(&mut *conn).await?;
    // Nothing came in before the first block was walked.
    let walked_to = u64::try_from(row.try_get::<i64, _>("walked_to")?).unwrap_or_default();
    let has = read::account(conn, market.deployment.usdc, custody, Some(walked_to)).await?.balance.base_units();
    Ok((row.try_get("owed")?, has.saturating_add(row.try_get("early")?)))
}

/// `GET /metrics`: the text format of Prometheus. What a market owes is nobody's business, so it takes a token (`authorization` of a scrape).
pub(crate) async fn metrics(State(market): State<Market>, headers: HeaderMap) -> Result<impl IntoResponse, Problem> {
    let none = || Problem::new(Code::NotFound, "This instance shows no metrics: start it with FLORIN_MARKET_METRICS_TOKEN");
    let token = market.metrics_token.as_deref().ok_or_else(none)?;
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if !bool::from(sent.unwrap_or_default().ct_eq(token.as_bytes())) {
        return Err(Problem::new(Code::Unauthenticated, "Send Authorization: Bearer with the token of the metrics"));
    }
    let row = sqlx::query(
        "SELECT owed, covered, (violation IS NOT NULL)::int::bigint AS violated, checked_to,
             extract(epoch FROM now() - greatest(checked_at, timestamptz '2000-01-01'))::bigint AS age,
             (SELECT last_id FROM ledger) AS last_id, (SELECT count(*) FROM unmatched) AS unmatched,
             (SELECT count(*) FROM withdrawals WHERE status = 'awaiting_approval') AS awaiting,
             (SELECT count(*) FROM withdrawals WHERE status = 'pending') AS pending,
             (SELECT count(*) FROM redemptions WHERE status IN ('pending', 'processing')) AS redemptions,
             (SELECT count(*) FROM batches WHERE status = 'open') AS batches,
             (SELECT count(*) FROM transactions WHERE status = 'disputed') AS disputed,
             (SELECT differing FROM transaction_checks) AS differing,
             (SELECT extract(epoch FROM now() - greatest(checked_at, timestamptz '2000-01-01'))::bigint FROM transaction_checks) AS compared_age,
             (SELECT last_seq FROM feed) AS events, (SELECT count(*) FROM webhook_deliveries WHERE due_at IS NOT NULL) AS deliveries,
             coalesce((SELECT first_id + count - 1 FROM seals ORDER BY sequence DESC LIMIT 1), 0) AS sealed
         FROM books",
    );
    let row = row.fetch_one(&market.pool).await?;
    let mut text = String::new();
    for (name, column, help) in [
        ("market_books_violated", "violated", "1 when the books are not right: withdrawals have stopped"),
        ("market_books_age_seconds", "age", "since the books were looked at"),
        ("market_books_checked_transfers", "checked_to", "transfers found right"),
        ("market_ledger_transfers", "last_id", "transfers in the ledger"),
        ("market_ledger_sealed_transfers", "sealed", "transfers sealed"),
        ("market_usdc_owed_units", "owed", "base units of USDC the ledger owes"),
        ("market_usdc_covered_units", "covered", "base units of USDC the custody account covers"),
        ("market_deposits_unmatched", "unmatched", "transfers to the custody account from nobody known"),
        ("market_withdrawals_awaiting_approval", "awaiting", "withdrawals an operator has to decide"),
        ("market_withdrawals_pending", "pending", "withdrawals that wait for a batch"),
        ("market_redemptions_open", "redemptions", "redemptions an operator has to decide or hand over"),
        ("market_feed_events", "events", "events in the live feed, ever"),
        ("market_webhook_deliveries_waiting", "deliveries", "deliveries of webhooks to be tried, or tried again"),
        ("market_batches_open", "batches", "batches of withdrawals that are not final"),
        ("market_transactions_disputed", "disputed", "purchases in steps that an arbiter has to decide"),
        (
            "market_transactions_differing",
            "differing",
            "purchases in steps that are not what the ledger or the chain says: must be 0",
        ),
        ("market_transactions_compared_age_seconds", "compared_age", "since they were compared"),
    ] {
        let value: i64 = row.try_get(column)?;
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
    }
    let (name, dropped) = ("market_searches_dropped_total", market.demand.dropped());
    let _ = writeln!(text, "# HELP {name} searches not logged because too many waited\n# TYPE {name} counter\n{name} {dropped}");
    let (name, readers) = ("market_feed_readers", market.feed.readers());
    let _ = writeln!(text, "# HELP {name} connections that read the live feed here\n# TYPE {name} gauge\n{name} {readers}");
    for (name, help, count) in market.meanings.counts() {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {count}");
    }
    for tier in market.contents.health().tiers {
        let (name, served) = (tier.name, tier.served);
        let _ = writeln!(text, "market_content_served_total{{tier=\"{name}\"}} {served}");
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}
