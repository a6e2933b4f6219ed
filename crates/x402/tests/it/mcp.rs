//! Paid tools: one payment serves once, a tool that fails costs nothing, and a call is paid within the policy.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use alloy::signers::local::PrivateKeySigner;
use serde_json::json;
use url::Url;
use x402::{
    JsonMap, Reason,
    client::{Called, KeyPayer, PayError, Policy, Purse, Refusal},
    mcp::{PAYMENT, PAYMENT_RESPONSE, PaidTool, call_tool},
};

use crate::support::{Ledger, offer};

pub(crate) fn purse(policy: Policy) -> Purse<KeyPayer<PrivateKeySigner>> {
    Purse::new(KeyPayer::new(PrivateKeySigner::random()), policy)
}

struct Shop {
    tool: PaidTool,
    ledger: Ledger,
    /// Params of every call that reached the server.
    calls: Mutex<Vec<JsonMap>>,
    worked: Arc<AtomicUsize>,
}

#[derive(Debug, thiserror::Error)]
#[error("the pipe broke")]
struct Broken;

impl Shop {
    async fn open() -> Self {
        let ledger = Ledger::default();
        let tool = PaidTool::new(ledger.gate().await, "weather", vec![offer("0.05")]);
        Self { tool, ledger, calls: Mutex::default(), worked: Arc::default() }
    }

    async fn serve(&self, params: JsonMap) -> JsonMap {
        self.calls.lock().unwrap().push(params.clone());
        let (worked, fails) = (self.worked.clone(), params["arguments"]["city"] == "nowhere");
        let work = || async move {
            worked.fetch_add(1, Ordering::SeqCst);
            let text = if fails { "no such city" } else { "sunny" };
            map(json!({ "content": [{ "type": "text", "text": text }], "isError": fails }))
        };
        self.tool.call(&params, work).await
    }

    async fn buy(&self, purse: &Purse<KeyPayer<PrivateKeySigner>>, city: &str) -> Result<Called<JsonMap>, PayError> {
        let server: Url = "mcp://shop/".parse().unwrap();
        let call = |params| async { Ok::<_, Broken>(self.serve(params).await) };
        call_tool(purse, &server, params(city), call).await
    }

    fn paid_calls(&self) -> Vec<JsonMap> {
        self.calls.lock().unwrap().iter().filter(|params| params["_meta"].get(PAYMENT).is_some()).cloned().collect()
    }
}

fn map(value: serde_json::Value) -> JsonMap {
    value.as_object().unwrap().clone()
}

fn params(city: &str) -> JsonMap {
    map(json!({ "name": "weather", "arguments": { "city": city }, "_meta": { "progressToken": 7 } }))
}

#[tokio::test]
async fn a_tool_is_paid_for_and_its_result_carries_the_receipt() {
    let (shop, purse) = (Shop::open().await, purse(Policy::default()));
    let called = shop.buy(&purse, "here").await.unwrap();
    assert_eq!(called.value["content"][0]["text"], "sunny");
    assert!(called.receipt.unwrap().success && called.value["_meta"][PAYMENT_RESPONSE]["success"] == true);
    assert_eq!((shop.ledger.settled(), purse.spent()), (1, "0.05".parse().unwrap()));
    assert_eq!(shop.paid_calls()[0]["_meta"]["progressToken"], 7, "what the caller put into _meta stays");
}

#[tokio::test]
async fn a_tool_that_fails_costs_nothing_and_the_payment_stays_usable_for_the_same_call() {
    let (shop, purse) = (Shop::open().await, purse(Policy::default()));
    for _ in 0..2 {
        let called = shop.buy(&purse, "nowhere").await.unwrap();
        assert_eq!((&called.value["isError"], called.receipt), (&true.into(), None));
    }
    let paid = shop.paid_calls();
    assert_eq!((shop.ledger.settle_calls(), paid.len(), &paid[0]), (0, 2, &paid[1]));
}

#[tokio::test]
async fn one_proof_serves_once() {
    let (shop, purse) = (Shop::open().await, purse(Policy::default()));
    shop.buy(&purse, "here").await.unwrap();
    let replayed = shop.serve(shop.paid_calls()[0].clone()).await;
    assert_eq!(replayed["isError"], true);
    assert_eq!((shop.worked.load(Ordering::SeqCst), shop.ledger.settle_calls()), (1, 1));
}

#[tokio::test]
async fn after_an_unknown_outcome_the_same_call_gets_the_kept_result() {
    let (shop, purse) = (Shop::open().await, purse(Policy::default()));
    shop.ledger.lose_answers(1);
    assert_eq!(shop.buy(&purse, "here").await.unwrap().value["isError"], true);
    assert_eq!(shop.buy(&purse, "here").await.unwrap().value["content"][0]["text"], "sunny");
    assert_eq!((shop.worked.load(Ordering::SeqCst), shop.ledger.settled(), purse.spent()), (1, 1, "0.05".parse().unwrap()));
}

#[tokio::test]
async fn a_kept_result_is_for_nobody_who_calls_with_other_arguments() {
    let (shop, purse) = (Shop::open().await, purse(Policy::default()));
    shop.ledger.lose_answers(1);
    shop.buy(&purse, "here").await.unwrap();
    let mut elsewhere = shop.paid_calls()[0].clone();
    elsewhere["arguments"]["city"] = "there".into();
    let refused = shop.serve(elsewhere).await;
    assert_eq!(refused["isError"], true);
    assert_ne!(refused["content"][0]["text"], "sunny");
    assert_eq!(shop.buy(&purse, "here").await.unwrap().value["content"][0]["text"], "sunny");
    assert_eq!(shop.worked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_refused_settlement_gives_nothing_away() {
    let (shop, purse) = (Shop::open().await, purse(Policy::default()));
    shop.ledger.refuse(Reason::InsufficientBalance);
    let refused = shop.buy(&purse, "here").await;
    assert!(matches!(refused, Err(PayError::PaymentRejected { reason: Reason::InsufficientBalance, .. })), "{refused:?}");
}

#[tokio::test]
async fn the_policy_judges_a_tool_like_any_seller() {
    let shop = Shop::open().await;
    let refused = shop.buy(&purse(Policy::default().deny_host("shop")), "here").await;
    assert!(matches!(refused, Err(PayError::Refused(Refusal::HostNotAllowed(host))) if host == "shop"));
    let refused = shop.buy(&purse(Policy::default().max_per_payment("0.01".parse().unwrap())), "here").await;
    assert!(matches!(refused, Err(PayError::Refused(Refusal::TooExpensive { .. }))));
    assert!(shop.paid_calls().is_empty());
}

#[tokio::test]
async fn a_transport_that_breaks_after_the_payment_leaves_it_for_the_same_call() {
    let (shop, purse) = (Shop::open().await, purse(Policy::default()));
    let server: Url = "mcp://shop/".parse().unwrap();
    let breaking = |params: JsonMap| async {
        let paid = params["_meta"].get(PAYMENT).is_some();
        let result = shop.serve(params).await;
        if paid { Err(Broken) } else { Ok(result) }
    };
    let broken = call_tool(&purse, &server, params("here"), breaking).await;
    assert!(matches!(broken, Err(PayError::Indeterminate { .. })), "{broken:?}");
    let again = shop.buy(&purse, "here").await.unwrap();
    assert!(again.receipt.is_some_and(|receipt| receipt.success), "the receipt of the first");
    let paid = shop.paid_calls();
    assert_eq!((paid[0]["_meta"][PAYMENT].clone(), shop.ledger.settled()), (paid[1]["_meta"][PAYMENT].clone(), 1));
}

#[tokio::test]
async fn a_payment_that_is_not_one_is_an_error_result() {
    let shop = Shop::open().await;
    for junk in [json!("text"), json!({}), json!({ "x402Version": 1 }), json!([[[]]])] {
        let mut params = params("here");
        params["_meta"][PAYMENT] = junk;
        assert_eq!(shop.serve(params).await["isError"], true);
    }
    assert_eq!(shop.worked.load(Ordering::SeqCst), 0);
}
