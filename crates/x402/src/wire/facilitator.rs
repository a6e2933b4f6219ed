use std::collections::BTreeMap;

use alloy::primitives::{Address, B256};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::value::RawValue;

use super::{DecodeError, JsonMap, PaymentPayload, PaymentRequirements, V2};
use crate::{Network, Reason, Scheme, TokenAmount, v1};

/// Body of `POST /verify` and `POST /settle`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequest {
    /// Always 2.
    pub x402_version: V2,
    /// The payment, as the client sent it.
    pub payment_payload: PaymentPayload,
    /// What the server asked for. The facilitator judges the payment by these, never by what the client echoed.
    pub payment_requirements: PaymentRequirements,
}

/// Body of `POST /verify`.
pub type VerifyRequest = PaymentRequest;
/// Body of `POST /settle`.
pub type SettleRequest = PaymentRequest;

/// Body of `POST /verify` and `POST /settle` in either version.
#[derive(Clone, Debug, PartialEq)]
pub enum AnyPaymentRequest {
    /// Version 1.
    V1(v1::PaymentRequest),
    /// Version 2.
    V2(PaymentRequest),
}

impl AnyPaymentRequest {
    /// Longest body read.
    pub const BODY_LEN_MAX_BYTES: usize = 128 * 1024;

    /// Reads a request body of either version. Never panics, whatever the bytes.
    ///
    /// # Errors
    /// [`DecodeError`], to be answered with 400.
    pub fn from_slice(body: &[u8]) -> Result<Self, DecodeError> {
        #[derive(Deserialize)]
        struct Versions<'a> {
            #[serde(rename = "x402Version")]
            outer: Option<u64>,
            #[serde(rename = "paymentPayload", borrow)]
            payload: &'a RawValue,
        }
        #[derive(Deserialize)]
        struct Inner {
            #[serde(rename = "x402Version")]
            version: u64,
        }
        if body.len() > Self::BODY_LEN_MAX_BYTES {
            return Err(DecodeError::TooLarge { len: body.len(), max: Self::BODY_LEN_MAX_BYTES });
        }
        let json = |e: serde_json::Error| DecodeError::json(&e);
        let versions: Versions<'_> = serde_json::from_slice(body).map_err(json)?;
        let version = match versions.outer {
            Some(version) => version,
            None => serde_json::from_str::<Inner>(versions.payload.get()).map_err(json)?.version,
        };
        match version {
            1 => serde_json::from_slice(body).map(Self::V1).map_err(json),
            2 => serde_json::from_slice(body).map(Self::V2).map_err(json),
            other => Err(DecodeError::Version(other)),
        }
    }

    /// The request in terms of version 2, with the least amount that pays (version 1 lets the client pay more).
    ///
    /// # Errors
    /// [`DecodeError`] when a version 1 network has no CAIP-2 name.
    pub fn into_v2(self) -> Result<PaymentRequest, DecodeError> {
        match self {
            Self::V1(request) => request.into_v2(),
            Self::V2(request) => Ok(request),
        }
    }
}

/// Answer of `/verify`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyResponse {
    /// The payment would settle now.
    pub is_valid: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid_reason: Option<Reason>,
    /// Why not, for people: a revert text, for instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid_message: Option<String>,
    /// Who pays, as the chain writes addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<String>,
    /// Extensions by key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<JsonMap>,
    /// Fields of the scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<JsonMap>,
}

impl VerifyResponse {
    /// Valid, paid by `payer`.
    pub fn valid(payer: Address) -> Self {
        Self { is_valid: true, payer: Some(payer.to_checksum(None)), ..Self::default() }
    }

    /// Not valid, because of `reason`.
    pub fn invalid(reason: Reason, payer: Option<Address>) -> Self {
        Self { invalid_reason: Some(reason), payer: payer.map(|p| p.to_checksum(None)), ..Self::default() }
    }
}

/// Answer of `/settle`, and the receipt a client gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettleResponse {
    /// The money moved.
    pub success: bool,
    /// Why not. [`Reason::SettlementPending`] with a transaction means: not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_reason: Option<Reason>,
    /// Why not, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Who paid, as the chain writes addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<String>,
    /// The transaction, empty when there is none. See [`Self::transaction_hash`].
    #[serde(default)]
    pub transaction: String,
    /// The chain.
    pub network: Network,
    /// What was charged, where the scheme allows less than was authorised.
    #[serde(default, deserialize_with = "amount_or_empty", skip_serializing_if = "Option::is_none")]
    pub amount: Option<TokenAmount>,
    /// Extensions by key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<JsonMap>,
    /// Fields of the scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<JsonMap>,
}

/// The official server writes an empty text where a voucher moved nothing.
fn amount_or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TokenAmount>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
}

impl SettleResponse {
    /// Settled by `transaction`.
    pub fn settled(network: Network, payer: Address, transaction: B256) -> Self {
        Self { success: true, error_reason: None, transaction: transaction.to_string(), ..Self::empty(network, Some(payer)) }
    }

    /// Nothing was charged, so no transaction was sent. The signature is not used up: it runs out by itself.
    pub fn nothing_due(network: Network, payer: Address) -> Self {
        Self { success: true, amount: Some(TokenAmount::ZERO), ..Self::empty(network, Some(payer)) }
    }

    /// Not settled, and never will be by this payment as it stands.
    pub fn failed(network: Network, payer: Option<Address>, reason: Reason) -> Self {
        Self { error_reason: Some(reason), ..Self::empty(network, payer) }
    }

    /// Broadcast as `transaction`, outcome not known yet.
    pub fn pending(network: Network, payer: Address, transaction: B256) -> Self {
        let transaction = transaction.to_string();
        Self { error_reason: Some(Reason::SettlementPending), transaction, ..Self::empty(network, Some(payer)) }
    }

    fn empty(network: Network, payer: Option<Address>) -> Self {
        let payer = payer.map(|p| p.to_checksum(None));
        Self {
            success: false,
            error_reason: None,
            error_message: None,
            payer,
            transaction: String::new(),
            network,
            amount: None,
            extensions: None,
            extra: None,
        }
    }

    /// The money may still move: ask again with the same payment.
    pub fn is_pending(&self) -> bool {
        !self.success && self.error_reason == Some(Reason::SettlementPending) && !self.transaction.is_empty()
    }

    /// The transaction's hash, when there is one and it is an EVM one.
    pub fn transaction_hash(&self) -> Option<B256> {
        self.transaction.parse().ok()
    }
}

/// Answer of `/supported`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SupportedResponse {
    /// What can be verified and settled.
    pub kinds: Vec<SupportedKind>,
    /// Keys of extensions.
    #[serde(default)]
    pub extensions: Vec<String>,
    /// Addresses that send settlements, by CAIP-2 pattern (`eip155:*`).
    #[serde(default)]
    pub signers: BTreeMap<String, Vec<String>>,
}

impl SupportedResponse {
    /// The kind of version 2 with this scheme on this network.
    pub fn kind(&self, scheme: Scheme, network: &Network) -> Option<&SupportedKind> {
        let is_it =
            |kind: &&SupportedKind| kind.x402_version == 2 && kind.scheme == scheme.as_str() && kind.network == network.as_str();
        self.kinds.iter().find(is_it)
    }

    /// The signer that payments of the scheme `upto` must name, see [`PaymentRequirements::upto`].
    pub fn upto_facilitator(&self, network: &Network) -> Option<Address> {
        crate::upto::facilitator_of(self.kind(Scheme::Upto, network)?.extra.as_ref()?)
    }
}

/// One thing a facilitator supports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SupportedKind {
    /// 1 or 2.
    pub x402_version: u64,
    /// The scheme.
    pub scheme: String,
    /// CAIP-2 in version 2, a name in version 1.
    pub network: String,
    /// What a server merges into its requirements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<JsonMap>,
}
