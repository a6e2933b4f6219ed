//! Webhooks: what an endpoint that fails, forges or hides is told, and what it is not.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpListener;

use crate::harness::{Chain, Indexer, WAIT, config, database, pool, synced};

const TOKEN: &str = "administrator";

/// An endpoint that keeps what it is sent and answers what it is told to.
#[derive(Clone, Default)]
struct Endpoint {
    answer: Arc<AtomicU16>,
    taken: Arc<Mutex<Vec<(HeaderMap, String)>>>,
}

impl Endpoint {
    async fn start(status: u16) -> (Self, String) {
        let endpoint = Self { answer: Arc::new(status.into()), taken: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let router = Router::new().route("/hook", post(Self::take)).with_state(endpoint.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (endpoint, url)
    }

    async fn take(State(endpoint): State<Self>, headers: HeaderMap, body: Bytes) -> StatusCode {
        endpoint.taken.lock().unwrap().push((headers, String::from_utf8(body.to_vec()).unwrap()));
        StatusCode::from_u16(endpoint.answer.load(Ordering::Relaxed)).unwrap()
    }

    /// What it was sent, once `enough` is true of it.
    async fn until(&self, enough: impl Fn(&[(HeaderMap, String)]) -> bool) -> Vec<(HeaderMap, String)> {
        let waiting = async {
            loop {
                let taken = self.taken.lock().unwrap().clone();
                if enough(&taken) {
                    return taken;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(WAIT, waiting).await.expect("the endpoint is told")
    }
}

fn ids(taken: &[(HeaderMap, String)]) -> BTreeSet<String> {
    taken.iter().map(|(headers, _)| headers["webhook-id"].to_str().unwrap().to_owned()).collect()
}

async fn admin(indexer: &Indexer, method: reqwest::Method, path: &str, body: Value) -> (u16, Value) {
    let url = format!("{}/api/v1/chain/webhooks{path}", indexer.url);
    let response = reqwest::Client::new().request(method, url).bearer_auth(TOKEN).json(&body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_told_of_everything_signed_and_again_until_it_takes_it() {
    let chain = Chain::start().await;
    let database = database().await;
    let (endpoint, url) = Endpoint::start(500).await;
    let start = async || {
        let mut config = config(&chain, &database);
        config.admin_token = Some(TOKEN.into());
        config.webhook_loopback = true;
        let indexer = Indexer::start_with(config).await;
        indexer.ready().await;
        indexer
    };
    let indexer = start().await;
    let pool = pool(&database).await;
    let (status, made) = admin(&indexer, reqwest::Method::POST, "", json!({"url": url, "filter": {"topics": "transfers"}})).await;
    assert_eq!(status, 201, "{made}");
    for amount in [3, 4] {
        chain.pay(1, 2, amount).await;
    }
    synced(&chain, &pool).await;
    endpoint.until(|taken| ids(taken).len() == 2).await;
    // Another instance goes on where a killed one stopped, and the ids stay.
    indexer.kill().await;
    let refused = ids(&endpoint.taken.lock().unwrap());
    endpoint.answer.store(204, Ordering::Relaxed);
    let before = endpoint.taken.lock().unwrap().len();
    let indexer = start().await;
    let taken = endpoint.until(|taken| ids(&taken[before..]).len() == 2).await;
    assert_eq!(ids(&taken), refused);

    let secret = BASE64_STANDARD.decode(made["secret"].as_str().unwrap().strip_prefix("whsec_").unwrap()).unwrap();
    for (headers, body) in &taken {
        let header = |name: &str| headers[name].to_str().unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret).unwrap();
        mac.update(format!("{}.{}.{body}", header("webhook-id"), header("webhook-timestamp")).as_bytes());
        assert_eq!(header("webhook-signature"), format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes())));
    }
    let message: Value = serde_json::from_str(&taken.last().unwrap().1).unwrap();
    assert_eq!((message["type"].as_str(), &message["data"]["chain_id"]), (Some("chain.transfer"), &json!(84532)), "{message}");

    // What was given up is kept, shown, and sent again when asked for.
    endpoint.answer.store(500, Ordering::Relaxed);
    chain.pay(1, 2, 5).await;
    endpoint.until(|taken| ids(taken).len() == 3).await;
    let given_up = "UPDATE webhooks.deliveries SET attempts = 9, due_at = now() WHERE due_at IS NOT NULL";
    let id = made["id"].as_str().unwrap();
    let dead = loop {
        sqlx::query(given_up).execute(&pool).await.unwrap();
        let (_, dead) = admin(&indexer, reqwest::Method::GET, &format!("/{id}/dead-letters"), Value::Null).await;
        if dead.as_array().is_some_and(|dead| !dead.is_empty()) {
            break dead;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(dead[0]["last_error"].as_str().unwrap().contains("500"), "{dead}");
    endpoint.answer.store(200, Ordering::Relaxed);
    let before = endpoint.taken.lock().unwrap().len();
    assert_eq!(admin(&indexer, reqwest::Method::POST, &format!("/{id}/replay"), json!({})).await.0, 202);
    endpoint.until(|taken| taken.len() > before).await;
    // From a block on, with new ids: two payments and one more in the blocks from the first payment on.
    let (first, before) = (chain.height().await - 2, endpoint.taken.lock().unwrap().len());
    assert_eq!(admin(&indexer, reqwest::Method::POST, &format!("/{id}/replay"), json!({"from_block": first})).await.0, 202);
    endpoint.until(|taken| ids(&taken[before..]).len() == 3).await;
    assert_eq!(admin(&indexer, reqwest::Method::DELETE, &format!("/{id}"), Value::Null).await.0, 204);
    assert_eq!(admin(&indexer, reqwest::Method::GET, "", Value::Null).await.1, json!([]));
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_registers_a_neighbour_of_ours_or_without_the_token() {
    let chain = Chain::start().await;
    let mut config = config(&chain, &database().await);
    config.admin_token = Some(TOKEN.into());
    let indexer = Indexer::start_with(config).await;
    indexer.ready().await;
    for url in ["http://127.0.0.1:5432/", "https://10.0.0.1/", "https://[::1]/", "https://2130706433/"] {
        let (status, problem) = admin(&indexer, reqwest::Method::POST, "", json!({"url": url})).await;
        assert_eq!((status, problem["code"].as_str()), (400, Some("invalid_parameter")), "{url}: {problem}");
    }
    let client = reqwest::Client::new();
    let url = format!("{}/api/v1/chain/webhooks", indexer.url);
    assert_eq!(client.get(&url).send().await.unwrap().status(), 401);
    assert_eq!(client.get(&url).bearer_auth("administrato").send().await.unwrap().status(), 401);
    indexer.stop().await;
}
