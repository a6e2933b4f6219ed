//! The nodes: one is asked, and the next when it does not answer.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use alloy::{
    primitives::U64,
    providers::{DynProvider, Provider, ProviderBuilder},
    rpc::{
        client::RpcClient,
        json_rpc::{RequestPacket, ResponsePacket},
    },
    transports::{
        TransportError, TransportErrorKind, TransportFut,
        http::{Http, reqwest::Client},
    },
};
use tower::Service;
use url::Url;

use crate::Error;

/// A node that takes longer is taken for one that does not answer.
const ANSWER_SECONDS_MAX: u64 = 10;

/// How the chain is reached.
pub(crate) struct Connection {
    pub(crate) provider: DynProvider,
    pub(crate) chain_id: u64,
    nodes: Nodes,
}

/// Reaches the chain by these nodes: any number by HTTP, or one by WebSocket, which announces its blocks.
///
/// # Errors
/// Those of [`Nodes::connect`].
pub(crate) async fn connect(urls: &[Url], expected: Option<u64>) -> Result<Connection, Error> {
    let is_socket = |url: &&Url| url.scheme().starts_with("ws");
    let (provider, nodes) = match (urls.iter().find(is_socket), urls) {
        (None, _) => {
            let nodes = Nodes::connect(urls, expected).await?;
            (nodes.provider(), nodes)
        }
        (Some(url), [_]) => {
            let provider = ProviderBuilder::new().connect(url.as_str()).await?.erased();
            let found = provider.get_chain_id().await?;
            if let Some(expected) = expected.filter(|expected| *expected != found) {
                return Err(Error::WrongChain { expected, found });
            }
            (provider, Nodes(Arc::new(Inner { nodes: vec![Node::new(Client::new(), url)], chain_id: found, current: 0.into() })))
        }
        (Some(_), _) => {
            return Err(Error::Node(TransportErrorKind::custom_str(
                "a node by ws:// stands alone: give the others' http:// URLs",
            )));
        }
    };
    Ok(Connection { provider, chain_id: nodes.0.chain_id, nodes })
}

impl Connection {
    /// The name of the node that is asked first, without what may be secret in its URL.
    pub(crate) fn current(&self) -> &str {
        let Inner { nodes, current, .. } = &*self.nodes.0;
        &nodes[current.load(Ordering::Relaxed)].name
    }
}

/// Several nodes of one chain as one transport. Cheap to copy.
#[derive(Clone, Debug)]
struct Nodes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    nodes: Vec<Node>,
    chain_id: u64,
    /// The one that answered last.
    current: AtomicUsize,
}

#[derive(Debug)]
struct Node {
    http: Http<Client>,
    name: String,
    /// Whether it is known to be of the right chain. One that was down at the start is not until it has said so.
    is_of_chain: AtomicBool,
}

impl Nodes {
    /// Asks every node for its chain. Those that are down may come back later.
    ///
    /// # Errors
    /// When none answers, or one is of another chain than `expected` or than the others.
    async fn connect(urls: &[Url], expected: Option<u64>) -> Result<Self, Error> {
        let client = Client::builder().timeout(Duration::from_secs(ANSWER_SECONDS_MAX)).build();
        let client = client.map_err(|error| Error::Node(TransportErrorKind::custom(error)))?;
        let mut nodes: Vec<Node> = Vec::new();
        let (mut chain_id, mut silent) = (expected, None);
        for url in urls {
            let node = Node::new(client.clone(), url);
            match node.chain_id().await {
                Ok(found) => {
                    let expected = *chain_id.get_or_insert(found);
                    if found != expected {
                        return Err(Error::WrongChain { expected, found });
                    }
                    node.is_of_chain.store(true, Ordering::Relaxed);
                }
                Err(error) => {
                    tracing::warn!(node = node.name, %error, "a node does not answer");
                    silent = Some(error);
                }
            }
            nodes.push(node);
        }
        let current = nodes.iter().position(|node| node.is_of_chain.load(Ordering::Relaxed));
        match (chain_id, current) {
            (Some(chain_id), Some(current)) => Ok(Self(Arc::new(Inner { nodes, chain_id, current: current.into() }))),
            _ => Err(Error::Node(silent.unwrap_or_else(|| TransportErrorKind::custom_str("no node is configured")))),
        }
    }

    fn provider(&self) -> DynProvider {
        ProviderBuilder::new().connect_client(RpcClient::new(self.clone(), true)).erased()
    }

    async fn ask(self, request: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let Inner { nodes, chain_id, current } = &*self.0;
        let first = current.load(Ordering::Relaxed);
        let mut failed = None;
        for index in (first..nodes.len()).chain(0..first) {
            let node = &nodes[index];
            match node.ask(*chain_id, request.clone()).await {
                Ok(answer) => {
                    if failed.is_some() {
                        tracing::warn!(node = node.name, "another node is asked from now on");
                        current.store(index, Ordering::Relaxed);
                    }
                    return Ok(answer);
                }
                Err(error) => {
                    tracing::warn!(node = node.name, %error, "a node does not answer");
                    failed = Some(error);
                }
            }
        }
        Err(failed.unwrap_or_else(|| TransportErrorKind::custom_str("no node is configured")))
    }
}

impl Service<RequestPacket> for Nodes {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: RequestPacket) -> Self::Future {
        Box::pin(self.clone().ask(request))
    }
}

impl Node {
    fn new(client: Client, url: &Url) -> Self {
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let name = format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default());
        Self { http: Http::with_client(client, url.clone()), name, is_of_chain: AtomicBool::new(false) }
    }

    async fn chain_id(&self) -> Result<u64, TransportError> {
        let client = RpcClient::new(self.http.clone(), true);
        let id: U64 = client.request_noparams("eth_chainId").await.map_err(|error| self.without_secrets(&error))?;
        Ok(id.to())
    }

    async fn ask(&self, chain_id: u64, request: RequestPacket) -> Result<ResponsePacket, TransportError> {
        if !self.is_of_chain.load(Ordering::Relaxed) {
            let found = self.chain_id().await?;
            if found != chain_id {
                return Err(TransportErrorKind::custom_str(&format!("it is on chain {found} and must be on {chain_id}")));
            }
            self.is_of_chain.store(true, Ordering::Relaxed);
        }
        self.http.clone().call(request).await.map_err(|error| self.without_secrets(&error))
    }

    /// Providers put keys into paths and queries, and transports quote URLs in their errors.
    fn without_secrets(&self, error: &TransportError) -> TransportError {
        let (url, mut text) = (Url::parse(self.http.url()), error.to_string());
        if let Ok(mut url) = url {
            let mut forms = HashSet::from([url.to_string()]);
            let _ = url.set_username("").and_then(|()| url.set_password(None));
            forms.insert(url.to_string());
            for form in forms {
                text = text.replace(&form, &self.name);
            }
        }
        TransportErrorKind::custom_str(&text)
    }
}
