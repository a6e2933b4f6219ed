use reqwest::{Response, header::HeaderMap};
use serde_json::Value;

use super::{outstanding::Proof, payer::Sponsored, signing::Signed};
use crate::{
    DecodeError, EIP2612_GAS_SPONSORING, ERC20_APPROVAL_GAS_SPONSORING, JsonMap, OFFER_RECEIPT, PaymentId, PaymentPayload,
    PaymentRequired, PaymentRequirements, Reason, ResourceInfo, SIGN_IN_WITH_X, SettleResponse, TransferMethod, V1, V2, header,
    v1,
};

/// Longest 402 body read.
const BODY_LEN_MAX_BYTES: usize = 256 * 1024;

/// A 402 of either version, its offers in terms of version 2.
#[derive(Clone, Debug)]
pub(crate) struct Demand {
    pub(crate) offers: Vec<PaymentRequirements>,
    pub(crate) error: Option<Reason>,
    pub(crate) version: Version,
}

/// What a payment has to repeat.
#[derive(Clone, Debug)]
pub(crate) enum Version {
    One,
    Two { resource: ResourceInfo, extensions: Option<JsonMap> },
}

impl Demand {
    /// Reads a 402: the header of version 2, else a body of version 1 or 2.
    pub(crate) async fn read(mut response: Response) -> Result<Self, DecodeError> {
        if let Some(value) = response.headers().get(header::PAYMENT_REQUIRED) {
            return header::decode::<PaymentRequired>(value.as_bytes()).map(Self::from);
        }
        let body = read_body(&mut response).await?;
        Self::from_json(serde_json::from_slice(&body).map_err(|e| DecodeError::json(&e))?)
    }

    /// Reads offers of either version.
    pub(crate) fn from_json(json: Value) -> Result<Self, DecodeError> {
        match json.get("x402Version").and_then(Value::as_u64) {
            Some(1) => serde_json::from_value::<v1::PaymentRequired>(json).map(Self::from).map_err(|e| DecodeError::json(&e)),
            Some(2) => serde_json::from_value::<PaymentRequired>(json).map(Self::from).map_err(|e| DecodeError::json(&e)),
            Some(other) => Err(DecodeError::Version(other)),
            None => Err(DecodeError::Json("neither a PAYMENT-REQUIRED header nor an object with x402Version".into())),
        }
    }

    /// A refusal without offers.
    #[cfg(feature = "a2a")]
    pub(crate) fn refused(error: Option<Reason>) -> Self {
        let version = Version::Two { resource: ResourceInfo::default(), extensions: None };
        Self { offers: Vec::new(), error, version }
    }

    /// How the payer may move the token: version 1 knows EIP-3009 only.
    pub(crate) fn methods(&self) -> &'static [TransferMethod] {
        match self.version {
            Version::One => &[TransferMethod::Eip3009],
            Version::Two { .. } => &[TransferMethod::Eip3009, TransferMethod::Permit2],
        }
    }

    /// What of the payer's the server's facilitator carries.
    pub(crate) fn sponsored(&self) -> Sponsored {
        let is_declared = |key| self.extension(key).is_some();
        Sponsored { permits: is_declared(EIP2612_GAS_SPONSORING), approvals: is_declared(ERC20_APPROVAL_GAS_SPONSORING) }
    }

    /// What the server says in an extension.
    pub(super) fn extension(&self, key: &str) -> Option<&Value> {
        match &self.version {
            Version::One => None,
            Version::Two { extensions, .. } => extensions.as_ref()?.get(key),
        }
    }

    /// What shows the seller that `offer` is paid.
    pub(super) fn proof(&self, offer: &PaymentRequirements, signed: Signed) -> Proof {
        let Signed { payload, allowance, .. } = signed;
        match &self.version {
            Version::One => {
                let network = offer.network.v1_name().map_or_else(|| offer.network.to_string(), str::to_owned);
                Proof::V1(v1::PaymentPayload { x402_version: V1, scheme: offer.scheme.clone(), network, payload })
            }
            Version::Two { resource, extensions } => {
                let (resource, mut extensions) = (Some(resource.clone()), extensions.clone());
                if let Some(extensions) = &mut extensions {
                    // These are new in every 402 and say nothing about the payment.
                    extensions.retain(|key, _| ![SIGN_IN_WITH_X, OFFER_RECEIPT].contains(&key.as_str()));
                    PaymentId::random().add_to(extensions);
                }
                if let Some(allowance) = allowance {
                    allowance.add_to(extensions.get_or_insert_default());
                }
                Proof::V2(PaymentPayload { x402_version: V2, resource, accepted: offer.clone(), payload, extensions })
            }
        }
    }
}

impl From<PaymentRequired> for Demand {
    fn from(required: PaymentRequired) -> Self {
        let PaymentRequired { error, resource, accepts, extensions, .. } = required;
        Self { offers: accepts, error: error.map(Reason::from), version: Version::Two { resource, extensions } }
    }
}

impl From<v1::PaymentRequired> for Demand {
    fn from(required: v1::PaymentRequired) -> Self {
        let offers = required.accepts.iter().filter_map(v1::PaymentRequirements::to_v2).collect();
        Self { offers, error: required.error.map(Reason::from), version: Version::One }
    }
}

async fn read_body(response: &mut Response) -> Result<Vec<u8>, DecodeError> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > BODY_LEN_MAX_BYTES => {
                return Err(DecodeError::TooLarge { len: body.len() + chunk.len(), max: BODY_LEN_MAX_BYTES });
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(_) => return Err(DecodeError::Json("the body ended early".into())),
        }
    }
}

/// The receipt a server sent, in either version; `None` when there is none that can be read.
pub(crate) fn receipt(headers: &HeaderMap) -> Option<SettleResponse> {
    if let Some(value) = headers.get(header::PAYMENT_RESPONSE) {
        return header::decode(value.as_bytes()).ok();
    }
    let value = headers.get(header::X_PAYMENT_RESPONSE)?;
    header::decode::<v1::SettleResponse>(value.as_bytes()).ok()?.to_v2()
}
