//! What is asked of the node, and the proof of every answer.

mod answers;
mod endpoint;
mod heads;
mod proof;
mod quorum;
mod receipt;
mod rpc;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alloy::{
    network::Ethereum,
    primitives::{Address, B256, Bytes, U64, U256},
    providers::{Provider, RootProvider},
    rpc::json_rpc::{RpcRecv, RpcSend},
    sol_types::SolCall,
};
use contracts::usdc::Usdc::balanceOfCall;
use futures::{FutureExt, future::BoxFuture};
use tracing::{info, warn};
use url::Host;

use crate::{Config, metrics::Counters};
pub(crate) use endpoint::Endpoint;
pub(crate) use heads::NewHeads;
pub(crate) use proof::Header;
use quorum::agreeing;
pub(crate) use receipt::{Log, Receipt};
use rpc::{REQUEST_TIMEOUT, Rpc};

/// How dev nodes begin what they call themselves.
const DEV_NODES: [&str; 2] = ["anvil", "hardhat"];
/// How often a single block is asked for before the failure is reported.
const ATTEMPTS: u32 = 5;
/// Wait after the first failed attempt; doubled by each further one.
const ATTEMPT_WAIT: Duration = Duration::from_millis(10);
/// Receipts of this size are proved in less time than another thread needs to wake up.
const PROVED_AT_ONCE_BYTES: usize = 32 * 1024;
/// How often the endpoints that are not in use are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// How long to wait before an endpoint is asked to push again.
const LISTEN_RETRY: Duration = Duration::from_secs(5);
/// An endpoint whose newest block is further behind the newest of all is left, in blocks.
const BEHIND_MAX: u64 = 2;
/// An endpoint that failed within this time is not gone back to while another works.
const DISTRUST: Duration = Duration::from_secs(30);

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
    /// Fewer endpoints have a block, or tell the same of it, than must.
    #[error("{have} of the endpoints tell the same of block {block}, {need} must")]
    NoQuorum {
        /// The block.
        block: u64,
        /// How many do, of those that were waited for.
        have: usize,
        /// How many must.
        need: usize,
    },
    /// Fewer endpoints say the same of a contract than must.
    #[error("{have} of the endpoints give the same answer to {method}, {need} must")]
    Contradicted {
        /// The JSON-RPC method.
        method: &'static str,
        /// How many do, of those that were waited for.
        have: usize,
        /// How many must.
        need: usize,
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

/// A block to ask a contract at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At {
    /// This one, whatever becomes of it.
    Hash(B256),
    /// That of the chain as it is now.
    Number(u64),
}

impl At {
    fn to_json(self) -> serde_json::Value {
        match self {
            Self::Hash(hash) => serde_json::json!({"blockHash": hash}),
            Self::Number(number) => serde_json::json!(U64::from(number)),
        }
    }
}

/// The chain, as one or several JSON-RPC endpoints tell it. One is asked; when it fails, the next.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    rpcs: Arc<[Rpc]>,
    /// The one that is asked.
    current: Arc<AtomicUsize>,
    /// How many must have a block before it is believed to be the chain's.
    quorum: usize,
    /// Whether its word is taken for a proof.
    trusting: bool,
    heads: Arc<NewHeads>,
    counters: Arc<Counters>,
}

impl Node {
    pub(crate) fn new(config: &Config, counters: Arc<Counters>) -> Self {
        let rpcs = config.rpc_url.iter().cloned().map(Rpc::new).collect();
        let (quorum, trusting) = (config.rpc_quorum, config.trust_node);
        Self { rpcs, current: Arc::default(), quorum, trusting, heads: Arc::default(), counters }
    }

    /// Refuses endpoints of another chain that answer only later.
    pub(crate) fn insist_on(&self, chain_id: u64) {
        self.rpcs.iter().for_each(|rpc| rpc.insist_on(chain_id));
    }

    /// The endpoints, and which of them is asked.
    pub(crate) fn endpoints(&self) -> (&[Rpc], usize) {
        (&self.rpcs, self.current.load(Ordering::Relaxed))
    }

    /// The chain of each endpoint, as far as they answer.
    pub(crate) async fn chain_ids(&self) -> Vec<(&str, Result<u64, Error>)> {
        let ask = self.rpcs.iter().map(|rpc| async move { (rpc.name(), rpc.chain_id().await) });
        futures::future::join_all(ask).await
    }

    /// Whether blocks are made on demand: dev nodes say what they are. One among others that are none, or do not say so, is not believed, for it would
    /// have a chain that stands still pass for one that goes on. Endpoints that did not answer yet are not asked.
    pub(crate) async fn is_dev(&self) -> bool {
        let answering = self.rpcs.iter().filter(|rpc| rpc.is_connected());
        let ask = answering.map(|rpc| rpc.request::<_, String>("web3_clientVersion", ()));
        let is_dev = |version: String| DEV_NODES.iter().any(|name| version.to_lowercase().starts_with(name));
        let dev: Vec<bool> = futures::future::join_all(ask).await.into_iter().map(|answer| answer.is_ok_and(is_dev)).collect();
        !dev.is_empty() && dev.into_iter().all(|is_dev| is_dev)
    }

    /// Asks the next endpoint from now on, unless somebody else already does.
    fn fail_over(&self, failed: usize, why: &Error) {
        self.rpcs[failed].count_failure();
        let next = (failed + 1) % self.rpcs.len();
        if next != failed && self.current.compare_exchange(failed, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            warn!(from = self.rpcs[failed].name(), to = self.rpcs[next].name(), %why, "asking another endpoint");
        }
    }

    /// Whether every endpoint is on this machine, so that asking costs nothing.
    pub(crate) fn is_local(&self) -> bool {
        self.rpcs.iter().all(|rpc| match rpc.url().host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            None => true,
        })
    }

    /// Passes on every block that an endpoint pushes, for as long as it is polled. Nothing happens with one that does not push.
    pub(crate) async fn listen(&self, index: usize) {
        loop {
            let _ = self.listen_once(index).await;
            tokio::time::sleep(LISTEN_RETRY).await;
        }
    }

    async fn listen_once(&self, index: usize) -> Option<()> {
        let rpc = &self.rpcs[index];
        rpc.client().await.ok()?.pubsub_frontend()?;
        // A connection of its own: behind an answer that is not acknowledged yet, many a server's TCP holds a pushed block back for 40 ms.
        // It closes with its last provider.
        let provider = RootProvider::<Ethereum>::new(rpc.another_client().await.ok()?);
        let mut heads = provider.subscribe_blocks().await.ok()?;
        info!(endpoint = rpc.name(), "the node pushes new blocks");
        let _pushing = self.heads.begin();
        while let Ok(head) = heads.recv().await {
            self.heads.push(index, head.into());
        }
        None
    }

    /// Blocks that endpoints push.
    pub(crate) fn heads(&self) -> &NewHeads {
        &self.heads
    }

    /// The block that the endpoint in use pushed, if it follows `tip`. A quorum is not asked by pushing.
    pub(crate) fn pushed_after(&self, tip: B256) -> Option<Header> {
        let (endpoint, header) = self.heads.take()?;
        let fit = self.quorum <= 1 && endpoint == self.current.load(Ordering::Relaxed) && header.parent_hash() == tip;
        if fit { header.proved(self.trusting).ok() } else { None }
    }

    /// Goes back to the first endpoint that works and is not behind, for as long as it is polled. Nothing to do with one endpoint. Where each such
    /// endpoint failed a moment ago, the failure tells nothing.
    pub(crate) async fn look_around(&self) {
        while self.rpcs.len() > 1 {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let ask = self.rpcs.iter().map(|rpc| rpc.request::<_, U64>("eth_blockNumber", ()));
            let heads: Vec<Option<u64>> =
                futures::future::join_all(ask).await.into_iter().map(|head| head.ok().map(|head| head.to())).collect();
            let newest = heads.iter().flatten().max().copied().unwrap_or_default();
            let fit = |index: usize| heads[index].is_some_and(|head| head + BEHIND_MAX >= newest);
            let mut all_fit = (0..heads.len()).filter(|index| fit(*index));
            let best = all_fit.clone().find(|index| !self.rpcs[*index].failed_within(DISTRUST)).or_else(|| all_fit.next());
            let current = self.current.load(Ordering::Relaxed);
            let Some(best) = best.filter(|best| *best < current || !fit(current)) else { continue };
            if self.current.compare_exchange(current, best, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                warn!(from = self.rpcs[current].name(), to = self.rpcs[best].name(), "asking another endpoint");
            }
        }
    }

    /// The newest block.
    pub(crate) async fn head(&self) -> Result<Header, Error> {
        let asked = self.current.load(Ordering::Relaxed);
        let head = async {
            let header: Option<Header> = self.rpcs[asked].request("eth_getBlockByNumber", ("latest", false)).await?;
            let header = header.ok_or_else(|| Error::Missing("its newest block".into()))?.proved(self.trusting)?;
            self.agreed(std::slice::from_ref(&header), asked).await.map(|()| header)
        };
        head.await.inspect_err(|why| self.fail_over(asked, why))
    }

    /// The block of this hash, which the node announced in some way.
    pub(crate) async fn block(&self, hash: B256) -> Result<Header, Error> {
        let find = || async move {
            let asked = self.current.load(Ordering::Relaxed);
            let found = self.find_at(&self.rpcs[asked], hash).await?;
            let header = found.ok_or_else(|| Error::Missing(format!("block {hash}")))?;
            if header.is_told() {
                self.agreed(std::slice::from_ref(&header), asked).await?;
            }
            Ok(header)
        };
        self.patiently(|| find().boxed()).await
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
            let asked = self.current.load(Ordering::Relaxed);
            match ask().await {
                Err(error) => {
                    self.counters.count_failure(error.is_lie());
                    self.fail_over(asked, &error);
                }
                answer => return answer,
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        ask().await
    }

    /// The block of this hash, if the endpoint that is asked has it.
    pub(crate) async fn find(&self, hash: B256) -> Result<Option<Header>, Error> {
        self.find_at(&self.rpcs[self.current.load(Ordering::Relaxed)], hash).await
    }

    async fn find_at(&self, rpc: &Rpc, hash: B256) -> Result<Option<Header>, Error> {
        let header: Option<Header> = rpc.request("eth_getBlockByHash", (hash, false)).await?;
        let Some(header) = header else { return Ok(None) };
        let header = header.proved(self.trusting)?;
        if header.hash() != hash {
            return Err(Error::Unproved { block: header.number(), reason: "it is not the block that was asked for" });
        }
        Ok(Some(header))
    }

    /// What a contract answers at the end of a block. Nothing proves it: as many endpoints must say so as must have a block.
    pub(crate) async fn call(&self, to: Address, data: Bytes, at: At) -> Result<Bytes, Error> {
        let params = (serde_json::json!({"to": to, "data": data}), at.to_json());
        self.patiently(|| self.said(self.current.load(Ordering::Relaxed), "eth_call", params.clone()).boxed()).await
    }

    /// What an account holds of a token at the end of a block; nothing before the token was there.
    pub(crate) async fn balance(&self, token: Address, account: Address, block: u64) -> Result<U256, Error> {
        let ask = || async move { self.balance_at(self.current.load(Ordering::Relaxed), token, account, block).await }.boxed();
        self.patiently(ask).await
    }

    /// The same for whoever asks: each endpoint is tried once, and what fails is not held against it. So nobody has the writer leave an endpoint by
    /// asking for what it does not keep.
    pub(crate) async fn balance_for_readers(&self, token: Address, account: Address, block: u64) -> Result<U256, Error> {
        let first = self.current.load(Ordering::Relaxed);
        let mut held = self.balance_at(first, token, account, block).await;
        for index in self.others(first) {
            if held.is_err() {
                held = self.balance_at(index, token, account, block).await;
            }
        }
        held
    }

    async fn balance_at(&self, asked: usize, token: Address, account: Address, block: u64) -> Result<U256, Error> {
        let (at, data) = (At::Number(block).to_json(), Bytes::from(balanceOfCall { account }.abi_encode()));
        let call = (serde_json::json!({"to": token, "data": data}), at.clone());
        let answer: Bytes = self.said(asked, "eth_call", call).await?;
        if let Ok(balance) = balanceOfCall::abi_decode_returns(&answer) {
            return Ok(balance);
        }
        let code: Bytes = self.said(asked, "eth_getCode", (token, at)).await?;
        if code.is_empty() && answer.is_empty() {
            return Ok(U256::ZERO);
        }
        Err(Error::Request { method: "eth_call", reason: format!("what {token} answers in block {block} is no balance") })
    }

    /// What an endpoint answers, if enough others say the same.
    async fn said<P: RpcSend + Clone, R: RpcRecv + PartialEq>(
        &self,
        asked: usize,
        method: &'static str,
        params: P,
    ) -> Result<R, Error> {
        let answer: R = self.rpcs[asked].request(method, params.clone()).await?;
        let ask = |index: usize| self.rpcs[index].request::<P, R>(method, params.clone());
        let others = self.others(asked).filter(|_| self.quorum > 1);
        let others = others.map(|index| ask(index).map(|theirs| vec![theirs.is_ok_and(|theirs| theirs == answer)]));
        let have = agreeing(self.quorum, 1, others).await[0];
        if have < self.quorum {
            return Err(Error::Contradicted { method, have, need: self.quorum });
        }
        Ok(answer)
    }

    /// Blocks `from..=to` of the chain as the node sees it now, each following the one before it.
    pub(crate) async fn headers(&self, from: u64, to: u64) -> Result<Vec<Header>, Error> {
        const METHOD: &str = "eth_getBlockByNumber";
        let params = (from..=to).map(|number| (U64::from(number), false));
        let asked = self.current.load(Ordering::Relaxed);
        let answers: Vec<Option<Header>> = self.batch(asked, METHOD, params).await?;
        let mut headers: Vec<Header> = Vec::with_capacity(answers.len());
        for (number, answer) in (from..=to).zip(answers) {
            let header = answer.ok_or_else(|| Error::Missing(format!("block {number}")))?.proved(self.trusting)?;
            if header.number() != number {
                return Err(Error::Unproved { block: number, reason: "it is not the block that was asked for" });
            }
            if headers.last().is_some_and(|parent| parent.hash() != header.parent_hash()) {
                return Err(Error::Unlinked { block: number });
            }
            headers.push(header);
        }
        self.agreed(&headers, asked).await?;
        Ok(headers)
    }

    /// All receipts of each block, complete or an error: proved, or told by as many endpoints as must have the block.
    pub(crate) async fn receipts(&self, headers: &[&Header]) -> Result<Vec<Vec<Receipt>>, Error> {
        let asked = self.current.load(Ordering::Relaxed);
        let receipts = self.receipts_at(asked, headers).await?;
        if self.trusting && self.quorum > 1 {
            let same = |theirs: Result<Vec<Vec<Receipt>>, Error>| {
                theirs.unwrap_or_default().iter().zip(&receipts).map(|(theirs, ours)| theirs == ours).collect()
            };
            let others = self.others(asked).map(|index| self.receipts_at(index, headers).map(same));
            let have = agreeing(self.quorum, headers.len(), others).await;
            self.enough(headers.iter().copied(), &have)?;
        }
        Ok(receipts)
    }

    /// Asked by hash, so that another block's receipts cannot be mistaken for them.
    async fn receipts_at(&self, asked: usize, headers: &[&Header]) -> Result<Vec<Vec<Receipt>>, Error> {
        const METHOD: &str = "eth_getBlockReceipts";
        let params = headers.iter().map(|header| (header.hash(),)).collect();
        let answers = self.rpcs[asked].answers(METHOD, params).await.inspect_err(|why| self.fail_over(asked, why))?;
        let headers: Vec<Header> = headers.iter().copied().cloned().collect();
        let size = answers.size();
        let prove = move || {
            let receipts = answers.read(headers.len()).map_err(|reason| Error::Request { method: METHOD, reason })?;
            headers.iter().zip(receipts).map(|(header, receipts)| proved_receipts(header, receipts)).collect()
        };
        if size <= PROVED_AT_ONCE_BYTES {
            return prove();
        }
        // Reading and hashing megabytes would keep everybody else waiting.
        tokio::task::spawn_blocking(prove).await.expect("reading receipts does not panic")
    }

    async fn batch<P: RpcSend, R: RpcRecv>(
        &self,
        asked: usize,
        method: &'static str,
        params: impl Iterator<Item = P>,
    ) -> Result<Vec<R>, Error> {
        self.rpcs[asked].batch(method, params).await.inspect_err(|why| self.fail_over(asked, why))
    }
}

fn proved_receipts(header: &Header, receipts: Option<Vec<Receipt>>) -> Result<Vec<Receipt>, Error> {
    let receipts = receipts.ok_or_else(|| Error::Missing(format!("the receipts of block {}", header.number())))?;
    header.prove_receipts(&receipts)?;
    Ok(receipts)
}
