use alloy::{
    primitives::{Address, B256, Bytes},
    sol_types::SolStruct,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ADDRESS, BYTES, Field, NUMBER, VERSION, add, added, declaration};
use crate::{JsonMap, PERMIT2, PayloadError, TokenAmount, TokenDomain};

/// Key of the extension by which the facilitator carries the payer's EIP-2612 permit for Permit2 along with the payment.
pub const EIP2612_GAS_SPONSORING: &str = "eip2612GasSponsoring";

/// The struct of the token's typed data.
pub(in crate::exact) mod typed {
    #![allow(missing_docs)]
    alloy::sol! {
        #[derive(Debug, PartialEq, Eq)]
        struct Permit {
            address owner;
            address spender;
            uint256 value;
            uint256 nonce;
            uint256 deadline;
        }
    }
}

/// `info` of the extension `eip2612GasSponsoring`: lets Permit2 take one payment's amount, so that a payer without gas can pay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eip2612Permit {
    /// Who pays.
    pub from: Address,
    /// The token.
    pub asset: Address,
    /// Must be [`PERMIT2`].
    pub spender: Address,
    /// Exactly the amount of the payment; the proxy refuses any other.
    pub amount: TokenAmount,
    /// The payer's next nonce of the token's permits.
    pub nonce: TokenAmount,
    /// Unix seconds; valid until and including.
    pub deadline: TokenAmount,
    /// 65 bytes of the payer's key.
    pub signature: Bytes,
    /// Of the extension.
    pub version: String,
}

const FIELDS: [Field; 8] = [
    ("from", ADDRESS),
    ("asset", ADDRESS),
    ("spender", ADDRESS),
    ("amount", NUMBER),
    ("nonce", NUMBER),
    ("deadline", NUMBER),
    ("signature", BYTES),
    ("version", VERSION),
];

impl Eip2612Permit {
    /// A permit for Permit2, not signed yet.
    pub fn unsigned(token: &TokenDomain, from: Address, amount: TokenAmount, nonce: TokenAmount, deadline: TokenAmount) -> Self {
        let (asset, spender, signature, version) = (token.asset, PERMIT2, Bytes::new(), "1".into());
        Self { from, asset, spender, amount, nonce, deadline, signature, version }
    }

    /// The hash that is signed, for the token's domain.
    pub fn signing_hash(&self, token: &TokenDomain) -> B256 {
        let Self { from: owner, spender, .. } = *self;
        let (value, nonce, deadline) = (self.amount.0, self.nonce.0, self.deadline.0);
        typed::Permit { owner, spender, value, nonce, deadline }.eip712_signing_hash(&token.eip712())
    }

    /// The permit among a payment's extensions; `None` when the client added none.
    ///
    /// # Errors
    /// [`PayloadError`] when there is one that cannot be read.
    pub fn of(extensions: Option<&JsonMap>) -> Result<Option<Self>, PayloadError> {
        let Some(info) = added(extensions, EIP2612_GAS_SPONSORING, &FIELDS) else { return Ok(None) };
        let permit = Self::deserialize(info).map_err(|e| PayloadError::malformed(&e))?;
        match permit.signature.len() {
            65 => Ok(Some(permit)),
            len => Err(PayloadError::Malformed(format!("the permit's signature has {len} bytes and not 65"))),
        }
    }

    /// Adds the permit to what the server said in the extension.
    pub fn add_to(&self, extensions: &mut JsonMap) {
        add(extensions, EIP2612_GAS_SPONSORING, self);
    }

    /// What a server declares under [`EIP2612_GAS_SPONSORING`] when its facilitator carries permits.
    pub fn declaration() -> Value {
        declaration("The facilitator pays the gas of an EIP-2612 permit for Permit2.", &FIELDS)
    }
}
