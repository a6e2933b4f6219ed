//! Once a month, on its first day, what creators have in ARD is redeemed for them, the way they chose.
//!
//! The first look of a month begins it, and a market that was down catches up. Creators are dealt with one by one, each once: a payout's key in
//! the ledger is made of creator and month, so what two instances do, or one does again after a crash, is done once.

use api::{
    PayoutMethod,
    ledger::{Amount, Asset},
};
use sqlx::Row;
use tracing::info;
use uuid::Uuid;

use super::set_aside;
use crate::{
    db,
    ledger::{self, Purpose, What},
    problem::Problem,
    service::Market,
    wallet,
};

/// Who has less waits for another month: 10,000 ARD, which is enough for every method.
const LEAST: Amount = match Amount::from_units(10_000_000_000) {
    Some(least) => least,
    None => unreachable!(),
};
/// Creators read at a time.
const STEP: i64 = 64;

/// Pays out what is due this month. Any number of instances may.
pub(crate) async fn pay_out(market: &Market) -> Result<(), Problem> {
    // The database's clock: instances need not agree on when a month begins.
    let at = "SELECT month, walked_to, ended_at IS NOT NULL AS is_over
         FROM (SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM') AS month) AS this LEFT JOIN payout_months USING (month)";
    let at = sqlx::query(at).fetch_one(&market.pool).await?;
    let (month, walked_to): (String, Option<Uuid>) = (at.try_get("month")?, at.try_get("walked_to")?);
    if at.try_get("is_over")? {
        return Ok(());
    }
    let begin = "INSERT INTO payout_months (month) VALUES ($1) ON CONFLICT DO NOTHING";
    sqlx::query(begin).bind(&month).execute(&market.pool).await?;
    let mut walked_to = walked_to.unwrap_or_default();
    loop {
        let due = sqlx::query(
            "SELECT c.id, c.payout_method, c.payout_details::text AS details, a.balance FROM creators AS c
             JOIN accounts AS a ON a.owner = c.id AND a.asset = $2 AND a.purpose = $3
             WHERE c.id > $1 AND c.active AND c.payout_method <> 'none' AND a.balance >= $4 ORDER BY c.id LIMIT $5",
        );
        let due = due.bind(walked_to).bind(Asset::Ard as i16).bind(Purpose::Free as i16).bind(LEAST.signed()).bind(STEP);
        let due = due.fetch_all(&market.pool).await?;
        for row in &due {
            let creator: Uuid = row.try_get("id")?;
            if let Some(method) = db::named::<PayoutMethod>(row, "payout_method")?.redemption() {
                let amount = ledger::amount(row.try_get("balance")?);
                let asked = ledger::Redemption {
                    owner: creator,
                    method: db::name_of(method),
                    details: row.try_get("details")?,
                    needs_approval: true,
                    payout_month: Some(month.clone()),
                };
                let key = wallet::once("payout", creator.as_bytes(), &month);
                // Who spends at this moment is looked at again, with what is left.
                set_aside(market, creator, Asset::Ard, amount, key, |hold| What::Redeem(hold, asked)).await?;
                info!(%creator, %amount, %month, "a payout waits for approval");
            }
            walked_to = creator;
            let walked = "UPDATE payout_months SET walked_to = greatest(walked_to, $2) WHERE month = $1";
            sqlx::query(walked).bind(&month).bind(creator).execute(&market.pool).await?;
        }
        if due.len() < STEP as usize {
            let over = "UPDATE payout_months SET ended_at = now() WHERE month = $1 AND ended_at IS NULL";
            sqlx::query(over).bind(&month).execute(&market.pool).await?;
            return Ok(());
        }
    }
}
