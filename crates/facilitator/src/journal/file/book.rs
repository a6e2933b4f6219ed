//! What the lines of the journal say.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::{
    journal::Attempt,
    settlement::{Entry, Key, Settlement, Slot, State},
};

/// Final settlements that are remembered, newest first. An older one is known to the chain, which burnt its nonce.
const FINAL_MAX: usize = 100_000;

/// How far a settlement's try is.
#[derive(Serialize, Deserialize)]
pub(super) struct Progress {
    pub(super) key: Key,
    pub(super) slot: Slot,
    pub(super) state: State,
    pub(super) reason: Option<String>,
}

impl Progress {
    pub(super) fn of(entry: &Entry) -> Self {
        let Entry { settlement, slot, state, reason } = entry;
        Self { key: settlement.key, slot: *slot, state: *state, reason: reason.clone() }
    }
}

/// A line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Record {
    Begin(Vec<(Attempt, Vec<Settlement>)>),
    Attempts(Vec<Attempt>),
    Progress(Vec<Progress>),
    Close(Vec<Slot>),
}

/// What a slot was written for.
#[derive(Default)]
pub(super) struct Written {
    pub(super) attempts: Vec<Attempt>,
    pub(super) keys: Vec<Key>,
}

/// What the lines say.
#[derive(Default)]
pub(super) struct Book {
    pub(super) entries: HashMap<Key, Entry>,
    pub(super) open: BTreeMap<Slot, Written>,
    /// Keys of final settlements, oldest first.
    closed: VecDeque<Key>,
}

impl Book {
    pub(super) fn apply(&mut self, record: Record) {
        match record {
            Record::Begin(transactions) => {
                for (attempt, settlements) in transactions {
                    let slot = attempt.slot;
                    let keys = settlements.iter().map(|settlement| settlement.key).collect();
                    self.open.insert(slot, Written { attempts: vec![attempt], keys });
                    for settlement in settlements {
                        let entry = Entry { settlement, slot, state: State::Sent, reason: None };
                        self.entries.insert(entry.settlement.key, entry);
                    }
                }
            }
            Record::Attempts(attempts) => {
                for attempt in attempts {
                    self.open.entry(attempt.slot).or_default().attempts.push(attempt);
                }
            }
            Record::Progress(all) => {
                for Progress { key, slot, state, reason } in all {
                    if let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.slot == slot) {
                        (entry.state, entry.reason) = (state, reason);
                    }
                }
            }
            Record::Close(slots) => {
                for slot in slots {
                    // What goes out again is found by the next start.
                    if self.open.get(&slot).is_some_and(|written| self.goes_out_again(slot, written)) {
                        continue;
                    }
                    self.closed.extend(self.open.remove(&slot).unwrap_or_default().keys);
                }
                while self.closed.len() > FINAL_MAX {
                    let Some(key) = self.closed.pop_front() else { break };
                    let still_open = self.entries.get(&key).is_some_and(|entry| self.open.contains_key(&entry.slot));
                    if !still_open {
                        self.entries.remove(&key);
                    }
                }
            }
        }
    }

    fn goes_out_again(&self, slot: Slot, written: &Written) -> bool {
        let entries = written.keys.iter().filter_map(|key| self.entries.get(key));
        entries.into_iter().any(|entry| entry.slot == slot && entry.state == State::Again)
    }

    /// Records that say what this book says: the final ones, and then the open ones.
    pub(super) fn records(&self) -> impl Iterator<Item = Record> {
        let begin = |attempt: &Attempt, keys: &[Key]| {
            let entries = keys.iter().filter_map(|key| self.entries.get(key)).filter(|entry| entry.slot == attempt.slot);
            Record::Begin(vec![(attempt.clone(), entries.map(|entry| entry.settlement.clone()).collect())])
        };
        let progress = |keys: &[Key], slot: Slot| {
            let entries = keys.iter().filter_map(|key| self.entries.get(key)).filter(|entry| entry.slot == slot);
            Record::Progress(entries.map(Progress::of).collect())
        };
        let closed = self.closed.iter().filter_map(move |key| {
            let entry = self.entries.get(key)?;
            // One that was begun anew is open.
            (!self.open.contains_key(&entry.slot)).then_some((*key, entry.slot))
        });
        let closed = closed.flat_map(move |(key, slot)| {
            let attempt = Attempt { slot, hash: Default::default(), raw: Default::default() };
            [begin(&attempt, &[key]), progress(&[key], slot), Record::Close(vec![slot])]
        });
        let open = self.open.values().filter_map(move |Written { attempts, keys }| {
            let (first, more) = attempts.split_first()?;
            Some([begin(first, keys), Record::Attempts(more.to_vec()), progress(keys, first.slot)])
        });
        closed.chain(open.flatten())
    }
}
