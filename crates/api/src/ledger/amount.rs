use std::{fmt, str::FromStr};

use money::Usdc;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// What an amount is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[repr(u8)]
pub enum Asset {
    /// USDC, all of it backed on chain.
    #[serde(rename = "USDC")]
    Usdc = 1,
    /// Credits of the house: 1 ARD is 0.001 USD.
    #[serde(rename = "ARD")]
    Ard = 2,
}

impl Asset {
    /// By its number in the ledger.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Usdc),
            2 => Some(Self::Ard),
            _ => None,
        }
    }

    /// The price in this asset of what costs so much USDC: exact, since 1 USDC is 1,000 ARD and both have six decimals. `None` when it does
    /// not fit.
    pub fn price_of(self, usdc: Usdc) -> Option<Amount> {
        let units = match self {
            Self::Usdc => usdc.base_units(),
            Self::Ard => usdc.base_units().checked_mul(1_000)?,
        };
        Amount::from_units(units)
    }
}

impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Usdc => "USDC",
            Self::Ard => "ARD",
        })
    }
}

/// An amount of either asset, in millionths; at most `i64::MAX` of them. Reads and writes as a decimal (`"0.05"`), also in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(u64);

/// Why a text is not an amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an amount: write it like 0.05, with at most 6 decimals")]
pub struct ParseAmountError(String);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// So many millionths; `None` above [`Self::MAX`].
    pub const fn from_units(units: u64) -> Option<Self> {
        if units <= Self::MAX.0 { Some(Self(units)) } else { None }
    }

    /// In millionths.
    pub const fn units(self) -> u64 {
        self.0
    }

    /// In millionths, as the ledger counts.
    pub const fn signed(self) -> i64 {
        self.0.cast_signed()
    }

    /// True for nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// `self * numerator / denominator`, rounded down, exact in between. `None` when it does not fit.
    pub fn mul_div_floor(self, numerator: u64, denominator: u64) -> Option<Self> {
        Self::from_units(Usdc::from_base_units(self.0).mul_div_floor(numerator, denominator)?.base_units())
    }

    /// `self * numerator / denominator`, rounded up, exact in between. `None` when it does not fit.
    pub fn mul_div_ceil(self, numerator: u64, denominator: u64) -> Option<Self> {
        Self::from_units(Usdc::from_base_units(self.0).mul_div_ceil(numerator, denominator)?.base_units())
    }

    /// Difference, or `None` when it would be negative.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(units) => Some(Self(units)),
            None => None,
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Usdc::from_base_units(self.0).fmt(f)
    }
}

impl FromStr for Amount {
    type Err = ParseAmountError;

    fn from_str(text: &str) -> Result<Self, ParseAmountError> {
        let units = text.parse::<Usdc>().ok().and_then(|amount| Self::from_units(amount.base_units()));
        units.ok_or_else(|| ParseAmountError(text.chars().take(40).collect()))
    }
}

impl JsonSchema for Amount {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        crate::schema::Decimal::json_schema(generator)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}
