//! Moving the money of a purchase that is written down, and finding out whether it moved.

use std::time::Duration;

use alloy::primitives::B256;
use indexer::read::{self, TransferFilter};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::journal::{self, Entry};
use crate::{problem::Problem, service::Market};

/// How often purchases without an outcome are looked for.
const INTERVAL: Duration = Duration::from_secs(2);

/// What became of a payment.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// It moved, by this transaction.
    Settled(Option<B256>),
    /// Not known yet.
    Pending,
    /// It did not move, for this reason.
    Failed(String),
}

/// Has the payment settled and writes down what became of it. Safe to repeat and to run twice at once: the payment has one nonce.
pub(crate) async fn settle(market: &Market, entry: &Entry) -> Result<Outcome, Problem> {
    let answer = match market.facilitator.settle(&entry.request).await {
        Ok(answer) => answer,
        Err(error) => {
            warn!(purchase = %entry.id, %error, "a settlement has no outcome yet");
            return Ok(Outcome::Pending);
        }
    };
    if answer.success {
        let transaction = answer.transaction_hash();
        journal::settled(&market.pool, entry.id, transaction).await?;
        return Ok(Outcome::Settled(transaction));
    }
    if answer.is_pending() {
        return Ok(Outcome::Pending);
    }
    // Anybody may carry a signed payment to the chain before the facilitator does: what counts is whether the money moved.
    if let Some(transaction) = on_chain(market, entry).await {
        journal::settled(&market.pool, entry.id, Some(transaction)).await?;
        return Ok(Outcome::Settled(Some(transaction)));
    }
    let reason = answer.error_reason.map_or_else(|| "the payment could not be settled".into(), |reason| reason.to_string());
    journal::failed(&market.pool, entry, Some(&reason)).await?;
    Ok(Outcome::Failed(reason))
}

/// Whether a payment that was refused moved all the same.
async fn look(market: &Market, entry: &Entry) -> sqlx::Result<()> {
    match on_chain(market, entry).await {
        Some(transaction) => journal::settled(&market.pool, entry.id, Some(transaction)).await,
        None => journal::failed(&market.pool, entry, None).await,
    }
}

/// The transaction that moved this very payment, if the mirror has it.
async fn on_chain(market: &Market, entry: &Entry) -> Option<B256> {
    let filter = TransferFilter {
        sender: Some(entry.payer),
        authorization_nonce: Some(entry.authorization()?),
        limit: 1,
        ..TransferFilter::default()
    };
    let mut conn = market.pool.acquire().await.ok()?;
    let transfers =
        read::transfers(&mut conn, &filter).await.inspect_err(|error| warn!(%error, "the mirror cannot be read")).ok()?;
    let paid = transfers.iter().find(|t| t.from == entry.payer && t.to == entry.pay_to && t.amount == entry.amount);
    paid.filter(|_| entry.token == market.deployment.usdc).map(|transfer| transfer.place.transaction_hash)
}

/// Follows up purchases that a crash, a timeout or a hung-up buyer left without an outcome, until `stop`.
pub(crate) async fn follow_up(market: Market, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(INTERVAL);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let due = match journal::due(&market.pool).await {
            Ok(due) => due,
            Err(error) => {
                warn!(%error, "purchases cannot be followed up");
                continue;
            }
        };
        for entry in due {
            // What was refused is not tried again without its buyer: only the chain can say that it moved all the same.
            let looked = match entry.is_refused {
                true => look(&market, &entry).await.map_err(Problem::from),
                false => settle(&market, &entry).await.map(drop),
            };
            if let Err(Problem(problem)) = looked {
                warn!(purchase = %entry.id, %problem, "a purchase cannot be followed up");
            }
        }
    }
}
