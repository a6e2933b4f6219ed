use alloy::{
    primitives::{Address, B256, Bytes},
    sol_types::SolStruct,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{PERMIT2, PayloadError, TokenDomain};
use crate::{JsonMap, TokenAmount};

/// Key of the extension by which the facilitator carries the payer's EIP-2612 permit for Permit2 along with the payment.
pub const EIP2612_GAS_SPONSORING: &str = "eip2612GasSponsoring";

/// The struct of the token's typed data.
pub(super) mod typed {
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

/// Without any one of these the extension is only an echo of the server's words.
const FIELDS: [&str; 8] = ["from", "asset", "spender", "amount", "nonce", "deadline", "signature", "version"];

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
        let info = extensions.and_then(|extensions| extensions.get(EIP2612_GAS_SPONSORING)?.get("info"));
        let Some(info) = info.filter(|info| FIELDS.iter().all(|field| !info[field].is_null())) else { return Ok(None) };
        let permit = Self::deserialize(info).map_err(|e| PayloadError::malformed(&e))?;
        match permit.signature.len() {
            65 => Ok(Some(permit)),
            len => Err(PayloadError::Malformed(format!("the permit's signature has {len} bytes and not 65"))),
        }
    }

    /// Adds the permit to what the server said in the extension.
    pub fn add_to(&self, extensions: &mut JsonMap) {
        let extension = extensions.entry(EIP2612_GAS_SPONSORING).or_insert_with(|| json!({}));
        let Value::Object(permit) = serde_json::to_value(self).expect("texts serialize") else { unreachable!("a struct") };
        match extension.get_mut("info").and_then(Value::as_object_mut) {
            Some(info) => info.extend(permit),
            None => *extension = json!({ "info": permit }),
        }
    }

    /// What a server declares under [`EIP2612_GAS_SPONSORING`] when its facilitator carries permits.
    pub fn declaration() -> Value {
        let text = |pattern: &str| json!({ "type": "string", "pattern": pattern });
        let (address, number, bytes) = (text("^0x[a-fA-F0-9]{40}$"), text("^[0-9]+$"), text("^0x[a-fA-F0-9]+$"));
        json!({
            "info": { "description": "The facilitator pays the gas of an EIP-2612 permit for Permit2.", "version": "1" },
            "schema": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "properties": {
                    "from": address, "asset": address, "spender": address, "amount": number, "nonce": number,
                    "deadline": number, "signature": bytes, "version": text("^[0-9]+(\\.[0-9]+)*$"),
                },
                "required": FIELDS,
            },
        })
    }
}
