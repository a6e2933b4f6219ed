use alloy::{
    primitives::{Address, B256, Bytes, Signature, U256},
    signers::{SignerSync, local::PrivateKeySigner},
    sol_types::{Eip712Domain, SolStruct, eip712_domain},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::jws;
use crate::{JsonMap, Network, PaymentRequired, PaymentRequirements, SettleResponse};

/// Key of the extension by which a server signs what it offers and what it was paid for.
pub const OFFER_RECEIPT: &str = "offer-receipt";

const VERSION: u64 = 1;

mod typed {
    alloy::sol! {
        struct Offer {
            uint256 version;
            string resourceUrl;
            string scheme;
            string network;
            string asset;
            string payTo;
            string amount;
            uint256 validUntil;
        }

        struct Receipt {
            uint256 version;
            string network;
            string resourceUrl;
            string payer;
            uint256 issuedAt;
            string transaction;
        }
    }
}

/// What a server offers, for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OfferPayload {
    /// Always 1.
    pub version: u64,
    /// What is sold.
    pub resource_url: String,
    /// As in the offer.
    pub scheme: String,
    /// As in the offer.
    pub network: Network,
    /// As in the offer.
    pub asset: String,
    /// As in the offer.
    pub pay_to: String,
    /// As in the offer: base units, decimal.
    pub amount: String,
    /// Unix seconds.
    #[serde(default)]
    pub valid_until: u64,
}

/// What a server was paid for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptPayload {
    /// Always 1.
    pub version: u64,
    /// Where it was paid.
    pub network: Network,
    /// What was bought.
    pub resource_url: String,
    /// Who paid.
    pub payer: String,
    /// Unix seconds.
    pub issued_at: u64,
    /// The transaction, if the server tells; else empty.
    #[serde(default)]
    pub transaction: String,
}

/// Something a server signed. Whom the signer speaks for is for the reader to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire<T>", into = "Wire<T>")]
#[serde(bound(serialize = "T: Clone + Serialize", deserialize = "T: DeserializeOwned"))]
pub struct Signed<T> {
    /// Of an offer: its place in `accepts`, as a hint.
    pub accept_index: Option<usize>,
    /// What is signed.
    pub payload: T,
    /// The signature.
    pub seal: Seal,
}

/// A signature, in either format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seal {
    /// Of EIP-712 typed data: 65 bytes.
    Eip712(Bytes),
    /// A compact JWS, which has the payload in it.
    Jws(String),
}

/// How a server signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SealFormat {
    /// EIP-712 typed data.
    Eip712,
    /// JWS by ES256K, with the public key as its key id (`did:key`).
    Jws,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<T> {
    format: SealFormat,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accept_index: Option<usize>,
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    payload: Option<T>,
    signature: String,
}

impl<T> From<Signed<T>> for Wire<T> {
    fn from(Signed { accept_index, payload, seal }: Signed<T>) -> Self {
        match seal {
            Seal::Eip712(bytes) => {
                Self { format: SealFormat::Eip712, accept_index, payload: Some(payload), signature: bytes.to_string() }
            }
            Seal::Jws(signature) => Self { format: SealFormat::Jws, accept_index, payload: None, signature },
        }
    }
}

impl<T: DeserializeOwned> TryFrom<Wire<T>> for Signed<T> {
    type Error = &'static str;

    fn try_from(Wire { format, accept_index, payload, signature }: Wire<T>) -> Result<Self, Self::Error> {
        match format {
            SealFormat::Eip712 => {
                let bytes = signature.parse().map_err(|_| "the signature is not hexadecimal")?;
                Ok(Self { accept_index, payload: payload.ok_or("no payload")?, seal: Seal::Eip712(bytes) })
            }
            SealFormat::Jws => {
                let payload = jws::payload(&signature).ok_or("not a JWS of such a payload")?;
                Ok(Self { accept_index, payload, seal: Seal::Jws(signature) })
            }
        }
    }
}

/// What a server signs.
pub trait Statement: Serialize + DeserializeOwned + PartialEq {
    /// The hash that is signed by EIP-712.
    fn signing_hash(&self) -> B256;
}

/// An offer with its server's signature.
pub type SignedOffer = Signed<OfferPayload>;
/// A receipt with its server's signature.
pub type SignedReceipt = Signed<ReceiptPayload>;

/// What of a receipt is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptMismatch {
    /// The signature cannot be one.
    #[error("the signature cannot be read")]
    Signature,
    /// Somebody else signed.
    #[error("signed by {signer}")]
    Signer {
        /// Who did.
        signer: Address,
    },
    /// Another resource, network or payer, or too old.
    #[error("the receipt has another {0} than the purchase")]
    Field(&'static str),
}

impl OfferPayload {
    /// What is signed for `requirements`, which hold until `valid_until` (unix seconds).
    pub fn new(resource_url: &str, requirements: &PaymentRequirements, valid_until: u64) -> Self {
        Self {
            version: VERSION,
            resource_url: resource_url.to_owned(),
            scheme: requirements.scheme.clone(),
            network: requirements.network.clone(),
            asset: requirements.asset.clone(),
            pay_to: requirements.pay_to.clone(),
            amount: requirements.amount.to_string(),
            valid_until,
        }
    }

    /// True when it offers just this.
    pub fn offers(&self, requirements: &PaymentRequirements) -> bool {
        *self == Self::new(&self.resource_url, requirements, self.valid_until)
    }
}

impl Statement for OfferPayload {
    fn signing_hash(&self) -> B256 {
        let Self { resource_url, scheme, network, asset, pay_to, amount, .. } = self.clone();
        let (version, valid_until) = (U256::from(self.version), U256::from(self.valid_until));
        let network = network.to_string();
        typed::Offer {
            version,
            resourceUrl: resource_url,
            scheme,
            network,
            asset,
            payTo: pay_to,
            amount,
            validUntil: valid_until,
        }
        .eip712_signing_hash(&domain("x402 offer"))
    }
}

impl Statement for ReceiptPayload {
    fn signing_hash(&self) -> B256 {
        let Self { resource_url, payer, transaction, .. } = self.clone();
        let (version, issued_at) = (U256::from(self.version), U256::from(self.issued_at));
        let network = self.network.to_string();
        typed::Receipt { version, network, resourceUrl: resource_url, payer, issuedAt: issued_at, transaction }
            .eip712_signing_hash(&domain("x402 receipt"))
    }
}

impl ReceiptPayload {
    /// What is signed for a settlement at `issued_at` (unix seconds). The transaction is told only if `with_transaction`.
    pub fn new(resource_url: &str, settled: &SettleResponse, payer: Address, issued_at: u64, with_transaction: bool) -> Self {
        Self {
            version: VERSION,
            network: settled.network.clone(),
            resource_url: resource_url.to_owned(),
            payer: payer.to_checksum(None),
            issued_at,
            transaction: if with_transaction { settled.transaction.clone() } else { String::new() },
        }
    }
}

impl<T: Statement> Signed<T> {
    /// `payload`, signed by `key`.
    ///
    /// # Errors
    /// When `key` cannot sign.
    pub fn new(
        payload: T,
        accept_index: Option<usize>,
        format: SealFormat,
        key: &PrivateKeySigner,
    ) -> Result<Self, alloy::signers::Error> {
        let seal = match format {
            SealFormat::Eip712 => Seal::Eip712(key.sign_hash_sync(&payload.signing_hash())?.as_bytes().into()),
            SealFormat::Jws => {
                let mut told = json!(payload);
                // A token leaves out what it does not tell.
                told.as_object_mut().expect("a struct is an object").retain(|_, value| value != "");
                Seal::Jws(jws::sign(told, key)?)
            }
        };
        Ok(Self { accept_index, payload, seal })
    }

    /// Who signed this payload: an account, or the account of the key that a JWS of ES256K names as `did:key`. `None` if nobody did, and for
    /// a JWS by a key of another kind.
    pub fn signer(&self) -> Option<Address> {
        match &self.seal {
            Seal::Eip712(bytes) => {
                Signature::from_raw(bytes).ok()?.recover_address_from_prehash(&self.payload.signing_hash()).ok()
            }
            Seal::Jws(token) => jws::signer(token).filter(|_| jws::payload::<T>(token).as_ref() == Some(&self.payload)),
        }
    }
}

impl SignedOffer {
    /// The offers in a 402 that are signed, and can be read.
    pub fn all(required: &PaymentRequired) -> Vec<Self> {
        let offers = required.extensions.as_ref().and_then(|map| map.get(OFFER_RECEIPT)?.get("info")?.get("offers")?.as_array());
        offers.into_iter().flatten().filter_map(|offer| Self::deserialize(offer).ok()).collect()
    }

    /// What a 402 has under [`OFFER_RECEIPT`].
    pub fn extension(offers: &[Self]) -> Value {
        let text = json!({ "type": "string" });
        let payload = schema(&["version", "resourceUrl", "scheme", "network", "asset", "payTo", "amount"], &["validUntil"]);
        let item = json!({
            "type": "object",
            "properties": { "format": text, "acceptIndex": { "type": "integer" }, "payload": payload, "signature": text },
            "required": ["format", "signature"],
        });
        json!({
            "info": { "offers": offers },
            "schema": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "properties": { "offers": { "type": "array", "items": item } },
                "required": ["offers"],
            },
        })
    }
}

impl SignedReceipt {
    /// The one that came with a settlement, if there is one that can be read.
    pub fn of(settled: &SettleResponse) -> Option<Self> {
        Self::deserialize(settled.extensions.as_ref()?.get(OFFER_RECEIPT)?.get("info")?.get("receipt")?).ok()
    }

    /// Adds it to a settlement.
    pub fn add_to(&self, settled: &mut SettleResponse) {
        let text = json!({ "type": "string" });
        let payload = schema(&["version", "network", "resourceUrl", "payer", "issuedAt"], &["transaction"]);
        let extension = json!({
            "info": { "receipt": self },
            "schema": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "properties": { "receipt": {
                    "type": "object",
                    "properties": { "format": text, "payload": payload, "signature": text },
                    "required": ["format", "signature"],
                } },
                "required": ["receipt"],
            },
        });
        settled.extensions.get_or_insert_with(JsonMap::new).insert(OFFER_RECEIPT.into(), extension);
    }

    /// Checks that `signer` says it was paid by `payer` for the resource of `offer`, no longer than `age_max` seconds before `now`.
    ///
    /// # Errors
    /// [`ReceiptMismatch`] names the first thing that differs.
    pub fn check(
        &self,
        signer: Address,
        offer: &OfferPayload,
        payer: Address,
        now: u64,
        age_max: u64,
    ) -> Result<(), ReceiptMismatch> {
        match self.signer() {
            None => return Err(ReceiptMismatch::Signature),
            Some(other) if other != signer => return Err(ReceiptMismatch::Signer { signer: other }),
            Some(_) => {}
        }
        let receipt = &self.payload;
        let fields = [
            (receipt.resource_url == offer.resource_url, "resource"),
            (receipt.network == offer.network, "network"),
            (receipt.payer.parse() == Ok(payer), "payer"),
            (now.saturating_sub(receipt.issued_at) <= age_max, "time"),
        ];
        fields.into_iter().find(|(same, _)| !same).map_or(Ok(()), |(_, field)| Err(ReceiptMismatch::Field(field)))
    }
}

fn schema(required: &[&str], optional: &[&str]) -> Value {
    let number = |name: &str| matches!(name, "version" | "validUntil" | "issuedAt");
    let property = |name: &&str| ((*name).to_owned(), json!({ "type": if number(name) { "integer" } else { "string" } }));
    let properties: JsonMap = required.iter().chain(optional).map(property).collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

/// One domain for all chains: what is signed names its network itself.
fn domain(name: &'static str) -> Eip712Domain {
    eip712_domain! { name: name, version: "1", chain_id: 1, }
}
