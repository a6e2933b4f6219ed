//! Asks the facilitator, over HTTP, whether payments are good and to carry them out.

use std::time::Duration;

use serde::de::DeserializeOwned;
use url::Url;
use x402::{PaymentRequest, SettleResponse, VerifyResponse};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A settlement waits for the chain.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const ANSWER_LEN_MAX_BYTES: usize = 64 * 1024;

#[derive(Clone, Debug)]
pub(crate) struct Facilitator {
    http: reqwest::Client,
    url: Url,
}

/// The facilitator said nothing, so nothing is known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("the facilitator does not answer: {0}")]
    Transport(#[from] reqwest::Error),
    #[error("the facilitator answered {status} with something else than expected")]
    Unreadable { status: u16 },
}

impl Facilitator {
    pub(crate) fn new(url: Url) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(ANSWER_TIMEOUT).build()?;
        Ok(Self { http, url })
    }

    pub(crate) async fn verify(&self, request: &PaymentRequest) -> Result<VerifyResponse, NoAnswer> {
        self.ask("verify", request).await
    }

    /// Safe to repeat with the same payment: it moves at most once.
    pub(crate) async fn settle(&self, request: &PaymentRequest) -> Result<SettleResponse, NoAnswer> {
        self.ask("settle", request).await
    }

    /// Refusals may come with any status: what counts is the body.
    async fn ask<T: DeserializeOwned>(&self, what: &str, request: &PaymentRequest) -> Result<T, NoAnswer> {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/{what}", self.url.path().trim_end_matches('/')));
        let mut response = self.http.post(url).json(request).send().await?;
        let unreadable = NoAnswer::Unreadable { status: response.status().as_u16() };
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await? {
            if body.len() + part.len() > ANSWER_LEN_MAX_BYTES {
                return Err(unreadable);
            }
            body.extend_from_slice(&part);
        }
        serde_json::from_slice(&body).map_err(|_| unreadable)
    }
}
