//! What looks like fraud: looked for beside the buyers' path, in the order of the ledger, whose transfers have numbers in the order of their commits,
//! and in what was paid by x402, as it settles.
//!
//! What is new is judged in one transaction that also moves the cursor, so a crash finds nothing twice; judging in parts finds what judging at once
//! does. Whom findings refuse, every instance knows from memory.

mod fold;
mod payments;
mod rules;
mod views;

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use alloy::primitives::Address;
use api::Code;
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

pub use fold::fold;
pub use rules::Rules;
pub(crate) use views::{clear, list};

use crate::{
    access::Trail,
    calm::{Pace, Work},
    limits::Principal,
    problem::Problem,
    service::Market,
};

/// What is found late is found after the money has gone.
const PACE: Pace = Pace { batch_max: 250, rest: 15, wait_max: Duration::from_secs(60) };
/// How often what is over is removed.
const CLEAN_EVERY: Duration = Duration::from_secs(3_600);

/// Agents, and wallets, that findings keep from paying.
#[derive(Debug, Default)]
pub(crate) struct Refused(RwLock<Arc<HashSet<Uuid>>>);

impl Refused {
    /// Refuses whom a finding keeps from paying. Asked by every purchase, so it looks nowhere but here.
    pub(crate) fn may_pay(&self, agent: Uuid) -> Result<(), Problem> {
        if !self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&agent) {
            return Ok(());
        }
        let detail = "What this agent or wallet does looks like fraud, so it pays nothing until somebody has looked: write to the market's operator";
        Err(Problem::new(Code::UnderReview, detail))
    }

    /// The same for a wallet that signed a payment by x402.
    pub(crate) fn wallet_may_pay(&self, wallet: Address) -> Result<(), Problem> {
        Principal::Wallet(wallet).person().map_or(Ok(()), |wallet| self.may_pay(wallet))
    }

    pub(crate) async fn read(&self, pool: &PgPool) -> sqlx::Result<()> {
        // With the wallets of the agents, as findings name wallets.
        let refused =
            "WITH refused AS (SELECT DISTINCT unnest(agents) AS id FROM fraud_findings WHERE status = 'open' AND action = 'refuse')
             SELECT id FROM refused
             UNION SELECT encode(substring(a.wallet FROM 5), 'hex')::uuid FROM agents AS a JOIN refused AS r ON r.id = a.id";
        let refused: Vec<Uuid> = sqlx::query_scalar(refused).fetch_all(pool).await?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(refused.into_iter().collect());
        Ok(())
    }
}

/// Whether a finding makes withdrawals of somebody wait for approval, and transfers to others impossible.
pub(crate) async fn is_held(pool: &PgPool, person: Uuid) -> sqlx::Result<bool> {
    let held = "SELECT EXISTS (SELECT FROM fraud_findings AS f WHERE f.status = 'open' AND f.action <> 'flag'
             AND ($1 = ANY(f.agents) OR EXISTS (SELECT FROM agents AS a WHERE a.id = ANY(f.agents) AND a.person = $1)))";
    sqlx::query_scalar(held).bind(person).fetch_one(pool).await
}

/// Notes where somebody registered from, in the transaction that registers.
pub(crate) async fn registered(conn: &mut PgConnection, id: Uuid, trail: &Trail) -> sqlx::Result<()> {
    let Some(ip) = trail.ip else { return Ok(()) };
    let note = sqlx::query("INSERT INTO registrations (id, address) VALUES ($1, $2)");
    note.bind(id).bind(ip.to_string()).execute(conn).await.map(drop)
}

/// Looks until `stop`. Any number of instances may: one at a time judges, each reads what was found.
pub(crate) async fn follow(market: Market, stop: CancellationToken) {
    let (pool, rules) = (&market.pool, &market.fraud_rules);
    let (mut work, mut pause, mut cleaned) = (Work::new(PACE), Duration::ZERO, None::<Instant>);
    while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        let done = match work.turn(pool).await {
            Some(most) => Some(fold(pool, rules, most).await),
            None => None,
        };
        pause = work.next(done, "looking for fraud");
        if let Err(error) = market.refused.read(pool).await {
            warn!(%error, "whom findings refuse is not known anew");
        }
        if cleaned.is_none_or(|at| at.elapsed() > CLEAN_EVERY) {
            cleaned = Some(Instant::now());
            if let Err(error) = clean(pool).await {
                warn!(%error, "what is over cannot be removed");
            }
        }
    }
}

async fn clean(pool: &PgPool) -> sqlx::Result<()> {
    for over in [
        "DELETE FROM registrations WHERE at < now() - interval '1 day'",
        "DELETE FROM fraud_payers WHERE last_at < now() - interval '1 day'",
        "DELETE FROM fraud_pairs WHERE day < (SELECT extract(epoch FROM now())::bigint / 86400 - 8)",
    ] {
        sqlx::query(over).execute(pool).await?;
    }
    Ok(())
}
