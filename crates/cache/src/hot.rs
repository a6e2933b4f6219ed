//! The tier of what is worth its bytes.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::counts::Counts;

/// Blobs that are looked at to find one that is worth little.
const SAMPLED: usize = 8;
/// Parts with a lock of their own.
const SHARDS: usize = 16;
/// A blob is taken to have so many bytes, to find how many fit.
const LEN_TYPICAL_BYTES: u64 = 4096;

/// Keeps the values that are asked for most often per byte. A new one takes the place of those that are worth less, found by sampling, or is
/// refused. What it is worth is how often it was asked for lately, kept or not, divided by its bytes: of two that are asked for equally often,
/// two small ones save more fetches than a big one in their place.
///
/// Its bytes never exceed its budget, however many threads use it.
pub struct Hot<K, V> {
    shards: [Mutex<Shard<K, V>>; SHARDS],
    hasher: RandomState,
    counts: Counts,
    budget_bytes: u64,
    bytes: AtomicU64,
    blobs: AtomicU64,
    evicted: AtomicU64,
}

struct Shard<K, V> {
    places: HashMap<K, usize>,
    kept: Vec<Kept<K, V>>,
    random: u64,
}

struct Kept<K, V> {
    key: K,
    value: V,
    hash: u64,
    len: u64,
}

impl<K: Copy + Eq + Hash, V: Clone> Hot<K, V> {
    /// For so many bytes of values; what keeps account of them takes about 100 bytes a value beside that.
    #[must_use]
    pub fn new(budget_bytes: u64) -> Self {
        Self::with(budget_bytes, budget_bytes / LEN_TYPICAL_BYTES)
    }

    /// For so many values, each of which is offered with a length of 1: of equals, those stay that are asked for most often.
    #[must_use]
    pub fn of_equals(values_max: u64) -> Self {
        Self::with(values_max, values_max)
    }

    fn with(budget_bytes: u64, blobs: u64) -> Self {
        let hasher = RandomState::new();
        let shard = |n: usize| Shard { places: HashMap::new(), kept: Vec::new(), random: hasher.hash_one(n) | 1 };
        Self {
            shards: std::array::from_fn(|n| Mutex::new(shard(n))),
            counts: Counts::new(blobs),
            hasher,
            budget_bytes,
            bytes: AtomicU64::new(0),
            blobs: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
        }
    }

    /// Asks for a value: this is what raises its worth, whether it is kept or not.
    pub fn get(&self, key: &K) -> Option<V> {
        let hash = self.hasher.hash_one(key);
        self.counts.ask(hash);
        let shard = self.shard(hash);
        shard.places.get(key).map(|place| shard.kept[*place].value.clone())
    }

    /// Keeps a value of `len` bytes if it is worth more than what has to leave for it. Returns whether it is kept now.
    pub fn offer(&self, key: K, value: V, len: u64) -> bool {
        let hash = self.hasher.hash_one(key);
        // They are dropped when the lock is free again.
        let mut leave = Vec::new();
        let mut shard = self.shard(hash);
        if shard.places.contains_key(&key) {
            return true;
        }
        let count = self.counts.of(hash);
        while !self.take(len) {
            // What is worth as much stays: otherwise equals would replace each other for nothing.
            let Some(place) = shard.worst(&self.counts).filter(|place| {
                let worst = &shard.kept[*place];
                self.counts.of(worst.hash).saturating_mul(len) < count.saturating_mul(worst.len)
            }) else {
                return false;
            };
            leave.push(self.leave(&mut shard, place));
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
        let place = shard.kept.len();
        shard.places.insert(key, place);
        shard.kept.push(Kept { key, value, hash, len });
        self.blobs.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Forgets a value.
    pub fn remove(&self, key: &K) {
        let mut shard = self.shard(self.hasher.hash_one(key));
        let left = shard.places.get(key).copied().map(|place| self.leave(&mut shard, place));
        drop(shard);
        drop(left);
    }

    /// Bytes of the values that are kept.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many values are kept.
    #[must_use]
    pub fn blobs(&self) -> u64 {
        self.blobs.load(Ordering::Relaxed)
    }

    /// How many had to leave for others.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    fn take(&self, len: u64) -> bool {
        let fits = |bytes: u64| bytes.checked_add(len).filter(|after| *after <= self.budget_bytes);
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    fn leave(&self, shard: &mut Shard<K, V>, place: usize) -> Kept<K, V> {
        let left = shard.kept.swap_remove(place);
        shard.places.remove(&left.key);
        if let Some(moved) = shard.kept.get(place) {
            shard.places.insert(moved.key, place);
        }
        self.bytes.fetch_sub(left.len, Ordering::Relaxed);
        self.blobs.fetch_sub(1, Ordering::Relaxed);
        left
    }

    /// Nothing panics while it holds the lock, so what it guards is whole.
    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard<K, V>> {
        self.shards[hash as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> Shard<K, V> {
    /// The one worth least of a few, or `None` when nothing is kept.
    fn worst(&mut self, counts: &Counts) -> Option<usize> {
        let mut worst: Option<(usize, u64, u64)> = None;
        for _ in 0..SAMPLED.min(self.kept.len()) {
            // Xorshift64 (Marsaglia 2003).
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let place = (self.random % self.kept.len() as u64) as usize;
            let (count, len) = (counts.of(self.kept[place].hash), self.kept[place].len);
            if worst.is_none_or(|(_, count_worst, len_worst)| count.saturating_mul(len_worst) < count_worst.saturating_mul(len)) {
                worst = Some((place, count, len));
            }
        }
        worst.map(|(place, ..)| place)
    }
}

impl<K, V> fmt::Debug for Hot<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hot").field("bytes", &self.bytes).field("budget_bytes", &self.budget_bytes).finish_non_exhaustive()
    }
}
