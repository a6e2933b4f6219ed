use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use alloy::primitives::B256;

use crate::server::{Claim, Kept, Lease, ReservationError, Served};

/// Channels whose last request is remembered, at most.
const ENTRIES_MAX: usize = 100_000;
/// Bytes of answers that have not left, at most.
const KEPT_MAX_BYTES: usize = 256 * 1024 * 1024;

/// The last request of each channel: its answer until that has left, its receipt after. A request that comes again gets them; the next
/// voucher of the channel takes the place.
#[derive(Debug, Default)]
pub(super) struct LastRequests(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<B256, Entry>,
    kept_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    fingerprint: B256,
    lease: Lease,
    state: State,
}

#[derive(Debug)]
pub(super) enum State {
    Working(Kept),
    /// Nobody took the answer, or the outcome is not known.
    Waiting(Kept),
    Spent(Box<Served>),
}

impl State {
    fn kept(&self) -> Kept {
        match self {
            Self::Working(kept) | Self::Waiting(kept) => kept.clone(),
            Self::Spent(_) => Kept::default(),
        }
    }

    fn kept_bytes(&self) -> usize {
        match self {
            Self::Working(kept) | Self::Waiting(kept) => kept.work.as_ref().map_or(0, |work| work.body.len()),
            Self::Spent(_) => 0,
        }
    }
}

impl LastRequests {
    fn with<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What became of the very same request, if it was the channel's last.
    pub(super) fn find(&self, channel: B256, fingerprint: B256) -> Option<Claim> {
        self.with(|table| {
            let entry = table.entries.get_mut(&channel).filter(|entry| entry.fingerprint == fingerprint)?;
            Some(match &entry.state {
                State::Working(_) => Claim::Busy,
                State::Spent(served) => Claim::Spent(served.clone()),
                State::Waiting(kept) => {
                    let kept = kept.clone();
                    (entry.state, entry.lease) = (State::Working(kept.clone()), Lease::of(channel));
                    Claim::Resume(entry.lease, Box::new(kept))
                }
            })
        })
    }

    /// Gives the channel's place to a request that holds the channel.
    pub(super) fn begin(&self, channel: B256, fingerprint: B256) -> Result<Lease, ReservationError> {
        self.with(|table| {
            if table.entries.len() >= ENTRIES_MAX {
                table.entries.retain(|_, entry| !matches!(entry.state, State::Spent(_)));
            }
            if table.entries.len() >= ENTRIES_MAX {
                return Err(ReservationError::Full);
            }
            let lease = Lease::of(channel);
            let entry = Entry { fingerprint, lease, state: State::Working(Kept::default()) };
            if let Some(last) = table.entries.insert(channel, entry) {
                table.kept_bytes -= last.state.kept_bytes();
            }
            Ok(lease)
        })
    }

    /// Changes what is remembered of the request with this lease, unless another took its place. `None` forgets it.
    pub(super) fn set(
        &self,
        channel: B256,
        lease: Lease,
        change: impl FnOnce(Kept) -> Option<State>,
    ) -> Result<(), ReservationError> {
        self.with(|table| {
            let Some(entry) = table.entries.get_mut(&channel).filter(|entry| entry.lease == lease) else { return Ok(()) };
            let before = entry.state.kept_bytes();
            let state = change(entry.state.kept());
            let total = table.kept_bytes - before + state.as_ref().map_or(0, State::kept_bytes);
            if total > KEPT_MAX_BYTES && total > table.kept_bytes {
                return Err(ReservationError::Full);
            }
            table.kept_bytes = total;
            match state {
                Some(state) => entry.state = state,
                None => drop(table.entries.remove(&channel)),
            }
            Ok(())
        })
    }
}
