//! One after the other, for each of many things.

use std::{hash::Hash, sync::Arc, time::Duration};

use dashmap::DashMap;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::Error;

/// Who may wait for the same turn, and for how long: each has a place among the requests that are worked on.
const WAITING_MAX: usize = 16;
const WAIT_MAX: Duration = Duration::from_secs(20);

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
    ///
    /// # Errors
    /// [`Error::Busy`] when too many did, or they take too long.
    pub(super) async fn take(&self, key: K) -> Result<Turn<'_, K>, Error> {
        // Before it waits, so that whoever gives up while waiting cleans up too.
        let mut turn = Turn { turns: self, key, guard: None };
        let lock = self.0.entry(key).or_default().clone();
        // The table's, the one of who has the turn, those of who waits, and this one.
        if Arc::strong_count(&lock) > WAITING_MAX + 2 {
            return Err(Error::Busy);
        }
        turn.guard = Some(tokio::time::timeout(WAIT_MAX, lock.lock_owned()).await.map_err(|_| Error::Busy)?);
        Ok(turn)
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

    #[tokio::test]
    async fn a_crowd_is_told_to_come_again() {
        let turns = Turns::default();
        let first = turns.take(1).await;
        let mut crowd: Vec<_> = (0..WAITING_MAX + 1).map(|_| Box::pin(turns.take(1))).collect();
        let answers = crowd.iter_mut().filter_map(|waiting| waiting.now_or_never()).collect::<Vec<_>>();
        assert!(matches!(answers.as_slice(), [Err(Error::Busy)]), "the last is one too many");
        drop((crowd, first));
        assert!(turns.0.is_empty());
    }
}
