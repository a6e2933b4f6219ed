//! What the ledger needs without being asked: seals, the end of holds, and the bonus of who is new.

use std::time::Duration;

use api::ledger::{Amount, Asset, Kind};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use super::account;
use crate::{
    ledger::{self, Key, LedgerError, Move, Order, Refused, What},
    problem::Problem,
    service::Market,
};

/// How often the ledger is sealed.
const SEAL_EVERY: Duration = Duration::from_secs(2);
/// 100 ARD.
const WELCOME: Amount = match Amount::from_units(100_000_000) {
    Some(amount) => amount,
    None => unreachable!(),
};
/// Agents welcomed in one go whose registration was cut short.
const WELCOME_MAX: i64 = 64;

/// Looks after the ledger until `stop`. Any number of instances may.
pub(crate) async fn upkeep(market: Market, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(SEAL_EVERY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = once(&market).await {
            warn!(%error, "the ledger cannot be looked after");
        }
    }
}

async fn once(market: &Market) -> sqlx::Result<()> {
    for hold in ledger::expired(&market.pool).await? {
        match market.ledger.submit(Order { key: None, what: What::Void(hold) }).await {
            // Ended by another instance, or by its owner just before.
            Ok(_) | Err(LedgerError::Refused(Refused::HoldEnded)) => {}
            Err(error) => warn!(%hold, %error, "a hold that expired is not given back yet"),
        }
    }
    let new = "SELECT id FROM agents WHERE NOT welcomed LIMIT $1";
    for agent in sqlx::query_scalar(new).bind(WELCOME_MAX).fetch_all(&market.pool).await? {
        welcome(market, agent).await;
    }
    while ledger::seal(&market.pool).await? > 0 {}
    match &market.ledger_key {
        Some(key) => ledger::sign(&market.pool, key).await,
        None => Ok(()),
    }
}

/// The bonus of who is new, once. What fails here is done by the next look after the ledger.
pub(crate) async fn welcome(market: &Market, agent: Uuid) {
    if let Err(Problem(problem)) = try_welcome(market, agent).await {
        warn!(%agent, %problem, "an agent has no bonus yet");
    }
}

async fn try_welcome(market: &Market, agent: Uuid) -> Result<(), Problem> {
    let to = account(market, agent, Asset::Ard).await?;
    let digest = alloy::primitives::keccak256([b"welcome", agent.as_bytes().as_slice()].concat());
    let key = Key { key: digest, fingerprint: digest };
    let what = What::Move(Move { kind: Kind::Bonus, from: ledger::MINT, to, amount: WELCOME, reference: agent, memo: None });
    market.ledger.submit(Order { key: Some(key), what }).await?;
    sqlx::query("UPDATE agents SET welcomed = TRUE WHERE id = $1").bind(agent).execute(&market.pool).await?;
    Ok(())
}
