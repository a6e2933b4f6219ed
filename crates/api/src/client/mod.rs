//! A typed client of the market, and of the query API of an indexer.

mod agents;
mod catalog;
mod chain;
mod creators;
mod demand;
mod feed;
mod fraud;
mod listings;
mod proofs;
mod routing;
mod standing;
mod transactions;
mod wallet;

use std::time::Duration;

use alloy::primitives::{B256, Bytes as Hex};
use bytes::Bytes;
use http::{HeaderMap, Method};
use reqwest::RequestBuilder;
use serde::{Serialize, de::DeserializeOwned};
use url::Url;

pub use feed::Feed;

use crate::{AccessToken, Code, Health, Problem, ledger};

/// How long an answer may take, content included.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Longest answer read.
const ANSWER_LEN_MAX_BYTES: usize = 128 * 1024 * 1024;

/// Talks to a marketplace, or to the query API of an indexer. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    credentials: Option<String>,
}

/// Leaves out the credentials.
impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// Why a request did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The service refused, and said why.
    #[error(transparent)]
    Refused(#[from] Problem),
    /// The service cannot be reached, or broke off.
    #[error("the service does not answer: {0}")]
    Transport(#[from] reqwest::Error),
    /// What the service answers does not follow from the commitment that was given. Believe none of it.
    #[error(transparent)]
    Proof(#[from] crate::proofs::ProofError),
    /// The answer is not what this version understands.
    #[error("answer {status} cannot be read: {what}")]
    Unreadable {
        /// HTTP status.
        status: u16,
        /// What is wrong.
        what: String,
    },
}

impl ClientError {
    /// The code of the refusal, if it is one.
    pub fn code(&self) -> Option<&Code> {
        if let Self::Refused(problem) = self { Some(&problem.code) } else { None }
    }
}

/// Content, as delivered.
#[derive(Clone, Debug)]
pub struct Content {
    /// The bytes.
    pub body: Bytes,
    /// All headers.
    pub headers: HeaderMap,
}

/// Answer to an express request.
#[derive(Clone, Debug)]
pub enum Bought {
    /// Paid; here it is.
    Content(Content),
    /// To be paid: the value of `PAYMENT-REQUIRED`.
    PaymentRequired(String),
}

/// Answer to a top-up.
#[derive(Clone, Debug)]
pub enum ToppedUp {
    /// Paid and credited.
    Credited(ledger::Deposit),
    /// To be paid: the value of `PAYMENT-REQUIRED`.
    PaymentRequired(String),
}

impl Client {
    /// A client of the service at `base`, as nobody in particular.
    pub fn new(base: Url) -> Self {
        let http = reqwest::Client::builder().timeout(TIMEOUT).build().unwrap_or_default();
        Self { http, base, credentials: None }
    }

    /// The same client at another address of the service.
    #[must_use]
    pub fn at(&self, base: Url) -> Self {
        Self { base, ..self.clone() }
    }

    /// The same client as the agent with this key.
    #[must_use]
    pub fn with_api_key(&self, api_key: &str) -> Self {
        Self { credentials: Some(format!("Bearer {api_key}")), ..self.clone() }
    }

    fn as_nobody(&self) -> Self {
        Self { credentials: None, ..self.clone() }
    }

    /// The same client as whom this access token is of.
    #[must_use]
    pub fn with_token(&self, token: &AccessToken) -> Self {
        self.with_api_key(&token.access_token)
    }

    /// The same client as the wallet that signed this challenge. Good for one request.
    #[must_use]
    pub fn with_wallet_proof(&self, nonce: B256, signature: &Hex) -> Self {
        Self { credentials: Some(format!("Wallet {nonce}.{signature}")), ..self.clone() }
    }

    /// How the market is, and what there is.
    pub async fn health(&self) -> Result<Health, ClientError> {
        self.get("api/v1/health", &()).await
    }

    fn url(&self, path: &str) -> Url {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        url.set_query(query);
        url
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, self.url(path));
        if let Some(credentials) = &self.credentials { request.header("authorization", credentials) } else { request }
    }

    fn asking(&self, path: &str, query: &impl Serialize) -> RequestBuilder {
        let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(query) else { return self.request(Method::GET, path) };
        let mut url = self.url(path);
        for (key, value) in fields {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            url.query_pairs_mut().append_pair(&key, &text);
        }
        let request = self.http.get(url);
        if let Some(credentials) = &self.credentials { request.header("authorization", credentials) } else { request }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Result<T, ClientError> {
        json(self.asking(path, query)).await
    }

    async fn send<T: DeserializeOwned>(&self, method: Method, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        json(self.request(method, path).json(body)).await
    }
}

async fn json<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, ClientError> {
    json_of(request.send().await?).await
}

fn required(response: &reqwest::Response) -> Result<String, ClientError> {
    let required = response.headers().get("payment-required").and_then(|value| value.to_str().ok());
    let unreadable = || ClientError::Unreadable { status: 402, what: "PAYMENT-REQUIRED is missing".into() };
    Ok(required.ok_or_else(unreadable)?.to_owned())
}

async fn json_of<T: DeserializeOwned>(response: reqwest::Response) -> Result<T, ClientError> {
    let status = response.status().as_u16();
    let Content { body, .. } = content(response).await?;
    serde_json::from_slice(&body).map_err(|e| ClientError::Unreadable { status, what: e.to_string() })
}

async fn content(mut response: reqwest::Response) -> Result<Content, ClientError> {
    let status = response.status();
    let mut parts = Vec::new();
    while let Some(part) = response.chunk().await? {
        if parts.len() + part.len() > ANSWER_LEN_MAX_BYTES {
            let what = format!("longer than {ANSWER_LEN_MAX_BYTES} bytes");
            return Err(ClientError::Unreadable { status: status.as_u16(), what });
        }
        parts.extend_from_slice(&part);
    }
    let body = Bytes::from(parts);
    if status.is_success() {
        return Ok(Content { body, headers: response.headers().clone() });
    }
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => Err(problem.into()),
        Err(e) => Err(ClientError::Unreadable { status: status.as_u16(), what: e.to_string() }),
    }
}
