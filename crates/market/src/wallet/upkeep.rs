//! What the ledger needs without being asked: seals, the end of holds, and the bonus of who is new.

use std::time::{Duration, Instant};

use api::ledger::{Amount, Asset, Kind};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use super::{account, key};
use crate::{
    auth::sessions,
    funds::{monthly, redemptions},
    ledger::{self, LedgerError, Move, Order, Refused, What},
    limits,
    problem::Problem,
    service::Market,
};

/// How often the ledger is sealed.
const SEAL_EVERY: Duration = Duration::from_secs(2);
/// How often rows that are over are removed.
const CLEAN_EVERY: Duration = Duration::from_secs(60);
/// 100 ARD.
const WELCOME: Amount = match Amount::from_units(100_000_000) {
    Some(amount) => amount,
    None => unreachable!(),
};
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
    for who in [Newcomer::Agent, Newcomer::Creator] {
        let table = who.table();
        let new = sqlx::AssertSqlSafe(format!("SELECT id FROM {table} WHERE NOT welcomed LIMIT $1"));
        for id in sqlx::query_scalar(new).bind(WELCOME_MAX).fetch_all(&market.pool).await? {
            welcome(market, who, id).await;
        }
    }
    while ledger::seal(&market.pool).await? > 0 {}
    match &market.ledger_key {
        Some(key) => ledger::sign(&market.pool, key).await,
        None => Ok(()),
    }
}

/// Who is new.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Newcomer {
    Agent,
    Creator,
}

impl Newcomer {
    const fn table(self) -> &'static str {
        match self {
            Self::Agent => "agents",
            Self::Creator => "creators",
        }
    }
}

/// The bonus of who is new, once. What fails here is done by the next look after the ledger.
pub(crate) async fn welcome(market: &Market, who: Newcomer, id: Uuid) {
    if let Err(Problem(problem)) = try_welcome(market, who, id).await {
        warn!(?who, %id, %problem, "somebody new has no bonus yet");
    }
}

async fn try_welcome(market: &Market, who: Newcomer, id: Uuid) -> Result<(), Problem> {
    let to = account(market, id, Asset::Ard).await?;
    let what = What::Move(Move { kind: Kind::Bonus, from: ledger::MINT, to, amount: WELCOME, reference: id, memo: None });
    market.ledger.submit(Order { key: Some(key::once("welcome", id, "")), what }).await?;
    let welcomed = format!("UPDATE {} SET welcomed = TRUE WHERE id = $1", who.table());
    sqlx::query(sqlx::AssertSqlSafe(welcomed)).bind(id).execute(&market.pool).await?;
    Ok(())
}
