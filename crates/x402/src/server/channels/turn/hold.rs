//! Keeps other requests off a channel while one is served, and its answer until it has left.

use std::{
    sync::{PoisonError, atomic::Ordering},
    time::Duration,
};

use alloy::primitives::B256;
use futures::future::{BoxFuture, FutureExt, ready};

use super::{TRIES, Turn};
use crate::server::{
    Claim as Reserved, Kept, Lease, ReservationError, Reservations, Served,
    channels::{Channel, Pending, last::State, now_ms},
};

/// How long a request holds its channel unless it renews that.
const HOLD: Duration = Duration::from_secs(30);

#[allow(clippy::large_enum_variant)] // One at a time, and never kept.
pub(super) enum Held {
    /// By this turn.
    Ours(Channel),
    /// By another, or by nobody.
    Lost(Channel),
    /// There is no such channel.
    Missing,
}

impl Turn {
    fn set(&self, lease: Lease, change: impl FnOnce(Kept) -> Option<State>) -> BoxFuture<'_, Result<(), ReservationError>> {
        ready(self.channels.0.last.set(self.voucher.channel_id, lease, change)).boxed()
    }

    /// The channel, if it is this turn's.
    pub(super) async fn held(&self, fresh: bool) -> Result<Held, ReservationError> {
        let store = &self.channels.0.store;
        let recalled = if fresh { None } else { store.recall(self.voucher.channel_id) };
        let channel = match recalled {
            Some(channel) => Some(channel),
            None => store.load(self.voucher.channel_id).await?,
        };
        let id = self.pending_id();
        Ok(match channel {
            None => Held::Missing,
            Some(channel) if channel.pending.is_some_and(|pending| pending.id == id) => Held::Ours(channel),
            Some(channel) => Held::Lost(channel),
        })
    }

    fn pending(&self) -> Pending {
        Pending { id: self.pending_id(), until_ms: now_ms().saturating_add(HOLD.as_millis() as u64) }
    }

    /// Takes the channel, unless another request has it or it moved on.
    async fn hold(&self) -> Result<bool, ReservationError> {
        let judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut channel) = judged else { return Ok(false) };
        // With this very voucher, perhaps: of the requests that show it one is served.
        if channel.is_busy(now_ms()) {
            return Ok(false);
        }
        let charged = channel.charged;
        for _ in 0..TRIES {
            let next = Channel { pending: Some(self.pending()), version: channel.version + 1, ..channel.clone() };
            if self.channels.0.store.swap(next).await? {
                return Ok(true);
            }
            match self.channels.0.store.load(channel.id).await? {
                Some(current) if current.charged == charged && !current.is_busy(now_ms()) => channel = current,
                _ => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Lets the next request have the channel.
    async fn let_go(&self) -> Result<(), ReservationError> {
        for _ in 0..TRIES {
            let Held::Ours(channel) = self.held(true).await? else { return Ok(()) };
            let next = Channel { pending: None, version: channel.version + 1, ..channel };
            if self.channels.0.store.swap(next).await? {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The gate's reservation of a payment is the channel's turn: in the store for every copy of the service, and here for the answer that
/// has not left yet. The key that the gate gives is this turn's own.
impl Reservations for Turn {
    fn find(&self, _: B256, fingerprint: B256) -> BoxFuture<'_, Result<Option<Reserved>, ReservationError>> {
        let found = self.channels.0.last.find(self.voucher.channel_id, fingerprint);
        if matches!(found, Some(Reserved::Resume(..))) {
            self.resumed.store(true, Ordering::Relaxed);
        }
        ready(Ok(found)).boxed()
    }

    fn reserve(&self, _: B256, fingerprint: B256) -> BoxFuture<'_, Result<Reserved, ReservationError>> {
        async move {
            if !self.hold().await? {
                return Ok(Reserved::Busy);
            }
            match self.channels.0.last.begin(self.voucher.channel_id, fingerprint) {
                Ok(lease) => Ok(Reserved::New(lease)),
                Err(full) => self.let_go().await.and(Err(full)),
            }
        }
        .boxed()
    }

    fn keep(&self, lease: Lease, kept: Kept) -> BoxFuture<'_, Result<(), ReservationError>> {
        self.set(lease, |_| Some(State::Working(kept)))
    }

    fn renew(&self, _: Lease) -> BoxFuture<'_, Result<(), ReservationError>> {
        async move {
            for _ in 0..TRIES {
                let Held::Ours(channel) = self.held(true).await? else { return Err(ReservationError::Lost) };
                let next = Channel { pending: Some(self.pending()), version: channel.version + 1, ..channel };
                if self.channels.0.store.swap(next).await? {
                    break;
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn lease_time(&self) -> Duration {
        HOLD
    }

    fn suspend(&self, lease: Lease) -> BoxFuture<'_, Result<(), ReservationError>> {
        self.set(lease, |kept| Some(State::Waiting(kept)))
    }

    fn spend(&self, lease: Lease, served: Served) -> BoxFuture<'_, Result<(), ReservationError>> {
        self.set(lease, |_| Some(State::Spent(Box::new(served))))
    }

    fn release(&self, lease: Lease) -> BoxFuture<'_, Result<(), ReservationError>> {
        async move {
            self.set(lease, |_| None).await?;
            self.let_go().await
        }
        .boxed()
    }

    /// Names are remembered by the gate's own store.
    fn remember(&self, _: B256, value: B256, _: Duration) -> BoxFuture<'_, Result<B256, ReservationError>> {
        ready(Ok(value)).boxed()
    }

    fn recall(&self, _: B256) -> BoxFuture<'_, Result<Option<B256>, ReservationError>> {
        ready(Ok(None)).boxed()
    }
}
