//! Channels end to end, every party ours or an official one, with the money followed on chain.

use std::{process::Command, sync::Arc, time::Duration};

use alloy::signers::local::PrivateKeySigner;
use axum::{Extension, Router, body::Body, routing::get};
use money::Usdc;
use serde_json::Value;
use x402::{
    Charge, FacilitatorClient,
    client::{Channels as PayerChannels, Client, KeyPayer, Policy, Purse},
    server::{Authorizer, ChannelManager, Channels, ClaimPolicy, Gate, MemoryChannels, PaidLayer, Pricing, Streamed},
};

use crate::{
    harness::{PRICE, World},
    interop::{Official, node, python},
};

fn usdc(units: u64) -> Usdc {
    Usdc::from_base_units(units)
}

/// Sells `/report` through channels; the seller's side is kept in memory.
async fn sell(world: &World, facilitator: &str) -> (String, ChannelManager) {
    sell_by(world, facilitator, Authorizer::Own(Arc::new(PrivateKeySigner::random()))).await
}

async fn sell_by(world: &World, facilitator: &str, authorizer: Authorizer) -> (String, ChannelManager) {
    let facilitator = FacilitatorClient::new(facilitator.parse().unwrap()).unwrap();
    let store = Arc::new(MemoryChannels::default());
    let channels = Channels::new(store, facilitator.clone(), authorizer, Duration::from_secs(900));
    let offer = channels.offer(world.requirements());
    let layer = PaidLayer::new(Gate::new(facilitator).channels(channels.clone()), Pricing::offers(vec![offer]));
    let half = || async { (Extension(Charge::Percent(5_000)), "half a report") };
    // More than is held back until it is paid for.
    let mebibytes = || futures::stream::iter((0..9).map(|_| Ok::<_, std::convert::Infallible>(vec![7_u8; 1 << 20])));
    let long = move || async move { (Extension(Streamed), Body::from_stream(mebibytes())) };
    let app = Router::new().route("/report", get(|| async { "the report" })).route("/half", get(half)).route("/long", get(long));
    let app = app.layer(layer);
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

    // What streams is charged before it does, by voucher and so without a transaction.
    let long = again.get(url.join("long").unwrap()).await.unwrap();
    let receipt = long.paid().unwrap().receipt.clone().unwrap();
    assert_eq!(
        (&receipt.transaction[..], &receipt.extra.unwrap()["channelState"]["chargedCumulativeAmount"]),
        ("", &"95000".into())
    );
    assert_eq!(long.into_response().bytes().await.unwrap().len(), 9 << 20);

    let refund = again.refund(url.clone(), None).await.unwrap();
    assert_eq!(refund.amount.unwrap().to_usdc(), Some(usdc(5_000)));
    assert_eq!(world.balance(world.payer.address()).await, usdc(had.base_units() - 95_000));
    // Asked again, because the answer may have been lost: it is the same refund.
    assert_eq!(again.refund(url.clone(), None).await.unwrap().transaction, refund.transaction);
    assert_eq!(world.balance(world.payer.address()).await, usdc(had.base_units() - 95_000));
    assert_eq!(manager.look().await.unwrap().channels, 0, "the refund claimed what was charged");
    assert_eq!(world.balance(world.payee).await, usdc(95_000));

    // The channel goes on where it was, with a new deposit; more than the budget is never deposited.
    let refused = client.get(url.clone()).await.unwrap_err();
    assert!(matches!(refused, x402::client::PayError::Refused(_)), "{refused:?}");
    let rich = buyer(&world, records());
    assert!(!rich.get(url).await.unwrap().paid().unwrap().receipt.as_ref().unwrap().transaction.is_empty());
}

/// The facilitator signs claims that are worth its gas; a seller who leaves that to it waits for the next charge, and loses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_little_to_be_claimed_is_claimed_with_what_is_charged_next() {
    let world = World::new().await;
    let key = PrivateKeySigner::random();
    let facilitator = world.serve(&["--channel-authorizer-key", &format!("{:x}", key.to_bytes())]).await;
    let (url, manager) = sell_by(&world, &facilitator.url, Authorizer::Facilitator(key.address())).await;
    let half = url.parse::<url::Url>().unwrap().join("half").unwrap();
    let client = buyer(&world, PayerChannels::in_memory(PrivateKeySigner::random()));
    for (channels, amount) in [(0, 0), (1, 10_000)] {
        assert!(client.get(half.clone()).await.unwrap().paid().unwrap().receipt.as_ref().unwrap().success);
        let claimed = manager.look().await.unwrap();
        assert_eq!((claimed.channels, claimed.amount), (channels, amount), "{claimed:?}");
    }
    assert_eq!(world.balance(world.payee).await, usdc(10_000));
}

/// Who buys and who sells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Party {
    Ours,
    TypeScript,
    Python,
}

use Party::{Ours, Python, TypeScript};

impl Party {
    fn script(self, arguments: [&str; 3], key: &PrivateKeySigner) -> Command {
        let mut command = match self {
            TypeScript => node("channels.mjs"),
            _ => python("python"),
        };
        if self == Python {
            command.arg("tests/interop/channels.py");
        }
        command.args(arguments).env("FLORIN_KEY", key.to_bytes().to_string());
        command
    }

    /// Buys three times, then has what is left of the deposit given back.
    async fn buy(self, world: &World, url: &str) {
        if self == Ours {
            let client = buyer(world, PayerChannels::in_memory(PrivateKeySigner::random()));
            let url: url::Url = url.parse().unwrap();
            for _ in 0..3 {
                let answer = client.get(url.clone()).await.unwrap();
                assert!(answer.paid().unwrap().receipt.as_ref().unwrap().success);
            }
            assert_eq!(client.refund(url, None).await.unwrap().amount.unwrap().to_usdc(), Some(usdc(70_000)));
            return;
        }
        // Both sign with one key, so the second goes on with a channel it has no record of.
        let mut script = self.script(["buy", url, "3"], &world.payer);
        script.env("FLORIN_RPC_URL", world.anvil.rpc_url().as_str());
        let told = official(script).await;
        let answers = told["answers"].as_array().unwrap();
        assert!(answers.iter().all(|answer| answer["status"] == 200), "{told}");
        assert_eq!(answers.iter().filter(|answer| answer["receipt"]["transaction"] != "").count(), 1, "{told}");
        assert_eq!(told["refund"]["success"], true, "{told}");
    }
}

/// Every buyer with every seller through a facilitator: one deposit, three purchases, the rest given back, the seller paid.
async fn everybody_trades(world: &World, facilitator: &str) {
    let (ours, manager) = sell(world, facilitator).await;
    let payee = world.payee.to_checksum(None);
    let sold_by =
        async |party: Party| Official::start(party.script(["sell", facilitator, &payee], &PrivateKeySigner::random())).await;
    let (express, fastapi) = (sold_by(TypeScript).await, sold_by(Python).await);
    for (seller, shop) in [(Ours, None), (TypeScript, Some(&express)), (Python, Some(&fastapi))] {
        let url = shop.map_or(ours.clone(), |shop| format!("{}/report", shop.urls[0]));
        for buyer in [Ours, TypeScript, Python] {
            eprintln!("{buyer:?} buys from {seller:?}");
            let had = [world.balance(world.payer.address()).await, world.balance(world.payee).await];
            buyer.buy(world, &url).await;
            match shop {
                None => drop(manager.look().await.unwrap()),
                Some(shop) => {
                    let claimed = reqwest::Client::new().post(format!("{}/claim", shop.urls[0])).send().await.unwrap();
                    assert!(claimed.status().is_success(), "{}", claimed.text().await.unwrap());
                }
            }
            let has = [world.balance(world.payer.address()).await, world.balance(world.payee).await];
            let price = 3 * PRICE.base_units();
            assert_eq!(has.map(Usdc::base_units), [had[0].base_units() - price, had[1].base_units() + price]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_trades_through_our_facilitator() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    everybody_trades(&world, &facilitator.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_trades_through_the_official_facilitator() {
    let world = World::new().await;
    let mut facilitator = node("channels.mjs");
    facilitator.args(["facilitate", world.anvil.rpc_url().as_str()]);
    facilitator.env("FLORIN_KEY", world.signer.to_bytes().to_string());
    let facilitator = Official::start(facilitator).await;
    everybody_trades(&world, &facilitator.urls[0]).await;
}
