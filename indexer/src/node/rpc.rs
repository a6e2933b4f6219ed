use std::{
    borrow::Cow,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use alloy::{
    primitives::U64,
    rpc::{
        client::{ClientBuilder, RpcClient, Waiter},
        json_rpc::{RpcRecv, RpcSend},
    },
    transports::{RpcError, TransportErrorKind, layers::RetryBackoffLayer},
};
use futures::FutureExt;
use serde::Serialize;
use tokio::sync::OnceCell;
use url::Url;

use super::{Endpoint, Error, answers::Answers};

/// A request that takes longer has failed.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a request that the endpoint's rate limit refused is sent again, and the wait before the first time, in milliseconds.
const RATE_LIMIT_RETRIES: u32 = 4;
const RATE_LIMIT_WAIT_MS: u64 = 100;
/// What the wait assumes an endpoint to serve in a second, in the compute units that providers count by.
const RATE_LIMIT_UNITS: u64 = 330;

/// One JSON-RPC endpoint. Connected when it is first needed, so that one which is down when we start can be used later.
#[derive(Debug)]
pub(crate) struct Rpc {
    url: Url,
    endpoint: Endpoint,
    client: OnceCell<Connected>,
    /// For [`Self::answers`]; none where there is no HTTP.
    http: Option<reqwest::Client>,
    /// The chain that it must be on.
    expected: OnceLock<u64>,
    failures: AtomicU64,
    failed_at: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Connected {
    client: RpcClient,
    chain_id: u64,
}

impl Rpc {
    pub(super) fn new(url: Url) -> Self {
        let endpoint = Endpoint::new(&url);
        let http = url.scheme().starts_with("http").then(reqwest::Client::new);
        Self {
            url,
            endpoint,
            client: OnceCell::new(),
            http,
            expected: OnceLock::new(),
            failures: AtomicU64::new(0),
            failed_at: Mutex::new(None),
        }
    }

    /// Scheme, host and port: what may be told of it.
    pub(crate) fn name(&self) -> &str {
        self.endpoint.name()
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Answers so far that could not be used.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    pub(super) fn failed_within(&self, time: Duration) -> bool {
        self.failed_at.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() < time)
    }

    pub(super) fn insist_on(&self, chain_id: u64) {
        let _ = self.expected.set(chain_id);
    }

    /// Whether it ever answered.
    pub(super) fn is_connected(&self) -> bool {
        self.client.initialized()
    }

    /// The chain that it is on.
    pub(super) async fn chain_id(&self) -> Result<u64, Error> {
        Ok(self.connected().await?.chain_id)
    }

    pub(super) async fn client(&self) -> Result<&RpcClient, Error> {
        Ok(&self.connected().await?.client)
    }

    /// One that shares no connection with [`Self::client`].
    pub(super) async fn another_client(&self) -> Result<RpcClient, Error> {
        Ok(self.connect().boxed().await?.client)
    }

    async fn connected(&self) -> Result<&Connected, Error> {
        self.client.get_or_try_init(|| self.connect().boxed()).await
    }

    async fn connect(&self) -> Result<Connected, Error> {
        const METHOD: &str = "connect";
        let patience = RetryBackoffLayer::new(RATE_LIMIT_RETRIES, RATE_LIMIT_WAIT_MS, RATE_LIMIT_UNITS);
        let connect = ClientBuilder::default().layer(patience).connect(self.url.as_str());
        let client = within(METHOD, async { connect.await.map_err(|e| self.failed(METHOD, &e)) }).await?;
        let chain_id: U64 = self.ask(&client, "eth_chainId", ()).await?;
        let chain_id: u64 = chain_id.to();
        if let Some(expected) = self.expected.get().filter(|expected| **expected != chain_id) {
            let reason = format!("the endpoint is on chain {chain_id}, not {expected}");
            return Err(Error::Request { method: METHOD, reason });
        }
        Ok(Connected { client, chain_id })
    }

    fn failed(&self, method: &'static str, error: &RpcError<TransportErrorKind>) -> Error {
        Error::Request { method, reason: self.endpoint.quote(error) }
    }

    async fn ask<P: RpcSend, R: RpcRecv>(&self, client: &RpcClient, method: &'static str, params: P) -> Result<R, Error> {
        let request = client.request(method, params);
        within(method, async { request.await.map_err(|e| self.failed(method, &e)) }).await
    }

    pub(super) async fn request<P: RpcSend, R: RpcRecv>(&self, method: &'static str, params: P) -> Result<R, Error> {
        self.ask(self.client().await?, method, params).await
    }

    pub(super) async fn batch<P: RpcSend, R: RpcRecv>(
        &self,
        method: &'static str,
        params: impl Iterator<Item = P>,
    ) -> Result<Vec<R>, Error> {
        let failed = |e| self.failed(method, &e);
        let mut batch = self.client().await?.new_batch();
        let calls: Vec<Waiter<R>> =
            params.map(|p| batch.add_call(Cow::Borrowed(method), &p).map_err(failed)).collect::<Result<_, _>>()?;
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        within(method, async {
            batch.await.map_err(failed)?;
            futures::future::try_join_all(calls).await.map_err(failed)
        })
        .await
    }

    /// The answers to a batch, not read yet.
    pub(super) async fn answers<P: RpcSend>(&self, method: &'static str, params: Vec<P>) -> Result<Answers, Error> {
        self.connected().await?;
        if let Some(http) = self.http.as_ref().filter(|_| params.len() > 1) {
            let question = |(id, params)| Question { jsonrpc: "2.0", id, method, params };
            let questions: Vec<Question<'_, P>> = params.iter().enumerate().map(question).collect();
            let answer = async { http.post(self.url.clone()).json(&questions).send().await?.error_for_status()?.bytes().await };
            if let Some(body) = within(method, async { Ok(answer.await.ok()) }).await? {
                return Ok(Answers::Together(body));
            }
        }
        // This way waits for rate limits, and says what is wrong.
        self.batch(method, params.into_iter()).await.map(Answers::Apart)
    }
}

/// A request by HTTP.
#[derive(Serialize)]
struct Question<'a, P> {
    jsonrpc: &'static str,
    id: usize,
    method: &'a str,
    params: &'a P,
}

async fn within<T>(method: &'static str, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(REQUEST_TIMEOUT, answer).await.unwrap_or(Err(Error::Timeout { method }))
}
