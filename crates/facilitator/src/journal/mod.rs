//! The settlement journal: what is about to be sent is here before it is, and what became of it after.

mod file;
mod postgres;

use std::path::PathBuf;

use alloy::primitives::{Address, B256, Bytes};
use serde::{Deserialize, Serialize};

pub(crate) use self::{
    file::FileJournal,
    postgres::{Lease, PostgresJournal},
};
use crate::{
    Error,
    settlement::{Entry, Key, Settlement, Slot},
};

/// A journal in a file: `file:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalFile(pub(crate) PathBuf);

/// Not a place for a journal.
#[derive(Clone, Debug, thiserror::Error)]
#[error("a journal is file:PATH, and {0:?} is not; for Postgres give --database-url instead")]
pub struct MalformedJournal(String);

impl std::str::FromStr for JournalFile {
    type Err = MalformedJournal;

    fn from_str(text: &str) -> Result<Self, MalformedJournal> {
        match text.strip_prefix("file:") {
            Some(path) if !path.is_empty() => Ok(Self(path.into())),
            _ => Err(MalformedJournal(text.to_owned())),
        }
    }
}

/// A signed transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    pub(crate) slot: Slot,
    pub(crate) hash: B256,
    pub(crate) raw: Bytes,
}

/// A transaction that is about to be sent, and what it settles.
pub(crate) struct Transaction {
    pub(crate) attempt: Attempt,
    pub(crate) settlements: Vec<Settlement>,
}

/// A slot whose outcome is not final.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) slot: Slot,
    /// Oldest first.
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) entries: Vec<Entry>,
}

/// Two kinds of store with one meaning. All writes are whole or not at all, and those of [`Journal::begin`] and [`Journal::add_attempts`] are
/// durable when they return.
pub(crate) enum Journal {
    /// For any number of instances, each with signers of its own.
    Postgres(PostgresJournal),
    /// For one instance.
    File(FileJournal),
}

impl Journal {
    pub(crate) async fn find(&self, key: &Key) -> Result<Option<Entry>, Error> {
        match self {
            Self::Postgres(journal) => Ok(journal.find(key).await?),
            Self::File(journal) => Ok(journal.find(key)),
        }
    }

    /// Writes what is about to be sent. A settlement that failed, or goes out again, is taken up anew.
    ///
    /// Answers which settlements were begun before; then nothing was written.
    pub(crate) async fn begin(&self, transactions: &[Transaction]) -> Result<Vec<Key>, Error> {
        match self {
            Self::Postgres(journal) => Ok(journal.begin(transactions).await?),
            Self::File(journal) => journal.begin(transactions).await,
        }
    }

    /// Writes replacements, before they are sent.
    pub(crate) async fn add_attempts(&self, attempts: &[Attempt]) -> Result<(), Error> {
        match self {
            Self::Postgres(journal) => Ok(journal.add_attempts(attempts).await?),
            Self::File(journal) => journal.add_attempts(attempts).await,
        }
    }

    /// Writes how far settlements are, unless they were begun anew in another slot meanwhile. Not durable at once: the chain tells the same
    /// again.
    pub(crate) async fn record(&self, entries: &[Entry]) -> Result<(), Error> {
        match self {
            Self::Postgres(journal) => Ok(journal.record(entries).await?),
            Self::File(journal) => journal.record(entries).await,
        }
    }

    /// These slots are looked at no more, except for what of them goes out again and did not yet.
    pub(crate) async fn close(&self, slots: &[Slot]) -> Result<(), Error> {
        match self {
            Self::Postgres(journal) => Ok(journal.close(slots).await?),
            Self::File(journal) => journal.close(slots).await,
        }
    }

    /// What is not final of a signer's, in the order of its nonces.
    pub(crate) async fn open(&self, chain_id: u64, signer: Address) -> Result<Vec<Open>, Error> {
        match self {
            Self::Postgres(journal) => Ok(journal.open(chain_id, signer).await?),
            Self::File(journal) => Ok(journal.open(chain_id, signer)),
        }
    }

    /// Takes a signer for this instance, for as long as the lease lives.
    pub(crate) async fn lease(&self, signer: Address) -> Result<Option<Lease>, Error> {
        match self {
            Self::Postgres(journal) => Ok(Some(journal.lease(signer).await?)),
            // The file belongs to one instance as a whole.
            Self::File(_) => Ok(None),
        }
    }

    /// Whether it can be written.
    pub(crate) async fn is_well(&self) -> bool {
        match self {
            Self::Postgres(journal) => journal.is_well().await,
            Self::File(journal) => journal.is_well(),
        }
    }
}
