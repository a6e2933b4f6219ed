use alloy::primitives::Address;
use money::Usdc;

use super::Budget;
use crate::Network;

/// Which rule of a policy forbids a payment, with the figures and what to do. Nothing was signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The host is denied, or not among the allowed ones.
    #[error("{0} may not be paid: allow the host in the policy")]
    HostNotAllowed(String),
    /// No offer this client can pay: another scheme, transfer method, payment flow or family of chains.
    #[error("no offer this client can pay; offered: {offered}")]
    NoSupportedOffer {
        /// Schemes and networks offered.
        offered: String,
    },
    /// The offer would have money held in an escrow that the policy does not name.
    #[error("the escrow {0} may hold no money: allow it, with its collector, in the policy if you know its code")]
    EscrowNotAllowed(Address),
    /// The money could be taken back too late.
    #[error("the money would be held for {secs} s and the longest allowed is {max} s: raise the limit if it is worth it")]
    HeldTooLong {
        /// How long, from now.
        secs: u64,
        /// What is allowed.
        max: u64,
    },
    /// The network is denied, or not among the allowed ones.
    #[error("payments on {0} are not allowed: allow the network in the policy")]
    NetworkNotAllowed(Network),
    /// The token is denied, is not USDC nor an allowed one, or the offer names another domain than that token has.
    #[error("{asset} on {network} is not a token this client may spend: allow it in the policy with its name and version")]
    UnknownAsset {
        /// The token, as offered.
        asset: String,
        /// Its chain.
        network: Network,
    },
    /// The payee is denied, or not among the allowed ones.
    #[error("{0} may not be paid: allow the payee in the policy")]
    PayeeNotAllowed(Address),
    /// More than one payment may cost.
    #[error("the price is {price} USDC and the most one payment may cost is {max} USDC: raise the limit if it is worth it")]
    TooExpensive {
        /// What is asked.
        price: Usdc,
        /// What is allowed.
        max: Usdc,
    },
    /// More than is left of a budget.
    #[error("the price is {price} USDC and {left} of {max} USDC are left of {budget}: {}", budget.remedy())]
    Exhausted {
        /// What is asked.
        price: Usdc,
        /// What is left.
        left: Usdc,
        /// What the budget is.
        max: Usdc,
        /// Which budget.
        budget: Budget,
    },
    /// Budgets are counted by host, and this would be one too many.
    #[error("{0} hosts were paid already, which is as many as a budget counts: allow fewer hosts")]
    TooManyHosts(usize),
    /// The price is above the threshold of approval and whoever was asked said no.
    #[error("the price of {price} USDC needs approval above {threshold} USDC, and it was declined: ask for something cheaper")]
    Declined {
        /// What is asked.
        price: Usdc,
        /// Above which approval is needed.
        threshold: Usdc,
    },
    /// The price is above the threshold of approval and nobody answered in time.
    #[error(
        "the price of {price} USDC needs approval above {threshold} USDC, and nobody answered within {waited_secs} s: ask again"
    )]
    NotApprovedInTime {
        /// What is asked.
        price: Usdc,
        /// Above which approval is needed.
        threshold: Usdc,
        /// How long was waited, in seconds.
        waited_secs: u64,
    },
    /// A hook forbids it.
    #[error("not allowed by the program: {0}")]
    Vetoed(String),
}

impl Refusal {
    /// How far an offer came in the order of judgement: the refusal that came closest to a payment tells the most.
    pub(super) fn closeness(&self) -> u8 {
        match self {
            Self::HostNotAllowed(_) | Self::NoSupportedOffer { .. } => 0,
            Self::NetworkNotAllowed(_) | Self::EscrowNotAllowed(_) | Self::HeldTooLong { .. } => 1,
            Self::UnknownAsset { .. } => 2,
            Self::PayeeNotAllowed(_) => 3,
            Self::TooExpensive { .. } => 4,
            _ => 5,
        }
    }
}
