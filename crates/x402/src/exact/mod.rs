//! The scheme `exact` on EVM chains: what the payer signs, and how it is hashed.

mod eip3009;
mod permit2;
mod sponsoring;

pub use eip3009::{Eip3009Authorization, Eip3009Payload, TokenDomain};
pub use permit2::{
    PERMIT2, PERMIT2_EXACT_PROXY, Permit2Authorization, Permit2Payload, Permit2Permitted, Permit2Witness, Witness,
};
pub(crate) use permit2::{permit2_domain, permit2_typed};
pub use sponsoring::{Approve, EIP2612_GAS_SPONSORING, ERC20_APPROVAL_GAS_SPONSORING, Eip2612Permit, Erc20Approval};

use alloy::primitives::{Address, B256, Bytes};
use serde::Serialize;

use crate::{JsonMap, Scheme};

/// Structs of the typed data, as the contracts define them.
pub mod typed {
    pub use super::{eip3009::typed::*, permit2::typed::*, sponsoring::typed::*};
}

/// How the token moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TransferMethod {
    /// `transferWithAuthorization` of the token.
    #[default]
    Eip3009,
    /// Uniswap's Permit2 through the x402 proxy.
    Permit2,
}

impl TransferMethod {
    /// Name in `extra.assetTransferMethod`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eip3009 => "eip3009",
            Self::Permit2 => "permit2",
        }
    }

    /// The method with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Eip3009, Self::Permit2].into_iter().find(|method| method.as_str() == name)
    }

    /// The method an offer asks for; `None` for one not known here.
    pub fn of(requirements: &crate::PaymentRequirements) -> Option<Self> {
        match requirements.extra_str("assetTransferMethod") {
            None if Scheme::of(requirements) == Some(Scheme::Upto) => Some(Self::Permit2),
            None => Some(Self::default()),
            Some(name) => Self::from_name(name),
        }
    }
}

/// What a payer sends for the scheme `exact`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ExactPayload {
    /// EIP-3009.
    Eip3009(Eip3009Payload),
    /// Permit2.
    Permit2(Permit2Payload),
}

/// Why a payload is not one of its scheme.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Has neither `authorization` nor `permit2Authorization`, or both, or a witness of another scheme.
    #[error("the payload has not the fields of its scheme")]
    UnknownType,
    /// A field is missing or malformed.
    #[error("the payload is malformed: {0}")]
    Malformed(String),
    /// The signature is longer than any wallet makes.
    #[error("the signature has {0} bytes, at most {SIGNATURE_LEN_MAX_BYTES} are read")]
    SignatureTooLong(usize),
    /// The asset is not an EVM address.
    #[error("the asset is not an EVM address")]
    AssetNotAnAddress,
}

/// Longest signature read. Wallets that bring their factory need a few KiB.
pub(crate) const SIGNATURE_LEN_MAX_BYTES: usize = 16 * 1024;

impl PayloadError {
    pub(crate) fn malformed(error: &serde_json::Error) -> Self {
        Self::Malformed(error.to_string().chars().take(200).collect())
    }
}

impl ExactPayload {
    /// Reads the payload of a payment.
    ///
    /// # Errors
    /// [`PayloadError`] says what is wrong with it.
    pub fn from_json(payload: &JsonMap) -> Result<Self, PayloadError> {
        let json = || serde_json::Value::Object(payload.clone());
        let malformed = |e: serde_json::Error| PayloadError::malformed(&e);
        let exact = match (payload.contains_key("authorization"), payload.contains_key("permit2Authorization")) {
            (true, false) => serde_json::from_value(json()).map(Self::Eip3009).map_err(malformed)?,
            (false, true) => serde_json::from_value(json()).map(Self::Permit2).map_err(malformed)?,
            _ => return Err(PayloadError::UnknownType),
        };
        match exact.signature().len() {
            len if len > SIGNATURE_LEN_MAX_BYTES => Err(PayloadError::SignatureTooLong(len)),
            _ => Ok(exact),
        }
    }

    /// As the `payload` of a payment.
    pub fn to_json(&self) -> JsonMap {
        match serde_json::to_value(self).expect("maps with text keys serialize") {
            serde_json::Value::Object(map) => map,
            _ => unreachable!("both variants are objects"),
        }
    }

    /// Who pays.
    pub fn payer(&self) -> Address {
        match self {
            Self::Eip3009(p) => p.authorization.from,
            Self::Permit2(p) => p.permit2_authorization.from,
        }
    }

    /// The nonce that is used up by settling.
    pub fn nonce(&self) -> B256 {
        match self {
            Self::Eip3009(p) => p.authorization.nonce,
            Self::Permit2(p) => p.permit2_authorization.nonce.0.into(),
        }
    }

    /// Unix seconds after which it cannot settle any more; [`u64::MAX`] when it says more than that.
    pub fn valid_before(&self) -> u64 {
        let seconds = match self {
            Self::Eip3009(p) => p.authorization.valid_before,
            Self::Permit2(p) => p.permit2_authorization.deadline,
        };
        seconds.0.saturating_to()
    }

    /// The signature, as the wallet made it.
    pub fn signature(&self) -> &Bytes {
        match self {
            Self::Eip3009(p) => &p.signature,
            Self::Permit2(p) => &p.signature,
        }
    }

    /// The same payload with another signature: a wallet's own, taken out of its wrapping.
    pub fn with_signature(mut self, signature: Bytes) -> Self {
        match &mut self {
            Self::Eip3009(p) => p.signature = signature,
            Self::Permit2(p) => p.signature = signature,
        }
        self
    }

    /// How the token moves.
    pub fn method(&self) -> TransferMethod {
        match self {
            Self::Eip3009(_) => TransferMethod::Eip3009,
            Self::Permit2(_) => TransferMethod::Permit2,
        }
    }
}
