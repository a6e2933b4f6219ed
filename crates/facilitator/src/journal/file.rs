//! The journal of one instance, without a database: a file to which lines are only added, and what they say in memory.
//!
//! A line is a checksum and JSON. A crash can tear the last one: what is torn was never sent, because a line is on disk before its transaction
//! leaves. A damaged line before the last is an error at the start.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use alloy::primitives::{Address, keccak256};
use serde::{Deserialize, Serialize};

use super::{Attempt, Open, Transaction};
use crate::{
    Error,
    settlement::{Entry, Key, Settlement, Slot, State},
};

/// Final settlements that are remembered, newest first. An older one is known to the chain, which burnt its nonce.
const FINAL_MAX: usize = 100_000;
/// The file is written anew when it has grown by this much, in bytes.
const GROWTH_MAX_BYTES: u64 = 64 << 20;
/// A predecessor that is just ending may hold the file for a moment.
const LOCK_WAIT: Duration = Duration::from_secs(3);
const LOCK_RETRY: Duration = Duration::from_millis(50);
/// Hex digits of a line's checksum.
const CHECK_LEN: usize = 8;

/// How far a settlement's try is.
#[derive(Serialize, Deserialize)]
struct Progress {
    key: Key,
    slot: Slot,
    state: State,
    reason: Option<String>,
}

/// A line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record {
    Begin(Vec<(Attempt, Vec<Settlement>)>),
    Attempts(Vec<Attempt>),
    Progress(Vec<Progress>),
    Close(Vec<Slot>),
}

/// What a slot was written for.
#[derive(Default)]
struct Written {
    attempts: Vec<Attempt>,
    keys: Vec<Key>,
}

/// What the lines say.
#[derive(Default)]
struct Book {
    entries: HashMap<Key, Entry>,
    open: BTreeMap<Slot, Written>,
    /// Keys of final settlements, oldest first.
    closed: VecDeque<Key>,
}

struct Inner {
    path: PathBuf,
    file: File,
    book: Book,
    /// Length of the file, and what it had when it was written anew.
    len: u64,
    compact_len: u64,
    /// A write failed: nobody knows what the file holds behind `len`.
    broken: bool,
}

#[derive(Clone)]
pub(crate) struct FileJournal {
    inner: Arc<Mutex<Inner>>,
    /// Locked for as long as we live, so that two instances never share the file.
    _lock: Arc<File>,
}

impl FileJournal {
    /// Opens the journal, or makes it, and cuts off what a crash tore.
    pub(crate) fn open_at(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::JournalFile { path: path.to_owned(), source };
        let lock = OpenOptions::new().create(true).append(true).open(path.with_added_extension("lock")).map_err(failed)?;
        let begun = Instant::now();
        while lock.try_lock().is_err() {
            if begun.elapsed() > LOCK_WAIT {
                return Err(Error::JournalInUse(path.to_owned()));
            }
            std::thread::sleep(LOCK_RETRY);
        }
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(failed)?;
        let (book, len) = read(&mut file).map_err(failed)?;
        file.set_len(len).and_then(|()| file.sync_all()).map_err(failed)?;
        let mut inner = Inner { path: path.to_owned(), file, book, len, compact_len: 0, broken: false };
        inner.compact().map_err(failed)?;
        Ok(Self { inner: Arc::new(Mutex::new(inner)), _lock: Arc::new(lock) })
    }

    pub(super) fn find(&self, key: &Key) -> Option<Entry> {
        lock(&self.inner).book.entries.get(key).cloned()
    }

    pub(super) fn is_well(&self) -> bool {
        !lock(&self.inner).broken
    }

    pub(super) async fn begin(&self, transactions: &[Transaction]) -> Result<Vec<Key>, Error> {
        let lines = transactions.iter().map(|tx| (tx.attempt.clone(), tx.settlements.clone())).collect::<Vec<_>>();
        self.write(true, move |book| {
            let keys = lines.iter().flat_map(|(_, settlements)| settlements).map(|settlement| settlement.key);
            let begun: Vec<Key> = keys.filter(|key| book.entries.get(key).is_some_and(|e| e.state != State::Failed)).collect();
            if begun.is_empty() { Ok(Record::Begin(lines)) } else { Err(begun) }
        })
        .await
        .map(|refused| refused.unwrap_or_default())
    }

    pub(super) async fn add_attempts(&self, attempts: &[Attempt]) -> Result<(), Error> {
        let record = Record::Attempts(attempts.to_vec());
        self.write(true, |_| Ok::<_, ()>(record)).await.map(|_| ())
    }

    pub(super) async fn record(&self, entries: &[Entry]) -> Result<(), Error> {
        let progress = |entry: &Entry| {
            let Entry { settlement, slot, state, reason } = entry;
            Progress { key: settlement.key, slot: *slot, state: *state, reason: reason.clone() }
        };
        let record = Record::Progress(entries.iter().map(progress).collect());
        self.write(false, |_| Ok::<_, ()>(record)).await.map(|_| ())
    }

    pub(super) async fn close(&self, slots: &[Slot]) -> Result<(), Error> {
        let record = Record::Close(slots.to_vec());
        self.write(false, |_| Ok::<_, ()>(record)).await.map(|_| ())
    }

    pub(super) fn open(&self, chain_id: u64, signer: Address) -> Vec<Open> {
        let inner = lock(&self.inner);
        let slot = |nonce| Slot { chain_id, signer, nonce };
        let ours = inner.book.open.range(slot(0)..=slot(u64::MAX));
        let open = ours.map(|(&slot, Written { attempts, keys })| {
            let entries = keys.iter().filter_map(|key| inner.book.entries.get(key)).filter(|entry| entry.slot == slot);
            Open { slot, attempts: attempts.clone(), entries: entries.cloned().collect() }
        });
        open.collect()
    }

    /// Adds the line that `decide` makes of what is written so far, or hands back why it makes none.
    async fn write<E: Send + 'static>(
        &self,
        durable: bool,
        decide: impl FnOnce(&Book) -> Result<Record, E> + Send + 'static,
    ) -> Result<Option<E>, Error> {
        let inner = self.inner.clone();
        let write = move || {
            let mut inner = lock(&inner);
            let record = match decide(&inner.book) {
                Ok(record) => record,
                Err(refused) => return Ok(Some(refused)),
            };
            inner.append(&record, durable).map_err(|source| Error::JournalFile { path: inner.path.clone(), source })?;
            inner.book.apply(record);
            Ok(None)
        };
        tokio::task::spawn_blocking(write).await.map_err(|error| Error::Serve(io::Error::other(error)))?
    }
}

/// What a thread that panicked left is whole: the book is changed after the file, in one step.
fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    fn append(&mut self, record: &Record, durable: bool) -> io::Result<()> {
        if self.broken {
            // What a failed write left is cut off before anything is added.
            self.file.set_len(self.len)?;
            self.broken = false;
        }
        let line = line(record)?;
        self.broken = true;
        self.file.write_all(&line)?;
        if durable {
            self.file.sync_data()?;
        }
        self.broken = false;
        self.len += line.len() as u64;
        if self.len > self.compact_len + GROWTH_MAX_BYTES
            && let Err(error) = self.compact()
        {
            tracing::warn!(path = %self.path.display(), %error, "the journal cannot be written anew; it goes on growing");
            self.compact_len = self.len;
        }
        Ok(())
    }

    /// Writes the file anew with what still matters: beside it, and then in its place.
    fn compact(&mut self) -> io::Result<()> {
        let beside = self.path.with_added_extension("new");
        let mut file = File::create(&beside)?;
        let mut len = 0;
        for record in self.book.records() {
            let line = line(&record)?;
            file.write_all(&line)?;
            len += line.len() as u64;
        }
        file.sync_all()?;
        std::fs::rename(&beside, &self.path)?;
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()?;
        self.file = OpenOptions::new().append(true).open(&self.path)?;
        (self.len, self.compact_len) = (len, len);
        Ok(())
    }
}

impl Book {
    fn apply(&mut self, record: Record) {
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

    /// Records that say what this book says: the final ones, and then the open ones.
    fn records(&self) -> impl Iterator<Item = Record> {
        let begin = |attempt: &Attempt, keys: &[Key]| {
            let entries = keys.iter().filter_map(|key| self.entries.get(key)).filter(|entry| entry.slot == attempt.slot);
            Record::Begin(vec![(attempt.clone(), entries.map(|entry| entry.settlement.clone()).collect())])
        };
        let progress = |keys: &[Key], slot: Slot| {
            let entries = keys.iter().filter_map(|key| self.entries.get(key)).filter(|entry| entry.slot == slot);
            let progress = entries.map(|entry| {
                let Entry { settlement, slot, state, reason } = entry;
                Progress { key: settlement.key, slot: *slot, state: *state, reason: reason.clone() }
            });
            Record::Progress(progress.collect())
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

fn line(record: &Record) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(record)?;
    let mut line = check(&json).into_bytes();
    line.push(b' ');
    line.extend_from_slice(&json);
    line.push(b'\n');
    Ok(line)
}

fn check(json: &[u8]) -> String {
    alloy::hex::encode(&keccak256(json)[..CHECK_LEN / 2])
}

/// What the file says, and how long it is up to the last whole line.
fn read(file: &mut File) -> io::Result<(Book, u64)> {
    use io::{BufRead, BufReader};
    let (mut book, mut len, mut number) = (Book::default(), 0, 0_u64);
    let mut lines = BufReader::new(file);
    let mut text = Vec::new();
    loop {
        text.clear();
        let read = lines.read_until(b'\n', &mut text)?;
        if read == 0 {
            return Ok((book, len));
        }
        number += 1;
        let record = text.strip_suffix(b"\n").and_then(parse);
        match record {
            Some(record) => book.apply(record),
            // Torn, if nothing follows it.
            None if lines.fill_buf()?.is_empty() => return Ok((book, len)),
            None => {
                let said =
                    format!("line {number} is damaged; restore the file from a copy, or start with another and the same signers");
                return Err(io::Error::new(io::ErrorKind::InvalidData, said));
            }
        }
        len += read as u64;
    }
}

fn parse(line: &[u8]) -> Option<Record> {
    let (sum, json) = line.split_at_checked(CHECK_LEN)?;
    let json = json.strip_prefix(b" ")?;
    (sum == check(json).as_bytes()).then(|| serde_json::from_slice(json).ok())?
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{B256, Bytes, U256};

    use super::*;
    use crate::settlement::{Call, Expected, Method};

    fn transaction(nonce: u64) -> Transaction {
        let slot = Slot { chain_id: 1, signer: Address::repeat_byte(7), nonce };
        let address = Address::repeat_byte(1);
        let key =
            Key { chain_id: 1, method: Method::Eip3009, token: address, payer: address, nonce: B256::from(U256::from(nonce)) };
        let call = Call { to: address, input: Bytes::from_static(b"input"), gas: 1 };
        let expected = Expected::Transfer;
        let settlement = Settlement { key, payee: address, amount: U256::MAX, call, expected, signer: None, batchable: false };
        let attempt = Attempt { slot, hash: B256::from(U256::from(nonce)), raw: Bytes::from_static(b"raw") };
        Transaction { attempt, settlements: vec![settlement] }
    }

    fn key(nonce: u64) -> Key {
        transaction(nonce).settlements[0].key
    }

    #[tokio::test]
    async fn wherever_a_crash_tears_the_last_line_all_before_it_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let journal = FileJournal::open_at(&path).unwrap();
        assert!(journal.begin(&[transaction(1)]).await.unwrap().is_empty());
        let before = std::fs::read(&path).unwrap().len();
        assert!(journal.begin(&[transaction(2)]).await.unwrap().is_empty());
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for torn in before..whole.len() {
            std::fs::write(&path, &whole[..torn]).unwrap();
            let journal = FileJournal::open_at(&path).unwrap();
            assert!(journal.find(&key(1)).is_some() && journal.find(&key(2)).is_none(), "torn at {torn}");
            assert!(journal.begin(&[transaction(2)]).await.unwrap().is_empty(), "and goes on from there");
        }
        let mut damaged = whole.clone();
        damaged[before / 2] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        assert!(FileJournal::open_at(&path).err().unwrap().to_string().contains("line 1 is damaged"));
    }

    #[tokio::test]
    async fn a_journal_that_is_opened_again_says_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let journal = FileJournal::open_at(&path).unwrap();
        journal.begin(&[transaction(1), transaction(2), transaction(3)]).await.unwrap();
        assert_eq!(journal.begin(&[transaction(2), transaction(4)]).await.unwrap(), [key(2)], "begun before");
        assert_eq!(journal.find(&key(4)), None, "all or nothing");
        let replacement = Attempt { hash: B256::repeat_byte(9), ..transaction(3).attempt };
        journal.add_attempts(&[replacement]).await.unwrap();
        let settled = |nonce, state| Entry { state, ..journal.find(&key(nonce)).unwrap() };
        let ended = [settled(1, State::Settled(B256::repeat_byte(1))), settled(2, State::Failed)];
        journal.record(&ended).await.unwrap();
        journal.close(&[ended[0].slot, ended[1].slot]).await.unwrap();
        // A failed one may be tried again, in another slot.
        let mut again = transaction(2);
        again.attempt.slot.nonce = 5;
        assert!(journal.begin(&[again]).await.unwrap().is_empty());
        journal.record(&ended[1..]).await.unwrap();
        let says = |journal: &FileJournal| {
            let open = journal.open(1, Address::repeat_byte(7));
            (format!("{open:?}"), [1, 2, 3].map(|nonce| journal.find(&key(nonce))))
        };
        let said = says(&journal);
        assert!(said.1[1].as_ref().is_some_and(|entry| entry.state == State::Sent), "the old slot's end is not the new one's");
        drop(journal);
        for _ in 0..2 {
            assert_eq!(says(&FileJournal::open_at(&path).unwrap()), said);
        }
    }
}
