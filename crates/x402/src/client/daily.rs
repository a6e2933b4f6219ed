use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
};

use money::Usdc;
use serde::{Deserialize, Serialize};

use super::{
    PayError,
    budget::{Limits, Period, Spending, Tally},
    payer::now_secs,
};

const DAY_SECS: u64 = 24 * 60 * 60;

/// What may be spent in a day (UTC), by all clients of this machine that share one file.
///
/// A price is on disk before the payment is signed, under a lock. So whatever crashes, and however many processes pay at once, no more is
/// signed in a day. What was signed counts, paid or not. A clock that is set back does not begin a day again.
#[derive(Clone, Debug)]
pub struct DailyBudget {
    file: PathBuf,
    limits: Limits,
}

/// Why nobody knows what was spent today. Nothing is paid then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BudgetError {
    /// The file cannot be locked, read or written.
    #[error("the daily budget in {} cannot be used: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The file is not one of ours.
    #[error("{} is not a daily budget: name another file, or remove it to begin anew", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
    },
}

/// The file: base units by host and token, of one day.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Day {
    /// Days since 1970.
    day: u64,
    spent: Tally,
}

impl DailyBudget {
    /// At most `max` a day in all, written down in `file`. A local file: locks of network file systems do not hold.
    pub fn new(file: impl Into<PathBuf>, max: Usdc) -> Self {
        Self { file: file.into(), limits: Limits { all: max, per_host: max, per_asset: max } }
    }

    /// The most that any one host is paid in a day.
    pub fn max_per_host(mut self, max: Usdc) -> Self {
        self.limits.per_host = max;
        self
    }

    /// The most that is paid in any one token in a day.
    pub fn max_per_asset(mut self, max: Usdc) -> Self {
        self.limits.per_asset = max;
        self
    }

    /// What was signed today. Waits for whoever holds the file.
    ///
    /// # Errors
    /// [`BudgetError`] when the file cannot be read.
    pub fn spent(&self) -> Result<Usdc, BudgetError> {
        let _lock = self.lock()?;
        Ok(self.today()?.spent.all())
    }

    /// Takes a price off the budget, on disk, or refuses. Returns the day it was taken off.
    pub(super) fn reserve(&self, spending: &Spending) -> Result<u64, PayError> {
        let _lock = self.lock()?;
        let mut day = self.today()?;
        day.spent.spend(spending, &self.limits, Period::Day)?;
        self.write(&day)?;
        Ok(day.day)
    }

    /// Whether a price could be taken off now.
    pub(super) fn check(&self, spending: &Spending) -> Result<(), PayError> {
        let _lock = self.lock()?;
        Ok(self.today()?.spent.check(spending, &self.limits, Period::Day)?)
    }

    /// Gives back what was reserved that day and not signed.
    pub(super) fn give_back(&self, spending: &Spending, reserved_on: u64) -> Result<(), BudgetError> {
        let _lock = self.lock()?;
        let mut day = self.today()?;
        if day.day != reserved_on {
            return Ok(());
        }
        day.spent.give_back(spending);
        self.write(&day)
    }

    /// Held until it is dropped; the system drops it when the process dies.
    fn lock(&self) -> Result<File, BudgetError> {
        let locked = || {
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(self.beside("lock"))?;
            file.lock()?;
            Ok(file)
        };
        locked().map_err(|source| self.io(source))
    }

    fn today(&self) -> Result<Day, BudgetError> {
        let today = now_secs() / DAY_SECS;
        let known: Day = match fs::read(&self.file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| BudgetError::Malformed { file: self.file.clone() })?,
            Err(source) if source.kind() == io::ErrorKind::NotFound => Day::default(),
            Err(source) => return Err(self.io(source)),
        };
        Ok(if known.day < today { Day { day: today, spent: Tally::default() } } else { known })
    }

    /// All or nothing, and on disk when this returns.
    fn write(&self, day: &Day) -> Result<(), BudgetError> {
        let written = || {
            let new = self.beside("new");
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec(day)?)?;
            file.sync_all()?;
            fs::rename(&new, &self.file)?;
            let folder = self.file.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or_else(|| ".".as_ref()))?.sync_all()
        };
        written().map_err(|source| self.io(source))
    }

    fn beside(&self, extension: &str) -> PathBuf {
        let mut name = self.file.clone().into_os_string();
        name.push(".");
        name.push(extension);
        name.into()
    }

    fn io(&self, source: io::Error) -> BudgetError {
        BudgetError::Io { file: self.file.clone(), source }
    }
}
