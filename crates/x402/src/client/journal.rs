use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, BufRead, BufReader, Read, Seek, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use alloy::primitives::B256;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    DailyBudget,
    outstanding::{OUTSTANDING_MAX, Payment},
};
use crate::{PaymentRequirements, SettleResponse};

/// Longest file of receipts; then it is put aside and a new one begins.
const RECEIPTS_LEN_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Files of receipts that are kept, the current one included.
const RECEIPTS_FILES_MAX: usize = 5;
/// Longest payment read: a header and its offer, as JSON.
const PAYMENT_LEN_MAX_BYTES: u64 = 256 * 1024;

/// What a file that is being written cannot be old.
const UNFINISHED_AGE_MIN: Duration = Duration::from_secs(60);

/// What a client knows of its payments, in a folder: it outlives the process and is shared with others.
///
/// - `payments/`: signed payments that may still settle, one file each. A payment is on disk before it is sent, and its file stays locked
///   while somebody sends it; so after a crash the same request sends the same payment, and two processes never take up one payment.
/// - `receipts.jsonl`: what became of payments, oldest first. At most 5 files of 4 MiB.
///
/// A local folder, readable by its owner only: locks of network file systems do not hold.
#[derive(Clone, Debug)]
pub struct Journal {
    folder: PathBuf,
}

/// The folder cannot be used. Nothing is signed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// A file cannot be locked, read or written.
    #[error("the payments in {} cannot be kept: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A file is not one of ours.
    #[error("{} is not a payment: remove it once you know that it cannot settle any more", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// So many signed payments may still settle that no new one is signed.
    #[error("{OUTSTANDING_MAX} signed payments in {} may still settle: wait until they have ended", path.display())]
    Full {
        /// The folder.
        path: PathBuf,
    },
}

/// What became of a payment, as far as the seller said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Receipt {
    /// Unix seconds.
    pub at: u64,
    /// Who was paid for what.
    pub url: Url,
    /// The offer that was taken.
    pub requirement: PaymentRequirements,
    /// The seller's word; `None` when it said nothing, which means that it did not settle.
    pub settlement: Option<SettleResponse>,
}

/// A payment on disk, locked.
#[derive(Debug)]
pub(super) struct Held {
    path: PathBuf,
    /// Unlocked when it is dropped; the system drops it when the process dies.
    _lock: File,
}

impl Held {
    /// A file that stays because this failed does no harm: it is sent again, and served once.
    pub(super) fn remove(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a payment that has ended is still on disk");
        }
    }
}

impl Journal {
    /// Uses `folder`, and makes it if need be.
    ///
    /// # Errors
    /// [`JournalError::Io`] when it cannot be made.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, JournalError> {
        let journal = Self { folder: folder.into() };
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(journal.payments()).map_err(|source| io_error(&journal.folder, source))?;
        journal.remove_unfinished().map_err(|source| io_error(&journal.folder, source))?;
        Ok(journal)
    }

    /// A budget of the day in the same folder.
    pub fn daily_budget(&self, max: money::Usdc) -> DailyBudget {
        DailyBudget::new(self.folder.join("spent-today.json"), max)
    }

    /// A process that died while it wrote a payment down has not sent it.
    fn remove_unfinished(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.payments())? {
            let path = entry?.path();
            let old = |path: &Path| Some(fs::metadata(path).ok()?.modified().ok()?.elapsed().ok()? > UNFINISHED_AGE_MIN);
            if path.extension().is_some_and(|extension| extension == "new") && old(&path) == Some(true) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn payments(&self) -> PathBuf {
        self.folder.join("payments")
    }

    /// Writes a payment down, all or nothing, and locks it.
    pub(super) fn hold(&self, request: B256, payment: &Payment) -> Result<Held, JournalError> {
        let folder = self.payments();
        if self.paths("")?.len() >= OUTSTANDING_MAX && self.clean()? >= OUTSTANDING_MAX {
            return Err(JournalError::Full { path: folder });
        }
        let path = folder.join(format!("{request:x}-{:016x}.json", rand::random::<u64>()));
        let written = || {
            let new = path.with_extension("new");
            let mut file = private().write(true).create_new(true).open(&new)?;
            file.lock()?;
            file.write_all(&serde_json::to_vec(payment)?)?;
            file.sync_all()?;
            // The lock is the file's, not the name's: whoever finds it, finds it locked.
            fs::rename(&new, &path)?;
            File::open(&folder)?.sync_all()?;
            Ok(file)
        };
        let lock = written().map_err(|source| io_error(&path, source))?;
        Ok(Held { path, _lock: lock })
    }

    /// A payment made for `request` that may still settle and that nobody is sending.
    pub(super) fn take(&self, request: B256) -> Result<Option<(Held, Payment)>, JournalError> {
        for path in self.paths(&format!("{request:x}-"))? {
            let Some((held, payment)) = lock(path)? else { continue };
            if payment.may_settle() {
                return Ok(Some((held, payment)));
            }
            held.remove();
        }
        Ok(None)
    }

    pub(super) fn forget(&self, request: B256) -> Result<(), JournalError> {
        while let Some((held, _)) = self.take(request)? {
            held.remove();
        }
        Ok(())
    }

    /// Signed payments that may still settle and that nobody is sending: what to ask for again.
    ///
    /// # Errors
    /// [`JournalError`] when they cannot be read.
    pub fn outstanding(&self) -> Result<Vec<(Url, PaymentRequirements, u64)>, JournalError> {
        let mut found = Vec::new();
        for path in self.paths("")? {
            match lock(path)? {
                Some((_, payment)) if payment.may_settle() => {
                    found.push((payment.url, payment.requirement, payment.valid_before));
                }
                Some((held, _)) => held.remove(),
                None => {}
            }
        }
        Ok(found)
    }

    /// Removes what cannot settle any more; how many are left.
    fn clean(&self) -> Result<usize, JournalError> {
        self.outstanding()?;
        Ok(self.paths("")?.len())
    }

    fn paths(&self, prefix: &str) -> Result<Vec<PathBuf>, JournalError> {
        let folder = self.payments();
        let listed = || {
            let mut paths = Vec::new();
            for entry in fs::read_dir(&folder)? {
                let name = entry?.file_name();
                let is_payment = name.to_str().is_some_and(|name| name.starts_with(prefix) && name.ends_with(".json"));
                if is_payment {
                    paths.push(folder.join(name));
                }
            }
            Ok(paths)
        };
        listed().map_err(|source| io_error(&folder, source))
    }

    /// Adds to the receipts.
    pub(super) fn record(&self, receipt: &Receipt) -> Result<(), JournalError> {
        let path = self.receipts_path(0);
        let written = || {
            let lock = private().write(true).create(true).truncate(false).open(self.folder.join("receipts.lock"))?;
            lock.lock()?;
            if fs::metadata(&path).is_ok_and(|file| file.len() >= RECEIPTS_LEN_MAX_BYTES) {
                for index in (1..RECEIPTS_FILES_MAX).rev() {
                    match fs::rename(self.receipts_path(index - 1), self.receipts_path(index)) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                        _ => {}
                    }
                }
            }
            let mut file = private().read(true).append(true).create(true).open(&path)?;
            let mut line = serde_json::to_vec(receipt)?;
            line.push(b'\n');
            if !ends_with_newline(&mut file)? {
                // A crash in the middle of a line must not spoil the next one.
                line.insert(0, b'\n');
            }
            file.write_all(&line)?;
            file.sync_data()
        };
        written().map_err(|source| io_error(&path, source))
    }

    /// The receipts, oldest first. A line that a crash cut short is left out.
    ///
    /// # Errors
    /// [`JournalError::Io`] when they cannot be read.
    pub fn receipts(&self) -> Result<Vec<Receipt>, JournalError> {
        let mut receipts = Vec::new();
        for index in (0..RECEIPTS_FILES_MAX).rev() {
            let path = self.receipts_path(index);
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(io_error(&path, source)),
            };
            let lines = BufReader::new(file).split(b'\n').collect::<io::Result<Vec<_>>>();
            let lines = lines.map_err(|source| io_error(&path, source))?;
            receipts.extend(lines.iter().filter_map(|line| serde_json::from_slice::<Receipt>(line).ok()));
        }
        Ok(receipts)
    }

    fn receipts_path(&self, index: usize) -> PathBuf {
        let name = if index == 0 { "receipts.jsonl".to_owned() } else { format!("receipts.{index}.jsonl") };
        self.folder.join(name)
    }
}

/// Reads and locks a payment; `None` when somebody has it, or had it and it is gone.
fn lock(path: PathBuf) -> Result<Option<(Held, Payment)>, JournalError> {
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io_error(&path, source)),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(source)) => return Err(io_error(&path, source)),
    }
    // Whoever held the lock until now may have removed the file.
    if !path.exists() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    (&mut file).take(PAYMENT_LEN_MAX_BYTES).read_to_end(&mut bytes).map_err(|source| io_error(&path, source))?;
    let payment = serde_json::from_slice(&bytes).map_err(|_| JournalError::Malformed { path: path.clone() })?;
    Ok(Some((Held { path, _lock: file }, payment)))
}

fn ends_with_newline(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(io::SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// A signed payment is readable by its owner only.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn io_error(path: &Path, source: io::Error) -> JournalError {
    JournalError::Io { path: path.to_owned(), source }
}
