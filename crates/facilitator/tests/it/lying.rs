//! What a node that does not do its work, or says what is not so, does to payments: nothing but time is lost.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use alloy::{
    primitives::{Address, Bytes, U256, hex, keccak256},
    providers::{Provider, ext::AnvilApi},
    rpc::types::TransactionRequest,
    signers::local::PrivateKeySigner,
};
use axum::{Json, Router, extract::State, routing::post};
use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use x402::{Eip3009Authorization, ExactPayload, PaymentRequest, PaymentRequirements, Reason, SettleResponse};

use crate::harness::{Facilitator, PRICE, World};

/// Longer than the facilitator believes a node to be only slow, in every way it has to.
const LONG: Duration = Duration::from_secs(7);

/// What the node does instead of its work.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lie {
    /// Takes so many transactions and sends none of them on.
    LosesTransactions(usize),
    /// Knows of no receipt, for long.
    HidesReceipts,
    /// Shows the chain as it is now, for long.
    IsBehind,
    /// Knows of no logs, for long.
    HidesLogs,
    /// Says of a third of all questions that it failed, when it did not. Without a pattern, which would hit the same question again and again.
    FailsOften,
    /// Does what this method asks, and does not answer the first time.
    FallsSilent(&'static str),
    /// Answers so many questions of this method with an error.
    Refuses(&'static str, usize),
}

/// A lie that is told.
#[derive(Debug)]
struct Told {
    lie: Lie,
    since: Instant,
    head: u64,
    calls: usize,
}

/// Stands between the facilitator and the node.
#[derive(Clone)]
pub(crate) struct Relay {
    node: String,
    client: reqwest::Client,
    told: Arc<Mutex<Option<Told>>>,
    requests: Arc<AtomicUsize>,
}

impl Relay {
    /// With the URL under which it is asked.
    pub(crate) async fn start(world: &World) -> (Self, String) {
        let node = world.anvil.rpc_url().to_string();
        let relay = Self { node, client: reqwest::Client::new(), told: Arc::default(), requests: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/", post(Self::answer)).with_state(relay.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (relay, url)
    }

    pub(crate) async fn lies(&self, world: &World, lie: Lie) {
        let head = world.provider.get_block_number().await.unwrap();
        *self.told.lock().unwrap() = Some(Told { lie, since: Instant::now(), head, calls: 0 });
    }

    fn tells_the_truth(&self) {
        *self.told.lock().unwrap() = None;
    }

    /// Requests so far, each of one call or many.
    pub(crate) fn asked(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    async fn answer(State(relay): State<Self>, Json(request): Json<Value>) -> Json<Value> {
        relay.requests.fetch_add(1, Ordering::SeqCst);
        Json(match request {
            Value::Array(calls) => join_all(calls.into_iter().map(|call| relay.one(call))).await.into(),
            call => relay.one(call).await,
        })
    }

    async fn one(&self, mut call: Value) -> Value {
        let (id, method) = (call["id"].clone(), call["method"].as_str().unwrap().to_owned());
        let told = |result: Value| json!({ "jsonrpc": "2.0", "id": id, "result": result });
        let (lie, head) = self.now(&method).map_or((None, String::new()), |(lie, head)| (Some(lie), format!("{head:#x}")));
        match (lie, method.as_str()) {
            (Some(Lie::LosesTransactions(_)), _) => {
                return told(json!(keccak256(hex::decode(call["params"][0].as_str().unwrap()).unwrap())));
            }
            (Some(Lie::HidesReceipts), _) => return told(Value::Null),
            (Some(Lie::IsBehind), "eth_blockNumber") => return told(json!(head)),
            (Some(Lie::IsBehind), "eth_getTransactionCount" | "eth_call" | "eth_getCode") => call["params"][1] = json!(head),
            (Some(Lie::IsBehind), "eth_getTransactionReceipt" | "eth_getTransactionByHash") => return told(Value::Null),
            (Some(Lie::IsBehind | Lie::HidesLogs), "eth_getLogs") => return told(json!([])),
            _ => {}
        }
        let answer = self.client.post(&self.node).json(&call).send().await.unwrap().json().await.unwrap();
        match lie {
            Some(Lie::FailsOften | Lie::Refuses(..)) => {
                json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32000, "message": "out of luck" } })
            }
            Some(Lie::FallsSilent(_)) => std::future::pending().await,
            _ => answer,
        }
    }

    /// The lie that is told to this call, if one is, and the block that was the newest when it began.
    fn now(&self, method: &str) -> Option<(Lie, u64)> {
        let mut told = self.told.lock().unwrap();
        let Told { lie, since, head, calls } = told.as_mut()?;
        let is_meant = match *lie {
            Lie::LosesTransactions(_) => method == "eth_sendRawTransaction",
            Lie::HidesReceipts => method == "eth_getTransactionReceipt",
            Lie::HidesLogs => method == "eth_getLogs",
            Lie::FallsSilent(named) | Lie::Refuses(named, _) => method == named,
            Lie::IsBehind | Lie::FailsOften => true,
        };
        *calls += usize::from(is_meant);
        let is_told = match *lie {
            Lie::LosesTransactions(times) | Lie::Refuses(_, times) => *calls <= times,
            Lie::HidesReceipts | Lie::HidesLogs | Lie::IsBehind => since.elapsed() < LONG,
            Lie::FailsOften => keccak256(calls.to_be_bytes())[0].is_multiple_of(3),
            Lie::FallsSilent(_) => *calls == 1,
        };
        (is_meant && is_told).then_some((*lie, *head))
    }
}

/// As a client does: asks again with the same payment until the outcome is known.
async fn settle(facilitator: &Facilitator, payment: &PaymentRequest) -> SettleResponse {
    let mut last = String::new();
    let known = async {
        loop {
            let (status, body) = facilitator.post("settle", payment).await;
            last = body.to_string();
            if status == StatusCode::OK {
                let answer: SettleResponse = serde_json::from_value(body).unwrap();
                if !answer.is_pending() {
                    return answer;
                }
            } else {
                assert!(status.is_server_error(), "{status} {body}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let known = tokio::time::timeout(Duration::from_secs(60), known).await;
    known.unwrap_or_else(|_| panic!("the outcome is still not known: {last}"))
}

#[tokio::test]
async fn whatever_a_node_says_a_payment_settles_once_and_is_called_settled() {
    let world = World::new().await;
    let (relay, url) = Relay::start(&world).await;
    let facilitator = Facilitator::start(world.config_at(&url, &[])).await;
    let lies = [
        Lie::LosesTransactions(2),
        Lie::HidesReceipts,
        Lie::IsBehind,
        Lie::FailsOften,
        Lie::FallsSilent("eth_sendRawTransaction"),
        Lie::FallsSilent("eth_getTransactionReceipt"),
    ];
    for (paid, lie) in (1..).zip(lies) {
        relay.lies(&world, lie).await;
        let payment = world.payment();
        let answer = settle(&facilitator, &payment).await;
        assert!(answer.success, "{lie:?}: {answer:?}");
        let receipt = world.provider.get_transaction_receipt(answer.transaction_hash().unwrap()).await.unwrap();
        assert!(receipt.unwrap().status(), "{lie:?}: what is answered is what paid");
        assert_eq!(settle(&facilitator, &payment).await.transaction, answer.transaction, "{lie:?}");
        assert_eq!(world.balance(world.payee).await, PRICE.checked_mul(paid).unwrap(), "{lie:?}");
    }
}

#[tokio::test]
async fn what_a_node_showed_and_then_forgets_stays_settled() {
    let world = World::new().await;
    let (relay, url) = Relay::start(&world).await;
    let facilitator = Facilitator::start(world.config_at(&url, &[])).await;
    let payments: Vec<PaymentRequest> = (0..20).map(|_| world.payment()).collect();
    relay.lies(&world, Lie::FailsOften).await;
    let ask = || join_all(payments.iter().map(|payment| settle(&facilitator, payment)));
    let answers = ask().await;
    assert!(answers.iter().all(|answer| answer.success), "{answers:?}");
    // As if all of them had never been.
    if let Some(told) = relay.told.lock().unwrap().as_mut() {
        (told.lie, told.since) = (Lie::IsBehind, Instant::now());
    }
    assert_eq!(ask().await, answers);
    assert_eq!(world.balance(world.payee).await, PRICE.checked_mul(20).unwrap());
}

/// Somebody else used the payment while the facilitator's own transaction was on its way, and the node does not show by which.
#[tokio::test]
async fn a_payment_is_not_called_failed_while_a_node_hides_who_settled_it() {
    let world = World::new().await;
    let (relay, url) = Relay::start(&world).await;
    let facilitator = Facilitator::start(world.config_at(&url, &["--confirm-timeout-seconds", "2"])).await;
    let payment = world.payment();
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let first = async {
        world.until("SELECT count(*) FROM facilitator.attempts", |count| count == 1).await;
        let pool = sqlx::PgPool::connect(&world.database.url).await.unwrap();
        let (target, input): (Vec<u8>, Vec<u8>) =
            sqlx::query_as("SELECT target, input FROM facilitator.settlements").fetch_one(&pool).await.unwrap();
        let funded = world.provider.get_accounts().await.unwrap()[0];
        let theirs = TransactionRequest::default().from(funded).to(Address::from_slice(&target)).input(Bytes::from(input).into());
        let theirs = TransactionRequest { max_priority_fee_per_gas: Some(50_000_000_000), ..theirs.gas_limit(200_000) };
        let theirs = world.provider.send_transaction(theirs.max_fee_per_gas(100_000_000_000)).await.unwrap();
        relay.lies(&world, Lie::HidesLogs).await;
        // Deep enough for an end, had there been time to ask more than once.
        world.provider.anvil_mine(Some(20), None).await.unwrap();
        world.provider.anvil_set_auto_mine(true).await.unwrap();
        *theirs.tx_hash()
    };
    let (answer, theirs) = tokio::join!(facilitator.post("settle", &payment), first);
    let told: SettleResponse = serde_json::from_value(answer.1).unwrap();
    assert!(told.is_pending(), "not known yet: {told:?}");
    let answer = settle(&facilitator, &payment).await;
    assert_eq!((answer.success, answer.transaction_hash()), (true, Some(theirs)), "{answer:?}");
    assert_eq!(world.balance(world.payee).await, PRICE);
}

/// The chain burns a nonce once, so what is sent again fails, at our cost; and its receipt is hidden, too.
#[tokio::test]
async fn a_payment_whose_receipt_stays_hidden_is_sent_once() {
    let world = World::new().await;
    world.approve_permit2(U256::MAX).await;
    let (relay, url) = Relay::start(&world).await;
    let facilitator = Facilitator::start(world.config_at(&url, &["--give-up-seconds", "3"])).await;
    let sent = async || world.provider.get_transaction_count(world.signer.address()).await.unwrap();
    for (paid, payment) in (1..).zip([world.payment(), world.permit2_payment()]) {
        relay.lies(&world, Lie::HidesReceipts).await;
        let answer = tokio::select! {
            answer = facilitator.settle(&payment) => answer,
            () = world.mine_on() => unreachable!(),
        };
        assert_eq!(answer.error_reason, Some(Reason::UnexpectedSettleError), "or its client would pay again: {answer:?}");
        relay.tells_the_truth();
        let found = settle(&facilitator, &payment).await;
        assert!(found.success, "{found:?}");
        assert_eq!((sent().await, world.balance(world.payee).await), (paid, PRICE.checked_mul(paid).unwrap()));
    }
    // The same for one that was settled, when it is looked at for the last time.
    let settled = facilitator.settle(&world.payment()).await;
    assert!(settled.success, "{settled:?}");
    relay.lies(&world, Lie::HidesReceipts).await;
    let is_final = "SELECT count(*) FROM facilitator.settlements WHERE is_final AND state = 'settled'";
    tokio::select! {
        _ = world.until(is_final, |settled| settled == 1) => {}
        () = world.mine_on() => unreachable!(),
    }
    assert_eq!(sent().await, 3);
}

/// A payer who has the price once, and a payment of it that never reaches the node: only the facilitator knows of it.
async fn with_one_under_way() -> (World, Relay, Facilitator, PaymentRequest) {
    let mut world = World::new().await;
    world.payer = PrivateKeySigner::random();
    contracts::dev::mint(&world.provider, world.payer.address(), PRICE).await.unwrap();
    world.approve_permit2(U256::MAX).await;
    let (relay, url) = Relay::start(&world).await;
    let facilitator = Facilitator::start(world.config_at(&url, &[])).await;
    relay.lies(&world, Lie::LosesTransactions(usize::MAX)).await;
    let payment = world.payment();
    (world, relay, facilitator, payment)
}

fn signed_in(payment: &PaymentRequest) -> Eip3009Authorization {
    let Ok(ExactPayload::Eip3009(payload)) = payment.payment_payload.exact() else { panic!("not by EIP-3009") };
    payload.authorization
}

#[tokio::test]
async fn what_is_under_way_counts_against_all_but_itself() {
    let (world, relay, facilitator, first) = with_one_under_way().await;
    let others = [world.payment(), world.permit2_payment(), world.upto(facilitator.upto_signer().await, PRICE)];
    let meanwhile = async {
        world.until("SELECT count(*) FROM facilitator.attempts", |count| count == 1).await;
        for other in &others {
            assert_eq!(facilitator.flaw(other).await, Some(Reason::InsufficientBalance));
        }
        assert_eq!(facilitator.flaw(&first).await, None, "or its client would sign and pay again");
        let elsewhere = Eip3009Authorization { to: world.signer.address(), ..signed_in(&first) };
        let asked = PaymentRequirements { pay_to: elsewhere.to.to_string(), ..world.requirements() };
        let twice = world.signed_for(asked, elsewhere);
        assert_eq!(
            facilitator.flaw(&twice).await,
            Some(Reason::NonceAlreadyUsed),
            "or a seller would work for what never settles"
        );
        relay.tells_the_truth();
    };
    let (first, ()) = tokio::join!(facilitator.settle(&first), meanwhile);
    assert!(first.success, "{first:?}");
}

/// As one of the scheme `exact` does: the work for it is done.
#[tokio::test]
async fn what_is_charged_of_a_maximum_waits_for_its_payers_other_payments() {
    let (world, relay, facilitator, first) = with_one_under_way().await;
    let second = world.upto(facilitator.upto_signer().await, PRICE);
    let meanwhile = async {
        world.until("SELECT count(*) FROM facilitator.attempts", |count| count == 1).await;
        let mut settling = std::pin::pin!(facilitator.post("settle", &second));
        let early = tokio::time::timeout(Duration::from_secs(1), &mut settling).await;
        assert!(early.is_err(), "it is told to come again: {early:?}");
        contracts::dev::mint(&world.provider, world.payer.address(), PRICE).await.unwrap();
        relay.tells_the_truth();
        settling.await
    };
    let (first, (status, second)) = tokio::join!(facilitator.settle(&first), meanwhile);
    assert!(first.success, "{first:?}");
    assert!(status == StatusCode::OK && second["success"] == true, "{second}");
}

/// Each of them waits for the one before; were all of them let wait, there would be no room for anybody else.
#[tokio::test]
async fn few_payments_of_one_payer_wait_for_its_others() {
    let (world, relay, facilitator, first) = with_one_under_way().await;
    let crowd = async {
        world.until("SELECT count(*) FROM facilitator.attempts", |count| count == 1).await;
        let payments: Vec<PaymentRequest> = (0..30).map(|_| world.payment()).collect();
        let mut answers: FuturesUnordered<_> = payments.iter().map(|payment| facilitator.post("settle", payment)).collect();
        let turned_away = async {
            for _ in 0..22 {
                let (status, body) = answers.next().await.unwrap();
                assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
                assert!(body["error"].as_str().unwrap().contains("balance"), "{body}");
            }
        };
        tokio::time::timeout(Duration::from_secs(20), turned_away).await.expect("all but eight are told to come again");
        relay.tells_the_truth();
        answers.map(|(_, body)| body["errorReason"].clone()).collect::<Vec<_>>().await
    };
    let (first, others) = tokio::join!(facilitator.settle(&first), crowd);
    assert!(first.success, "{first:?}");
    assert_eq!(others, vec![Reason::InsufficientBalance.as_str(); 8]);
}
