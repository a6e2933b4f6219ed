//! Whether what is written down of purchases in steps is what the ledger and the mirror of the chain say: proved every minute.
//!
//! All that are under way are compared, and a slice of the others, in one snapshot of the database. What was decided and not done yet is no
//! difference: the row says what is to come. There must be none, whatever is killed when.

use std::collections::HashMap;

use alloy::primitives::B256;
use api::{TransactionCheck, TransactionDifference};
use indexer::read::{self, Agreement, AgreementStatus};
use sqlx::{PgConnection, PgPool, Row};
use tracing::error;
use uuid::Uuid;

use super::row::{self, Deal};
use crate::{problem::Problem, service::Market};

/// Purchases of each kind in one look, at most.
const COMPARED_MAX: i64 = 5_000;
/// How often one instance looks.
const EVERY: &str = "1 minute";

/// What the hold and the sale of a purchase, and the hold of its bond, must be like, by its status and what was decided.
const UNLIKE_LEDGER: &str = "
    SELECT t.id, t.status || coalesce(', to be followed by ' || t.step, '') || ', but the hold is '
            || CASE h.state WHEN 1 THEN 'open' WHEN 2 THEN 'paid out' WHEN 3 THEN 'given back' ELSE 'not there' END
            || coalesce(' of ' || h.amount, '') || coalesce(' and ' || s.price || ' were paid', '')
            || coalesce('; the bond is ' || t.bond_state, '') || coalesce(' and its hold of ' || b.amount || ' in state ' || b.state, '') AS what
    FROM transactions AS t LEFT JOIN holds AS h ON h.id = t.id LEFT JOIN sales AS s ON s.id = t.id LEFT JOIN holds AS b ON b.id = t.bond_id
    WHERE t.id = ANY($1) AND t.status IS NOT NULL AND (coalesce(h.amount <> t.price, FALSE) OR NOT coalesce(CASE
        WHEN t.status = 'payment_pending' THEN h.id IS NULL OR (t.step = 'hold' AND h.state = 1)
        WHEN t.status = 'failed' OR (t.status = 'expired' AND t.step IS NULL) THEN h.id IS NULL
        WHEN t.status = 'completed' THEN h.state = 2 AND s.price = t.to_seller
        WHEN t.status = 'refunded' THEN h.state = 3 AND s.id IS NULL
        WHEN t.step = 'settle' THEN h.state = 1 OR (h.state = 2 AND s.price = t.to_seller)
        WHEN t.step = 'void' THEN h.state IN (1, 3)
        ELSE h.state = 1
    END, FALSE) OR coalesce(b.amount <> t.bond, FALSE) OR NOT coalesce(CASE
        WHEN t.step = 'bond' THEN t.bond_state IS NULL AND (b.id IS NULL OR b.state = 1)
        WHEN t.bond_state IS NULL THEN b.id IS NULL
        WHEN t.step = 'return_bond' THEN t.bond_state = 'held' AND b.state IN (1, 3)
        WHEN t.step = 'forfeit_bond' THEN t.bond_state = 'held' AND b.state IN (1, 2)
        WHEN t.bond_state = 'held' THEN t.status = 'disputed' AND b.state = 1
        WHEN t.bond_state = 'returned' THEN b.state = 3
        ELSE b.state = 2
    END, FALSE))";

/// Deadlines that nobody kept.
const OVERDUE: &str = "SELECT id, status || ' since before its deadline at ' || due_at AS what FROM transactions
    WHERE id = ANY($1) AND step IS NULL AND due_at < now() - interval '10 minutes'";

/// `GET /api/v1/admin/transactions/check` looks at once.
pub(super) async fn look(market: &Market) -> Result<TransactionCheck, Problem> {
    let scanned_to = sqlx::query_scalar("SELECT scanned_to FROM transaction_checks").fetch_one(&market.pool).await?;
    Ok(compare(&market.pool, scanned_to).await?.0)
}

/// Looks when nobody has for a while, and writes down what was found.
pub(super) async fn now_and_then(market: &Market) -> sqlx::Result<()> {
    let turn = "UPDATE transaction_checks SET checked_at = now() WHERE checked_at < now() - $1::interval RETURNING scanned_to";
    let Some(scanned_to) = sqlx::query_scalar(turn).bind(EVERY).fetch_optional(&market.pool).await? else { return Ok(()) };
    let (check, scanned_to) = compare(&market.pool, scanned_to).await?;
    for TransactionDifference { id, what } in &check.differing {
        error!(transaction = %id, %what, "a purchase is not what the ledger or the chain says");
    }
    let found = "UPDATE transaction_checks SET scanned_to = $1, compared = $2, differing = $3";
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let found = sqlx::query(found).bind(scanned_to).bind(check.compared.cast_signed()).bind(count(check.differing.len()));
    found.execute(&market.pool).await?;
    Ok(())
}

/// What differs, and where the next slice begins.
async fn compare(pool: &PgPool, scanned_to: Uuid) -> sqlx::Result<(TransactionCheck, Uuid)> {
    let mut tx = pg::begin_with(pool, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    let slice: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM transactions WHERE id > $1 ORDER BY id LIMIT $2")
        .bind(scanned_to)
        .bind(COMPARED_MAX)
        .fetch_all(&mut *tx)
        .await?;
    let is_end = i64::try_from(slice.len()).unwrap_or(i64::MAX) < COMPARED_MAX;
    let next = slice.last().copied().filter(|_| !is_end).unwrap_or_default();
    let open = "(SELECT id FROM transactions WHERE due_at IS NOT NULL ORDER BY due_at LIMIT $1)
         UNION ALL (SELECT id FROM transactions WHERE step IS NOT NULL ORDER BY step_at LIMIT $1)
         UNION ALL (SELECT id FROM transactions WHERE method = 'escrow' AND outcome IS NULL ORDER BY id DESC LIMIT $1)";
    let mut ids: Vec<Uuid> = sqlx::query_scalar(open).bind(COMPARED_MAX).fetch_all(&mut *tx).await?;
    ids.extend(slice);
    ids.sort_unstable();
    ids.dedup();
    let mut differing = Vec::new();
    for unlike in [UNLIKE_LEDGER, OVERDUE] {
        for row in sqlx::query(unlike).bind(&ids).fetch_all(&mut *tx).await? {
            differing.push(TransactionDifference { id: row.try_get("id")?, what: row.try_get("what")? });
        }
    }
    differing.extend(unlike_chain(&mut tx, &ids).await?);
    tx.commit().await?;
    Ok((TransactionCheck { compared: ids.len() as u64, differing }, next))
}

async fn unlike_chain(conn: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<Vec<TransactionDifference>> {
    let rows = sqlx::query("SELECT * FROM transactions WHERE id = ANY($1) AND method = 'escrow'").bind(ids);
    let rows = rows.fetch_all(&mut *conn).await?;
    let deals = rows.iter().map(|row| Ok((row::deal(row)?, row.try_get("outcome")?)));
    let deals: Vec<(Deal, Option<String>)> = deals.collect::<sqlx::Result<_>>()?;
    let agreements: Vec<B256> = deals.iter().filter_map(|(deal, _)| Some(deal.agreed()?.id)).collect();
    let found: HashMap<_, _> =
        if agreements.is_empty() { HashMap::new() } else { read::agreements_of(conn, &agreements, None).await? };
    let unlike = |(deal, outcome): &(Deal, Option<String>)| {
        let found = found.get(&deal.agreed()?.id).map(|found| &found.state);
        let what = unlike_agreement(deal, outcome.as_deref(), found)?;
        Some(TransactionDifference { id: deal.id, what: what.into() })
    };
    Ok(deals.iter().filter_map(unlike).collect())
}

/// What is written down here of an agreement is what was agreed, that the content left, and how it ended.
fn unlike_agreement(deal: &Deal, outcome: Option<&str>, found: Option<&Agreement>) -> Option<&'static str> {
    let agreed = deal.agreed()?;
    if !agreed.is_sound() {
        return Some("its terms are not those of its agreement");
    }
    let Some(found) = found else {
        let has_effect = deal.read_at.is_some() || outcome.is_some();
        return has_effect.then_some("the content left or the end was counted, but the chain has no such agreement");
    };
    if (found.buyer, found.seller, found.content_hash) != (deal.buyer, agreed.terms.seller, deal.content_hash) {
        return Some("the agreement on chain is about something else");
    }
    if deal.read_at.is_some() && found.delivery_hash.is_none() {
        return Some("the content left, but the chain has no delivery");
    }
    use AgreementStatus::{Refunded, Released, Resolved};
    let is_ended_so = match outcome {
        None => true,
        Some("released") => matches!(found.status, Released | Resolved),
        Some(_) => matches!(found.status, Refunded | Resolved),
    };
    (!is_ended_so).then_some("its end was counted as another than the chain's")
}
