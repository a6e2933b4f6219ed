use alloy::primitives::{Address, B256, Bytes};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{PaymentInfo, payment::receive_hash};
use crate::{
    Eip3009Authorization, JsonMap, PayloadError, PaymentKey, PaymentPayload, Reason, TokenAmount, TokenDomain, TransferMethod,
    exact::SIGNATURE_LEN_MAX_BYTES,
};

/// What travels as `payload` in this scheme: the first from client to server, the others from server to facilitator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthCapturePayload {
    /// Puts the money into the escrow.
    Collect(CollectPayload),
    /// Pays the payee.
    Capture(CapturePayload),
    /// Gives all of it back.
    Void(VoidPayload),
}

/// The payer's leave to put the money into the escrow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectPayload {
    /// `receiveWithAuthorization` of the token, to the escrow's collector.
    pub authorization: Eip3009Authorization,
    /// 65 bytes of a key, or whatever the payer's contract judges.
    pub signature: Bytes,
    /// Of the [`PaymentInfo`].
    pub salt: B256,
    /// What the client made the salt of; always there when the offer names a receiver's authorizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt_nonce: Option<B256>,
}

/// Pays the payee `amount` of what is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapturePayload {
    /// The payment.
    pub payment_info: PaymentInfo,
    /// What its salt is made of.
    pub salt_nonce: B256,
    /// Base units, the fee included.
    pub amount: TokenAmount,
    /// Base units of it that are the fee.
    pub fee_amount: TokenAmount,
    /// Who gets the fee.
    pub fee_receiver: Address,
    /// What must be held, so that the signature serves once.
    pub expected_capturable_amount: TokenAmount,
    /// What must have been captured, so that the signature serves once.
    pub expected_refundable_amount: TokenAmount,
    /// Of the receiver's authorizer.
    pub authorizer_signature: Bytes,
    /// Of the same, to have the rest given back at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void_authorizer_signature: Option<Bytes>,
}

/// Gives back what is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VoidPayload {
    /// The payment.
    pub payment_info: PaymentInfo,
    /// What its salt is made of.
    pub salt_nonce: B256,
    /// Of the receiver's authorizer.
    pub authorizer_signature: Bytes,
}

impl CollectPayload {
    /// The hash the payer signed, for the token's domain.
    pub fn signing_hash(&self, token: &TokenDomain) -> B256 {
        receive_hash(&self.authorization, token)
    }

    /// Unix seconds; the money must be in the escrow before.
    pub fn pre_approval_expiry(&self) -> u64 {
        self.authorization.valid_before.0.saturating_to()
    }
}

impl AuthCapturePayload {
    /// Reads the payload of a payment.
    ///
    /// # Errors
    /// The reason to give.
    pub fn from_json(payload: &JsonMap) -> Result<Self, Reason> {
        fn read<T: for<'de> Deserialize<'de>>(payload: &JsonMap) -> Result<T, Reason> {
            T::deserialize(payload).map_err(|_| Reason::AuthCapturePayloadFormat)
        }
        let read = match payload.get("type").map(Value::as_str) {
            None => read(payload).map(Self::Collect),
            Some(Some("capture")) => read(payload).map(Self::Capture),
            Some(Some("void")) => read(payload).map(Self::Void),
            Some(_) => Err(Reason::AuthCapturePayloadType),
        }?;
        if read.signatures().any(|signature| signature.len() > SIGNATURE_LEN_MAX_BYTES) {
            return Err(Reason::AuthCapturePayloadFormat);
        }
        Ok(read)
    }

    fn signatures(&self) -> impl Iterator<Item = &Bytes> {
        let (first, second) = match self {
            Self::Collect(p) => (&p.signature, None),
            Self::Capture(p) => (&p.authorizer_signature, p.void_authorizer_signature.as_ref()),
            Self::Void(p) => (&p.authorizer_signature, None),
        };
        std::iter::once(first).chain(second)
    }

    /// As the `payload` of a payment.
    pub fn to_json(&self) -> JsonMap {
        let (kind, json) = match self {
            Self::Collect(p) => (None, serde_json::to_value(p)),
            Self::Capture(p) => (Some("capture"), serde_json::to_value(p)),
            Self::Void(p) => (Some("void"), serde_json::to_value(p)),
        };
        let Ok(Value::Object(mut map)) = json else { unreachable!("structs of texts and numbers are JSON objects") };
        map.extend(kind.map(|kind| ("type".to_owned(), kind.into())));
        map
    }

    /// Who pays.
    pub fn payer(&self) -> Address {
        match self {
            Self::Collect(p) => p.authorization.from,
            Self::Capture(p) => p.payment_info.payer,
            Self::Void(p) => p.payment_info.payer,
        }
    }
}

impl PaymentPayload {
    /// What a client sends in the scheme `auth-capture`.
    ///
    /// # Errors
    /// [`PayloadError`] when it is not that.
    pub fn collect(&self) -> Result<CollectPayload, PayloadError> {
        match AuthCapturePayload::from_json(&self.payload) {
            Ok(AuthCapturePayload::Collect(payload)) => Ok(payload),
            _ => Err(PayloadError::UnknownType),
        }
    }

    pub(crate) fn collect_key(&self) -> Result<PaymentKey, PayloadError> {
        let authorization = self.collect()?.authorization;
        Ok(PaymentKey {
            network: self.accepted.network.clone(),
            method: TransferMethod::Eip3009,
            asset: self.accepted.asset_address().ok_or(PayloadError::AssetNotAnAddress)?,
            payer: authorization.from,
            nonce: authorization.nonce,
        })
    }
}
