//! The JSON of version 2, field by field as the official SDKs ship it.

mod facilitator;
mod matching;
mod payload;
mod required;
mod version;

pub use facilitator::{
    AnyPaymentRequest, PaymentRequest, SettleRequest, SettleResponse, SupportedKind, SupportedResponse, VerifyRequest,
    VerifyResponse,
};
pub use matching::{ExtensionEchoMismatch, check_extension_echo, find_matching};
pub use payload::{PaymentKey, PaymentPayload};
pub use required::{PaymentFlow, PaymentRequired, PaymentRequirements, ResourceInfo};
pub use version::{V1, V2};

/// An open JSON object: `extra`, `payload`, `extensions`.
pub type JsonMap = serde_json::Map<String, serde_json::Value>;

/// Why bytes of a peer are not the message they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Longer than this crate reads or writes.
    #[error("{len} bytes is more than the {max} allowed")]
    TooLarge {
        /// Length found, in bytes.
        len: usize,
        /// Length allowed, in bytes.
        max: usize,
    },
    /// Not base64 of the standard alphabet with padding.
    #[error("not base64: use the standard alphabet with padding")]
    NotBase64,
    /// Not the JSON it should be.
    #[error("not the JSON expected: {0}")]
    Json(String),
    /// A protocol version this crate does not speak.
    #[error("x402 version {0} is not known: send 1 or 2")]
    Version(u64),
}

impl DecodeError {
    pub(crate) fn json(error: &serde_json::Error) -> Self {
        Self::Json(error.to_string().chars().take(200).collect())
    }
}
