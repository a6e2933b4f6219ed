//! USDC between the chain and the ledger.
//!
//! One account on chain, the custody account, backs all USDC of the ledger. What comes in counts when the mirror shows it final, or when a
//! facilitator settled it as an x402 payment. The mirror's final blocks are walked once, in order, and everything that follows from a block is
//! written in one database transaction with the place of the walk.

pub(crate) mod anchor;
pub(crate) mod books;
pub(crate) mod deposits;
pub(crate) mod monthly;
mod payout;
pub(crate) mod redemptions;
pub(crate) mod top_up;
mod walk;
pub(crate) mod withdrawals;

use std::time::Duration;

use alloy::primitives::Address;
use api::{
    Code,
    ledger::{Amount, Asset},
};
use sqlx::Row;
use time::{OffsetDateTime, macros::datetime};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use crate::{
    ledger::{self, AccountId, Hold, Key, LedgerError, Order, Purpose, Refused, What},
    problem::Problem,
    service::{Market, Parts},
    wallet,
};

/// How often it is looked for what is new on chain.
const EVERY: Duration = Duration::from_secs(1);

impl Parts {
    /// The account that backs the ledger's USDC.
    pub(crate) fn custody(&self) -> Result<Address, Problem> {
        let none = "This market's operator named no custody account (--custody), so USDC can neither come in nor go out";
        self.custody.ok_or_else(|| Problem::new(Code::Unavailable, none))
    }
}

/// How long a look at what is to be sent may take. Whoever sends holds a lock in a database transaction that stands still meanwhile, which the
/// database ends after ten seconds.
const SEND_TIMEOUT: Duration = Duration::from_secs(8);
/// Holds ended in one go.
const END_MAX: i64 = 256;

/// A hold that is not given back by itself.
pub(crate) const NEVER: OffsetDateTime = datetime!(9999-01-01 00:00 UTC);

/// Sets money aside together with what it is for, once for a key. The id of both.
async fn set_aside(
    market: &Market,
    owner: Uuid,
    asset: Asset,
    amount: Amount,
    key: Key,
    what: impl FnOnce(Hold) -> What,
) -> Result<Uuid, Problem> {
    let from = wallet::account(market, owner, asset).await?;
    let held = ledger::open(&market.pool, owner, asset, Purpose::Held).await?;
    let hold = Hold { id: Uuid::now_v7(), from, held, amount, expires_at: NEVER };
    Ok(market.ledger.submit(Order { key: Some(key), what: what(hold) }).await?.reference)
}

/// Refuses who would decide what is their own, or their agent's.
pub(crate) async fn must_be_anothers(market: &Market, staff: Uuid, owners: &[Uuid]) -> Result<(), Problem> {
    let owned = "SELECT EXISTS (SELECT FROM agents WHERE id = ANY($1) AND creator_id = $2)";
    let is_own = owners.contains(&staff) || sqlx::query_scalar(owned).bind(owners).bind(staff).fetch_one(&market.pool).await?;
    let refused = || Problem::new(Code::Forbidden, "Nobody decides what is their own: somebody else has to");
    if is_own { Err(refused()) } else { Ok(()) }
}

/// Ends the holds of what has ended: `ended` answers id, amount and whether it was paid, up to a limit. Any number of instances may: a hold
/// ends once.
async fn end_holds(market: &Market, ended: &'static str, paid_to: AccountId) -> sqlx::Result<()> {
    for row in sqlx::query(ended).bind(END_MAX).fetch_all(&market.pool).await? {
        let (id, amount): (Uuid, _) = (row.try_get("id")?, ledger::amount(row.try_get("amount")?));
        let what = if row.try_get("is_paid")? { What::Post(id, paid_to, amount) } else { What::Void(id) };
        match market.ledger.submit(Order { key: None, what }).await {
            Ok(_) | Err(LedgerError::Refused(Refused::HoldEnded)) => {}
            Err(error) => warn!(hold = %id, %error, "a hold is not ended yet"),
        }
    }
    Ok(())
}

/// Why nothing could be sent. It is tried again.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("the node refuses or does not answer: {0}")]
    Node(#[from] alloy::transports::TransportError),
    #[error("a contract cannot be asked: {0}")]
    Contract(#[from] alloy::contract::Error),
    #[error("the key cannot sign: {0}")]
    Signer(#[from] alloy::signers::Error),
    #[error("the node took longer than {SEND_TIMEOUT:?}")]
    Timeout,
    #[error("the node has no block")]
    NoBlock,
    #[error("a transaction in the journal cannot be read: was the table changed by hand?")]
    Raw,
}

/// Follows the custody account until `stop`. Any number of instances may.
pub(crate) async fn follow(market: Market, stop: CancellationToken) {
    let Some(custody) = market.custody else { return };
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = once(&market, custody).await {
            warn!(%error, "the custody account cannot be followed; trying again");
        }
        if let Some(key) = &market.custody_key
            && let Err(error) =
                tokio::time::timeout(SEND_TIMEOUT, payout::send(&market, key)).await.unwrap_or(Err(SendError::Timeout))
        {
            warn!(%error, "withdrawals are not sent; trying again");
        }
    }
}

async fn once(market: &Market, custody: Address) -> sqlx::Result<()> {
    while walk::on(market, custody).await? {}
    deposits::credit_arrived(market).await?;
    withdrawals::end_holds(market).await?;
    books::look(market, custody).await
}
