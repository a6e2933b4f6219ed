//! What stands before the engine: who may ask, how often, through which node, and what an operator sees.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use alloy::{primitives::U256, signers::local::PrivateKeySigner};
use axum::{Json, Router, body::Bytes, routing::post};
use facilitator::Error;
use futures::future::join_all;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use x402::{Eip3009Authorization, Reason};

use crate::{
    harness::{Facilitator, PRICE, World},
    lying::Relay,
};

/// `printf secret | sha256sum`
const HASH_OF_SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

async fn verify_with_key(facilitator: &Facilitator, world: &World, key: Option<&str>) -> reqwest::Response {
    let request = Client::new().post(format!("{}/verify", facilitator.url)).json(&world.payment());
    let request = if let Some(key) = key { request.bearer_auth(key) } else { request };
    request.send().await.unwrap()
}

#[tokio::test]
async fn only_known_keys_may_ask_and_each_only_at_its_rate() {
    let world = World::new().await;
    let keys = format!("other={},shop={HASH_OF_SECRET}", "0".repeat(64));
    let facilitator = world.serve(&["--api-keys", &keys, "--key-rate", "1"]).await;
    for key in [None, Some(""), Some("wrong"), Some(HASH_OF_SECRET)] {
        assert_eq!(verify_with_key(&facilitator, &world, key).await.status(), StatusCode::UNAUTHORIZED, "{key:?}");
    }
    let burst = join_all((0..20).map(|_| verify_with_key(&facilitator, &world, Some("secret")))).await;
    let (admitted, refused): (Vec<_>, Vec<_>) = burst.into_iter().partition(|answer| answer.status() == StatusCode::OK);
    assert!((10..15).contains(&admitted.len()), "ten seconds' worth, and what time has added: {}", admitted.len());
    assert!(refused.iter().all(|answer| answer.status() == StatusCode::TOO_MANY_REQUESTS));
    assert!(refused.iter().all(|answer| answer.headers().contains_key("retry-after")));
}

#[tokio::test]
async fn an_address_asks_no_more_often_than_its_rate() {
    let world = World::new().await;
    let facilitator = world.serve(&["--ip-rate", "1"]).await;
    let burst = join_all((0..20).map(|_| verify_with_key(&facilitator, &world, None))).await;
    let (admitted, refused): (Vec<_>, Vec<_>) = burst.into_iter().partition(|answer| answer.status() == StatusCode::OK);
    assert!((10..15).contains(&admitted.len()), "ten seconds' worth, and what time has added: {}", admitted.len());
    assert!(refused.iter().all(|answer| answer.status() == StatusCode::TOO_MANY_REQUESTS));
    assert!(refused.iter().all(|answer| answer.headers().contains_key("retry-after")));
    let health = reqwest::get(format!("{}/health", facilitator.url)).await.unwrap();
    assert_eq!(health.status(), StatusCode::OK, "whoever watches over it is not counted");
}

#[tokio::test]
async fn a_verification_asks_the_node_once() {
    let world = World::new().await;
    let (relay, url) = Relay::start(&world).await;
    let facilitator = Facilitator::start(world.config_at(&url, &[])).await;
    let valid = async || facilitator.post("verify", &world.payment()).await.1["isValid"] == true;
    assert!(valid().await);
    let before = relay.asked();
    assert!(valid().await);
    assert_eq!(relay.asked() - before, 1);
}

#[tokio::test]
async fn an_asset_or_a_payee_beyond_the_operators_rules_is_not_worked_for() {
    let world = World::new().await;
    let other = world.serve(&["--assets", "0x00000000000000000000000000000000000000aa"]).await;
    for call in ["verify", "settle"] {
        let (status, body) = other.post(call, &world.payment()).await;
        let reason = if call == "verify" { &body["invalidReason"] } else { &body["errorReason"] };
        assert_eq!((status, reason.as_str()), (StatusCode::OK, Some(Reason::InvalidPaymentRequirements.as_str())));
    }
    other.kill().await;
    let ours = world.deployment.usdc.to_string();
    let facilitator = world.serve(&["--assets", &ours, "--payee-rate", "1"]).await;
    let payment = world.payment();
    let burst = join_all((0..20).map(|_| facilitator.post("verify", &payment))).await;
    assert!(burst.iter().any(|(status, body)| *status == StatusCode::OK && body["isValid"] == true));
    assert!(burst.iter().any(|(status, _)| *status == StatusCode::TOO_MANY_REQUESTS));
}

#[tokio::test]
async fn when_a_node_goes_down_the_next_one_is_asked() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let way = format!("http://{}/?key=KEY", listener.local_addr().unwrap());
    let node = world.anvil.rpc_url().to_string();
    let address = format!("{}:{}", world.anvil.rpc_url().host_str().unwrap(), world.anvil.rpc_url().port().unwrap());
    let forwarding = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut from, _)) = listener.accept().await {
            let mut to = TcpStream::connect(&address).await.unwrap();
            connections.spawn(async move { copy_bidirectional(&mut from, &mut to).await });
        }
    });
    let rpc_urls = [way.as_str(), "http://127.0.0.1:1", &node].map(|url| url.parse().unwrap()).into();
    let facilitator = Facilitator::start(facilitator::Config { rpc_urls, ..world.config(&[]) }).await;
    assert!(facilitator.settle(&world.payment()).await.success);
    let health = |url: String| async move { reqwest::get(url).await.unwrap().json::<Value>().await.unwrap() };
    let before = health(format!("{}/health", facilitator.url)).await;
    assert!(way.starts_with(before["node"].as_str().unwrap()) && !before.to_string().contains("KEY"), "{before}");
    forwarding.abort();
    let _ = forwarding.await;
    assert!(facilitator.settle(&world.payment()).await.success, "nobody notices");
    // It is looked at a few times a second.
    let told = async {
        while !node.starts_with(health(format!("{}/health", facilitator.url)).await["node"].as_str().unwrap()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), told).await.expect("the health names the node that answers");
}

#[tokio::test]
async fn a_node_of_another_chain_is_never_asked() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let elsewhere = format!("http://{}", listener.local_addr().unwrap());
    let answer = |Json(asked): Json<Value>| async move { Json(json!({ "jsonrpc": "2.0", "id": asked["id"], "result": "0x1" })) };
    let serving = tokio::spawn(axum::serve(listener, Router::new().route("/", post(answer))).into_future());
    let config = world.config(&["--rpc-url", &elsewhere]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = facilitator::serve(config, listener, CancellationToken::new()).await.unwrap_err();
    assert!(matches!(refused, Error::WrongChain { expected: 84532, found: 1 }), "{refused}");
    serving.abort();
}

#[tokio::test]
async fn those_who_ask_together_share_a_call_and_nothing_else() {
    let mut world = World::new().await;
    let facilitator = world.serve(&[]).await;
    // Enough for one of them: each is judged as if it were alone.
    world.payer = PrivateKeySigner::random();
    contracts::dev::mint(&world.provider, world.payer.address(), PRICE).await.unwrap();
    let (alone, poor) = (world.payer.clone(), PrivateKeySigner::random());
    let payments: Vec<_> = (0..60)
        .map(|index| {
            world.payer = if index % 6 == 0 { poor.clone() } else { alone.clone() };
            world.payment()
        })
        .collect();
    let answers = join_all(payments.iter().map(|payment| facilitator.post("verify", payment))).await;
    for (index, (_, body)) in answers.iter().enumerate() {
        assert_eq!(body["isValid"], index % 6 != 0, "{index}: {body}");
    }
    let metrics = reqwest::get(format!("{}/metrics", facilitator.url)).await.unwrap().text().await.unwrap();
    let rounds = metrics.lines().find_map(|line| line.strip_prefix("facilitator_stage_seconds_count{stage=\"round\"} ")).unwrap();
    assert!(rounds.parse::<u32>().unwrap() < 40, "60 payments and 10 explanations: {rounds} round trips");
}

#[tokio::test]
async fn an_operator_sees_where_the_time_of_a_settlement_goes() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    assert!(facilitator.settle(&world.payment()).await.success);
    let metrics = reqwest::get(format!("{}/metrics", facilitator.url)).await.unwrap().text().await.unwrap();
    for stage in ["settle", "round", "lane", "journal", "broadcast", "inclusion"] {
        let count = format!("facilitator_stage_seconds_count{{stage=\"{stage}\"}} ");
        let count = metrics.lines().find_map(|line| line.strip_prefix(&count)).unwrap_or_else(|| panic!("no {stage}: {metrics}"));
        assert_ne!(count, "0", "{stage}");
    }
}

#[tokio::test]
async fn an_operator_sees_what_failed_as_text() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let poor = world.signed(Eip3009Authorization { value: U256::from(1).into(), ..world.authorization() });
    facilitator.post("verify", &poor).await;
    let status: Value = reqwest::get(format!("{}/status", facilitator.url)).await.unwrap().json().await.unwrap();
    assert_eq!(status["failures"][0]["reason"], Reason::ValueMismatch.as_str());
    assert_eq!((&status["totals"]["invalid"], &status["status"]), (&json!(1), &json!("ok")));
    let page = reqwest::get(&facilitator.url).await.unwrap();
    assert!(page.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    let page = page.text().await.unwrap();
    for way_in in ["innerHTML", "insertAdjacentHTML", "document.write", "src=", "https:"] {
        assert!(!page.contains(way_in), "{way_in}");
    }
}

/// What no client sends and anybody can.
fn hostile(good: &[u8], random: &mut StdRng) -> Vec<u8> {
    let text = String::from_utf8(good.to_vec()).unwrap();
    let mut bytes = good.to_vec();
    match random.random_range(0..8) {
        0 => bytes.truncate(random.random_range(0..bytes.len())),
        1 => {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
        2 => bytes = text.replacen('{', &"[{".repeat(random.random_range(1..20_000)), 1).into(),
        3 => bytes = text.replace("\"10000\"", &format!("\"{}\"", "9".repeat(random.random_range(1..5_000)))).into(),
        4 => bytes = text.replace("0x", &format!("0x{}", "f".repeat(random.random_range(1..200)))).into(),
        5 => bytes = text.replacen("\"payload\"", "\"payload\":{},\"payload\"", 1).into(),
        6 => bytes = text.replace(['0', '2'], ["-1", "1e400", "null", "\\u0000", "\u{1f4a3}"].choose(random).unwrap()).into(),
        _ => bytes.resize(random.random_range(1..300_000), b' '),
    }
    bytes
}

#[tokio::test]
async fn hostile_input_is_refused_and_hurts_nobody() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let good = serde_json::to_vec(&world.payment()).unwrap();
    let client = Client::new();
    let mut random = StdRng::seed_from_u64(402);
    for case in 0..400 {
        let body = hostile(&good, &mut random);
        let call = if case % 2 == 0 { "verify" } else { "settle" };
        let request = client.post(format!("{}/{call}", facilitator.url)).body(body.clone());
        // The connection of one that is far too long may be closed on it.
        let Ok(answer) = request.send().await else { continue };
        let text = String::from_utf8_lossy(&body).chars().take(600).collect::<String>();
        assert!(!answer.status().is_server_error(), "{call} answers {} to {text}", answer.status());
    }
    assert!(facilitator.settle(&world.payment()).await.success);
    let moved = world.balance(world.payee).await;
    assert!(moved == PRICE || moved == PRICE.checked_mul(2).unwrap(), "what was altered paid nobody else");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lies_does_no_harm_for_longer_than_it_lies() {
    let world = World::new().await;
    let lying = Arc::new(AtomicBool::new(false));
    let (lies, node, http) = (lying.clone(), world.anvil.rpc_url().clone(), Client::new());
    let random = Arc::new(Mutex::new(StdRng::seed_from_u64(402)));
    let answer = move |body: Bytes| async move {
        let answer = http.post(node).header("content-type", "application/json").body(body).send().await.unwrap();
        let answer = answer.bytes().await.unwrap();
        if lies.load(Ordering::SeqCst) { hostile(&answer, &mut random.lock().unwrap()) } else { answer.to_vec() }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(axum::serve(listener, Router::new().route("/", post(answer))).into_future());
    let facilitator = Facilitator::start(facilitator::Config { rpc_urls: vec![url], ..world.config(&[]) }).await;

    lying.store(true, Ordering::SeqCst);
    for _ in 0..200 {
        let (status, body) = facilitator.post("verify", &world.payment()).await;
        assert!(matches!(status, StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE), "{status}: {body}");
    }
    lying.store(false, Ordering::SeqCst);
    assert!(facilitator.settle(&world.payment()).await.success);
    assert_eq!(world.balance(world.payee).await, PRICE);
}
