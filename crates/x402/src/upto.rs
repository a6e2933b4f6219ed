//! The scheme `upto` on EVM chains: the payer signs a maximum for one facilitator, the server charges what the work came to.

use alloy::primitives::{Address, address};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    JsonMap, PayloadError, PaymentKey, PaymentPayload, PaymentRequirements, Permit2Authorization, Permit2Payload, Scheme, Token,
    TokenAmount, TransferMethod, Witness, exact::SIGNATURE_LEN_MAX_BYTES,
};

/// `x402UptoPermit2Proxy`, at this address on every chain: the only spender of the scheme `upto`.
pub const PERMIT2_UPTO_PROXY: Address = address!("4020A4f3b7b90ccA423B9fabCc0CE57C6C240002");
/// The field of `extra` that names the only sender of the settlement.
const FACILITATOR: &str = "facilitatorAddress";

/// Structs of Permit2's typed data with the witness of the scheme `upto`.
pub mod typed {
    #![allow(missing_docs)]
    crate::exact::permit2_typed!(Witness {
        address to;
        address facilitator;
        uint256 validAfter;
    });
}

/// `payload` of a payment of at most the permitted amount.
pub type UptoPayload = Permit2Payload<UptoWitness>;

/// What the proxy enforces: who is paid, by whom, and from when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UptoWitness {
    /// Who is paid.
    pub to: Address,
    /// The only sender the proxy accepts: it says how much of the permitted amount moves.
    pub facilitator: Address,
    /// Unix seconds; valid from and including.
    pub valid_after: TokenAmount,
}

impl Witness for UptoWitness {
    const PROXY: Address = PERMIT2_UPTO_PROXY;
    type Typed = typed::PermitWitnessTransferFrom;

    fn to_typed(permit: &Permit2Authorization<Self>) -> Self::Typed {
        let UptoWitness { to, facilitator, valid_after } = permit.witness;
        let witness = typed::Witness { to, facilitator, validAfter: valid_after.0 };
        let Permit2Authorization { permitted, spender, nonce, deadline, .. } = permit;
        typed::PermitWitnessTransferFrom::new(permitted, (*spender, *nonce, *deadline), witness)
    }

    fn payee(&self) -> Address {
        self.to
    }

    fn valid_after(&self) -> TokenAmount {
        self.valid_after
    }
}

impl PaymentRequirements {
    /// An `upto` offer: at most `maximum` of `token` to `pay_to`, charged by `facilitator`, an address that `/supported` names.
    pub fn upto(
        token: &Token,
        maximum: impl Into<TokenAmount>,
        pay_to: Address,
        facilitator: Address,
        max_timeout_seconds: u64,
    ) -> Self {
        let mut offer = Self::exact(token, maximum, pay_to, max_timeout_seconds).by_permit2();
        offer.scheme = Scheme::Upto.as_str().into();
        let facilitator = Value::from(facilitator.to_checksum(None));
        offer.extra.get_or_insert_default().insert(FACILITATOR.into(), facilitator);
        offer
    }

    /// The only sender of the settlement of an `upto` offer; `None` when it names none.
    pub fn facilitator(&self) -> Option<Address> {
        facilitator_of(self.extra.as_ref()?)
    }
}

pub(crate) fn facilitator_of(extra: &JsonMap) -> Option<Address> {
    extra.get(FACILITATOR)?.as_str()?.parse().ok()
}

/// `extra` of the kind `upto` in `/supported`: the signer that will send the settlements.
pub fn upto_extra(facilitator: Address) -> JsonMap {
    [(FACILITATOR.to_owned(), Value::from(facilitator.to_checksum(None)))].into_iter().collect()
}

impl PaymentPayload {
    /// The payload of the scheme `upto` on EVM chains.
    ///
    /// # Errors
    /// [`PayloadError`] when it is not one.
    pub fn upto(&self) -> Result<UptoPayload, PayloadError> {
        let is_upto = self.payload.get("permit2Authorization").is_some_and(|permit| !permit["witness"]["facilitator"].is_null());
        if !is_upto {
            return Err(PayloadError::UnknownType);
        }
        let payload = UptoPayload::deserialize(&self.payload).map_err(|e| PayloadError::malformed(&e))?;
        match payload.signature.len() {
            len if len > SIGNATURE_LEN_MAX_BYTES => Err(PayloadError::SignatureTooLong(len)),
            _ => Ok(payload),
        }
    }

    pub(crate) fn upto_key(&self) -> Result<PaymentKey, PayloadError> {
        let permit = self.upto()?.permit2_authorization;
        Ok(PaymentKey {
            network: self.accepted.network.clone(),
            method: TransferMethod::Permit2,
            asset: permit.permitted.token,
            payer: permit.from,
            nonce: permit.nonce.0.into(),
        })
    }
}
