use std::{fmt, str::FromStr};

use alloy::primitives::U256;
use money::Usdc;
use serde::{Deserialize, Serialize};

use crate::{Scheme, TokenAmount};

/// What a handler says that its work costs, where the scheme allows less than was signed. A handler puts it into its response's
/// extensions, or writes the header [`SETTLEMENT_OVERRIDES`](crate::header::SETTLEMENT_OVERRIDES), which never leaves the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// Base units of the token.
    Amount(TokenAmount),
    /// Hundredths of a percent of the maximum, rounded down to a base unit.
    Percent(u32),
    /// Dollars of a token with 6 decimals.
    Dollars(Usdc),
}

/// Why a charge is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChargeError {
    /// Not in a form of the header.
    #[error(
        "{0:?} is no charge: write base units (\"1500\"), a share with at most 2 decimals (\"12.5%\") or dollars (\"$0.05\")"
    )]
    Malformed(String),
    /// More than was signed.
    #[error("{charge} is more than the payer signed, which is {maximum}: offer a higher maximum or do less")]
    AboveMaximum {
        /// What the handler asks.
        charge: TokenAmount,
        /// What the payer allows.
        maximum: TokenAmount,
    },
    /// The scheme moves exactly what was offered.
    #[error("the scheme exact charges {price} and nothing else: offer the scheme upto to charge what the work costs")]
    Fixed {
        /// What was offered.
        price: TokenAmount,
    },
}

impl Charge {
    /// All that was signed, but no more.
    pub const ALL: Self = Self::Percent(10_000);

    /// What is charged of `maximum` by `scheme`, in base units.
    ///
    /// # Errors
    /// [`ChargeError`] when the payer did not sign for it.
    pub fn of(self, maximum: TokenAmount, scheme: Option<Scheme>) -> Result<TokenAmount, ChargeError> {
        let above = |charge| ChargeError::AboveMaximum { charge, maximum };
        let charge = match self {
            Self::Amount(amount) => amount,
            Self::Dollars(dollars) => dollars.into(),
            // In two parts, so that no product exceeds 256 bits.
            Self::Percent(share) => {
                let (share, whole) = (U256::from(share), U256::from(10_000));
                let (parts, rest) = maximum.0.div_rem(whole);
                let product = parts.checked_mul(share).and_then(|p| p.checked_add(rest * share / whole));
                TokenAmount(product.ok_or_else(|| above(TokenAmount(U256::MAX)))?)
            }
        };
        match scheme {
            Some(Scheme::Upto | Scheme::BatchSettlement | Scheme::AuthCapture) if charge > maximum => Err(above(charge)),
            Some(Scheme::Upto | Scheme::BatchSettlement | Scheme::AuthCapture) => Ok(charge),
            Some(Scheme::Exact) | None if charge != maximum => Err(ChargeError::Fixed { price: maximum }),
            Some(Scheme::Exact) | None => Ok(charge),
        }
    }

    /// The charge in the content of [`SETTLEMENT_OVERRIDES`](crate::header::SETTLEMENT_OVERRIDES): `{"amount": ".."}`.
    ///
    /// # Errors
    /// [`ChargeError::Malformed`].
    pub fn from_header(content: &[u8]) -> Result<Self, ChargeError> {
        #[derive(Deserialize)]
        struct Overrides {
            amount: String,
        }
        let malformed = || ChargeError::Malformed(String::from_utf8_lossy(content).chars().take(80).collect());
        let overrides: Overrides = serde_json::from_slice(content).map_err(|_| malformed())?;
        overrides.amount.parse()
    }

    /// As the content of [`SETTLEMENT_OVERRIDES`](crate::header::SETTLEMENT_OVERRIDES).
    pub fn to_header(self) -> String {
        #[derive(Serialize)]
        struct Overrides {
            amount: String,
        }
        serde_json::to_string(&Overrides { amount: self.to_string() }).expect("a text is always JSON")
    }
}

impl FromStr for Charge {
    type Err = ChargeError;

    fn from_str(text: &str) -> Result<Self, ChargeError> {
        let malformed = || ChargeError::Malformed(text.chars().take(80).collect());
        if let Some(dollars) = text.strip_prefix('$') {
            return dollars.parse().map(Self::Dollars).map_err(|_| malformed());
        }
        let Some(share) = text.strip_suffix('%') else { return text.parse().map(Self::Amount).map_err(|_| malformed()) };
        let (whole, decimals) = share.split_once('.').unwrap_or((share, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || decimals.len() > 2 || !digits(whole) || !digits(decimals) {
            return Err(malformed());
        }
        format!("{whole}{decimals:0<2}").parse().map(Self::Percent).map_err(|_| malformed())
    }
}

impl fmt::Display for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amount(amount) => write!(f, "{amount}"),
            Self::Percent(share) => write!(f, "{}.{:02}%", share / 100, share % 100),
            Self::Dollars(dollars) => write!(f, "${dollars}"),
        }
    }
}
