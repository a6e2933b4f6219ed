//! Channels end to end, every party ours or the official TypeScript one, with the money followed on chain.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use alloy::signers::local::PrivateKeySigner;
use axum::{Extension, Router, routing::get};
use money::Usdc;
use serde_json::Value;
use x402::{
    Charge, FacilitatorClient,
    client::{Channels as PayerChannels, Client, KeyPayer, Policy, Purse},
    server::{Authorizer, ChannelManager, Channels, ClaimPolicy, Gate, MemoryChannels, PaidLayer, Pricing},
};

use crate::harness::{PRICE, World};

fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(format!("tests/interop/{script}")).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    command
}

/// A script that serves until it is dropped.
struct Official {
    child: Child,
    url: String,
}

impl Official {
    fn start(command: &mut Command) -> Self {
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

fn usdc(units: u64) -> Usdc {
    Usdc::from_base_units(units)
}

/// Sells `/report` through channels; the seller's side is kept in memory.
async fn sell(world: &World, facilitator: &str) -> (String, ChannelManager) {
    let facilitator = FacilitatorClient::new(facilitator.parse().unwrap()).unwrap();
    let authorizer = Authorizer::Own(Arc::new(PrivateKeySigner::random()));
    let store = Arc::new(MemoryChannels::default());
    let channels = Channels::new(store, facilitator.clone(), authorizer, Duration::from_secs(900));
    let offer = channels.offer(world.requirements());
    let layer = PaidLayer::new(Gate::new(facilitator).channels(channels.clone()), Pricing::offers(vec![offer]));
    let half = || async { (Extension(Charge::Percent(5_000)), "half a report") };
    let app = Router::new().route("/report", get(|| async { "the report" })).route("/half", get(half)).layer(layer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/report", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, ChannelManager::new(channels, ClaimPolicy::default()))
}

fn buyer(world: &World, channels: PayerChannels) -> Client<KeyPayer<PrivateKeySigner>> {
    let purse =
        Purse::new(KeyPayer::new(world.payer.clone()), Policy::default().max_per_payment(usdc(20_000)).budget(usdc(150_000)));
    Client::with(purse.channels(channels), |builder| builder).unwrap()
}

async fn official(command: Command) -> Value {
    let mut command = command;
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn we_buy_from_us_with_one_deposit_and_get_the_rest_back() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let (url, manager) = sell(&world, &facilitator.url).await;
    let url: url::Url = url.parse().unwrap();
    let had = world.balance(world.payer.address()).await;
    let (key, folder) = (PrivateKeySigner::random(), world.anvil.directory().join("channels"));
    let records = || PayerChannels::in_folder(key.clone(), &folder).unwrap();
    let client = buyer(&world, records());

    // Requests of one channel wait for each other, and only the first costs a transaction.
    let answers = futures::future::join_all((0..5).map(|_| client.get(url.clone()))).await;
    let receipts: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().paid().unwrap().receipt.clone().unwrap()).collect();
    assert_eq!(receipts.iter().filter(|receipt| !receipt.transaction.is_empty()).count(), 1);
    assert_eq!((client.spent(), world.balance(world.payer.address()).await), (usdc(100_000), usdc(had.base_units() - 100_000)));

    // What was written down is enough to go on with; what another party claimed meanwhile does not matter.
    let claimed = manager.look().await.unwrap();
    assert_eq!((claimed.channels, claimed.amount), (1, 50_000));
    assert_eq!(world.balance(world.payee).await, usdc(50_000));
    let again = buyer(&world, records());
    assert!(again.get(url.clone()).await.unwrap().paid().unwrap().receipt.as_ref().unwrap().transaction.is_empty());
    assert_eq!(again.spent(), Usdc::ZERO);

    // A payer that lost its records is told from where to go on, with its own signature as proof.
    let forgetful = buyer(&world, PayerChannels::in_memory(key.clone()).node(world.provider.clone()));
    let receipt = forgetful.get(url.clone()).await.unwrap().paid().unwrap().receipt.clone().unwrap();
    assert_eq!(receipt.extra.unwrap()["channelState"]["chargedCumulativeAmount"], "70000");
    // And the other records learn it from the next answer.
    let receipt = again.get(url.clone()).await.unwrap().paid().unwrap().receipt.clone().unwrap();
    assert_eq!(receipt.extra.unwrap()["channelState"]["chargedCumulativeAmount"], "80000");

    // A handler may charge less than was signed.
    let receipt = again.get(url.join("half").unwrap()).await.unwrap().paid().unwrap().receipt.clone().unwrap();
    assert_eq!(receipt.extra.unwrap()["channelState"]["chargedCumulativeAmount"], "85000");

    let refund = again.refund(url.clone(), None).await.unwrap();
    assert_eq!(refund.amount.unwrap().to_usdc(), Some(usdc(15_000)));
    assert_eq!(world.balance(world.payer.address()).await, usdc(had.base_units() - 85_000));
    // Asked again, because the answer may have been lost: it is the same refund.
    assert_eq!(again.refund(url.clone(), None).await.unwrap().transaction, refund.transaction);
    assert_eq!(world.balance(world.payer.address()).await, usdc(had.base_units() - 85_000));
    assert_eq!(manager.look().await.unwrap().channels, 0, "the refund claimed what was charged");
    assert_eq!(world.balance(world.payee).await, usdc(85_000));

    // The channel goes on where it was, with a new deposit; more than the budget is never deposited.
    let refused = client.get(url.clone()).await.unwrap_err();
    assert!(matches!(refused, x402::client::PayError::Refused(_)), "{refused:?}");
    let rich = buyer(&world, records());
    assert!(!rich.get(url).await.unwrap().paid().unwrap().receipt.as_ref().unwrap().transaction.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_buys_from_us() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let (url, manager) = sell(&world, &facilitator.url).await;
    let had = world.balance(world.payer.address()).await;
    let mut client = node("channels.mjs");
    client.args(["buy", &url, "3"]).env("FLORIN_KEY", world.payer.to_bytes().to_string());
    let told = official(client).await;
    let answers = told["answers"].as_array().unwrap();
    assert!(answers.iter().all(|answer| answer["status"] == 200 && answer["body"] == "the report"), "{told}");
    assert_eq!(answers.iter().filter(|answer| answer["receipt"]["transaction"] != "").count(), 1, "{told}");
    assert_eq!((&told["refund"]["success"], &told["refund"]["amount"]), (&true.into(), &"70000".into()), "{told}");
    manager.look().await.unwrap();
    assert_eq!(world.balance(world.payee).await, usdc(3 * PRICE.base_units()));
    assert_eq!(world.balance(world.payer.address()).await, usdc(had.base_units() - 3 * PRICE.base_units()));
}

/// The official server with the facilitator at `facilitator`, bought from by our client.
async fn buy_from_the_official_server(world: &World, facilitator: &str) {
    let mut server = node("channels.mjs");
    server.args(["sell", facilitator, &world.payee.to_checksum(None)]);
    let server = Official::start(server.env("FLORIN_KEY", PrivateKeySigner::random().to_bytes().to_string()));
    let had = world.balance(world.payer.address()).await;
    let client = buyer(world, PayerChannels::in_memory(PrivateKeySigner::random()));
    let url: url::Url = format!("{}/report", server.url).parse().unwrap();
    for _ in 0..3 {
        let answer = client.get(url.clone()).await.unwrap();
        assert!(answer.paid().unwrap().receipt.as_ref().unwrap().success);
        assert!(answer.into_response().text().await.unwrap().contains("the official server sold this"));
    }
    let claimed: Value = reqwest::Client::new().post(format!("{}/claim", server.url)).send().await.unwrap().json().await.unwrap();
    assert_eq!(claimed["claims"][0]["vouchers"], 1, "{claimed}");
    assert_eq!(world.balance(world.payee).await, usdc(3 * PRICE.base_units()));
    let refund = client.refund(url, Some(50_000)).await.unwrap();
    assert_eq!(refund.amount.unwrap().to_usdc(), Some(usdc(50_000)));
    assert_eq!(world.balance(world.payer.address()).await, usdc(had.base_units() - 50_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn we_buy_from_the_official_server_with_our_facilitator() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    buy_from_the_official_server(&world, &facilitator.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn we_buy_from_the_official_server_with_the_official_facilitator() {
    let world = World::new().await;
    let mut facilitator = node("channels.mjs");
    facilitator.args(["facilitate", world.anvil.rpc_url().as_str()]);
    let facilitator = Official::start(facilitator.env("FLORIN_KEY", world.signer.to_bytes().to_string()));
    buy_from_the_official_server(&world, &facilitator.url).await;
}
