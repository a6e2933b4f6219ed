//! The flow `escrow` end to end: our server and facilitator, bought from by our client and by the official one, with the money followed on
//! chain.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alloy::{providers::ext::AnvilApi, signers::local::PrivateKeySigner};
use axum::http::StatusCode;
use axum::{Extension, Router, routing::get};
use futures::future::join_all;
use money::Usdc;
use serde_json::Value;
use tokio::{
    sync::Notify,
    task::{block_in_place, spawn_blocking},
};
use url::Url;
use x402::{
    Charge, FacilitatorClient,
    client::{Client, KeyPayer, PayError, Policy, Refusal},
    header,
    server::{Escrow, Gate, MemoryReservations, PaidLayer, Pricing},
};

use crate::{
    escrow::ESCROW,
    harness::{PRICE, World},
    interop::node,
};

/// A shop whose handlers count what they do; `/slow` waits to be told.
struct Shop {
    url: Url,
    worked: Arc<AtomicUsize>,
    go_on: Arc<Notify>,
}

async fn sell(facilitator: &str, world: &World, authorizer: &PrivateKeySigner, store: &MemoryReservations) -> Shop {
    sell_at("127.0.0.1:0", facilitator, world, authorizer, store).await
}

async fn sell_at(
    address: &str,
    facilitator: &str,
    world: &World,
    authorizer: &PrivateKeySigner,
    store: &MemoryReservations,
) -> Shop {
    let client = FacilitatorClient::new(facilitator.parse().unwrap()).unwrap();
    let escrow = Escrow::new(authorizer.clone());
    let offer = escrow.offer(world.requirements(), &client.supported().await.unwrap()).unwrap();
    let gate = Gate::new(client).escrow(escrow).reservations(Arc::new(store.clone()));
    let (worked, go_on) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (count, told) = (worked.clone(), go_on.clone());
    let slow = move |status: StatusCode| {
        let (count, told) = (count.clone(), told.clone());
        move || async move {
            let go_on = told.notified();
            count.fetch_add(1, Ordering::SeqCst);
            go_on.await;
            (status, "slowly")
        }
    };
    let app = Router::new()
        .route("/report", get(|| async { "the report" }))
        .route("/half", get(|| async { (Extension(Charge::Percent(5_000)), "half a report") }))
        .route("/nothing", get(|| async { (Extension(Charge::Percent(0)), "an apology") }))
        .route("/broken", get(|| async { (StatusCode::INTERNAL_SERVER_ERROR, "broken") }))
        .route("/slow", get(slow(StatusCode::OK)))
        .route("/slow-and-broken", get(slow(StatusCode::INTERNAL_SERVER_ERROR)))
        .layer(PaidLayer::new(gate, Pricing::offers(vec![offer])));
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    Shop { url, worked, go_on }
}

impl Shop {
    /// Returns once the slow handlers were called so often.
    async fn until_worked(&self, times: usize) {
        let worked = async {
            while self.worked.load(Ordering::SeqCst) < times {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), worked).await.expect("the handler is called");
    }
}

fn policy() -> Policy {
    Policy::default().allow_escrow(ESCROW)
}

fn client(world: &World, policy: Policy) -> Client<KeyPayer<PrivateKeySigner>> {
    Client::new(KeyPayer::new(world.payer.clone()), policy).unwrap()
}

/// What payer, escrow and payee have.
async fn balances(world: &World) -> [u64; 3] {
    let mut found = [0; 3];
    for (found, account) in found.iter_mut().zip([world.payer.address(), ESCROW.escrow, world.payee]) {
        *found = world.balance(account).await.base_units();
    }
    found
}

fn usdc(units: u64) -> Usdc {
    Usdc::from_base_units(units)
}

#[tokio::test(flavor = "multi_thread")]
async fn we_buy_from_us_and_only_what_was_captured_stays_spent() {
    let world = World::new().await;
    let facilitator = world.serve_escrow(&[]).await;
    let shop = sell(&facilitator.url, &world, &PrivateKeySigner::random(), &MemoryReservations::default()).await;
    let [had, ..] = balances(&world).await;
    let client = client(&world, policy());
    let at = |path: &str| shop.url.join(path).unwrap();

    let answer = client.get(at("report")).await.unwrap();
    let receipt = answer.paid().unwrap().receipt.clone().unwrap();
    assert_eq!((receipt.success, receipt.amount.unwrap().to_usdc()), (true, Some(PRICE)));
    assert_eq!(answer.into_response().text().await.unwrap(), "the report");
    assert_eq!(balances(&world).await, [had - 10_000, 0, 10_000]);

    let half = client.get(at("half")).await.unwrap();
    assert_eq!(half.paid().unwrap().receipt.as_ref().unwrap().amount.unwrap().to_usdc(), Some(usdc(5_000)));
    let nothing = client.get(at("nothing")).await.unwrap();
    assert_eq!(nothing.paid().unwrap().receipt.as_ref().unwrap().amount.unwrap().to_usdc(), Some(Usdc::ZERO));
    assert_eq!(nothing.into_response().text().await.unwrap(), "an apology");

    // A handler that fails costs nothing: the receipt tells that the money is back, and the payment is not sent again.
    let broken = client.get(at("broken")).await.unwrap();
    let receipt = broken.paid().unwrap().receipt.clone().unwrap();
    assert_eq!((receipt.success, receipt.amount.unwrap().to_usdc()), (true, Some(Usdc::ZERO)), "{receipt:?}");
    assert_eq!(broken.into_response().status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(balances(&world).await, [had - 15_000, 0, 15_000]);

    // All that might have been captured counts, until the chain tells what was.
    assert_eq!(client.spent(), usdc(40_000));
    world.provider.anvil_mine(Some(100), None).await.unwrap();
    assert_eq!(client.purse().reclaim(&world.provider).await.unwrap(), usdc(25_000));
    assert_eq!(client.spent(), usdc(15_000));
    assert_eq!(client.purse().reclaim(&world.provider).await.unwrap(), Usdc::ZERO, "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_money_goes_into_an_escrow_that_the_policy_does_not_name() {
    let world = World::new().await;
    let facilitator = world.serve_escrow(&[]).await;
    let shop = sell(&facilitator.url, &world, &PrivateKeySigner::random(), &MemoryReservations::default()).await;
    let url = shop.url.join("report").unwrap();
    let refused = client(&world, Policy::default()).get(url.clone()).await.unwrap_err();
    assert!(matches!(refused, PayError::Refused(Refusal::EscrowNotAllowed(escrow)) if escrow == ESCROW.escrow), "{refused:?}");
    let refused = client(&world, policy().hold_max_secs(60)).get(url).await.unwrap_err();
    assert!(matches!(refused, PayError::Refused(Refusal::HeldTooLong { max: 60, .. })), "{refused:?}");
    assert_eq!(balances(&world).await[1], 0);
}

/// What a request sends that repeats a payment.
async fn send(url: &Url, payment: &str) -> (StatusCode, Option<x402::SettleResponse>) {
    let answer = reqwest::Client::new().get(url.clone()).header(header::PAYMENT_SIGNATURE, payment).send().await.unwrap();
    let receipt = answer.headers().get(header::PAYMENT_RESPONSE).and_then(|value| header::decode(value.as_bytes()).ok());
    (answer.status(), receipt)
}

/// A signed payment for what `url` asks, not sent yet.
async fn signed(world: &World, url: &Url) -> String {
    let answer = reqwest::get(url.clone()).await.unwrap();
    let required: x402::PaymentRequired = header::decode(answer.headers()[header::PAYMENT_REQUIRED].as_bytes()).unwrap();
    header::encode(&world.held_for(required)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_payment_is_worked_for_once_and_given_back_when_its_client_is_gone() {
    let world = World::new().await;
    let facilitator = world.serve_escrow(&[]).await;
    let shop = sell(&facilitator.url, &world, &PrivateKeySigner::random(), &MemoryReservations::default()).await;
    let [had, ..] = balances(&world).await;
    let url = shop.url.join("slow").unwrap();
    let payment = signed(&world, &url).await;

    // Many at once: one of them works, the others are told to come again.
    let release = async {
        shop.until_worked(1).await;
        assert_eq!(balances(&world).await, [had - 10_000, 10_000, 0], "held while the handler works");
        assert_eq!(send(&url, &payment).await.0, StatusCode::SERVICE_UNAVAILABLE);
        shop.go_on.notify_waiters();
    };
    let (answers, ()) = tokio::join!(join_all((0..3).map(|_| send(&url, &payment))), release);
    let served = answers.iter().filter(|(status, _)| *status == StatusCode::OK).count();
    assert_eq!((served, shop.worked.load(Ordering::SeqCst)), (1, 1), "{answers:?}");
    assert_eq!(balances(&world).await, [had - 10_000, 0, 10_000]);
    assert_eq!(send(&url, &payment).await.0, StatusCode::CONFLICT);

    // A client that hangs up gets its money back.
    let payment = signed(&world, &url).await;
    let (gone, gone_payment) = (url.clone(), payment.clone());
    let request = tokio::spawn(async move { send(&gone, &gone_payment).await });
    shop.until_worked(2).await;
    request.abort();
    let back = async {
        while balances(&world).await[0] != had - 10_000 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), back).await.expect("the money comes back");
    // And its payment is used up, as the receipt tells.
    let (status, receipt) = send(&url, &payment).await;
    assert_eq!((status, receipt.unwrap().amount.unwrap().to_usdc()), (StatusCode::CONFLICT, Some(Usdc::ZERO)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_held_when_a_server_died_is_worked_for_by_the_next() {
    let world = World::new().await;
    let facilitator = world.serve_escrow(&[]).await;
    let [had, ..] = balances(&world).await;
    let store = MemoryReservations::default().lease(Duration::from_secs(1));
    let authorizer = PrivateKeySigner::random();
    // What its process would be: all of it ends at once.
    let process = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let shop = block_in_place(|| process.block_on(sell(&facilitator.url, &world, &authorizer, &store)));
    let url = shop.url.join("slow").unwrap();
    let payment = signed(&world, &url).await;
    let asked = async {
        let request = reqwest::Client::new().get(url.clone()).header(header::PAYMENT_SIGNATURE, &payment);
        request.send().await
    };
    let killed = async {
        shop.until_worked(1).await;
        // In a thread of its own: this one, waiting for that, would miss that the request ended.
        spawn_blocking(move || process.shutdown_timeout(Duration::from_secs(5))).await.unwrap();
    };
    let (nothing, ()) = tokio::join!(asked, killed);
    assert!(nothing.is_err(), "{nothing:?}");
    let address = format!("127.0.0.1:{}", url.port().unwrap());
    let shop = sell_at(&address, &facilitator.url, &world, &authorizer, &store).await;
    // Its lease lapses, and the same payment is worked for again with the same deposit.
    let next = async {
        loop {
            let answer = send(&url, &payment).await;
            if answer.0 != StatusCode::SERVICE_UNAVAILABLE {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // However often: on a machine that is busy for longer than the lease, work is done once more.
    let go_on = async {
        loop {
            shop.go_on.notify_waiters();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (status, _) = tokio::select! { answer = next => answer, () = go_on => unreachable!("it does not end") };
    assert_eq!(status, StatusCode::OK);
    assert_eq!(balances(&world).await, [had - 10_000, 0, 10_000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_chain_does_not_move_work_is_kept_and_the_client_is_told_where_its_money_is() {
    let world = World::new().await;
    let facilitator = world.serve_escrow(&["--confirm-timeout-seconds", "1"]).await;
    let [had, ..] = balances(&world).await;
    let shop = sell(&facilitator.url, &world, &PrivateKeySigner::random(), &MemoryReservations::default()).await;
    let [good, bad] = ["slow", "slow-and-broken"].map(|path| shop.url.join(path).unwrap());
    let (for_good, for_bad) = (signed(&world, &good).await, signed(&world, &bad).await);
    let stop = async {
        shop.until_worked(2).await;
        world.provider.anvil_set_auto_mine(false).await.unwrap();
        shop.go_on.notify_waiters();
    };
    let (kept, broken, ()) = tokio::join!(send(&good, &for_good), send(&bad, &for_bad), stop);
    assert_eq!(kept, (StatusCode::SERVICE_UNAVAILABLE, None), "nobody is asked to pay again");
    let (status, receipt) = (broken.0, broken.1.unwrap());
    assert_eq!((status, receipt.success, receipt.transaction.as_str()), (StatusCode::INTERNAL_SERVER_ERROR, false, ""));
    let extra = receipt.extra.unwrap();
    assert_eq!((extra["depositAmount"].as_str(), extra["depositTransaction"].as_str().unwrap().len()), (Some("10000"), 66));
    assert_eq!(balances(&world).await, [had - 20_000, 20_000, 0]);

    world.provider.anvil_set_auto_mine(true).await.unwrap();
    world.provider.anvil_mine(Some(1), None).await.unwrap();
    assert_eq!(send(&good, &for_good).await.0, StatusCode::OK);
    assert_eq!(shop.worked.load(Ordering::SeqCst), 2, "what was kept is delivered");
    assert_eq!(balances(&world).await, [had - 10_000, 0, 10_000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_buys_from_us() {
    let world = World::new().await;
    let facilitator = world.serve_escrow(&[]).await;
    let shop = sell(&facilitator.url, &world, &PrivateKeySigner::random(), &MemoryReservations::default()).await;
    let [had, ..] = balances(&world).await;
    let mut command = node("escrow.mjs");
    command.args(["report", "half", "broken"].map(|path| shop.url.join(path).unwrap().to_string()));
    command.env("FLORIN_KEY", world.payer.to_bytes().to_string());
    let output = spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |index: usize| (told[index]["status"].clone(), told[index]["receipt"]["amount"].clone());
    assert_eq!([of(0), of(1)], [(200.into(), "10000".into()), (200.into(), "5000".into())], "{told}");
    assert_eq!(told[0]["body"], "the report");
    assert_eq!(of(2), (500.into(), "0".into()), "{told}");
    assert_eq!(balances(&world).await, [had - 15_000, 0, 15_000]);
}
