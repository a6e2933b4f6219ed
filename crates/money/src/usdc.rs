use std::{fmt, str::FromStr};

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// An amount of USDC in base units: 1 USDC is 1,000,000 units.
///
/// Reads and writes as decimal USDC (`"0.05"`), also in JSON. Use [`crate::base_units`] where a protocol wants base units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usdc(u64);

/// Why a text is not an amount of USDC.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseUsdcError {
    /// Not digits with at most one point.
    #[error("{0:?} is not an amount of USDC: write it like 0.05")]
    NotANumber(String),
    /// More than six decimals: USDC cannot carry them and nothing is rounded silently.
    #[error("{0:?} has more than 6 decimals: USDC has 6, so the smallest amount is 0.000001")]
    TooPrecise(String),
    /// More than `u64::MAX` base units.
    #[error("{0:?} is more than {max} USDC", max = Usdc::MAX)]
    TooLarge(String),
    /// Base units were asked for and something else came.
    #[error("{0:?} is not a number of base units: write 50000 for 0.05 USDC")]
    NotBaseUnits(String),
}

impl Usdc {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount, about 18.4 trillion USDC.
    pub const MAX: Self = Self(u64::MAX);
    /// One USDC.
    pub const ONE: Self = Self(1_000_000);
    /// Decimals of the token.
    pub const DECIMALS: u8 = 6;

    /// An amount of `units` base units.
    pub const fn from_base_units(units: u64) -> Self {
        Self(units)
    }

    /// A whole number of USDC, or `None` when it does not fit.
    pub const fn from_whole(usdc: u64) -> Option<Self> {
        match usdc.checked_mul(Self::ONE.0) {
            Some(units) => Some(Self(units)),
            None => None,
        }
    }

    /// The amount in base units.
    pub const fn base_units(self) -> u64 {
        self.0
    }

    /// True for nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Reads what a person types as a price: `$0.05` or `0.05`.
    ///
    /// # Errors
    /// As [`FromStr`].
    pub fn parse_price(text: &str) -> Result<Self, ParseUsdcError> {
        text.strip_prefix('$').unwrap_or(text).parse()
    }

    /// Reads base units: decimal digits only.
    ///
    /// # Errors
    /// [`ParseUsdcError::NotBaseUnits`] or [`ParseUsdcError::TooLarge`].
    pub fn parse_base_units(text: &str) -> Result<Self, ParseUsdcError> {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ParseUsdcError::NotBaseUnits(clip(text)));
        }
        text.parse().map(Self).map_err(|_| ParseUsdcError::TooLarge(clip(text)))
    }

    /// Sum, or `None` when it does not fit.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(units) => Some(Self(units)),
            None => None,
        }
    }

    /// Difference, or `None` when it would be negative.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(units) => Some(Self(units)),
            None => None,
        }
    }

    /// Difference, or nothing when it would be negative.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// `times` times the amount, or `None` when it does not fit.
    pub const fn checked_mul(self, times: u64) -> Option<Self> {
        match self.0.checked_mul(times) {
            Some(units) => Some(Self(units)),
            None => None,
        }
    }

    /// `self * numerator / denominator`, rounded down, exact in between. `None` when the denominator is zero or the result does not fit.
    pub fn mul_div_floor(self, numerator: u64, denominator: u64) -> Option<Self> {
        let product = u128::from(self.0) * u128::from(numerator);
        u64::try_from(product.checked_div(u128::from(denominator))?).ok().map(Self)
    }

    /// `self * numerator / denominator`, rounded up, exact in between. `None` when the denominator is zero or the result does not fit.
    pub fn mul_div_ceil(self, numerator: u64, denominator: u64) -> Option<Self> {
        let product = u128::from(self.0) * u128::from(numerator);
        if denominator == 0 {
            return None;
        }
        u64::try_from(product.div_ceil(u128::from(denominator))).ok().map(Self)
    }

    /// The amount as a [`Decimal`] of USDC, always exact.
    pub fn to_decimal(self) -> Decimal {
        Decimal::from_i128_with_scale(i128::from(self.0), u32::from(Self::DECIMALS))
    }
}

impl TryFrom<Decimal> for Usdc {
    type Error = ParseUsdcError;

    /// Exact: a negative amount, a seventh decimal or too large a value is an error.
    fn try_from(value: Decimal) -> Result<Self, ParseUsdcError> {
        value.normalize().to_string().parse()
    }
}

impl FromStr for Usdc {
    type Err = ParseUsdcError;

    fn from_str(text: &str) -> Result<Self, ParseUsdcError> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let point_without_digits = text.contains('.') && fraction.is_empty();
        if whole.is_empty() || point_without_digits || !digits(whole) || !digits(fraction) {
            return Err(ParseUsdcError::NotANumber(clip(text)));
        }
        let significant = fraction.trim_end_matches('0');
        if significant.len() > usize::from(Self::DECIMALS) {
            return Err(ParseUsdcError::TooPrecise(clip(text)));
        }
        let too_large = || ParseUsdcError::TooLarge(clip(text));
        let whole: u64 = whole.parse().map_err(|_| too_large())?;
        let micros: u64 = format!("{significant:0<6}").parse().map_err(|_| too_large())?;
        whole.checked_mul(Self::ONE.0).and_then(|units| units.checked_add(micros)).map(Self).ok_or_else(too_large)
    }
}

/// Keeps an outsider's text in an error short.
fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

impl fmt::Display for Usdc {
    /// Decimal USDC with at least two decimals and no trailing zero beyond them: `0.05`, `12.00`, `0.000001`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = format!("{:06}", self.0 % Self::ONE.0);
        let shown = micros.trim_end_matches('0').len().max(2);
        f.pad(&format!("{}.{}", self.0 / Self::ONE.0, &micros[..shown]))
    }
}

impl Serialize for Usdc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Usdc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(feature = "alloy")]
mod chain {
    use super::Usdc;
    use alloy::primitives::U256;

    /// A `uint256` of the chain that is more than `u64::MAX` base units.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
    #[error("{0} base units do not fit an amount of USDC")]
    pub struct OutOfRange(pub U256);

    /// Write `amount.into()`: `U256::from(amount)` is a function of U256 itself that does not know this type.
    impl From<Usdc> for U256 {
        fn from(amount: Usdc) -> Self {
            Self::from(amount.base_units())
        }
    }

    impl TryFrom<U256> for Usdc {
        type Error = OutOfRange;

        fn try_from(value: U256) -> Result<Self, OutOfRange> {
            u64::try_from(value).map(Self::from_base_units).map_err(|_| OutOfRange(value))
        }
    }
}

#[cfg(feature = "sqlx")]
mod column {
    use super::Usdc;
    use sqlx::{Decode, Encode, Postgres, Type, encode::IsNull, error::BoxDynError, postgres::*};

    impl Type<Postgres> for Usdc {
        fn type_info() -> PgTypeInfo {
            <i64 as Type<Postgres>>::type_info()
        }
    }

    impl PgHasArrayType for Usdc {
        fn array_type_info() -> PgTypeInfo {
            <i64 as PgHasArrayType>::array_type_info()
        }
    }

    impl Encode<'_, Postgres> for Usdc {
        fn encode_by_ref(&self, buf: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
            Encode::<Postgres>::encode(i64::try_from(self.base_units())?, buf)
        }
    }

    impl<'r> Decode<'r, Postgres> for Usdc {
        fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
            Ok(Self::from_base_units(u64::try_from(<i64 as Decode<Postgres>>::decode(value)?)?))
        }
    }
}

#[cfg(feature = "alloy")]
pub use chain::OutOfRange;
