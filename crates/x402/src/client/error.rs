use super::{BudgetError, ChannelError, JournalError, PayerError, Refusal};
use crate::{DecodeError, Reason};

/// Why a request was not paid for, or not answered. Each says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayError {
    /// The request failed before anything was signed.
    #[error("the request failed, nothing was paid: {0}")]
    Request(#[from] reqwest::Error),
    /// A call over another transport than HTTP failed before anything was signed.
    #[error("the call failed, nothing was paid: {0}")]
    Call(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The body is a stream, which cannot be sent again with a payment.
    #[error("the body is a stream and cannot be sent twice: buffer it, since a paid request is sent at least twice")]
    BodyNotRepeatable,
    /// The 402 does not say how to pay.
    #[error("the server asks for payment in a way that cannot be read: {0}")]
    BadPaymentRequired(#[from] DecodeError),
    /// The policy forbids every offer. Nothing was signed.
    #[error("not paid: {0}")]
    Refused(#[from] Refusal),
    /// What was spent today is not known. Nothing was signed.
    #[error("not paid: {0}")]
    Budget(#[from] BudgetError),
    /// Payments cannot be written down. Nothing was sent.
    #[error("not paid: {0}")]
    Journal(#[from] JournalError),
    /// The payment channel cannot be used.
    #[error("not paid: {0}")]
    Channel(#[from] ChannelError),
    /// More offers than anybody needs.
    #[error("not paid: the server makes {offered} offers and at most {max} are read")]
    TooManyOffers {
        /// How many.
        offered: usize,
        /// How many are read.
        max: usize,
    },
    /// The payer did not sign.
    #[error("not paid: {0}")]
    Payer(#[from] PayerError),
    /// The payer signed something else than it was asked to. Nothing was sent.
    #[error("not paid: the payer signed another transfer than asked: {0}")]
    PayerMismatch(&'static str),
    /// So many signed payments may still settle that no new one is signed.
    #[error("{0} signed payments may still settle: wait until they have ended before paying for more")]
    TooManyOutstanding(usize),
    /// The server refused the payment. It may still settle, so the same request sends the same payment until it has ended.
    #[error(
        "the server refused the payment: {reason}; until unix time {valid_before} the same request sends the same payment again"
    )]
    PaymentRejected {
        /// Why, in the server's words.
        reason: Reason,
        /// Unix seconds after which it cannot settle any more.
        valid_before: u64,
    },
    /// The payment was used before: its receipt is what there is.
    #[error("the server served this payment before: see the receipt, and ask the seller for what was bought")]
    AlreadyUsed {
        /// The receipt.
        receipt: Box<crate::SettleResponse>,
    },
    /// The payment was sent and nobody said what became of it.
    #[error(
        "the payment was sent and its outcome is not known ({cause}): repeat the same request; it sends the same payment until unix time {valid_before}"
    )]
    Indeterminate {
        /// What went wrong last.
        cause: String,
        /// Unix seconds after which it cannot settle any more.
        valid_before: u64,
    },
}

impl PayError {
    /// True when repeating the same request may succeed, and cannot pay twice.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Request(_) | Self::Call(_) | Self::Indeterminate { .. } | Self::Payer(PayerError::Signer(_)))
    }

    /// True when a signed payment is out and may still take the money.
    pub fn may_have_paid(&self) -> bool {
        matches!(self, Self::PaymentRejected { .. } | Self::AlreadyUsed { .. } | Self::Indeterminate { .. })
    }
}
