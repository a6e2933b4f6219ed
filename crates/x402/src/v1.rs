//! Version 1 of the protocol: body instead of header, network names instead of CAIP-2, `maxAmountRequired` instead of `amount`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{DecodeError, JsonMap, Network, Reason, TokenAmount, V1, V2, wire};

/// Body of a 402.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequired {
    /// Always 1.
    pub x402_version: V1,
    /// Why, when a payment came and was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The ways to pay, any one of them.
    pub accepts: Vec<PaymentRequirements>,
}

/// One way to pay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequirements {
    /// `exact`.
    pub scheme: String,
    /// A name such as `base-sepolia`.
    pub network: String,
    /// Base units; the client may pay more.
    pub max_amount_required: TokenAmount,
    /// What is sold, a URL.
    #[serde(default)]
    pub resource: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Media type of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Shape of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// Who is paid.
    pub pay_to: String,
    /// How long the payment may take to settle.
    pub max_timeout_seconds: u64,
    /// The token.
    pub asset: String,
    /// Fields of the scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<JsonMap>,
}

impl PaymentRequirements {
    /// The same offer in terms of version 2; `None` when the network's name is not known.
    pub fn to_v2(&self) -> Option<wire::PaymentRequirements> {
        Some(wire::PaymentRequirements {
            scheme: self.scheme.clone(),
            network: network(&self.network)?,
            amount: self.max_amount_required,
            asset: self.asset.clone(),
            pay_to: self.pay_to.clone(),
            max_timeout_seconds: self.max_timeout_seconds,
            extra: self.extra.clone(),
        })
    }

    /// What is sold, in terms of version 2.
    pub fn resource_info(&self) -> wire::ResourceInfo {
        wire::ResourceInfo {
            url: self.resource.clone(),
            description: Some(self.description.clone()).filter(|text| !text.is_empty()),
            mime_type: self.mime_type.clone(),
            ..Default::default()
        }
    }
}

fn network(name: &str) -> Option<Network> {
    Network::from_v1_name(name).or_else(|| name.parse().ok())
}

/// Content of `X-PAYMENT`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentPayload {
    /// Always 1.
    pub x402_version: V1,
    /// `exact`.
    pub scheme: String,
    /// A name such as `base-sepolia`.
    pub network: String,
    /// What the scheme asks for.
    pub payload: JsonMap,
}

/// Body of `POST /verify` and `POST /settle`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequest {
    /// Always 1.
    pub x402_version: V1,
    /// The payment, as the client sent it.
    pub payment_payload: PaymentPayload,
    /// What the server asked for.
    pub payment_requirements: PaymentRequirements,
}

impl PaymentRequest {
    /// The same request in terms of version 2. The payload's own scheme and network stay visible in `accepted`, so that a payment for
    /// another network is still refused.
    ///
    /// # Errors
    /// [`DecodeError::Json`] when a network's name is not known.
    pub fn into_v2(self) -> Result<wire::PaymentRequest, DecodeError> {
        let unknown = |name: &str| DecodeError::Json(format!("unknown network {:?}", name.chars().take(40).collect::<String>()));
        let requirements = self.payment_requirements.to_v2().ok_or_else(|| unknown(&self.payment_requirements.network))?;
        let payer_network = network(&self.payment_payload.network).ok_or_else(|| unknown(&self.payment_payload.network))?;
        let accepted =
            wire::PaymentRequirements { scheme: self.payment_payload.scheme, network: payer_network, ..requirements.clone() };
        Ok(wire::PaymentRequest {
            x402_version: V2,
            payment_payload: wire::PaymentPayload {
                x402_version: V2,
                resource: Some(self.payment_requirements.resource_info()),
                accepted,
                payload: self.payment_payload.payload,
                extensions: None,
            },
            payment_requirements: requirements,
        })
    }
}

/// Content of `X-PAYMENT-RESPONSE`, and the answer of `/settle`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettleResponse {
    /// The money moved.
    pub success: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_reason: Option<Reason>,
    /// Who paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<String>,
    /// The transaction, empty when there is none.
    #[serde(default)]
    pub transaction: String,
    /// A name such as `base-sepolia`.
    #[serde(default)]
    pub network: String,
}

impl SettleResponse {
    /// The same answer in terms of version 2; `None` when the network's name is not known.
    pub fn to_v2(&self) -> Option<wire::SettleResponse> {
        let mut answer = wire::SettleResponse::failed(network(&self.network)?, None, Reason::UnexpectedSettleError);
        answer.success = self.success;
        answer.error_reason = self.error_reason.clone();
        answer.payer = self.payer.clone();
        answer.transaction = self.transaction.clone();
        Some(answer)
    }
}

impl From<wire::SettleResponse> for SettleResponse {
    fn from(answer: wire::SettleResponse) -> Self {
        let network = answer.network.v1_name().map_or_else(|| answer.network.to_string(), str::to_owned);
        Self {
            success: answer.success,
            error_reason: answer.error_reason,
            payer: answer.payer,
            transaction: answer.transaction,
            network,
        }
    }
}
