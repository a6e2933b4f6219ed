//! Hot, warm, and whatever is behind them.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use moka::{future::Cache, policy::EvictionPolicy};

use crate::{Hot, Room};

/// Failures remembered.
const FAILED_MAX: u64 = 10_000;
/// How long: long enough for a crowd, short enough for what is mended.
const FAILED_FOR: Duration = Duration::from_secs(5);

/// What a cache may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// All bytes of blobs in memory: kept, being fetched, or still being sent after they left.
    pub budget_bytes: u64,
    /// A larger blob is never held.
    pub blob_len_max_bytes: u64,
    /// How long a blob that is not hot stays after it was fetched.
    pub warm_for: Duration,
}

/// Where a blob was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// In memory, worth its bytes.
    Hot,
    /// In memory for a while.
    Warm,
    /// Behind the cache: it was fetched.
    Cold,
}

/// An answer of [`Tiers::get`].
#[derive(Clone, Debug)]
pub enum Found {
    /// The blob. Clones share its bytes.
    Held(Bytes, Tier),
    /// It is too large, or memory is taken by what is being sent: read it piece by piece.
    Apart,
}

/// Use of a tier since the start, and what is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierUse {
    /// Answers from here.
    pub served: u64,
    /// Blobs in it.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes it may have.
    pub bytes_max: u64,
    /// Blobs that had to leave.
    pub evicted: u64,
}

/// Names a blob: its SHA-256.
pub type Key = [u8; 32];

/// A cache of blobs, each named by what it is, so that none ever changes. Cheap to clone; clones share it.
///
/// Of the budget 13/16 are for the hot tier, 1/8 for the warm one, and the rest for what is being fetched or sent. A fetched blob becomes hot if it is
/// worth it (see [`Hot`]), else warm; each time it is found there it is offered again.
#[derive(Clone, Debug)]
pub struct Tiers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    room: Room,
    hot: Hot<Key, Bytes>,
    warm: Cache<Key, Bytes>,
    failed: Cache<Key, Arc<io::Error>>,
    served: [AtomicU64; 2],
    fetched: AtomicU64,
    apart: AtomicU64,
    warm_evicted: Arc<AtomicU64>,
}

/// Why nothing was fetched into memory.
enum Unfetched {
    NoRoom,
    Failed(Arc<io::Error>),
}

impl Tiers {
    /// An empty cache.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let budget = limits.budget_bytes;
        let warm_evicted = Arc::<AtomicU64>::default();
        let listener = warm_evicted.clone();
        let warm = Cache::builder()
            .max_capacity(budget / 8)
            .weigher(|_: &Key, bytes: &Bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX))
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(limits.warm_for)
            .eviction_listener(move |_, _, cause| {
                if cause.was_evicted() {
                    listener.fetch_add(1, Ordering::Relaxed);
                }
            });
        Self(Arc::new(Inner {
            limits,
            room: Room::new(budget),
            hot: Hot::new(budget / 16 * 13),
            warm: warm.build(),
            failed: Cache::builder().max_capacity(FAILED_MAX).time_to_live(FAILED_FOR).build(),
            served: Default::default(),
            fetched: AtomicU64::new(0),
            apart: AtomicU64::new(0),
            warm_evicted,
        }))
    }

    /// Finds a blob of `len` bytes, or has it fetched: once, however many ask for it meanwhile. All of them get the error if that fails; one that
    /// says that the blob does not exist or is damaged is repeated to whoever asks within the next seconds.
    ///
    /// # Errors
    /// What `fetch` said.
    pub async fn get(&self, key: Key, len: u64, fetch: impl Future<Output = io::Result<Bytes>>) -> io::Result<Found> {
        let inner = &*self.0;
        if let Some(bytes) = self.get_hot(&key) {
            return Ok(Found::Held(bytes, Tier::Hot));
        }
        if len > inner.limits.blob_len_max_bytes {
            count(&inner.apart);
            return Ok(Found::Apart);
        }
        if let Some(error) = inner.failed.get(&key).await {
            return Err(again(&error));
        }
        let entry = match inner.warm.entry(key).or_try_insert_with(inner.fetched_into_room(key, len, fetch)).await {
            Ok(entry) => entry,
            Err(unfetched) => {
                let Unfetched::Failed(error) = &*unfetched else {
                    count(&inner.apart);
                    return Ok(Found::Apart);
                };
                return Err(again(error));
            }
        };
        let tier = if entry.is_fresh() { Tier::Cold } else { Tier::Warm };
        let bytes = entry.into_value();
        count(if tier == Tier::Warm { &inner.served[1] } else { &inner.fetched });
        if inner.hot.offer(key, bytes.clone(), len) {
            inner.warm.invalidate(&key).await;
        }
        Ok(Found::Held(bytes, tier))
    }

    /// Finds a blob that is hot.
    #[must_use]
    pub fn get_hot(&self, key: &Key) -> Option<Bytes> {
        let bytes = self.0.hot.get(key)?;
        count(&self.0.served[0]);
        Some(bytes)
    }

    /// Forgets a blob, or that it could not be fetched.
    pub async fn forget(&self, key: &Key) {
        self.0.hot.remove(key);
        self.0.warm.invalidate(key).await;
        self.look_again(key).await;
    }

    /// Forgets that a blob could not be fetched.
    pub async fn look_again(&self, key: &Key) {
        self.0.failed.invalidate(key).await;
    }

    /// The hot tier.
    #[must_use]
    pub fn hot(&self) -> TierUse {
        let Inner { hot, limits, served, .. } = &*self.0;
        TierUse {
            served: served[0].load(Ordering::Relaxed),
            blobs: hot.blobs(),
            bytes: hot.bytes(),
            bytes_max: limits.budget_bytes / 16 * 13,
            evicted: hot.evicted(),
        }
    }

    /// The warm tier. What is in it is counted with a delay.
    #[must_use]
    pub fn warm(&self) -> TierUse {
        let Inner { warm, limits, served, warm_evicted, .. } = &*self.0;
        TierUse {
            served: served[1].load(Ordering::Relaxed),
            blobs: warm.entry_count(),
            bytes: warm.weighted_size(),
            bytes_max: limits.budget_bytes / 8,
            evicted: warm_evicted.load(Ordering::Relaxed),
        }
    }

    /// Blobs fetched into memory.
    #[must_use]
    pub fn fetched(&self) -> u64 {
        self.0.fetched.load(Ordering::Relaxed)
    }

    /// Answers that were [`Found::Apart`].
    #[must_use]
    pub fn apart(&self) -> u64 {
        self.0.apart.load(Ordering::Relaxed)
    }

    /// Bytes of blobs in memory now, wherever they are; never more than the budget.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.room.taken()
    }
}

impl Inner {
    async fn fetched_into_room(
        &self,
        key: Key,
        len: u64,
        fetch: impl Future<Output = io::Result<Bytes>>,
    ) -> Result<Bytes, Unfetched> {
        let taken = match self.room.take(len) {
            Some(taken) => taken,
            None => {
                // What left the warm tier may not be gone yet.
                self.warm.run_pending_tasks().await;
                self.room.take(len).ok_or(Unfetched::NoRoom)?
            }
        };
        match fetch.await {
            Ok(bytes) => Ok(taken.hold(bytes)),
            Err(error) => {
                let error = Arc::new(error);
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) {
                    self.failed.insert(key, error.clone()).await;
                }
                Err(Unfetched::Failed(error))
            }
        }
    }
}

/// The same error for one more.
fn again(error: &Arc<io::Error>) -> io::Error {
    io::Error::new(error.kind(), error.clone())
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
