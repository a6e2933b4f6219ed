//! The scheme `auth-capture` on EVM chains: the payer's money goes into an escrow before the work, and to the payee, or back, after it. The
//! payer signs once. Who may capture is the *operator*, here always a signer of the facilitator; what it captures and gives back is what the
//! *receiver's authorizer*, a key of the server's, signs for.
//!
//! The escrow is `AuthCaptureEscrow` of commerce-payments 1.1. Its addresses are configuration ([`Deployment`]): several sets of them are in
//! use, and an escrow that somebody else names could keep what is put into it.

mod payload;
mod payment;
mod terms;

pub use payload::{AuthCapturePayload, CapturePayload, CollectPayload, VoidPayload};
pub use payment::{PaymentInfo, bound_salt, sol::IAuthCaptureEscrow};
pub use terms::{Terms, extra};

use std::{fmt, str::FromStr};

use alloy::primitives::Address;

/// Seconds that a payment and its captures must have left, as the official facilitator wants.
pub const CLOCK_SKEW_SECS: u64 = 6;

/// An escrow and what brings it money, as text `ESCROW:COLLECTOR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Deployment {
    /// `AuthCaptureEscrow`: holds the money.
    pub escrow: Address,
    /// `ERC3009PaymentCollector`: takes it from payers, by EIP-3009.
    pub collector: Address,
}

/// Not an escrow and its collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a deployment of auth-capture is ESCROW:COLLECTOR, two addresses with a colon between them")]
pub struct MalformedDeployment;

impl FromStr for Deployment {
    type Err = MalformedDeployment;

    fn from_str(text: &str) -> Result<Self, MalformedDeployment> {
        let (escrow, collector) = text.trim().split_once(':').ok_or(MalformedDeployment)?;
        let address = |text: &str| text.parse::<Address>().map_err(|_| MalformedDeployment);
        Ok(Self { escrow: address(escrow)?, collector: address(collector)? })
    }
}

impl fmt::Display for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.escrow, self.collector)
    }
}
