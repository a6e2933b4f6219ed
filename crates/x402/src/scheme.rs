use std::fmt;

use crate::{PaymentFlow, PaymentRequirements};

/// How an offer is paid: what the payer signs, and who may charge how much of it.
///
/// Whatever differs between schemes is decided by a `match` on this: in the client what is signed, in the server who verifies and settles,
/// in the facilitator what is checked and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// One exact amount.
    Exact,
    /// At most the signed amount, as the server says after the work.
    Upto,
    /// Vouchers of a payment channel, claimed on chain many at a time.
    BatchSettlement,
    /// Money that is held while the work is done.
    AuthCapture,
}

impl Scheme {
    const ALL: [Self; 4] = [Self::Exact, Self::Upto, Self::BatchSettlement, Self::AuthCapture];

    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Upto => "upto",
            Self::BatchSettlement => "batch-settlement",
            Self::AuthCapture => "auth-capture",
        }
    }

    /// The scheme with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.as_str() == name)
    }

    /// The scheme of an offer; `None` for one not known here.
    pub fn of(offer: &PaymentRequirements) -> Option<Self> {
        Self::from_name(&offer.scheme)
    }

    /// When its money may move. The first is meant where an offer does not say.
    pub fn flows(self) -> &'static [PaymentFlow] {
        match self {
            Self::Exact => &[PaymentFlow::Authorization, PaymentFlow::Upfront],
            Self::Upto | Self::BatchSettlement => &[PaymentFlow::Authorization],
            Self::AuthCapture => &[PaymentFlow::Escrow],
        }
    }

    /// Fields of `extra` that change between two requests: they need not be repeated.
    pub fn dynamic_extra(self) -> &'static [&'static str] {
        match self {
            Self::Exact | Self::Upto => &[],
            Self::BatchSettlement => &["channelState", "voucherState"],
            Self::AuthCapture => &["captureDeadline", "refundDeadline"],
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
