use alloy::primitives::Address;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;

use super::{JsonMap, V2};
use crate::{Network, Scheme, Token, TokenAmount, TransferMethod};

/// What a server answers to a request that has not paid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequired {
    /// Always 2.
    pub x402_version: V2,
    /// Why, when a payment came and was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What is sold.
    pub resource: ResourceInfo,
    /// The ways to pay, any one of them. Entries this crate cannot read (other families of chains may write amounts their own way)
    /// are left out when reading; an empty list is an error.
    #[serde(deserialize_with = "readable_offers")]
    pub accepts: Vec<PaymentRequirements>,
    /// Extensions by key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<JsonMap>,
}

fn readable_offers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PaymentRequirements>, D::Error> {
    let entries = Vec::<Value>::deserialize(deserializer)?;
    if entries.is_empty() {
        return Err(D::Error::custom("accepts is empty"));
    }
    let readable = |entry| serde_json::from_value(entry).ok().filter(|offer: &PaymentRequirements| offer.max_timeout_seconds > 0);
    Ok(entries.into_iter().filter_map(readable).collect())
}

/// What is sold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceInfo {
    /// Where it is. Not empty.
    pub url: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Media type of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// 1 to 32 printable ASCII characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// At most 5, each 1 to 32 printable ASCII characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// At most 2048 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon_url: Option<String>,
}

impl ResourceInfo {
    /// A resource of which only the address is told.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }
}

/// One way to pay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequirements {
    /// `exact`, `upto`, `batch-settlement`, ...
    pub scheme: String,
    /// The chain.
    pub network: Network,
    /// Base units of the asset.
    pub amount: TokenAmount,
    /// The token, as its chain writes addresses. See [`Self::asset_address`].
    pub asset: String,
    /// Who is paid, as the chain writes addresses. See [`Self::pay_to_address`].
    pub pay_to: String,
    /// How long the payment may take to settle. Never 0 in an offer; the official server's claims say 0.
    pub max_timeout_seconds: u64,
    /// Fields of the scheme: the token's domain, the transfer method, the payment flow. Echoed as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<JsonMap>,
}

impl PaymentRequirements {
    /// An `exact` offer: `amount` of `token` to `pay_to` within `max_timeout_seconds`.
    pub fn exact(token: &Token, amount: impl Into<TokenAmount>, pay_to: Address, max_timeout_seconds: u64) -> Self {
        let extra =
            [("name", &token.name), ("version", &token.version)].map(|(key, text)| (key.into(), Value::from(text.as_ref())));
        Self {
            scheme: Scheme::Exact.as_str().into(),
            network: token.network.clone(),
            amount: amount.into(),
            asset: token.address.to_checksum(None),
            pay_to: pay_to.to_checksum(None),
            max_timeout_seconds,
            extra: Some(extra.into_iter().collect()),
        }
    }

    /// The same offer, paid by Permit2: for tokens without EIP-3009.
    pub fn by_permit2(mut self) -> Self {
        let method = Value::from(TransferMethod::Permit2.as_str());
        self.extra.get_or_insert_default().insert("assetTransferMethod".into(), method);
        self
    }

    /// The same offer, settled before the work: the answer may stream and have any length, and who fails to work keeps the money.
    pub fn upfront(mut self) -> Self {
        self.extra.get_or_insert_default().insert("paymentFlow".into(), Value::from("upfront"));
        self
    }

    /// The token's address; `None` when it is not an EVM one.
    pub fn asset_address(&self) -> Option<Address> {
        self.asset.parse().ok()
    }

    /// The payee's address; `None` when it is not an EVM one.
    pub fn pay_to_address(&self) -> Option<Address> {
        self.pay_to.parse().ok()
    }

    /// A text field of `extra`.
    pub fn extra_str(&self, key: &str) -> Option<&str> {
        self.extra.as_ref()?.get(key)?.as_str()
    }

    /// When money moves; `None` for a flow this crate does not know, which must not be paid.
    pub fn payment_flow(&self) -> Option<PaymentFlow> {
        match self.extra.as_ref().and_then(|extra| extra.get("paymentFlow")) {
            None | Some(Value::Null) => Some(Scheme::of(self).map_or_else(PaymentFlow::default, |scheme| scheme.flows()[0])),
            Some(name) => serde_json::from_value(name.clone()).ok(),
        }
    }
}

/// When money moves relative to the work it pays for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PaymentFlow {
    /// Verify, work, settle. A failed handler costs nobody anything.
    #[default]
    Authorization,
    /// Settle, work. The only one whose answer can stream.
    Upfront,
    /// Deposit, work, then finalize or cancel.
    Escrow,
}

impl PaymentFlow {
    /// Verified before the handler runs.
    pub fn verifies_before(self) -> bool {
        self == Self::Authorization
    }

    /// Settled before the handler runs.
    pub fn settles_before(self) -> bool {
        self != Self::Authorization
    }

    /// Settled, finalized or cancelled after the handler ran.
    pub fn settles_after(self) -> bool {
        self != Self::Upfront
    }
}
