//! What the ledger needs without being asked: seals, the end of holds, and the bonus of who is new.

use std::time::{Duration, Instant};

use alloy::primitives::Address;
use api::ledger::{Asset, Kind};
use sqlx::Row;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use super::{account, key};
use crate::{
    auth::sessions,
    db,
    funds::{monthly, redemptions},
    ledger::{self, Chain, LedgerError, Move, Order, Refused, What},
    limits,
    problem::Problem,
    proofs, routing,
    service::Market,
};

/// How often the ledger is sealed.
const SEAL_EVERY: Duration = Duration::from_secs(2);
/// How often rows that are over are removed.
const CLEAN_EVERY: Duration = Duration::from_secs(60);
/// Newcomers welcomed in one go whose registration was cut short.
const WELCOME_MAX: i64 = 64;

/// Looks after the ledger until `stop`. Any number of instances may.
pub(crate) async fn upkeep(market: Market, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(SEAL_EVERY);
    let mut cleaned = None::<Instant>;
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = once(&market).await {
            warn!(%error, "the ledger cannot be looked after");
        }
        if cleaned.is_none_or(|at| at.elapsed() > CLEAN_EVERY) {
            cleaned = Some(Instant::now());
            if let Err(error) = clean(&market).await {
                warn!(%error, "what is over cannot be removed");
            }
        }
    }
}

async fn clean(market: &Market) -> sqlx::Result<()> {
    sessions::clean(market).await?;
    routing::clean(&market.pool).await?;
    proofs::clean(&market.pool).await?;
    limits::clean(&market.pool).await
}

async fn once(market: &Market) -> sqlx::Result<()> {
    for hold in ledger::expired(&market.pool).await? {
        match market.ledger.submit(Order { key: None, what: What::Void(hold) }).await {
            // Ended by another instance, or by its owner just before.
            Ok(_) | Err(LedgerError::Refused(Refused::HoldEnded)) => {}
            Err(error) => warn!(%hold, %error, "a hold that expired is not given back yet"),
        }
    }
    redemptions::end(market).await?;
    if let Err(Problem(problem)) = monthly::pay_out(market).await {
        warn!(%problem, "creators are not paid out yet");
    }
    let new = "SELECT id, wallet FROM agents WHERE NOT welcomed LIMIT $1";
    for row in sqlx::query(new).bind(WELCOME_MAX).fetch_all(&market.pool).await? {
        welcome(market, row.try_get("id")?, db::address(&row, "wallet")?).await;
    }
    for chain in [Chain::Ledger, Chain::Audit] {
        while chain.seal(&market.pool).await? > 0 {}
        if let Some(key) = &market.ledger_key {
            chain.sign(&market.pool, key).await?;
        }
    }
    Ok(())
}

/// The bonus of who is new, once for a wallet. What fails here is done by the next look after the ledger.
pub(crate) async fn welcome(market: &Market, agent: Uuid, wallet: Address) {
    if let Err(Problem(problem)) = try_welcome(market, agent, wallet).await {
        warn!(%agent, %problem, "somebody new has no bonus yet");
    }
}

async fn try_welcome(market: &Market, agent: Uuid, wallet: Address) -> Result<(), Problem> {
    let amount = market.signup_bonus;
    if !amount.is_zero() {
        let to = account(market, agent, Asset::Ard).await?;
        let what = What::Move(Move { kind: Kind::Bonus, from: ledger::MINT, to, amount, reference: agent, memo: None });
        market.ledger.submit(Order { key: Some(key::once("welcome", wallet.as_slice(), "")), what }).await?;
    }
    sqlx::query("UPDATE agents SET welcomed = TRUE WHERE id = $1").bind(agent).execute(&market.pool).await?;
    Ok(())
}
