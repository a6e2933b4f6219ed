use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use alloy::primitives::B256;
use futures::future::{BoxFuture, FutureExt, ready};

use super::{Claim, Kept, LEASE, Lease, PRUNE_EVERY, REMEMBERED, ReservationError, Reservations, Served, Work};

/// Payments, and memos, remembered at once, at most.
const ENTRIES_MAX: usize = 100_000;
/// Bytes of kept answers, at most.
const KEPT_MAX_BYTES: usize = 256 * 1024 * 1024;

/// Reservations of one process. Clones share them.
#[derive(Clone, Debug)]
pub struct MemoryReservations {
    table: Arc<Mutex<Table>>,
    lease: Duration,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<B256, Entry>,
    memos: HashMap<B256, (B256, Instant)>,
    kept_bytes: usize,
    pruned: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    fingerprint: B256,
    holder: u128,
    /// When the lease lapses; when it did.
    until: Instant,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Reserved,
    Kept(Box<Kept>),
    Spent(Box<Served>),
}

impl State {
    fn bytes(&self) -> usize {
        let work = match self {
            Self::Reserved => None,
            Self::Kept(kept) => kept.work.as_ref(),
            Self::Spent(served) => served.work.as_ref(),
        };
        work.map_or(0, Work::len)
    }
}

impl Work {
    fn len(&self) -> usize {
        self.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>() + self.body.len()
    }
}

impl Table {
    /// Takes over what lapsed; `None` when there is nothing, or only a reservation that lapsed.
    fn find(&mut self, key: B256, fingerprint: B256, lease: Duration) -> Option<Claim> {
        let entry = self.entries.get_mut(&key)?;
        let lapsed = entry.until <= Instant::now();
        match entry.state.clone() {
            State::Spent(served) => Some(Claim::Spent(served)),
            State::Reserved if lapsed => None,
            State::Kept(kept) if lapsed && entry.fingerprint == fingerprint => {
                let taken = Lease::of(key);
                (entry.holder, entry.until) = (taken.holder, Instant::now() + lease);
                Some(Claim::Resume(taken, kept))
            }
            State::Reserved | State::Kept(_) => Some(Claim::Busy),
        }
    }

    fn reserve(&mut self, key: B256, fingerprint: B256, lease: Duration) -> Result<Claim, ReservationError> {
        self.prune();
        if let Some(claim) = self.find(key, fingerprint, lease) {
            return Ok(claim);
        }
        if self.entries.len() >= ENTRIES_MAX {
            return Err(ReservationError::Full);
        }
        let (taken, until) = (Lease::of(key), Instant::now() + lease);
        self.entries.insert(key, Entry { fingerprint, holder: taken.holder, until, state: State::Reserved });
        Ok(Claim::New(taken))
    }

    fn held(&mut self, lease: Lease) -> Result<&mut Entry, ReservationError> {
        let entry = self.entries.get_mut(&lease.key).filter(|entry| entry.holder == lease.holder && entry.until > Instant::now());
        entry.filter(|entry| !matches!(entry.state, State::Spent(_))).ok_or(ReservationError::Lost)
    }

    fn set(&mut self, lease: Lease, state: State, until: Instant) -> Result<(), ReservationError> {
        let before = self.held(lease)?.state.bytes();
        let total = self.kept_bytes - before + state.bytes();
        if total > KEPT_MAX_BYTES && total > self.kept_bytes {
            return Err(ReservationError::Full);
        }
        self.kept_bytes = total;
        let entry = self.held(lease)?;
        (entry.state, entry.until) = (state, until);
        Ok(())
    }

    fn release(&mut self, lease: Lease) -> Result<(), ReservationError> {
        self.kept_bytes -= self.held(lease)?.state.bytes();
        self.entries.remove(&lease.key);
        Ok(())
    }

    fn remember(&mut self, name: B256, value: B256, time: Duration) -> Result<B256, ReservationError> {
        self.prune();
        if let Some(known) = self.recall(name) {
            return Ok(known);
        }
        if self.memos.len() >= ENTRIES_MAX {
            return Err(ReservationError::Full);
        }
        self.memos.insert(name, (value, Instant::now() + time));
        Ok(value)
    }

    fn recall(&self, name: B256) -> Option<B256> {
        self.memos.get(&name).filter(|(_, until)| *until > Instant::now()).map(|(value, _)| *value)
    }

    fn prune(&mut self) {
        if self.pruned.is_some_and(|at| at.elapsed() < PRUNE_EVERY) {
            return;
        }
        let now = Instant::now();
        self.pruned = Some(now);
        self.memos.retain(|_, (_, until)| *until > now);
        let kept_bytes = &mut self.kept_bytes;
        self.entries.retain(|_, entry| {
            let stays = now.saturating_duration_since(entry.until) < REMEMBERED;
            if !stays {
                *kept_bytes -= entry.state.bytes();
            }
            stays
        });
    }
}

impl Default for MemoryReservations {
    fn default() -> Self {
        Self { table: Arc::default(), lease: LEASE }
    }
}

impl MemoryReservations {
    /// How long a reservation lasts that is not renewed, because who had it died: 30 seconds unless told.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservations for MemoryReservations {
    fn find(&self, key: B256, fingerprint: B256) -> BoxFuture<'_, Result<Option<Claim>, ReservationError>> {
        let mut table = self.table();
        let same = table.entries.get(&key).is_some_and(|entry| entry.fingerprint == fingerprint);
        ready(Ok(if same { table.find(key, fingerprint, self.lease) } else { None })).boxed()
    }

    fn reserve(&self, key: B256, fingerprint: B256) -> BoxFuture<'_, Result<Claim, ReservationError>> {
        ready(self.table().reserve(key, fingerprint, self.lease)).boxed()
    }

    fn keep(&self, lease: Lease, kept: Kept) -> BoxFuture<'_, Result<(), ReservationError>> {
        ready(self.table().set(lease, State::Kept(Box::new(kept)), Instant::now() + self.lease)).boxed()
    }

    fn renew(&self, lease: Lease) -> BoxFuture<'_, Result<(), ReservationError>> {
        ready(self.table().held(lease).map(|entry| entry.until = Instant::now() + self.lease)).boxed()
    }

    fn lease_time(&self) -> Duration {
        self.lease
    }

    fn suspend(&self, lease: Lease) -> BoxFuture<'_, Result<(), ReservationError>> {
        ready(self.table().held(lease).map(|entry| entry.until = Instant::now())).boxed()
    }

    fn spend(&self, lease: Lease, served: Served) -> BoxFuture<'_, Result<(), ReservationError>> {
        ready(self.table().set(lease, State::Spent(Box::new(served)), Instant::now())).boxed()
    }

    fn release(&self, lease: Lease) -> BoxFuture<'_, Result<(), ReservationError>> {
        ready(self.table().release(lease)).boxed()
    }

    fn remember(&self, name: B256, value: B256, time: Duration) -> BoxFuture<'_, Result<B256, ReservationError>> {
        ready(self.table().remember(name, value, time)).boxed()
    }

    fn recall(&self, name: B256) -> BoxFuture<'_, Result<Option<B256>, ReservationError>> {
        ready(Ok(self.table().recall(name))).boxed()
    }
}
