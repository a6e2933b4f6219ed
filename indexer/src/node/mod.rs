//! What is asked of the node, and the proof of every answer.

mod endpoint;
mod proof;
mod receipt;

use std::{borrow::Cow, sync::Arc, time::Duration};

use alloy::{
    primitives::{B256, U64},
    providers::RootProvider,
    rpc::{
        client::{ClientBuilder, RpcClient, Waiter},
        json_rpc::{RpcRecv, RpcSend},
    },
    transports::{RpcError, TransportErrorKind},
};
use futures::{FutureExt, future::BoxFuture};
use url::Url;

use crate::metrics::Counters;
pub(crate) use endpoint::Endpoint;
pub(crate) use proof::Header;
pub(crate) use receipt::{Log, Receipt};

/// A request that takes longer has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a single block is asked for before the failure is reported.
const ATTEMPTS: u32 = 5;
/// Wait after the first failed attempt; doubled by each further one.
const ATTEMPT_WAIT: Duration = Duration::from_millis(10);

/// Why the node gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer, or one that is an error.
    #[error("{method} failed: {reason}")]
    Request {
        /// The JSON-RPC method.
        method: &'static str,
        /// What the transport or the node said, cut short.
        reason: String,
    },
    /// No answer in time.
    #[error("{method} took longer than {REQUEST_TIMEOUT:?}")]
    Timeout {
        /// The JSON-RPC method.
        method: &'static str,
    },
    /// The node does not have a block that it announced: it is behind, or reorganised meanwhile.
    #[error("the node does not know {0}")]
    Missing(String),
    /// The answer contradicts the block's hash. Nothing of it is used.
    #[error("the node answered wrongly about block {block}: {reason}")]
    Unproved {
        /// The block.
        block: u64,
        /// What does not fit.
        reason: &'static str,
    },
    /// Blocks that do not follow one another.
    #[error("block {block} does not follow the block before it: the chain reorganised meanwhile")]
    Unlinked {
        /// The block.
        block: u64,
    },
}

impl Error {
    /// Whether the node contradicted itself, rather than not answered.
    pub const fn is_lie(&self) -> bool {
        matches!(self, Self::Unproved { .. })
    }
}

/// A JSON-RPC endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    client: RpcClient,
    endpoint: Arc<Endpoint>,
    counters: Arc<Counters>,
}

impl Node {
    pub(crate) async fn connect(url: &Url, counters: Arc<Counters>) -> Result<Self, Error> {
        const METHOD: &str = "connect";
        let endpoint = Arc::new(Endpoint::new(url));
        let connect = ClientBuilder::default().connect(url.as_str());
        let failed = |e| Error::Request { method: METHOD, reason: endpoint.quote(&e) };
        let client = within(METHOD, async { connect.await.map_err(failed) }).await?;
        Ok(Self { client, endpoint, counters })
    }

    fn failed(&self, method: &'static str, error: &RpcError<TransportErrorKind>) -> Error {
        Error::Request { method, reason: self.endpoint.quote(error) }
    }

    /// Whether the node is on this machine, so that asking costs nothing.
    pub(crate) fn is_local(&self) -> bool {
        self.client.is_local()
    }

    /// For subscriptions, if the endpoint can push.
    pub(crate) fn pushes(&self) -> Option<RootProvider> {
        self.client.pubsub_frontend().is_some().then(|| RootProvider::new(self.client.clone()))
    }

    pub(crate) async fn chain_id(&self) -> Result<u64, Error> {
        let id: U64 = self.request("eth_chainId", ()).await?;
        Ok(id.to())
    }

    /// The newest block.
    pub(crate) async fn head(&self) -> Result<Header, Error> {
        let header: Option<Header> = self.request("eth_getBlockByNumber", ("latest", false)).await?;
        header.ok_or_else(|| Error::Missing("its newest block".into()))?.proved()
    }

    /// The block of this hash, which the node announced in some way.
    pub(crate) async fn block(&self, hash: B256) -> Result<Header, Error> {
        let missing = move || Error::Missing(format!("block {hash}"));
        self.patiently(|| self.find(hash).map(move |found| found?.ok_or_else(missing)).boxed()).await
    }

    /// The receipts of one block, see [`Self::receipts`].
    pub(crate) async fn receipts_of<'a>(&'a self, header: &'a Header) -> Result<Vec<Receipt>, Error> {
        let mut receipts = self.patiently(|| async move { self.receipts(&[header]).await }.boxed()).await?;
        Ok(receipts.pop().expect("as many answers as questions"))
    }

    /// Block `number` of the chain as the node sees it now.
    pub(crate) async fn header(&self, number: u64) -> Result<Header, Error> {
        let mut headers = self.patiently(|| self.headers(number, number).boxed()).await?;
        Ok(headers.pop().expect("as many answers as questions"))
    }

    /// Asks again: one of the machines behind an endpoint may be behind, or one answer broken.
    async fn patiently<'a, T>(&'a self, ask: impl Fn() -> BoxFuture<'a, Result<T, Error>>) -> Result<T, Error> {
        let mut wait = ATTEMPT_WAIT;
        for _ in 1..ATTEMPTS {
            match ask().await {
                Err(error) => self.counters.count_failure(error.is_lie()),
                answer => return answer,
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        ask().await
    }

    /// The block of this hash, if the node has it.
    pub(crate) async fn find(&self, hash: B256) -> Result<Option<Header>, Error> {
        let header: Option<Header> = self.request("eth_getBlockByHash", (hash, false)).await?;
        let Some(header) = header else { return Ok(None) };
        let header = header.proved()?;
        if header.hash() != hash {
            return Err(Error::Unproved { block: header.number(), reason: "it is not the block that was asked for" });
        }
        Ok(Some(header))
    }

    /// Blocks `from..=to` of the chain as the node sees it now, each following the one before it.
    pub(crate) async fn headers(&self, from: u64, to: u64) -> Result<Vec<Header>, Error> {
        const METHOD: &str = "eth_getBlockByNumber";
        let params = (from..=to).map(|number| (U64::from(number), false));
        let answers: Vec<Option<Header>> = self.batch(METHOD, params).await?;
        let mut headers: Vec<Header> = Vec::with_capacity(answers.len());
        for (number, answer) in (from..=to).zip(answers) {
            let header = answer.ok_or_else(|| Error::Missing(format!("block {number}")))?.proved()?;
            if header.number() != number {
                return Err(Error::Unproved { block: number, reason: "it is not the block that was asked for" });
            }
            if headers.last().is_some_and(|parent| parent.hash() != header.parent_hash()) {
                return Err(Error::Unlinked { block: number });
            }
            headers.push(header);
        }
        Ok(headers)
    }

    /// All receipts of each block, complete or an error. Asked by hash, so that another block's receipts cannot be mistaken for them.
    pub(crate) async fn receipts(&self, headers: &[&Header]) -> Result<Vec<Vec<Receipt>>, Error> {
        const METHOD: &str = "eth_getBlockReceipts";
        let params = headers.iter().map(|header| (header.hash(),));
        let answers: Vec<Option<Vec<Receipt>>> = self.batch(METHOD, params).await?;
        let proved = headers.iter().zip(answers).map(|(header, answer)| {
            let receipts = answer.ok_or_else(|| Error::Missing(format!("the receipts of block {}", header.number())))?;
            header.prove_receipts(&receipts)?;
            Ok(receipts)
        });
        proved.collect()
    }

    async fn request<P: RpcSend, R: RpcRecv>(&self, method: &'static str, params: P) -> Result<R, Error> {
        let request = self.client.request(method, params);
        within(method, async { request.await.map_err(|e| self.failed(method, &e)) }).await
    }

    async fn batch<P: RpcSend, R: RpcRecv>(
        &self,
        method: &'static str,
        params: impl Iterator<Item = P>,
    ) -> Result<Vec<R>, Error> {
        let failed = |e| self.failed(method, &e);
        let mut batch = self.client.new_batch();
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
}

async fn within<T>(method: &'static str, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(REQUEST_TIMEOUT, answer).await.unwrap_or(Err(Error::Timeout { method }))
}
