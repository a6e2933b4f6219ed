use std::{collections::BTreeMap, fmt};

use money::Usdc;
use serde::{Deserialize, Serialize};

use super::Refusal;

/// Hosts that one tally knows, at most: a longer list is a sign that something is wrong, and every payment reads and writes all of it.
const HOSTS_MAX: usize = 4096;

/// Over how long a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// The life of the client.
    Client,
    /// A day (UTC).
    Day,
}

/// Which budget a payment would exceed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Budget {
    /// Of everything.
    All(Period),
    /// Of what one host is paid.
    Host(Period, String),
    /// Of what is paid in one token, named by chain and address.
    Asset(Period, String),
}

impl Budget {
    /// What to do when it is used up.
    pub fn remedy(&self) -> &'static str {
        match self.period() {
            Period::Client => "raise it or start a new client",
            Period::Day => "raise it or wait for tomorrow (UTC)",
        }
    }

    fn period(&self) -> Period {
        let (Self::All(period) | Self::Host(period, _) | Self::Asset(period, _)) = self;
        *period
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.period() {
            Period::Client => "this client's budget",
            Period::Day => "today's budget",
        })?;
        match self {
            Self::All(_) => Ok(()),
            Self::Host(_, host) => write!(f, " for {host}"),
            Self::Asset(_, asset) => write!(f, " in {asset}"),
        }
    }
}

/// The most that may be spent in a period.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) all: Usdc,
    pub(super) per_host: Usdc,
    pub(super) per_asset: Usdc,
}

/// A price, and where it counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spending {
    pub(super) host: String,
    /// Chain and token.
    pub(super) asset: String,
    /// Base units.
    pub(super) price: Usdc,
}

/// Base units that were spent, by host and token.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Tally(BTreeMap<String, BTreeMap<String, u64>>);

impl Tally {
    pub(super) fn all(&self) -> Usdc {
        self.sum(|_, _| true)
    }

    /// Adds a price, if all limits allow it.
    pub(super) fn spend(&mut self, spending: &Spending, limits: &Limits, period: Period) -> Result<(), Refusal> {
        self.check(spending, limits, period)?;
        let units = self.entry(spending);
        *units = units.saturating_add(spending.price.base_units());
        Ok(())
    }

    /// Whether all limits allow a price.
    pub(super) fn check(&self, spending: &Spending, limits: &Limits, period: Period) -> Result<(), Refusal> {
        let Spending { host, asset, price } = spending;
        if !self.0.contains_key(host) && self.0.len() >= HOSTS_MAX {
            return Err(Refusal::TooManyHosts(HOSTS_MAX));
        }
        let judged = [
            (limits.all, self.all(), Budget::All(period)),
            (limits.per_host, self.sum(|known, _| known == host), Budget::Host(period, host.clone())),
            (limits.per_asset, self.sum(|_, known| known == asset), Budget::Asset(period, asset.clone())),
        ];
        for (max, spent, budget) in judged {
            let left = max.saturating_sub(spent);
            if *price > left {
                return Err(Refusal::Exhausted { price: *price, left, max, budget });
            }
        }
        Ok(())
    }

    /// Takes a price off again.
    pub(super) fn give_back(&mut self, spending: &Spending) {
        let units = self.entry(spending);
        *units = units.saturating_sub(spending.price.base_units());
    }

    fn entry(&mut self, spending: &Spending) -> &mut u64 {
        self.0.entry(spending.host.clone()).or_default().entry(spending.asset.clone()).or_default()
    }

    fn sum(&self, counts: impl Fn(&str, &str) -> bool) -> Usdc {
        let assets = self.0.iter().flat_map(|(host, assets)| assets.iter().map(move |(asset, units)| (host, asset, units)));
        let units =
            assets.filter(|(host, asset, _)| counts(host, asset)).fold(0_u64, |sum, (.., units)| sum.saturating_add(*units));
        Usdc::from_base_units(units)
    }
}
