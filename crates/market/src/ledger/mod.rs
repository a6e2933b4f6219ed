//! Money inside the marketplace: double entry, in one total order.
//!
//! A transfer's entries sum to zero in each asset, no account but the outside's goes below zero, and a balance is the sum of its entries. Whoever
//! appends locks the end of the ledger first, so ids follow the order of commits without a gap, whatever number of instances write, and two
//! writers cannot deadlock. What makes that fast is that orders are not appended one by one: while one batch commits, the next collects.

mod accounts;
mod batch;
mod past;
mod rates;
mod request;
mod seal;
mod write;
mod writer;

pub(crate) use accounts::House;
pub use accounts::{AccountId, Purpose, open};
use alloy::primitives::B256;
use api::ledger::{Amount, Asset, Kind};
use money::Bps;
pub(crate) use past::replay;
pub use rates::{Rates, Tier, Tiers};
pub use request::{Redemption, Sending, Undoing, Withdrawal};
pub(crate) use seal::Chain;
pub use seal::{Checked, check, proof, seal, sealed, seals, sign};
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;
pub use writer::Ledger;

/// The account that ARD is minted from.
pub const MINT: AccountId = House::of(Asset::Ard).outside;

/// The account that USDC comes from and goes to: minus its balance is what the custody account on chain must cover.
pub const OUTSIDE: AccountId = House::of(Asset::Usdc).outside;

/// Units that are not negative; nothing else.
pub(crate) fn amount(units: i64) -> Amount {
    u64::try_from(units).ok().and_then(Amount::from_units).unwrap_or_default()
}

/// All that an account earned and spent, in ARD: what its tier goes by.
pub(crate) fn volume(asset: Asset, earned: i64, spent: i64) -> Amount {
    let worth = if asset == Asset::Usdc { 1_000 } else { 1 };
    let volume = (i128::from(earned) + i128::from(spent)) * worth;
    u64::try_from(volume).ok().and_then(Amount::from_units).unwrap_or(Amount::MAX)
}

/// The last transfer that was there at a time; 0 before the first. Ids have no gap and times follow them, so halving finds it, however long the
/// ledger is.
pub(crate) async fn last_at(pool: &PgPool, at: OffsetDateTime) -> sqlx::Result<i64> {
    let halving = "WITH RECURSIVE search (low, high) AS (
             SELECT 0::bigint, last_id FROM ledger
             UNION ALL
             SELECT CASE WHEN t.at <= $1 THEN t.id ELSE low END, CASE WHEN t.at <= $1 THEN high ELSE t.id - 1 END
             FROM search JOIN transfers AS t ON t.id = (low + high + 1) / 2 WHERE low < high)
         SELECT max(low) FROM search";
    sqlx::query_scalar(halving).bind(at).fetch_one(pool).await
}

/// The holds that have expired, some of them: to be voided.
pub(crate) async fn expired(pool: &PgPool) -> sqlx::Result<Vec<Uuid>> {
    /// Voided in one go, at most.
    const EXPIRED_MAX: i64 = 256;
    let expired = "SELECT id FROM holds WHERE state = 1 AND expires_at <= now() ORDER BY expires_at LIMIT $1";
    sqlx::query_scalar(expired).bind(EXPIRED_MAX).fetch_all(pool).await
}

/// What is asked of the ledger.
#[derive(Clone, Debug)]
pub struct Order {
    /// With it, the same order is never done twice.
    pub key: Option<Key>,
    /// What is to be done.
    pub what: What,
}

/// An idempotency key, as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Of caller, path and the key itself.
    pub key: B256,
    /// Of the request.
    pub fingerprint: B256,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum What {
    /// A purchase.
    Sale(Sale),
    /// From one account to another.
    Move(Move),
    /// The same, within what somebody may send to others in a day.
    Send(Move, Sending),
    /// Money is set aside for something that is not decided yet.
    Hold(Hold),
    /// Money is set aside for a purchase in steps, if that waits for it: the price in a hold of its id, or the bond of a dispute in that of the bond.
    Pay(Hold),
    /// What is held pays for a sale, and the rest is given back.
    Settle(Uuid, Sale),
    /// Money is set aside to be paid out on chain.
    Withdraw(Hold, Withdrawal),
    /// Money is set aside to be redeemed for something outside.
    Redeem(Hold, Redemption),
    /// So much of what is held is paid to an account, and the rest given back.
    Post(Uuid, AccountId, Amount),
    /// What is held is given back.
    Void(Uuid),
    /// A sale, a transfer or a bonus is undone, once, and who decided so is written down with it.
    Reverse(u64, Option<Undoing>),
}

impl What {
    fn sale(&self) -> Option<&Sale> {
        match self {
            Self::Sale(sale) | Self::Settle(_, sale) => Some(sale),
            _ => None,
        }
    }

    /// What is to be set aside.
    fn hold(&self) -> Option<&Hold> {
        match self {
            Self::Hold(hold) | Self::Pay(hold) | Self::Withdraw(hold, _) | Self::Redeem(hold, _) => Some(hold),
            _ => None,
        }
    }
}

/// A purchase paid from the ledger.
#[derive(Clone, Debug)]
pub struct Sale {
    /// Of the purchase.
    pub id: Uuid,
    /// What is bought.
    pub listing: Uuid,
    /// Who pays. The asset of the account is what is paid in.
    pub buyer: Party,
    /// Who sells.
    pub seller: Party,
    /// Who gets how much of the seller's net.
    pub royalty: Option<(AccountId, Bps)>,
    /// What it costs.
    pub price: Amount,
    /// Of the content, 1 being 10,000.
    pub quality: Bps,
    /// The person behind the buyer, whose purchases of one content earn the seller one bonus. `None` when that is the seller, too: then none.
    pub rewarded: Option<Uuid>,
    /// SHA-256 of the content.
    pub content_hash: B256,
    /// Its bytes.
    pub content_size: u64,
    /// Its media type.
    pub content_type: String,
    /// How long the buyer gets the same content again without charge.
    pub owned_for: time::Duration,
    /// When the listing had changed last, as the buyer was charged for it: what has changed since is not sold. `None` sells what is no listing.
    pub offered: Option<OffsetDateTime>,
}

/// Who, and with which account.
#[derive(Clone, Copy, Debug)]
pub struct Party {
    /// The agent or creator.
    pub id: Uuid,
    /// Its free account.
    pub account: AccountId,
}

/// From one account to another of the same asset.
#[derive(Clone, Debug)]
pub struct Move {
    /// Why.
    pub kind: Kind,
    /// Who gives.
    pub from: AccountId,
    /// Who gets.
    pub to: AccountId,
    /// How much.
    pub amount: Amount,
    /// What it is about; all zeros for nothing.
    pub reference: Uuid,
    /// A note of who asked for it.
    pub memo: Option<String>,
}

/// Money that is set aside.
#[derive(Clone, Debug)]
pub struct Hold {
    /// Of the hold.
    pub id: Uuid,
    /// Whose free account gives.
    pub from: AccountId,
    /// The held account of the same owner.
    pub held: AccountId,
    /// How much.
    pub amount: Amount,
    /// When it is given back by itself.
    pub expires_at: OffsetDateTime,
}

/// An order that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The transfer's id.
    pub transfer: u64,
    /// When it was appended.
    pub at: OffsetDateTime,
    /// What it is about.
    pub reference: Uuid,
    /// Of the account of its first leg, afterwards: of who pays.
    pub balance: Amount,
    /// How it came to be done.
    pub how: How,
}

/// How an order came to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Just now.
    Now,
    /// Before, by the same order with the same key.
    Replayed,
    /// The buyer owns the content since then; nothing was charged.
    Owned,
}

/// Why an order was not done. Nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The account has less.
    #[error("{needs} {asset} are needed and {has} are there: top up, then ask again")]
    Insufficient {
        /// Whose account.
        owner: Uuid,
        /// Of what.
        asset: Asset,
        /// What is there.
        has: Amount,
        /// What is needed.
        needs: Amount,
    },
    /// One key, two requests.
    #[error("the key was used for another request: use a new one for a new request")]
    KeyReused,
    /// It is not for sale as it was.
    #[error("the listing has just changed: look at it again")]
    Changed,
    /// Nothing would move.
    #[error("payer and payee are the same")]
    ToOneself,
    /// The fee would take all.
    #[error("the price is so small that its fee would leave the seller nothing")]
    TooSmall,
    /// A balance would not fit.
    #[error("the amount is larger than the ledger can hold")]
    TooLarge,
    /// Nobody opened the account.
    #[error("account {0} does not exist")]
    NoSuchAccount(AccountId),
    /// One account is of USDC, the other of ARD.
    #[error("the accounts are not of one asset")]
    OtherAsset,
    /// Nothing to reverse.
    #[error("there is no such transfer")]
    NoSuchTransfer,
    /// Something else undoes it, or nothing does.
    #[error("a {0:?} cannot be reversed")]
    NotReversible(Kind),
    /// Ids of holds are used once.
    #[error("the id of the hold was used before")]
    HoldExists,
    /// Nothing is held by that id.
    #[error("there is no such hold")]
    NoSuchHold,
    /// It was paid out or given back.
    #[error("the hold has ended")]
    HoldEnded,
    /// Nobody decided to pay, or somebody decides something else right now.
    #[error("the purchase does not wait for this payment: look at it again")]
    NotAwaited,
    /// More than may leave in a day.
    #[error("{left} USDC, or their worth in ARD, can leave now, the limit being {limit} in 24 hours: ask for less, or later")]
    OverDayLimit {
        /// In 24 hours.
        limit: Amount,
        /// What is left of it.
        left: Amount,
    },
    /// A hold pays at most what it holds.
    #[error("{wanted} is more than the {held} that are held")]
    MoreThanHeld {
        /// What is held.
        held: Amount,
        /// What was asked for.
        wanted: Amount,
    },
}

/// Why there is no answer to an order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// Nothing was done.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Too many wait already. Nothing was done.
    #[error("the ledger is overloaded: ask again with the same key")]
    Busy,
    /// The database failed, perhaps while it committed.
    #[error("the ledger does not answer: ask again with the same key, and it is done once")]
    Unavailable,
}
