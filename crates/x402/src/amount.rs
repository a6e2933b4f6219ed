use std::{fmt, str::FromStr};

use alloy::primitives::U256;
use money::Usdc;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// An amount of some token in its base units, as wide as the chain has it.
///
/// The wire may name any token, so nothing is lost here; [`Usdc`] is made of it at the edge, where the asset is known to be USDC.
/// Reads and writes as a decimal string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenAmount(pub U256);

/// Why a text is not an amount of base units.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseAmountError {
    /// Something other than decimal digits, or a leading zero, which would not survive being echoed.
    #[error("{0:?} is not an amount of base units: write decimal digits without sign, point or leading zero")]
    NotDecimal(String),
    /// Does not fit 256 bits.
    #[error("{0:?}... is more than a uint256 holds")]
    TooLarge(String),
}

/// 2^256 has 78 decimal digits.
const DIGITS_MAX: usize = 78;

impl TokenAmount {
    /// Nothing.
    pub const ZERO: Self = Self(U256::ZERO);

    /// The amount as USDC; `None` when it is more than [`Usdc::MAX`].
    pub fn to_usdc(self) -> Option<Usdc> {
        Usdc::try_from(self.0).ok()
    }

    /// True for nothing.
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<Usdc> for TokenAmount {
    fn from(amount: Usdc) -> Self {
        Self(amount.into())
    }
}

impl From<u64> for TokenAmount {
    fn from(units: u64) -> Self {
        Self(U256::from(units))
    }
}

impl From<U256> for TokenAmount {
    fn from(units: U256) -> Self {
        Self(units)
    }
}

impl fmt::Display for TokenAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TokenAmount {
    type Err = ParseAmountError;

    fn from_str(text: &str) -> Result<Self, ParseAmountError> {
        let leading_zero = text.len() > 1 && text.starts_with('0');
        if text.is_empty() || leading_zero || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ParseAmountError::NotDecimal(clip(text)));
        }
        if text.len() > DIGITS_MAX {
            return Err(ParseAmountError::TooLarge(clip(text)));
        }
        U256::from_str_radix(text, 10).map(Self).map_err(|_| ParseAmountError::TooLarge(clip(text)))
    }
}

/// Keeps an outsider's text in an error short.
pub(crate) fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

impl Serialize for TokenAmount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TokenAmount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}
