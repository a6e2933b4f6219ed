#![doc = include_str!("../README.md")]

mod bps;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod usdc;

pub use bps::{Bps, BpsTooLarge};
#[cfg(feature = "alloy")]
pub use usdc::OutOfRange;
pub use usdc::{ParseUsdcError, Usdc};

/// `#[serde(with = "money::base_units")]`: a [`Usdc`] as a decimal string of base units (`"50000"`), the form of the x402 wire.
pub mod base_units {
    use super::Usdc;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the base units as a decimal string.
    pub fn serialize<S: Serializer>(amount: &Usdc, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&amount.base_units())
    }

    /// Reads base units from a decimal string; signs, points and spaces are refused.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Usdc, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Usdc::parse_base_units(&text).map_err(D::Error::custom)
    }
}
