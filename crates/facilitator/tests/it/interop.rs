//! Payments by Permit2 between our parts and the official TypeScript SDK, by a payer who has neither gas nor an allowance.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use alloy::primitives::{Address, U256};
use axum::{Router, routing::get};
use contracts::usdc::Usdc as Token;
use serde_json::Value;
use x402::{
    FacilitatorClient, PERMIT2,
    client::{Client, KeyPayer, Policy},
    server::{Gate, PaidLayer, Pricing},
};

use crate::harness::{PRICE, World};

fn node(script: &str) -> Command {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let mut command = Command::new("node");
    command.arg(format!("tests/interop/{script}")).current_dir(root);
    command
}

/// A script that serves until it is dropped.
struct Official {
    child: Child,
    url: String,
}

impl Official {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut url).unwrap();
        assert!(url.starts_with("http://"), "{url:?}: run scripts/setup");
        Self { child, url: url.trim().to_owned() }
    }
}

impl Drop for Official {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sells `/report` by Permit2 and carries permits.
async fn sell(world: &World, facilitator: &str) -> String {
    let gate = Gate::new(FacilitatorClient::new(facilitator.parse().unwrap()).unwrap());
    let layer = PaidLayer::new(gate, Pricing::offers(vec![world.requirements().by_permit2()])).sponsor_permits();
    let app = Router::new().route("/report", get(|| async { "the report" })).layer(layer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/report", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// Buys with our client.
async fn buy(world: &World, url: &str) -> String {
    let payer = KeyPayer::new(world.payer.clone()).node(world.provider.clone());
    let client = Client::new(payer, Policy::default().max_per_payment(PRICE)).unwrap();
    let answer = client.get(url.parse().unwrap()).await.unwrap();
    assert!(answer.paid().unwrap().receipt.as_ref().unwrap().success);
    answer.into_response().text().await.unwrap()
}

async fn allowance(world: &World) -> U256 {
    let token = Token::new(world.deployment.usdc, &world.provider);
    token.allowance(world.payer.address(), PERMIT2).call().await.unwrap()
}

fn checksummed(address: Address) -> String {
    address.to_checksum(None)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_buys_from_our_layer() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let url = sell(&world, &facilitator.url).await;
    let mut client = node("buy.mjs");
    client.args([&url, world.anvil.rpc_url().as_str()]).env("FLORIN_KEY", world.payer.to_bytes().to_string());
    let bought = tokio::task::spawn_blocking(move || client.output().unwrap()).await.unwrap();
    assert!(bought.status.success(), "{}", String::from_utf8_lossy(&bought.stderr));
    let answer: Value = serde_json::from_slice(&bought.stdout).unwrap();
    assert_eq!((&answer["status"], &answer["body"]), (&200.into(), &"the report".into()), "{answer}");
    assert_eq!((world.balance(world.payee).await, allowance(&world).await), (PRICE, U256::ZERO));
}

#[tokio::test(flavor = "multi_thread")]
async fn we_buy_from_the_official_server() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let mut server = node("sell.mjs");
    server.args([&facilitator.url, &checksummed(world.payee), &checksummed(world.deployment.usdc)]);
    let server = Official::start(server);
    assert!(buy(&world, &server.url).await.contains("the official server sold this"));
    assert_eq!((world.balance(world.payee).await, allowance(&world).await), (PRICE, U256::ZERO));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_facilitator_settles_what_we_signed() {
    let world = World::new().await;
    let mut facilitator = node("facilitate.mjs");
    facilitator.arg(world.anvil.rpc_url().as_str()).env("FLORIN_KEY", world.signer.to_bytes().to_string());
    let facilitator = Official::start(facilitator);
    assert_eq!(buy(&world, &sell(&world, &facilitator.url).await).await, "the report");
    assert_eq!((world.balance(world.payee).await, allowance(&world).await), (PRICE, U256::ZERO));
}
