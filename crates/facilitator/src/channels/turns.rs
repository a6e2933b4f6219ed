//! One after the other, for each of many things.

use std::{hash::Hash, sync::Arc};

use dashmap::DashMap;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Nothing is kept of what nobody has or waits for.
pub(super) struct Turns<K: Eq + Hash>(DashMap<K, Arc<Mutex<()>>>);

impl<K: Eq + Hash> Default for Turns<K> {
    fn default() -> Self {
        Self(DashMap::new())
    }
}

/// Ends when it is dropped.
pub(super) struct Turn<'a, K: Copy + Eq + Hash> {
    turns: &'a Turns<K>,
    key: K,
    guard: Option<OwnedMutexGuard<()>>,
}

impl<K: Copy + Eq + Hash> Turns<K> {
    /// Waits for all who came before.
    pub(super) async fn take(&self, key: K) -> Turn<'_, K> {
        // Before it waits, so that whoever gives up while waiting cleans up too.
        let mut turn = Turn { turns: self, key, guard: None };
        let lock = self.0.entry(key).or_default().clone();
        turn.guard = Some(lock.lock_owned().await);
        turn
    }
}

impl<K: Copy + Eq + Hash> Drop for Turn<'_, K> {
    fn drop(&mut self) {
        self.guard = None;
        // Whoever else has or awaits it holds it too.
        self.turns.0.remove_if(&self.key, |_, lock| Arc::strong_count(lock) == 1);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn the_next_waits_others_do_not_and_nothing_is_left() {
        let turns = Turns::default();
        let first = turns.take(1).await;
        assert!(turns.take(2).now_or_never().is_some());
        assert!(turns.take(1).now_or_never().is_none(), "and gives up");
        let mut second = Box::pin(turns.take(1));
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        drop(second.await);
        assert!(turns.0.is_empty());
    }
}
