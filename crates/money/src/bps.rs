use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Usdc;

/// A share in basis points, 0 to 10,000 (100 %).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Bps(u16);

/// More than 10,000 basis points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} basis points are more than the whole: 10000 is 100 %")]
pub struct BpsTooLarge(pub u16);

impl Bps {
    /// No share.
    pub const ZERO: Self = Self(0);
    /// The whole.
    pub const WHOLE: Self = Self(10_000);

    /// A share of `bps` basis points, or `None` above 10,000.
    pub const fn new(bps: u16) -> Option<Self> {
        if bps <= Self::WHOLE.0 { Some(Self(bps)) } else { None }
    }

    /// The number of basis points.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The share of `amount`, rounded down. Never more than `amount`.
    pub fn of_floor(self, amount: Usdc) -> Usdc {
        amount.mul_div_floor(self.0.into(), Self::WHOLE.0.into()).expect("a share of at most the whole fits")
    }

    /// The share of `amount`, rounded up. Never more than `amount`.
    pub fn of_ceil(self, amount: Usdc) -> Usdc {
        amount.mul_div_ceil(self.0.into(), Self::WHOLE.0.into()).expect("a share of at most the whole fits")
    }
}

impl TryFrom<u16> for Bps {
    type Error = BpsTooLarge;

    fn try_from(bps: u16) -> Result<Self, BpsTooLarge> {
        Self::new(bps).ok_or(BpsTooLarge(bps))
    }
}

impl From<Bps> for u16 {
    fn from(bps: Bps) -> Self {
        bps.0
    }
}

impl fmt::Display for Bps {
    /// As a percentage with two decimals: `2.50 %`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02} %", self.0 / 100, self.0 % 100)
    }
}
