use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
};

use money::Usdc;
use serde::{Deserialize, Serialize};

use super::{PayError, Refusal, payer::now_secs};

const DAY_SECS: u64 = 24 * 60 * 60;

/// What may be spent in a day (UTC), by all clients of this machine that share one file.
///
/// A price is on disk before the payment is signed, under a lock. So whatever crashes, and however many processes pay at once, no more is
/// signed in a day. What was signed counts, paid or not. A clock that is set back does not begin a day again.
#[derive(Clone, Debug)]
pub struct DailyBudget {
    file: PathBuf,
    max: Usdc,
    max_per_host: Usdc,
    max_per_asset: Usdc,
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
    spent: BTreeMap<String, BTreeMap<String, u64>>,
}

/// A price that was taken off a day's budget.
#[derive(Debug)]
pub(super) struct Spending {
    pub(super) host: String,
    /// Chain and token.
    pub(super) asset: String,
    pub(super) price: Usdc,
}

impl DailyBudget {
    /// At most `max` a day in all, written down in `file`. A local file: locks of network file systems do not hold.
    pub fn new(file: impl Into<PathBuf>, max: Usdc) -> Self {
        Self { file: file.into(), max, max_per_host: max, max_per_asset: max }
    }

    /// The most that any one host is paid in a day.
    pub fn max_per_host(mut self, max: Usdc) -> Self {
        self.max_per_host = max;
        self
    }

    /// The most that is paid in any one token in a day.
    pub fn max_per_asset(mut self, max: Usdc) -> Self {
        self.max_per_asset = max;
        self
    }

    /// What was signed today. Waits for whoever holds the file.
    ///
    /// # Errors
    /// [`BudgetError`] when the file cannot be read.
    pub fn spent(&self) -> Result<Usdc, BudgetError> {
        let _lock = self.lock()?;
        Ok(self.today()?.sum(|_, _| true))
    }

    /// Takes a price off the budget, on disk, or refuses. Returns the day it was taken off.
    pub(super) fn reserve(&self, spending: &Spending) -> Result<u64, PayError> {
        let Spending { host, asset, price } = spending;
        let _lock = self.lock()?;
        let mut day = self.today()?;
        let limits = [
            (self.max, day.sum(|_, _| true)),
            (self.max_per_host, day.sum(|known, _| known == host)),
            (self.max_per_asset, day.sum(|_, known| known == asset)),
        ];
        let left = limits.into_iter().map(|(max, spent)| max.saturating_sub(spent)).min().unwrap_or(Usdc::ZERO);
        if *price > left {
            return Err(Refusal::DayExhausted { price: *price, left, host: host.clone() }.into());
        }
        let spent = day.entry(spending);
        *spent = spent.saturating_add(price.base_units());
        self.write(&day)?;
        Ok(day.day)
    }

    /// Gives back what was reserved that day and not signed.
    pub(super) fn give_back(&self, spending: &Spending, reserved_on: u64) -> Result<(), BudgetError> {
        let _lock = self.lock()?;
        let mut day = self.today()?;
        if day.day != reserved_on {
            return Ok(());
        }
        let spent = day.entry(spending);
        *spent = spent.saturating_sub(spending.price.base_units());
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
        Ok(if known.day < today { Day { day: today, spent: BTreeMap::new() } } else { known })
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

impl Day {
    fn entry(&mut self, spending: &Spending) -> &mut u64 {
        self.spent.entry(spending.host.clone()).or_default().entry(spending.asset.clone()).or_default()
    }

    fn sum(&self, counts: impl Fn(&str, &str) -> bool) -> Usdc {
        let assets = self.spent.iter().flat_map(|(host, assets)| assets.iter().map(move |(asset, units)| (host, asset, units)));
        let units =
            assets.filter(|(host, asset, _)| counts(host, asset)).fold(0_u64, |sum, (.., units)| sum.saturating_add(*units));
        Usdc::from_base_units(units)
    }
}
