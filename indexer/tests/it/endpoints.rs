//! Several endpoints, of which some fail.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use serde_json::Value;
use tokio::net::TcpListener;
use url::Url;

use crate::harness::{Chain, Indexer, WAIT, assert_as_from_scratch, assert_balances, config, database, pool, synced};

pub(crate) const UP: u8 = 0;
pub(crate) const DOWN: u8 = 1;
/// Answers, but has no block.
const IGNORANT: u8 = 2;
/// Leaves out what transactions logged.
const LYING: u8 = 3;
/// Says that it is on another chain.
const FOREIGN: u8 = 4;

/// Ten times says that a block of some time ago is its newest, and is up again.
const OLD: u8 = 14;
/// Lost the newest block.
const STALE: u8 = 20;
/// Keeps no state of earlier blocks.
const PRUNED: u8 = 21;
/// Does not say what it is.
const SHY: u8 = 22;

/// A second endpoint of the same chain, in front of the same node.
#[derive(Clone)]
pub(crate) struct Gateway {
    upstream: Url,
    mode: Arc<AtomicU8>,
}

impl Gateway {
    pub(crate) async fn start(upstream: &Url, mode: u8) -> (Url, Arc<AtomicU8>) {
        let gateway = Self { upstream: upstream.clone(), mode: Arc::new(AtomicU8::new(mode)) };
        let (listener, mode) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), gateway.mode.clone());
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async { axum::serve(listener, Router::new().route("/", post(relay)).with_state(gateway)).await });
        (url, mode)
    }
}

async fn relay(State(gateway): State<Gateway>, Json(mut request): Json<Value>) -> Result<Json<Value>, StatusCode> {
    let mode = gateway.mode.load(Ordering::Relaxed);
    let behind = match mode {
        STALE => 1,
        mode if (FOREIGN + 1..=OLD).contains(&mode) => 6,
        _ => 0,
    };
    let mut lost = Value::Null;
    if behind > 0 {
        let ask = serde_json::json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": [] });
        let newest = reqwest::Client::new().post(gateway.upstream.clone()).json(&ask).send().await.unwrap();
        let newest: Value = newest.json().await.unwrap();
        lost = newest["result"].clone();
        if request["params"][0] == "latest" {
            let newest = u64::from_str_radix(lost.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
            request["params"][0] = format!("{:#x}", newest - behind).into();
            if mode != STALE {
                gateway.mode.store(if mode - 1 > FOREIGN { mode - 1 } else { UP }, Ordering::Relaxed);
            }
        }
    }
    if mode == DOWN {
        return Err(StatusCode::BAD_GATEWAY);
    }
    let response = reqwest::Client::new().post(gateway.upstream).json(&request).send().await.unwrap();
    let mut response: Value = response.json().await.unwrap();
    match (&request, &mut response) {
        (Value::Array(calls), Value::Array(answers)) => {
            for call in calls {
                spoil(mode, call, answers.iter_mut().find(|answer| answer["id"] == call["id"]).unwrap(), &lost);
            }
        }
        (call, answer) => spoil(mode, call, answer, &lost),
    }
    Ok(Json(response))
}

fn spoil(mode: u8, call: &Value, answer: &mut Value, lost: &Value) {
    let refused = serde_json::json!({"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32_000, "message": "not here"}});
    let result = &mut answer["result"];
    match (mode, call["method"].as_str().unwrap()) {
        (IGNORANT, method) if method.starts_with("eth_getBlock") => *result = Value::Null,
        (FOREIGN, "eth_chainId") => *result = "0x1".into(),
        (LYING, "eth_getBlockReceipts") => {
            result.as_array_mut().into_iter().flatten().for_each(|receipt| receipt["logs"] = Value::Array(Vec::new()));
        }
        (LYING, "eth_call") => *result = format!("0x{:064x}", 7).into(),
        (STALE, "eth_getBlockByHash") if result["number"] == *lost => *result = Value::Null,
        (PRUNED, "eth_call") if call["params"][1].is_string() => *answer = refused,
        (SHY, "web3_clientVersion") => *answer = refused,
        _ => {}
    }
}

async fn metric(indexer: &Indexer, name: &str) -> u64 {
    let metrics = reqwest::get(format!("{}/metrics", indexer.url)).await.unwrap().text().await.unwrap();
    metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn when_an_endpoint_fails_the_next_one_is_asked() {
    let chain = Chain::start().await;
    let (first, first_mode) = Gateway::start(chain.url(), DOWN).await;
    let (second, second_mode) = Gateway::start(chain.url(), UP).await;
    let database = database().await;
    let mut config = config(&chain, &database);
    config.rpc_url = vec![first, second];
    let indexer = Indexer::start_with(config).await;
    let pool = pool(&database).await;
    indexer.ready().await;
    synced(&chain, &pool).await;
    assert_eq!(metric(&indexer, "florin_indexer_endpoint_current").await, 1);

    // The one in use goes, the other has come back.
    first_mode.store(UP, Ordering::Relaxed);
    second_mode.store(DOWN, Ordering::Relaxed);
    chain.pay(0, 1, 5).await;
    synced(&chain, &pool).await;
    assert_eq!(metric(&indexer, "florin_indexer_endpoint_current").await, 0);
    indexer.stop().await;
    assert_as_from_scratch(&chain, &pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_quorum_a_block_that_one_endpoint_alone_has_is_not_committed() {
    let chain = Chain::start().await;
    let (second, mode) = Gateway::start(chain.url(), UP).await;
    let database = database().await;
    let mut config = config(&chain, &database);
    config.rpc_url.push(second);
    config.rpc_quorum = 2;
    let indexer = Indexer::start_with(config.clone()).await;
    let pool = pool(&database).await;
    indexer.ready().await;
    synced(&chain, &pool).await;

    mode.store(IGNORANT, Ordering::Relaxed);
    let before = chain.height().await;
    chain.pay(0, 1, 5).await;
    let asked = metric(&indexer, "florin_indexer_node_failures_total").await;
    while metric(&indexer, "florin_indexer_node_failures_total").await < asked + 3 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let mirrored = indexer::read::head(&mut pool.acquire().await.unwrap()).await.unwrap().unwrap();
    assert_eq!(mirrored.number, before, "nobody vouched for the block after it");

    mode.store(UP, Ordering::Relaxed);
    synced(&chain, &pool).await;
    indexer.stop().await;

    config.rpc_quorum = 3;
    let refused = Indexer::start_with(config.clone()).await.task.await.unwrap().unwrap_err();
    assert!(refused.to_string().contains("--rpc-quorum is 3"), "{refused}");

    config.rpc_quorum = 2;
    config.rpc_url[1] = config.rpc_url[0].clone();
    let refused = Indexer::start_with(config).await.task.await.unwrap().unwrap_err();
    assert!(matches!(refused, indexer::Error::EndpointTwice(_)), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_proved_a_quorum_must_tell_the_same_of_a_block() {
    let chain = Chain::start().await;
    let (second, mode) = Gateway::start(chain.url(), UP).await;
    let database = database().await;
    let mut config = config(&chain, &database);
    config.rpc_url.push(second);
    (config.rpc_quorum, config.trust_node) = (2, true);
    let indexer = Indexer::start_with(config.clone()).await;
    let pool = pool(&database).await;
    indexer.ready().await;
    synced(&chain, &pool).await;

    mode.store(LYING, Ordering::Relaxed);
    let before = chain.height().await;
    chain.pay(0, 1, 5).await;
    let asked = metric(&indexer, "florin_indexer_node_failures_total").await;
    let refused = async {
        while metric(&indexer, "florin_indexer_node_failures_total").await < asked + 3 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(WAIT, refused).await.expect("the endpoints contradict each other");
    let mirrored = indexer::read::head(&mut pool.acquire().await.unwrap()).await.unwrap().unwrap();
    assert_eq!(mirrored.number, before, "one of them says that nothing was paid");

    mode.store(UP, Ordering::Relaxed);
    synced(&chain, &pool).await;
    indexer.stop().await;
    assert_balances(&chain, &pool).await;
    let told: Vec<String> = sqlx::query_scalar("SELECT DISTINCT proof::text FROM chain.blocks").fetch_all(&pool).await.unwrap();
    assert_eq!(told, ["t"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_lies_is_found_out_and_another_one_is_asked() {
    let chain = Chain::start().await;
    let (first, _) = Gateway::start(chain.url(), LYING).await;
    let database = database().await;
    let mut config = config(&chain, &database);
    config.rpc_url.insert(0, first);
    let indexer = Indexer::start_with(config).await;
    let pool = pool(&database).await;
    indexer.ready().await;
    chain.pay(0, 1, 5).await;
    synced(&chain, &pool).await;
    assert_eq!(metric(&indexer, "florin_indexer_endpoint_current").await, 1);
    assert!(metric(&indexer, "florin_indexer_proof_failures_total").await > 0, "the lie is reported");
    indexer.stop().await;
    assert_as_from_scratch(&chain, &pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_of_another_chain_is_refused_at_the_start() {
    let chain = Chain::start().await;
    let mut config = config(&chain, &database().await);
    config.rpc_url.push(Gateway::start(chain.url(), FOREIGN).await.0);
    let refused = Indexer::start_with(config).await.task.await.unwrap().unwrap_err();
    assert!(matches!(refused, indexer::Error::WrongChain { actual: 1, .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_is_taken_as_the_node_pushes_it() {
    let chain = Chain::start().await;
    let database = database().await;
    let mut config = config(&chain, &database);
    config.rpc_url[0].set_scheme("ws").unwrap();
    let indexer = Indexer::start_with(config).await;
    let pool = pool(&database).await;
    indexer.ready().await;
    let pushed = async {
        while metric(&indexer, "florin_indexer_pushed_blocks_total").await < 3 {
            chain.pay(0, 1, 5).await;
            synced(&chain, &pool).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), pushed).await.expect("blocks are not only asked for");
    indexer.stop().await;
    assert_as_from_scratch(&chain, &pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_far_behind_ends_nothing() {
    let chain = Chain::start().await;
    let (url, mode) = Gateway::start(chain.url(), UP).await;
    let database = database().await;
    let mut config = config(&chain, &database);
    config.rpc_url = vec![url];
    config.finality_blocks = Some(2);
    let indexer = Indexer::start_with(config).await;
    let pool = pool(&database).await;
    for _ in 0..8 {
        chain.pay(0, 1, 5).await;
    }
    indexer.ready().await;
    synced(&chain, &pool).await;
    // Its newest block is one that was final long ago.
    mode.store(OLD, Ordering::Relaxed);
    let answered = async {
        while mode.load(Ordering::Relaxed) != UP {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), answered).await.expect("it is asked again");
    chain.pay(0, 1, 5).await;
    synced(&chain, &pool).await;
    indexer.stop().await;
    assert_as_from_scratch(&chain, &pool).await;
}

/// Answers of the endpoint, one of several, that could not be used.
async fn failures(indexer: &Indexer, index: usize, url: &Url) -> u64 {
    let name = url.as_str().trim_end_matches('/');
    metric(indexer, &format!("florin_indexer_endpoint_failures_total{{endpoint=\"{name}\",index=\"{index}\"}}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_one_endpoint_lost_is_not_undone_while_others_have_it() {
    let chain = Chain::start().await;
    for quorum in [1, 2] {
        let (first, mode) = Gateway::start(chain.url(), UP).await;
        let database = database().await;
        let mut config = config(&chain, &database);
        config.rpc_url.insert(0, first.clone());
        config.rpc_quorum = quorum;
        let indexer = Indexer::start_with(config).await;
        let pool = pool(&database).await;
        indexer.ready().await;
        chain.pay(0, 1, 5).await;
        synced(&chain, &pool).await;
        mode.store(STALE, Ordering::Relaxed);
        let left = async {
            while failures(&indexer, 0, &first).await == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(WAIT, left).await.expect("another endpoint is asked");
        let mirrored = indexer::read::head(&mut pool.acquire().await.unwrap()).await.unwrap().unwrap();
        let (_, status) = indexer.get("/api/v1/chain/status").await;
        assert_eq!((mirrored.number, &status["reorgs"]), (chain.height().await, &0.into()), "with a quorum of {quorum}");
        mode.store(UP, Ordering::Relaxed);
        chain.pay(0, 1, 5).await;
        synced(&chain, &pool).await;
        indexer.stop().await;
        assert_as_from_scratch(&chain, &pool).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_what_an_endpoint_does_not_keep_has_the_writer_leave_none() {
    let chain = Chain::start().await;
    let (first, _) = Gateway::start(chain.url(), PRUNED).await;
    let mut config = config(&chain, &database().await);
    config.rpc_url.insert(0, first.clone());
    config.start_block = Some(chain.height().await);
    let indexer = Indexer::start_with(config).await;
    indexer.ready().await;
    for account in &chain.accounts {
        let (status, statement) = indexer.get(&format!("/api/v1/chain/accounts/{account}/statement")).await;
        assert_eq!(status, 200, "another endpoint keeps it: {statement}");
    }
    assert_eq!((metric(&indexer, "florin_indexer_endpoint_current").await, failures(&indexer, 0, &first).await), (0, 0));
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_quorum_what_one_endpoint_alone_says_of_a_contract_is_not_told() {
    let chain = Chain::start().await;
    let (second, mode) = Gateway::start(chain.url(), LYING).await;
    let mut config = config(&chain, &database().await);
    config.rpc_url.push(second);
    config.rpc_quorum = 2;
    config.start_block = Some(chain.height().await);
    let indexer = Indexer::start_with(config).await;
    indexer.ready().await;
    let path = format!("/api/v1/chain/accounts/{}/statement", chain.accounts[2]);
    let (status, problem) = indexer.get(&path).await;
    assert!(status == 503 && problem["detail"].as_str().unwrap().contains("give the same answer to eth_call"), "{problem}");
    mode.store(UP, Ordering::Relaxed);
    let (status, statement) = indexer.get(&path).await;
    assert_eq!((status, statement["opening_balance"].as_str()), (200, Some("1000.00")), "{statement}");
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dev_node_beside_an_endpoint_that_does_not_say_what_it_is_hides_no_chain_that_stands_still() {
    let chain = Chain::start().await;
    let (second, _) = Gateway::start(chain.url(), SHY).await;
    let database = database().await;
    let mut config = config(&chain, &database);
    config.rpc_url.push(second);
    let indexer = Indexer::start_with(config).await;
    indexer.ready().await;
    let pool = pool(&database).await;
    synced(&chain, &pool).await;
    sqlx::query("UPDATE chain.blocks SET timestamp = timestamp - interval '10 minutes'").execute(&pool).await.unwrap();
    let (status, answer) = indexer.get("/ready").await;
    assert!(status == 503 && answer["detail"].as_str().unwrap().contains("stands still"), "{answer}");
    indexer.stop().await;
}

/// Passes bytes on to a node, until it is cut: then every connection closes at once. New ones are taken all the while.
struct Cable {
    url: Url,
    cut: tokio::sync::watch::Sender<()>,
}

impl Cable {
    async fn start(upstream: &Url) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap()).parse().unwrap();
        let upstream = format!("{}:{}", upstream.host_str().unwrap(), upstream.port().unwrap());
        let (cut, was_cut) = tokio::sync::watch::channel(());
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (upstream, mut was_cut) = (upstream.clone(), was_cut.clone());
                was_cut.mark_unchanged();
                tokio::spawn(async move {
                    let mut far = tokio::net::TcpStream::connect(upstream).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = was_cut.changed() => {}
                    }
                });
            }
        });
        Self { url, cut }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_connection_breaks_rows_go_on_coming_and_blocks_are_pushed_again() {
    let chain = Chain::start().await;
    let cable = Cable::start(chain.url()).await;
    let database = database().await;
    let mut config = config(&chain, &database);
    config.rpc_url = vec![cable.url.clone()];
    let indexer = Indexer::start_with(config).await;
    let pool = pool(&database).await;
    indexer.ready().await;
    for _ in 0..2 {
        let before = metric(&indexer, "florin_indexer_pushed_blocks_total").await;
        let pushed = async {
            while metric(&indexer, "florin_indexer_pushed_blocks_total").await < before + 2 {
                chain.pay(0, 1, 5).await;
                synced(&chain, &pool).await;
            }
        };
        tokio::time::timeout(WAIT, pushed).await.expect("blocks are not only asked for");
        cable.cut.send(()).unwrap();
        chain.pay(0, 1, 5).await;
        synced(&chain, &pool).await;
    }
    indexer.stop().await;
    assert_as_from_scratch(&chain, &pool).await;
}
