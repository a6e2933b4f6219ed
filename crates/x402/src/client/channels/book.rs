use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use alloy::primitives::B256;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedMutexGuard;

use super::ChannelError;
use crate::batch::{ChannelConfig, decimal};

/// Channels one process uses, at most.
const CHANNELS_MAX: usize = 65_536;
/// Longest record read.
const RECORD_LEN_MAX_BYTES: u64 = 64 * 1024;

/// What a payer knows of one of its channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChannelRecord {
    /// Its id.
    pub id: B256,
    /// The chain it is on.
    pub chain_id: u64,
    /// What never changes about it; withdrawals need it.
    pub config: ChannelConfig,
    /// What the seller charged so far, in base units.
    #[serde(with = "decimal")]
    pub charged: u128,
    /// The highest ceiling that was ever signed: the seller can claim as much, and no more.
    #[serde(with = "decimal")]
    pub ceiling: u128,
    /// What is in the channel, in base units, as far as it was confirmed.
    #[serde(with = "decimal")]
    pub balance: u128,
    /// Deposits that were sent and not confirmed, in base units. They may be in the channel.
    #[serde(with = "decimal")]
    pub unconfirmed: u128,
    /// The voucher that was sent last, when nobody said what became of it.
    pub under_way: Option<VoucherUnderWay>,
}

/// A voucher that may be charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoucherUnderWay {
    /// Its ceiling.
    #[serde(with = "decimal")]
    pub ceiling: u128,
    /// The deposit that went with it, 0 for none.
    #[serde(with = "decimal")]
    pub deposit: u128,
}

impl ChannelRecord {
    pub(super) fn new(id: B256, chain_id: u64, config: ChannelConfig) -> Self {
        Self { id, chain_id, config, charged: 0, ceiling: 0, balance: 0, unconfirmed: 0, under_way: None }
    }

    /// From where the next voucher goes on: a voucher of which nobody knows is taken for charged.
    pub(super) fn base(&self) -> u128 {
        self.under_way.map_or(self.charged, |voucher| voucher.ceiling.max(self.charged))
    }
}

/// Where records are kept, and who may use which channel now.
#[derive(Debug, Default)]
pub(super) struct Book {
    folder: Option<PathBuf>,
    records: Mutex<HashMap<B256, ChannelRecord>>,
    turns: Mutex<HashMap<B256, Arc<tokio::sync::Mutex<()>>>>,
}

/// The right to use a channel: nobody else signs for it meanwhile, in this process or, with a folder, in another.
#[derive(Debug)]
pub(super) struct Turn {
    _process: OwnedMutexGuard<()>,
    _folder: Option<File>,
}

impl Book {
    pub(super) fn in_folder(folder: &Path) -> Result<Self, ChannelError> {
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(folder).map_err(|source| io_error(folder, source))?;
        Ok(Self { folder: Some(folder.to_owned()), ..Self::default() })
    }

    /// Waits for the channel.
    pub(super) async fn take(&self, id: B256) -> Result<Turn, ChannelError> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            if turns.len() >= CHANNELS_MAX {
                turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            }
            turns.entry(id).or_default().clone()
        };
        let process = turn.lock_owned().await;
        let Some(path) = self.path(id, "lock") else { return Ok(Turn { _process: process, _folder: None }) };
        let locking = blocking(move || {
            let file =
                private().create(true).write(true).truncate(false).open(&path).map_err(|source| io_error(&path, source))?;
            file.lock().map_err(|source| io_error(&path, source))?;
            Ok::<_, ChannelError>(file)
        });
        Ok(Turn { _process: process, _folder: Some(locking.await?) })
    }

    pub(super) async fn read(&self, id: B256) -> Result<Option<ChannelRecord>, ChannelError> {
        let Some(path) = self.path(id, "json") else {
            return Ok(self.records.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned());
        };
        blocking(move || read(&path)).await
    }

    /// The record is durable when this returns.
    pub(super) async fn write(&self, record: &ChannelRecord) -> Result<(), ChannelError> {
        let Some(path) = self.path(record.id, "json") else {
            let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
            if records.len() >= CHANNELS_MAX && !records.contains_key(&record.id) {
                return Err(ChannelError::TooMany(CHANNELS_MAX));
            }
            records.insert(record.id, record.clone());
            return Ok(());
        };
        let text = serde_json::to_vec(record).expect("a struct of texts and numbers is JSON");
        blocking(move || replace(&path, &text).map_err(|source| io_error(&path, source))).await
    }

    /// Every record there is.
    pub(super) async fn all(&self) -> Result<Vec<ChannelRecord>, ChannelError> {
        let Some(folder) = self.folder.clone() else {
            return Ok(self.records.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect());
        };
        let listing = blocking(move || {
            let entries = fs::read_dir(&folder).map_err(|source| io_error(&folder, source))?;
            let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
            let records = paths.filter(|path| path.extension().is_some_and(|ending| ending == "json")).map(|path| read(&path));
            records.filter_map(Result::transpose).collect()
        });
        listing.await
    }

    fn path(&self, id: B256, ending: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(format!("{id}.{ending}")))
    }
}

fn read(path: &Path) -> Result<Option<ChannelRecord>, ChannelError> {
    let mut bytes = Vec::new();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io_error(path, source)),
    };
    io::Read::read_to_end(&mut io::Read::take(file, RECORD_LEN_MAX_BYTES), &mut bytes)
        .map_err(|source| io_error(path, source))?;
    serde_json::from_slice(&bytes).map(Some).map_err(|_| ChannelError::Malformed { path: path.to_owned() })
}

/// The old record or the new one, whenever the machine stops. Only who has the channel's turn writes, so one temporary name is enough.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = private().create(true).write(true).truncate(true).open(&temporary)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// A signed voucher is money: for its owner's eyes only.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn io_error(path: &Path, source: io::Error) -> ChannelError {
    ChannelError::Io { path: path.to_owned(), source }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
