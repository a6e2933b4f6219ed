//! A node that cannot be trusted: a proxy that spoils some of the answers.

use std::sync::{Arc, Mutex};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tokio::net::TcpListener;
use url::Url;

use crate::harness::{Chain, Indexer, assert_as_from_scratch, assert_balances, config, database, pool, synced};

#[derive(Clone)]
struct Liar {
    upstream: Url,
    random: Arc<Mutex<StdRng>>,
}

impl Liar {
    async fn start(upstream: Url) -> Url {
        let liar = Self { upstream, random: Arc::new(Mutex::new(StdRng::seed_from_u64(1))) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async { axum::serve(listener, Router::new().route("/", post(answer)).with_state(liar)).await });
        url
    }

    fn one_in(&self, n: u32) -> bool {
        self.random.lock().unwrap().random_ratio(1, n)
    }

    fn spoil(&self, call: &Value, answer: &mut Value) {
        let result = &mut answer["result"];
        match call["method"].as_str().unwrap() {
            "eth_getBlockReceipts" if result.is_array() => self.spoil_receipts(result.as_array_mut().unwrap()),
            "eth_getBlockByNumber" | "eth_getBlockByHash" if self.one_in(30) => *result = Value::Null,
            "eth_getBlockByNumber" | "eth_getBlockByHash" if self.one_in(30) => {
                // Excludes every event of the block.
                result["logsBloom"] = format!("0x{}", "00".repeat(256)).into();
            }
            "eth_getBlockByNumber" | "eth_getBlockByHash" if self.one_in(30) => result["timestamp"] = "0x1".into(),
            _ => {}
        }
    }

    fn spoil_receipts(&self, receipts: &mut Vec<Value>) {
        let last = receipts.len().saturating_sub(1);
        let logs = |receipts: &mut Vec<Value>| receipts.first_mut().and_then(|r| r["logs"].as_array_mut().map(std::mem::take));
        let lie = self.random.lock().unwrap().random_range(0..30);
        match lie {
            0 => drop(receipts.pop()),
            1 => drop(logs(receipts)),
            2 => receipts.extend(receipts.first().cloned()),
            3 if last > 0 => receipts.swap(0, last),
            4 => receipts.clear(),
            5 if last > 0 => receipts[0]["logs"] = receipts[1]["logs"].clone(),
            7 | 8 => self.spoil_logs(receipts),
            6 => {
                if let Some(log) = receipts.first_mut().and_then(|r| r["logs"].as_array_mut()?.first_mut()) {
                    log["data"] = format!("0x{:064x}", 1_000_000).into();
                }
            }
            _ => {}
        }
    }
}

impl Liar {
    /// A log dropped, repeated or in another's place: what nodes have been seen to do.
    fn spoil_logs(&self, receipts: &mut [Value]) {
        let Some(logs) = receipts.iter_mut().find_map(|r| r["logs"].as_array_mut().filter(|logs| !logs.is_empty())) else {
            return;
        };
        match self.random.lock().unwrap().random_range(0..4) {
            0 => drop(logs.pop()),
            1 => logs.push(logs[0].clone()),
            2 => logs.reverse(),
            _ => drop(logs[0]["topics"].as_array_mut().map(|topics| topics.pop())),
        }
    }
}

async fn answer(State(liar): State<Liar>, Json(mut request): Json<Value>) -> Result<Json<Value>, StatusCode> {
    if liar.one_in(20) {
        return Err(StatusCode::TOO_MANY_REQUESTS);
    }
    if liar.one_in(40) {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        return Err(StatusCode::GATEWAY_TIMEOUT);
    }
    if request["method"] == "eth_getBlockByNumber" && request["params"][0] == "latest" && liar.one_in(4) {
        // The head of a node that is behind.
        request["params"][0] = "safe".into();
    }
    let response = reqwest::Client::new().post(liar.upstream.clone()).json(&request).send().await.unwrap();
    let mut response: Value = response.json().await.unwrap();
    match (&request, &mut response) {
        (Value::Array(calls), Value::Array(answers)) => {
            for call in calls {
                let answer = answers.iter_mut().find(|answer| answer["id"] == call["id"]).unwrap();
                liar.spoil(call, answer);
            }
            if liar.one_in(10) {
                answers.pop();
            }
            if liar.one_in(10) {
                answers.extend(answers.first().cloned());
            }
            // Which it may: answers are told apart by their ids.
            answers.reverse();
        }
        (call, answer) => liar.spoil(call, answer),
    }
    Ok(Json(response))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_lying_node_says_is_committed_and_nothing_is_missing_in_the_end() {
    let chain = Chain::start().await;
    for i in 0..60 {
        chain.block(&[(i % 10, 2, 11), (3, i % 10, 7), (4, 5, 1)]).await;
    }
    let database = database().await;
    let mut config = config(&chain, &database);
    config.rpc_url = vec![Liar::start(chain.url().clone()).await];
    let indexer = start_through(config).await;
    let pool = pool(&database).await;
    for i in 0..30 {
        chain.block(&[(i % 10, 2, 11), (3, i % 10, 7)]).await;
    }
    synced(&chain, &pool).await;
    let metrics = reqwest::get(format!("{}/metrics", indexer.url)).await.unwrap().text().await.unwrap();
    let caught = metrics.lines().find_map(|line| line.strip_prefix("florin_indexer_proof_failures_total ")).unwrap();
    assert!(caught.parse::<u64>().unwrap() > 10, "{metrics}");
    indexer.stop().await;
    assert_balances(&chain, &pool).await;
    assert_as_from_scratch(&chain, &pool).await;
}

/// A start that meets the liar's refusals is tried again, as an operator's supervisor would.
async fn start_through(config: indexer::Config) -> Indexer {
    loop {
        let indexer = Indexer::start_with(config.clone()).await;
        if indexer.started().await {
            return indexer;
        }
    }
}
