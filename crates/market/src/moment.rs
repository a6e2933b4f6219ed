//! What is remembered for a moment although it may change meanwhile.

use std::time::{Duration, Instant};

use moka::Expiry;
use rand::Rng;

/// The longest moment: what another instance changed is seen here as late.
pub(crate) const MOMENT: Duration = Duration::from_secs(5);

/// Each lasts a different time, at least half of [`MOMENT`]: what was looked up at one time is not all looked up again at one time.
pub(crate) struct Moment;

/// How long one of them lasts.
pub(crate) fn some() -> Duration {
    rand::rng().random_range(MOMENT / 2..=MOMENT)
}

impl<K, V> Expiry<K, V> for Moment {
    fn expire_after_create(&self, _: &K, _: &V, _: Instant) -> Option<Duration> {
        Some(some())
    }

    fn expire_after_update(&self, _: &K, _: &V, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(some())
    }
}
