//! Bytes of memory that may be taken, and those that are.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;

/// A number of bytes, of which no more than that are taken at any time. Cheap to clone; clones share them.
#[derive(Clone, Debug)]
pub struct Room(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    taken: AtomicU64,
    max: u64,
}

/// Bytes that are taken until this is dropped.
#[derive(Debug)]
pub struct Taken {
    room: Room,
    len: u64,
}

struct Held {
    bytes: Bytes,
    _taken: Taken,
}

impl Room {
    /// Of so many bytes.
    #[must_use]
    pub fn new(max: u64) -> Self {
        Self(Arc::new(Inner { taken: AtomicU64::new(0), max }))
    }

    /// Takes bytes, or `None` when there are not so many.
    #[must_use]
    pub fn take(&self, len: u64) -> Option<Taken> {
        let fits = |taken: u64| taken.checked_add(len).filter(|after| *after <= self.0.max);
        self.0.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Taken { room: self.clone(), len })
    }

    /// Bytes taken now.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.0.taken.load(Ordering::Relaxed)
    }
}

impl Taken {
    /// The bytes that were read into what was taken. It is given back when the last clone of them is gone, whoever has it.
    #[must_use]
    pub fn hold(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Held { bytes, _taken: self })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.0.taken.fetch_sub(self.len, Ordering::Relaxed);
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
