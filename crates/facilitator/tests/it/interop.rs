//! Our parts among the official ones, on the real chain: every client buys from every server through every facilitator in every way to
//! pay. The payers have neither gas nor an allowance: what Permit2 moves comes with a permit.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use alloy::{
    primitives::{Address, B256, U256},
    providers::{Provider, ext::AnvilApi},
    signers::local::PrivateKeySigner,
    sol_types::SolEvent,
};
use axum::{Extension, Json, Router, routing::get};
use contracts::usdc::Usdc as Token;
use money::Usdc;
use serde::Deserialize;
use serde_json::json;
use x402::{
    Charge, FacilitatorClient, Network, PaymentRequirements, SettleResponse,
    client::{Client, KeyPayer, Policy},
    server::{Gate, PaidLayer, Pricing},
};

use crate::harness::{PRICE, World};

/// How a route is paid for, and what is charged for it.
const WAYS: [(&str, u64); 3] = [("eip3009", 10_000), ("permit2", 10_000), ("upto", 2_500)];

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

pub(crate) fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(format!("tests/interop/{script}")).current_dir(ROOT);
    command
}

pub(crate) fn python(program: &str) -> Command {
    let mut command = Command::new(format!("{ROOT}/target/interop/bin/{program}"));
    command.current_dir(ROOT);
    command
}

/// A script that serves until it is dropped.
pub(crate) struct Official {
    child: Child,
    pub(crate) urls: Vec<String>,
}

impl Official {
    pub(crate) async fn start(mut command: Command) -> Self {
        let starting = move || {
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("run scripts/setup");
            let mut line = String::new();
            BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
            assert!(line.starts_with("http://"), "{line:?} of {command:?}: run scripts/setup");
            Self { child, urls: line.split_whitespace().map(str::to_owned).collect() }
        };
        tokio::task::spawn_blocking(starting).await.unwrap()
    }
}

impl Drop for Official {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a client brings home.
#[derive(Debug, Deserialize)]
struct Bought {
    status: u16,
    body: String,
    receipt: Option<SettleResponse>,
}

/// Sells by our server layer what the official shops sell.
async fn sell(world: &World, facilitator: &str) -> String {
    let client = FacilitatorClient::new(facilitator.parse().unwrap()).unwrap();
    let signer = client.supported().await.unwrap().upto_facilitator(&Network::evm(world.deployment.chain_id)).unwrap();
    let gate = Gate::new(client);
    let token = x402::Token::usdc(&Network::evm(world.deployment.chain_id)).unwrap();
    let offers = [
        world.requirements(),
        world.requirements().by_permit2(),
        PaymentRequirements::upto(&token, PRICE, world.payee, signer, 60),
    ];
    let mut app = Router::new();
    let ways = WAYS.into_iter().zip(offers).map(|((name, _), offer)| (name, offer));
    for (name, offer) in ways.chain([("approval", world.requirements().by_permit2())]) {
        let charge = if name == "upto" { Charge::Percent(2_500) } else { Charge::ALL };
        let layer = PaidLayer::new(gate.clone(), Pricing::offers(vec![offer]));
        let layer = match name {
            "eip3009" => layer,
            "approval" => layer.sponsor_approvals(),
            _ => layer.sponsor_permits(),
        };
        let handler = move || async move { (Extension(charge), Json(json!({ "sold": name }))) };
        app = app.merge(Router::new().route(&format!("/{name}"), get(handler)).layer(layer));
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// Buys with our client.
async fn buy(world: &World, payer: &PrivateKeySigner, urls: &[String]) -> Vec<Bought> {
    let client = Client::new(KeyPayer::new(payer.clone()).node(world.provider.clone()), Policy::default()).unwrap();
    let mut bought = Vec::new();
    for url in urls {
        bought.push(match client.get(url.parse().unwrap()).await {
            Ok(answer) => {
                let receipt = answer.paid().and_then(|paid| paid.receipt.clone());
                let response = answer.into_response();
                Bought { status: response.status().as_u16(), body: response.text().await.unwrap(), receipt }
            }
            Err(error) => Bought { status: 599, body: error.to_string(), receipt: None },
        });
    }
    bought
}

/// Buys with an official client.
async fn buy_by(mut command: Command, world: &World, payer: &PrivateKeySigner, urls: &[String]) -> Vec<Bought> {
    command.arg(world.anvil.rpc_url().as_str()).args(urls).env("FLORIN_KEY", payer.to_bytes().to_string());
    let bought = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let told = String::from_utf8_lossy(&bought.stderr);
    serde_json::from_slice(&bought.stdout).unwrap_or_else(|error| panic!("{error}: {told}"))
}

/// Whether the chain shows that this paid the price.
pub(crate) async fn is_paid(world: &World, hash: B256, payer: Address, price: u64) -> bool {
    let Some(receipt) = world.provider.get_transaction_receipt(hash).await.unwrap() else { return false };
    let transfers = receipt.logs().iter().filter(|log| log.address() == world.deployment.usdc);
    let mut transfers = transfers.filter_map(|log| Token::Transfer::decode_log(&log.inner).ok());
    receipt.status() && transfers.any(|t| (t.from, t.to, t.value) == (payer, world.payee, U256::from(price)))
}

async fn fund(world: &World, account: Address) {
    world.provider.anvil_set_balance(account, U256::from(10).pow(U256::from(18))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_buys_from_every_server_through_every_facilitator_in_every_way() {
    let world = World::new().await;
    let [typescript, python_key, official_signer] = [0; 3].map(|_| PrivateKeySigner::random());
    for payer in [&typescript, &python_key] {
        contracts::dev::mint(&world.provider, payer.address(), Usdc::from_whole(1).unwrap()).await.unwrap();
    }
    fund(&world, official_signer.address()).await;
    let ours = world.serve(&[]).await;
    let mut facilitator = node("facilitate.mjs");
    facilitator.arg(world.anvil.rpc_url().as_str()).env("FLORIN_KEY", official_signer.to_bytes().to_string());
    let theirs = Official::start(facilitator).await;
    let facilitators = [ours.url.clone(), theirs.urls[0].clone()];

    let [payee, usdc] = [world.payee, world.deployment.usdc].map(|address| address.to_checksum(None));
    let (mut express, mut fastapi) = (node("matrix/sell.mjs"), python("python"));
    express.args([&payee, &usdc]).args(&facilitators);
    fastapi.arg("tests/interop/matrix/sell.py").args([&payee, &usdc]).args(&facilitators);
    let (express, fastapi) = tokio::join!(Official::start(express), Official::start(fastapi));
    let layers = vec![sell(&world, &facilitators[0]).await, sell(&world, &facilitators[1]).await];

    let mut cells = Vec::new();
    for (server, shops) in [("our server", &layers), ("Express", &express.urls), ("FastAPI", &fastapi.urls)] {
        for (facilitator, shop) in ["our facilitator", "the TypeScript facilitator"].into_iter().zip(shops) {
            let places =
                WAYS.map(|(way, price)| (format!("{way} from {server} through {facilitator}"), format!("{shop}/{way}"), price));
            cells.extend(places);
        }
    }
    let urls: Vec<String> = cells.iter().map(|(_, url, _)| url.clone()).collect();
    let mut httpx = python("python");
    httpx.arg("tests/interop/matrix/buy.py");
    let bought = [
        ("our client", &world.payer, buy(&world, &world.payer, &urls).await),
        ("fetch", &typescript, buy_by(node("matrix/buy.mjs"), &world, &typescript, &urls).await),
        ("httpx", &python_key, buy_by(httpx, &world, &python_key, &urls).await),
    ];

    let mut failed = Vec::new();
    for (client, payer, bought) in bought {
        assert_eq!(bought.len(), cells.len());
        for ((cell, url, price), bought) in cells.iter().zip(bought) {
            let hash = bought.receipt.as_ref().filter(|receipt| receipt.success).and_then(SettleResponse::transaction_hash);
            let way = url.rsplit('/').next().unwrap();
            let served = bought.status == 200 && bought.body.contains(way);
            let paid = match hash {
                Some(hash) => is_paid(&world, hash, payer.address(), *price).await,
                None => false,
            };
            if !served || !paid {
                failed.push(format!("{client}: {cell}: {bought:?}"));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), 3 * cells.len(), failed.join("\n"));
}

/// Every payer is new: who approved once needs no approval.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payers_without_coin_approve_permit2_in_every_constellation() {
    let world = World::new().await;
    let official_signer = PrivateKeySigner::random();
    fund(&world, official_signer.address()).await;
    let ours = world.serve(&["--approval-gas-max", "1000000000000000"]).await;
    let mut facilitator = node("facilitate.mjs");
    facilitator.arg(world.anvil.rpc_url().as_str()).env("FLORIN_KEY", official_signer.to_bytes().to_string());
    let theirs = Official::start(facilitator).await;
    let facilitators = [ours.url.clone(), theirs.urls[0].clone()];
    let [payee, usdc] = [world.payee, world.deployment.usdc].map(|address| address.to_checksum(None));
    let mut express = node("matrix/sell.mjs");
    express.args([&payee, &usdc]).args(&facilitators);
    let express = Official::start(express).await;
    let layers = vec![sell(&world, &facilitators[0]).await, sell(&world, &facilitators[1]).await];

    for (server, shops) in [("our server", &layers), ("Express", &express.urls)] {
        for (facilitator, shop) in ["our facilitator", "the TypeScript facilitator"].into_iter().zip(shops) {
            for client in ["our client", "fetch"] {
                let payer = PrivateKeySigner::random();
                contracts::dev::mint(&world.provider, payer.address(), Usdc::from_whole(1).unwrap()).await.unwrap();
                let urls = [format!("{shop}/approval")];
                let bought = match client {
                    "fetch" => buy_by(node("matrix/buy.mjs"), &world, &payer, &urls).await,
                    _ => buy(&world, &payer, &urls).await,
                };
                let [Bought { status: 200, receipt: Some(receipt), .. }] = bought.as_slice() else {
                    panic!("{client} from {server} through {facilitator}: {bought:?}")
                };
                let hash = receipt.transaction_hash().unwrap();
                assert!(is_paid(&world, hash, payer.address(), 10_000).await, "{client}, {server}, {facilitator}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_conformance_checks_pass() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let shop = sell(&world, &facilitator.url).await;
    let (mut live, mut resource) = (python("x402conf"), python("x402conf"));
    live.args(["live", "--fail-on-error", &facilitator.url]);
    resource.args(["resource", "--fail-on-error"]).args(WAYS.map(|(way, _)| format!("{shop}/{way}")));
    for mut command in [live, resource] {
        let checked = tokio::task::spawn_blocking(move || command.output().expect("run scripts/setup")).await.unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    }
}
