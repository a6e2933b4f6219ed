//! A facilitator's address that goes wrong on demand, in front of the real facilitator.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::json;
use tokio::sync::Notify;
use url::Url;

/// What becomes of settlements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Settled, but the answer never arrives.
    AnswerLost,
    /// Refused, as when somebody else carried the payment to the chain first.
    Refused,
}

#[derive(Clone)]
pub(crate) struct Relay {
    pub(crate) url: Url,
    /// When a settlement was asked for.
    pub(crate) asked: Arc<Notify>,
    /// Lets refusals go out.
    pub(crate) go: Arc<Notify>,
    broken: Arc<AtomicBool>,
    traces: Arc<Mutex<Vec<String>>>,
    fault: Fault,
    real: Url,
}

impl Relay {
    pub(crate) async fn start(real: &Url, fault: Fault) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let broken = Arc::new(AtomicBool::new(true));
        let (asked, go, traces) = Default::default();
        let relay = Self { url, asked, go, broken, traces, fault, real: real.clone() };
        let router = Router::new().route("/verify", post(verify)).route("/settle", post(settle)).with_state(relay.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        relay
    }

    pub(crate) fn repair(&self) {
        self.broken.store(false, Ordering::Relaxed);
    }

    /// The `traceparent` of each request that was forwarded.
    pub(crate) fn traces(&self) -> Vec<String> {
        self.traces.lock().unwrap().clone()
    }

    async fn forward(&self, what: &str, headers: &HeaderMap, body: Bytes) -> Response {
        let trace = headers.get("traceparent").map(|value| value.to_str().unwrap().to_owned());
        self.traces.lock().unwrap().extend(trace);
        let url = self.real.join(what).unwrap();
        let answer = reqwest::Client::new().post(url).header("content-type", "application/json").body(body).send().await.unwrap();
        let status = answer.status();
        (status, answer.bytes().await.unwrap()).into_response()
    }
}

async fn verify(State(relay): State<Relay>, headers: HeaderMap, body: Bytes) -> Response {
    relay.forward("verify", &headers, body).await
}

async fn settle(State(relay): State<Relay>, headers: HeaderMap, body: Bytes) -> Response {
    match relay.fault {
        _ if !relay.broken.load(Ordering::Relaxed) => relay.forward("settle", &headers, body).await,
        Fault::AnswerLost => {
            relay.forward("settle", &headers, body).await;
            relay.asked.notify_one();
            (StatusCode::BAD_GATEWAY, "lost").into_response()
        }
        Fault::Refused => {
            relay.asked.notify_one();
            relay.go.notified().await;
            let reason = "invalid_exact_evm_nonce_already_used";
            axum::Json(json!({"success": false, "errorReason": reason, "transaction": "", "network": "eip155:84532"}))
                .into_response()
        }
    }
}

/// What becomes of a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RpcFault {
    /// It never gets to the node.
    Lost,
    /// The node takes it, but the answer never arrives.
    Unheard,
}

/// A node's address that breaks off broadcasts, in front of the real node.
#[derive(Clone)]
pub(crate) struct RpcRelay {
    pub(crate) url: Url,
    /// When a broadcast was asked for.
    pub(crate) told: Arc<Notify>,
    fault: RpcFault,
    real: Url,
}

impl RpcRelay {
    pub(crate) async fn start(real: &Url, fault: RpcFault) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let relay = Self { url, told: Arc::default(), fault, real: real.clone() };
        let router = Router::new().route("/", post(rpc)).with_state(relay.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        relay
    }
}

async fn rpc(State(relay): State<RpcRelay>, body: Bytes) -> Response {
    let is_broadcast = body.windows(22).any(|window| window == b"eth_sendRawTransaction");
    let forward = async {
        let request = reqwest::Client::new().post(relay.real.clone()).header("content-type", "application/json");
        request.body(body).send().await.unwrap().bytes().await.unwrap()
    };
    if !is_broadcast {
        return ([("content-type", "application/json")], forward.await).into_response();
    }
    if relay.fault == RpcFault::Unheard {
        forward.await;
    }
    relay.told.notify_one();
    std::future::pending().await
}
