//! The journal of one instance, without a database: a file to which lines are only added, and what they say in memory.
//!
//! A line is a checksum and JSON. A crash can tear the last one: what is torn was never sent, because a line is on disk before its transaction
//! leaves. A damaged line before the last is an error at the start.

mod book;
mod line;
#[cfg(test)]
mod tests;

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use alloy::primitives::Address;

use self::{
    book::{Book, Progress, Record, Written},
    line::{line, read},
};
use super::{Attempt, Open, Transaction};
use crate::{
    Error,
    settlement::{Entry, Key, Slot, State},
};

/// The file is written anew when it has grown by this much, in bytes.
const GROWTH_MAX_BYTES: u64 = 64 << 20;
/// A predecessor that is just ending may hold the file for a moment.
const LOCK_WAIT: Duration = Duration::from_secs(3);
const LOCK_RETRY: Duration = Duration::from_millis(50);

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
            let begun: Vec<Key> = keys
                .filter(|key| book.entries.get(key).is_some_and(|e| !matches!(e.state, State::Failed | State::Again)))
                .collect();
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
        let record = Record::Progress(entries.iter().map(Progress::of).collect());
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
            inner.compact_when_grown();
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
        Ok(())
    }

    /// After the book has what was appended last: the new file is written from it.
    fn compact_when_grown(&mut self) {
        if self.len > self.compact_len + GROWTH_MAX_BYTES
            && let Err(error) = self.compact()
        {
            tracing::warn!(path = %self.path.display(), %error, "the journal cannot be written anew; it goes on growing");
            self.compact_len = self.len;
        }
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
