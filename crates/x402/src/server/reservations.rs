use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use alloy::primitives::B256;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, ready};
use http::{HeaderMap, StatusCode};

use crate::{PaymentKey, SettleResponse};

/// Payments remembered at once, at most.
const ENTRIES_MAX: usize = 100_000;
/// Bytes of kept answers, at most.
const KEPT_MAX_BYTES: usize = 256 * 1024 * 1024;
/// How long a spent payment and a kept answer are remembered. Longer than an authorization usually lives.
const REMEMBERED: Duration = Duration::from_secs(3600);
const PRUNE_EVERY: Duration = Duration::from_secs(10);

/// What asking for a payment's reservation found.
#[derive(Clone, Debug)]
pub enum Claim {
    /// Not seen before: reserved for the caller.
    New,
    /// Somebody else is serving it.
    Busy,
    /// It was to be settled and nobody knows the outcome: reserved for the caller, to settle again.
    Resume(Box<Kept>),
    /// Served and settled.
    Spent(Box<SettleResponse>),
}

/// What is kept of a payment whose settlement was begun.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// The answer it pays for, if the gate holds it.
    pub work: Option<Work>,
    /// The receipt, when it settled but the client was gone.
    pub receipt: Option<SettleResponse>,
}

/// An answer, waiting for its payment.
#[derive(Clone, Debug)]
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
    /// The store failed.
    #[error("the store of reservations failed: {0}")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Who serves which payment. One store is shared by every copy of a service; each method is one atomic step.
///
/// A store that outlives its callers gives every reservation a lease longer than any handler runs: after it, what was only reserved is
/// forgotten, and what was kept may be resumed.
pub trait Reservations: Send + Sync {
    /// Looks a payment up; makes no new reservation, but takes over one that may be resumed. `fingerprint` must be the one it was
    /// reserved with, else `None`.
    fn find<'a>(&'a self, key: &'a PaymentKey, fingerprint: B256) -> BoxFuture<'a, Result<Option<Claim>, ReservationError>>;
    /// Reserves a payment, whoever asks first. Resumes only with the same `fingerprint`; otherwise it is busy.
    fn reserve<'a>(&'a self, key: &'a PaymentKey, fingerprint: B256) -> BoxFuture<'a, Result<Claim, ReservationError>>;
    /// Keeps what is needed to settle again. Called before the settlement, and once more with the receipt.
    fn keep<'a>(&'a self, key: &'a PaymentKey, kept: Kept) -> BoxFuture<'a, Result<(), ReservationError>>;
    /// Lets the next request with this payment resume it.
    fn suspend<'a>(&'a self, key: &'a PaymentKey) -> BoxFuture<'a, Result<(), ReservationError>>;
    /// Marks a payment as served, for good.
    fn spend<'a>(&'a self, key: &'a PaymentKey, receipt: SettleResponse) -> BoxFuture<'a, Result<(), ReservationError>>;
    /// Forgets a reservation: nothing was served and nothing settled.
    fn release<'a>(&'a self, key: &'a PaymentKey) -> BoxFuture<'a, Result<(), ReservationError>>;
}

/// Reservations of one process.
#[derive(Debug, Default)]
pub struct MemoryReservations(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<PaymentKey, Entry>,
    kept_bytes: usize,
    pruned: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    fingerprint: B256,
    since: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    Working(Kept),
    Suspended(Kept),
    Spent(Box<SettleResponse>),
}

impl State {
    fn kept_bytes(&self) -> usize {
        match self {
            Self::Working(kept) | Self::Suspended(kept) => kept.work.as_ref().map_or(0, |work| work.body.len()),
            Self::Spent(_) => 0,
        }
    }
}

impl Table {
    fn find(&mut self, key: &PaymentKey, fingerprint: B256) -> Option<Claim> {
        let entry = self.entries.get_mut(key)?;
        let claim = match &entry.state {
            State::Working(_) => Claim::Busy,
            State::Spent(receipt) => Claim::Spent(receipt.clone()),
            State::Suspended(_) if entry.fingerprint != fingerprint => Claim::Busy,
            State::Suspended(kept) => Claim::Resume(Box::new(kept.clone())),
        };
        if let Claim::Resume(kept) = &claim {
            entry.state = State::Working((**kept).clone());
        }
        Some(claim)
    }

    fn reserve(&mut self, key: &PaymentKey, fingerprint: B256) -> Result<Claim, ReservationError> {
        self.prune();
        if let Some(claim) = self.find(key, fingerprint) {
            return Ok(claim);
        }
        if self.entries.len() >= ENTRIES_MAX {
            return Err(ReservationError::Full);
        }
        let entry = Entry { fingerprint, since: Instant::now(), state: State::Working(Kept::default()) };
        self.entries.insert(key.clone(), entry);
        Ok(Claim::New)
    }

    fn set(&mut self, key: &PaymentKey, change: impl FnOnce(Kept) -> State) -> Result<(), ReservationError> {
        let Some(entry) = self.entries.get_mut(key) else { return Ok(()) };
        let before = entry.state.kept_bytes();
        let kept = match &entry.state {
            State::Working(kept) | State::Suspended(kept) => kept.clone(),
            State::Spent(_) => Kept::default(),
        };
        let state = change(kept);
        let total = self.kept_bytes - before + state.kept_bytes();
        if total > KEPT_MAX_BYTES && total > self.kept_bytes {
            return Err(ReservationError::Full);
        }
        self.kept_bytes = total;
        entry.state = state;
        entry.since = Instant::now();
        Ok(())
    }

    fn prune(&mut self) {
        if self.pruned.is_some_and(|at| at.elapsed() < PRUNE_EVERY) {
            return;
        }
        self.pruned = Some(Instant::now());
        let kept_bytes = &mut self.kept_bytes;
        self.entries.retain(|_, entry| {
            let stays = matches!(entry.state, State::Working(_)) || entry.since.elapsed() < REMEMBERED;
            if !stays {
                *kept_bytes -= entry.state.kept_bytes();
            }
            stays
        });
    }
}

impl MemoryReservations {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservations for MemoryReservations {
    fn find<'a>(&'a self, key: &'a PaymentKey, fingerprint: B256) -> BoxFuture<'a, Result<Option<Claim>, ReservationError>> {
        let mut table = self.table();
        let same = table.entries.get(key).is_some_and(|entry| entry.fingerprint == fingerprint);
        ready(Ok(if same { table.find(key, fingerprint) } else { None })).boxed()
    }

    fn reserve<'a>(&'a self, key: &'a PaymentKey, fingerprint: B256) -> BoxFuture<'a, Result<Claim, ReservationError>> {
        ready(self.table().reserve(key, fingerprint)).boxed()
    }

    fn keep<'a>(&'a self, key: &'a PaymentKey, kept: Kept) -> BoxFuture<'a, Result<(), ReservationError>> {
        ready(self.table().set(key, |_| State::Working(kept))).boxed()
    }

    fn suspend<'a>(&'a self, key: &'a PaymentKey) -> BoxFuture<'a, Result<(), ReservationError>> {
        ready(self.table().set(key, State::Suspended)).boxed()
    }

    fn spend<'a>(&'a self, key: &'a PaymentKey, receipt: SettleResponse) -> BoxFuture<'a, Result<(), ReservationError>> {
        ready(self.table().set(key, |_| State::Spent(Box::new(receipt)))).boxed()
    }

    fn release<'a>(&'a self, key: &'a PaymentKey) -> BoxFuture<'a, Result<(), ReservationError>> {
        let mut table = self.table();
        if let Some(entry) = table.entries.remove(key) {
            table.kept_bytes -= entry.state.kept_bytes();
        }
        ready(Ok(())).boxed()
    }
}
