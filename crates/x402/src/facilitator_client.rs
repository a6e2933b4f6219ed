//! Feature `facilitator-client`: a typed client of `/verify`, `/settle` and `/supported`.

use std::{fmt, time::Duration};

use reqwest::{RequestBuilder, Response, StatusCode, header::RETRY_AFTER};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use crate::{PaymentRequest, SettleResponse, SupportedResponse, TraceContext, VerifyResponse};

/// How long one call may take, retries after 429 included. A settlement waits for its block.
const TIMEOUT: Duration = Duration::from_secs(90);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a call that was answered 429 is made again.
const RATE_LIMIT_RETRIES_MAX: u32 = 3;
/// Longest wait a facilitator may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
const ANSWER_LEN_MAX_BYTES: usize = 256 * 1024;

/// Why a facilitator gave no verdict.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FacilitatorError {
    /// The request never left: retrying is safe.
    #[error("the facilitator at {url} cannot be reached: check the address and that it runs: {source}")]
    Unreachable {
        /// Its address.
        url: Url,
        /// What went wrong.
        source: reqwest::Error,
    },
    /// The request left and no verdict came back. A settlement may have happened: ask again with the same payment, never with a new one.
    #[error("the facilitator gave no verdict ({cause}): ask again with the same payment")]
    Indeterminate {
        /// What went wrong.
        cause: String,
    },
    /// The facilitator refuses to look at the request: a wrong key, a wrong path, a malformed body. Nothing happened.
    #[error("the facilitator refused the request with {status}: {body}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// The beginning of its answer.
        body: String,
    },
    /// Too many requests, after waiting as told. Nothing happened.
    #[error("the facilitator is overloaded (429): ask again later with the same payment")]
    RateLimited,
    /// The address is not an HTTP one.
    #[error("{0} cannot be a facilitator: give an http or https address")]
    BadUrl(String),
}

/// Talks to one facilitator. Clones share connections.
#[derive(Clone)]
pub struct FacilitatorClient {
    http: reqwest::Client,
    base: Url,
    bearer: Option<String>,
    timeout: Duration,
}

impl fmt::Debug for FacilitatorClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FacilitatorClient").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl FacilitatorClient {
    /// A client of the facilitator at `base`; `/verify` and the others are added to its path.
    ///
    /// # Errors
    /// [`FacilitatorError::BadUrl`], or [`FacilitatorError::Unreachable`] when the TLS of this machine cannot be set up.
    pub fn new(mut base: Url) -> Result<Self, FacilitatorError> {
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(FacilitatorError::BadUrl(base.to_string()));
        }
        base.set_path(&format!("{}/", base.path().trim_end_matches('/')));
        let http =
            reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).redirect(reqwest::redirect::Policy::none()).build();
        let http = http.map_err(|source| FacilitatorError::Unreachable { url: base.clone(), source })?;
        Ok(Self { http, base, bearer: None, timeout: TIMEOUT })
    }

    /// Sends `Authorization: Bearer` with every call.
    pub fn bearer_token(mut self, token: impl Into<String>) -> Self {
        self.bearer = Some(token.into());
        self
    }

    /// How long a call may take; 90 seconds unless told.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Asks whether the payment would settle now. An invalid payment is an answer, not an error.
    ///
    /// # Errors
    /// [`FacilitatorError`]. No money moves.
    pub async fn verify(&self, request: &PaymentRequest) -> Result<VerifyResponse, FacilitatorError> {
        self.call("isValid", || self.http.post(self.url("verify")).json(request)).await
    }

    /// Settles the payment. A failed settlement is an answer, not an error.
    ///
    /// # Errors
    /// [`FacilitatorError`]; after [`FacilitatorError::Indeterminate`] the money may have moved.
    pub async fn settle(&self, request: &PaymentRequest) -> Result<SettleResponse, FacilitatorError> {
        self.call("success", || self.http.post(self.url("settle")).json(request)).await
    }

    /// Asks what the facilitator supports.
    ///
    /// # Errors
    /// [`FacilitatorError`].
    pub async fn supported(&self) -> Result<SupportedResponse, FacilitatorError> {
        self.call("kinds", || self.http.get(self.url("supported"))).await
    }

    fn url(&self, path: &str) -> Url {
        self.base.join(path).expect("a plain word joins any http address")
    }

    async fn call<T: DeserializeOwned>(
        &self,
        verdict: &str,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<T, FacilitatorError> {
        let late = |_| FacilitatorError::Indeterminate { cause: format!("no answer within {} s", self.timeout.as_secs()) };
        tokio::time::timeout(self.timeout, self.call_untimed(verdict, request)).await.map_err(late)?
    }

    async fn call_untimed<T: DeserializeOwned>(
        &self,
        verdict: &str,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<T, FacilitatorError> {
        for attempt in 0..=RATE_LIMIT_RETRIES_MAX {
            let request = request().headers(TraceContext::headers());
            let request = if let Some(token) = &self.bearer { request.bearer_auth(token) } else { request };
            let response = request.send().await.map_err(|error| self.failed(error))?;
            if response.status() != StatusCode::TOO_MANY_REQUESTS {
                return read(response, verdict).await;
            }
            if attempt < RATE_LIMIT_RETRIES_MAX {
                tokio::time::sleep(retry_after(&response)).await;
            }
        }
        Err(FacilitatorError::RateLimited)
    }

    fn failed(&self, error: reqwest::Error) -> FacilitatorError {
        if error.is_connect() {
            FacilitatorError::Unreachable { url: self.base.clone(), source: error.without_url() }
        } else {
            FacilitatorError::Indeterminate { cause: error.without_url().to_string() }
        }
    }
}

fn retry_after(response: &Response) -> Duration {
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    seconds.map_or(Duration::from_secs(1), Duration::from_secs).min(RETRY_AFTER_MAX)
}

/// Reads an answer of any status: a JSON object with the field `verdict` is one, whatever the status says.
async fn read<T: DeserializeOwned>(mut response: Response, verdict: &str) -> Result<T, FacilitatorError> {
    let status = response.status();
    let body = read_body(&mut response).await.map_err(|cause| FacilitatorError::Indeterminate { cause })?;
    let text = || String::from_utf8_lossy(&body).chars().take(200).collect::<String>();
    let json = serde_json::from_slice::<Value>(&body).ok().filter(|json| json.get(verdict).is_some());
    match json.map(serde_json::from_value) {
        Some(Ok(answer)) => Ok(answer),
        None if status.is_client_error() => Err(FacilitatorError::Refused { status, body: text() }),
        None | Some(Err(_)) => Err(FacilitatorError::Indeterminate { cause: format!("answered {status} with {:?}", text()) }),
    }
}

async fn read_body(response: &mut Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| e.without_url().to_string())? {
        if body.len() + chunk.len() > ANSWER_LEN_MAX_BYTES {
            return Err(format!("answered more than {ANSWER_LEN_MAX_BYTES} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
