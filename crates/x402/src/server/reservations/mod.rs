//! Who serves which payment, in a store that every copy of a service shares.

mod codec;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;

use std::{sync::Arc, time::Duration};

use alloy::primitives::B256;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, StatusCode};
use tokio::task::JoinHandle;

pub use self::memory::MemoryReservations;
#[cfg(feature = "postgres")]
pub use self::postgres::PostgresReservations;
#[cfg(feature = "redis")]
pub use self::redis::RedisReservations;
use crate::{SettleResponse, TokenAmount};

/// How long a reservation lasts that nobody renews: a client that has the same payment sent again gives up after minutes, and signs anew.
const LEASE: Duration = Duration::from_secs(30);
/// How long a spent payment and a kept answer are remembered. Longer than an authorization usually lives.
pub(super) const REMEMBERED: Duration = Duration::from_secs(3600);
/// How often what need not be remembered any more is removed.
const PRUNE_EVERY: Duration = Duration::from_secs(10);

/// What asking for a payment's reservation found.
#[derive(Clone, Debug)]
pub enum Claim {
    /// Not seen before: reserved for the caller.
    New(Lease),
    /// Somebody else is serving it.
    Busy,
    /// It was to be settled and nobody knows the outcome: reserved for the caller, to settle again.
    Resume(Lease, Box<Kept>),
    /// Served and settled.
    Spent(Box<Served>),
}

/// The right to serve a payment. Every reservation has its own, so that who was too slow cannot change what somebody else took over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    key: B256,
    holder: u128,
}

impl From<Served> for Kept {
    fn from(served: Served) -> Self {
        Self { work: served.work, receipt: Some(served.receipt), ..Self::default() }
    }
}

impl Lease {
    pub(super) fn of(key: B256) -> Self {
        Self { key, holder: rand::random() }
    }
}

/// What is kept of a payment whose settlement was begun.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// The answer it pays for, if the gate holds it.
    pub work: Option<Work>,
    /// What is charged, in base units, when the handler said so; otherwise what was offered.
    pub charge: Option<TokenAmount>,
    /// The receipt of what is held for it, where money is held while the work is done.
    pub deposit: Option<SettleResponse>,
    /// The receipt, when it settled but the client was gone.
    pub receipt: Option<SettleResponse>,
}

/// What is remembered of a payment that was served.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    /// The receipt.
    pub receipt: SettleResponse,
    /// The answer, when the same payment is to get it again.
    pub work: Option<Work>,
}

/// An answer, waiting for its payment.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Why a reservation could not be made or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReservationError {
    /// Too much is under way.
    #[error("too many payments are under way: try again later with the same payment")]
    Full,
    /// The lease lapsed; somebody else may serve the payment.
    #[error("the reservation lapsed: it was not renewed in time")]
    Lost,
    /// The store failed.
    #[error("the store of reservations failed: {0}")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Who serves which payment. One store is shared by every copy of a service; each method is one atomic step.
///
/// A payment is named by [`crate::PaymentKey::digest`]. Whoever serves it renews its lease. One that lapsed, because its holder crashed, can
/// change nothing any more: what was only reserved is free again, what was kept may be resumed.
pub trait Reservations: Send + Sync {
    /// Looks a payment up; makes no new reservation, but takes over one that may be resumed. `fingerprint` must be the one it was
    /// reserved with, else `None`.
    fn find(&self, key: B256, fingerprint: B256) -> BoxFuture<'_, Result<Option<Claim>, ReservationError>>;
    /// Reserves a payment, whoever asks first. Resumes only with the same `fingerprint`; otherwise it is busy.
    fn reserve(&self, key: B256, fingerprint: B256) -> BoxFuture<'_, Result<Claim, ReservationError>>;
    /// Keeps what is needed to settle again, and renews the lease. Called before the settlement, and once more with the receipt.
    fn keep(&self, lease: Lease, kept: Kept) -> BoxFuture<'_, Result<(), ReservationError>>;
    /// Renews the lease.
    fn renew(&self, lease: Lease) -> BoxFuture<'_, Result<(), ReservationError>>;
    /// How long a lease lasts that is not renewed.
    fn lease_time(&self) -> Duration;
    /// Lets the lease lapse: the next request with this payment resumes it.
    fn suspend(&self, lease: Lease) -> BoxFuture<'_, Result<(), ReservationError>>;
    /// Marks a payment as served, for good.
    fn spend(&self, lease: Lease, served: Served) -> BoxFuture<'_, Result<(), ReservationError>>;
    /// Forgets a reservation: nothing was served and nothing settled.
    fn release(&self, lease: Lease) -> BoxFuture<'_, Result<(), ReservationError>>;
    /// Remembers `value` under `name` for `time`, unless there is one already; the one that is remembered now.
    fn remember(&self, name: B256, value: B256, time: Duration) -> BoxFuture<'_, Result<B256, ReservationError>>;
    /// What is remembered under `name`.
    fn recall(&self, name: B256) -> BoxFuture<'_, Result<Option<B256>, ReservationError>>;
}

/// Renews a lease for as long as it lives.
pub(super) struct Renewal(JoinHandle<()>);

impl Renewal {
    pub(super) fn of(store: Arc<dyn Reservations>, lease: Lease) -> Self {
        // Two may fail before it lapses.
        let every = store.lease_time() / 3;
        Self(tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                match store.renew(lease).await {
                    Ok(()) => {}
                    Err(ReservationError::Lost) => return,
                    Err(error) => tracing::warn!(%error, "a reservation could not be renewed; trying again"),
                }
            }
        }))
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.0.abort();
    }
}
