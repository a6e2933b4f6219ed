use alloy::primitives::{Address, B256, Bytes, Signature, eip191_hash_message};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use url::Url;

use crate::Network;

/// Key of the extension, and name of the header, by which a wallet says who it is without paying (CAIP-122; on EVM chains EIP-4361).
pub const SIGN_IN_WITH_X: &str = "sign-in-with-x";

/// How long after it was issued a message is believed, in seconds.
const AGE_MAX_SECS: i64 = 300;
/// How far ahead of ours the clock of the server that issued a message may be, in seconds.
const SKEW_MAX_SECS: i64 = 5;

/// What a server asks a wallet to sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignInInfo {
    /// Host, with the port unless it is the default one.
    pub domain: String,
    /// What is asked for.
    pub uri: String,
    /// One line for a person to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// `1`.
    pub version: String,
    /// Used once.
    pub nonce: String,
    /// RFC 3339.
    pub issued_at: String,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_time: Option<String>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// The server's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What access is asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<String>>,
}

/// What a wallet signed: the value of the header [`SIGN_IN_WITH_X`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignIn {
    /// What the server said.
    #[serde(flatten)]
    pub info: SignInInfo,
    /// The wallet, as it stands in the message.
    pub address: String,
    /// The chain.
    pub chain_id: String,
    /// `eip191`.
    #[serde(rename = "type")]
    pub kind: String,
    /// A hint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature_scheme: Option<String>,
    /// Of the message of EIP-4361.
    pub signature: String,
}

/// Why a wallet is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignInError {
    /// The header cannot be read.
    #[error("invalid_siwx_header")]
    Header,
    /// Signed for another host.
    #[error("invalid_siwx_domain_mismatch")]
    DomainMismatch,
    /// Signed for another origin.
    #[error("invalid_siwx_uri_mismatch")]
    UriMismatch,
    /// Not a time.
    #[error("invalid_siwx_issued_at")]
    IssuedAt,
    /// More than five minutes ago.
    #[error("invalid_siwx_issued_at_too_old")]
    IssuedAtTooOld,
    /// In the future.
    #[error("invalid_siwx_issued_at_in_future")]
    IssuedAtInFuture,
    /// Not a time.
    #[error("invalid_siwx_expiration_time")]
    ExpirationTime,
    /// Its own end has passed.
    #[error("invalid_siwx_expired")]
    Expired,
    /// Not a time.
    #[error("invalid_siwx_not_before")]
    NotBefore,
    /// Its own beginning has not come.
    #[error("invalid_siwx_not_yet_valid")]
    NotYetValid,
    /// Used before.
    #[error("invalid_siwx_nonce")]
    Nonce,
    /// Not an EVM chain.
    #[error("invalid_siwx_unsupported_chain")]
    UnsupportedChain,
    /// `eip155:` and not a number.
    #[error("invalid_siwx_chain_id")]
    ChainId,
    /// Not bytes.
    #[error("invalid_siwx_malformed_signature")]
    MalformedSignature,
    /// The wallet did not sign this.
    #[error("invalid_siwx_signature")]
    Signature,
    /// The wallet's contract could not be asked.
    #[error("invalid_siwx_verifier_error")]
    VerifierError,
}

impl SignInInfo {
    /// What to ask for now: `origin` as in `https://shop.example`, the path and query of what is asked for.
    #[cfg(feature = "server")]
    pub(crate) fn now(origin: &Url, uri: String, statement: Option<String>) -> Self {
        Self {
            domain: host(origin),
            resources: Some(vec![uri.clone()]),
            uri,
            statement,
            version: "1".into(),
            nonce: format!("{:032x}", rand::random::<u128>()),
            issued_at: OffsetDateTime::now_utc().format(&Rfc3339).expect("a time of this era has a text"),
            expiration_time: None,
            not_before: None,
            request_id: None,
        }
    }

    /// What a server declares under [`SIGN_IN_WITH_X`].
    pub fn declaration(&self, networks: &[Network]) -> Value {
        let chains: Vec<_> = networks.iter().map(|network| json!({ "chainId": network, "type": "eip191" })).collect();
        let (text, time) = (json!({ "type": "string" }), json!({ "type": "string", "format": "date-time" }));
        let uri = json!({ "type": "string", "format": "uri" });
        json!({
            "info": self,
            "supportedChains": chains,
            "schema": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "properties": {
                    "domain": text, "address": text, "statement": text, "uri": uri, "version": text, "chainId": text, "type": text,
                    "nonce": text, "issuedAt": time, "expirationTime": time, "notBefore": time, "requestId": text,
                    "resources": { "type": "array", "items": uri }, "signature": text,
                },
                "required": ["domain", "address", "uri", "version", "chainId", "type", "nonce", "issuedAt", "signature"],
            },
        })
    }

    /// True when it asks to sign in at the origin of `url` and nowhere else.
    pub fn is_of(&self, url: &Url) -> bool {
        self.domain == host(url) && same_origin(&self.uri, url)
    }

    /// The message of EIP-4361 that `address` (checksummed) signs on chain `chain_id`.
    pub fn message(&self, address: &str, chain_id: u64) -> String {
        let mut lines = vec![format!("{} wants you to sign in with your Ethereum account:", self.domain), address.to_owned()];
        lines.push(String::new());
        lines.extend(self.statement.clone());
        lines.push(String::new());
        lines.push(format!("URI: {}", self.uri));
        lines.push(format!("Version: {}", self.version));
        lines.push(format!("Chain ID: {chain_id}"));
        lines.push(format!("Nonce: {}", self.nonce));
        lines.push(format!("Issued At: {}", self.issued_at));
        let optional =
            [("Expiration Time", &self.expiration_time), ("Not Before", &self.not_before), ("Request ID", &self.request_id)];
        lines.extend(optional.into_iter().filter_map(|(name, value)| Some(format!("{name}: {}", value.as_ref()?))));
        if let Some(resources) = &self.resources {
            lines.push("Resources:".into());
            lines.extend(resources.iter().map(|resource| format!("- {resource}")));
        }
        lines.join("\n")
    }

    /// Checks the times, at `now`.
    fn check_times(&self, now: OffsetDateTime) -> Result<(), SignInError> {
        let time = |text: &str, error| OffsetDateTime::parse(text, &Rfc3339).map_err(|_| error);
        let age = (now - time(&self.issued_at, SignInError::IssuedAt)?).whole_seconds();
        if age > AGE_MAX_SECS {
            return Err(SignInError::IssuedAtTooOld);
        }
        if age < -SKEW_MAX_SECS {
            return Err(SignInError::IssuedAtInFuture);
        }
        if let Some(end) = &self.expiration_time
            && time(end, SignInError::ExpirationTime)? < now
        {
            return Err(SignInError::Expired);
        }
        if let Some(begin) = &self.not_before
            && time(begin, SignInError::NotBefore)? > now
        {
            return Err(SignInError::NotYetValid);
        }
        Ok(())
    }

    /// A line break would let one message pass for another.
    fn is_one_line_each(&self) -> bool {
        let Self { domain, uri, statement, version, nonce, issued_at, expiration_time, not_before, request_id, resources } = self;
        let optional = [statement, expiration_time, not_before, request_id].into_iter().flatten();
        let all = [domain, uri, version, nonce, issued_at].into_iter().chain(optional).chain(resources.iter().flatten());
        all.into_iter().all(|text| !text.contains(char::is_control))
    }
}

impl SignIn {
    /// How long a nonce has to be remembered, in seconds.
    pub const NONCE_LIFE_SECS: u64 = (AGE_MAX_SECS + SKEW_MAX_SECS) as u64;

    /// Checks everything but the signature and the nonce, for a server at `origin` at unix second `now`.
    ///
    /// # Errors
    /// [`SignInError`].
    pub fn check(&self, origin: &Url, now: u64) -> Result<(), SignInError> {
        let now =
            i64::try_from(now).ok().and_then(|now| OffsetDateTime::from_unix_timestamp(now).ok()).ok_or(SignInError::IssuedAt)?;
        if self.info.domain != host(origin) {
            return Err(SignInError::DomainMismatch);
        }
        if !same_origin(&self.info.uri, origin) {
            return Err(SignInError::UriMismatch);
        }
        self.info.check_times(now)
    }

    /// Who says to be signing in.
    ///
    /// # Errors
    /// [`SignInError::Signature`] when it is not an address.
    pub fn address(&self) -> Result<Address, SignInError> {
        self.address.parse().map_err(|_| SignInError::Signature)
    }

    /// The hash that is signed.
    ///
    /// # Errors
    /// [`SignInError::UnsupportedChain`], [`SignInError::ChainId`], [`SignInError::Header`].
    pub fn signing_hash(&self) -> Result<B256, SignInError> {
        let number = self.chain_id.strip_prefix("eip155:").ok_or(SignInError::UnsupportedChain)?;
        let chain_id = Some(number).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        let chain_id = chain_id.and_then(|number| number.parse().ok()).ok_or(SignInError::ChainId)?;
        if !self.info.is_one_line_each() {
            return Err(SignInError::Header);
        }
        Ok(eip191_hash_message(self.info.message(&self.address()?.to_checksum(None), chain_id)))
    }

    /// The signature's bytes.
    ///
    /// # Errors
    /// [`SignInError::MalformedSignature`].
    pub fn signature(&self) -> Result<Bytes, SignInError> {
        self.signature.parse().map_err(|_| SignInError::MalformedSignature)
    }

    /// Checks the signature of an account without code.
    ///
    /// # Errors
    /// [`SignInError`].
    pub fn check_key(&self) -> Result<Address, SignInError> {
        let (hash, signature) = (self.signing_hash()?, self.signature()?);
        let signer =
            Signature::from_raw(&signature).ok().and_then(|signature| signature.recover_address_from_prehash(&hash).ok());
        let address = self.address()?;
        if signer == Some(address) { Ok(address) } else { Err(SignInError::Signature) }
    }
}

/// Host and port, without the port when it is the scheme's own.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn same_origin(uri: &str, url: &Url) -> bool {
    uri.parse::<Url>().is_ok_and(|uri| uri.origin() == url.origin())
}
