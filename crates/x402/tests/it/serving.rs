//! The server's promises: one proof serves once, a failed handler costs nothing, an unknown outcome is never a 402.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use alloy::{primitives::B256, signers::local::PrivateKeySigner};
use axum::{Extension, Router, response::IntoResponse, routing::get};
use futures::future::join_all;
use http::StatusCode;
use reqwest::Response;
use url::Url;
use x402::{
    Eip3009Authorization, Eip3009Payload, ExactPayload, Network, PaymentPayload, PaymentRequired, Reason, SettleResponse,
    TokenAmount, V2,
    client::Policy,
    header,
    server::{PaidLayer, PaymentInfo, Pricing, Streamed},
};

use crate::support::{Ledger, SELLER, client, listen, offer};

struct Shop {
    ledger: Ledger,
    served: Arc<AtomicUsize>,
    url: Url,
}

async fn shop() -> Shop {
    let (ledger, served) = (Ledger::default(), Arc::new(AtomicUsize::new(0)));
    let pricing = Pricing::usdc(&Network::evm(84532), "0.05".parse().unwrap(), SELLER).unwrap();
    let counter = served.clone();
    let report = move |Extension(info): Extension<PaymentInfo>| async move {
        counter.fetch_add(1, Ordering::SeqCst);
        ([("cache-control", "public, max-age=60")], format!("for {}", info.payer)).into_response()
    };
    let broken = || async { (StatusCode::IM_A_TEAPOT, "no").into_response() };
    let stream = |Extension(info): Extension<PaymentInfo>| async move {
        (Extension(Streamed), if info.resumed { "again" } else { "for the first time" })
    };
    let layer = PaidLayer::new(ledger.gate().await, pricing);
    let router = Router::new().route("/report", get(report)).route("/broken", get(broken)).route("/stream", get(stream));
    let router = router.layer(layer);
    Shop { ledger, served, url: listen(router).await }
}

impl Shop {
    fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    async fn get(&self, path: &str, payment: Option<&str>) -> Response {
        let request = reqwest::Client::new().get(self.url.join(path).unwrap());
        payment.into_iter().fold(request, |request, value| request.header(header::PAYMENT_SIGNATURE, value)).send().await.unwrap()
    }

    /// The header of a fresh payment for the shop's offer.
    async fn payment(&self) -> String {
        let response = self.get("report", None).await;
        let required: PaymentRequired = header::decode(response.headers()[header::PAYMENT_REQUIRED].as_bytes()).unwrap();
        payment_for(&required)
    }
}

/// The header of a fresh payment for the only offer. What it is signed with, only a real facilitator would look at.
pub(crate) fn payment_for(required: &PaymentRequired) -> String {
    let [accepted] = &*required.accepts else { panic!("not one offer") };
    let authorization = Eip3009Authorization {
        from: PrivateKeySigner::random().address(),
        to: SELLER,
        value: accepted.amount,
        valid_after: TokenAmount::ZERO,
        valid_before: 4_000_000_000_u64.into(),
        nonce: B256::repeat_byte(3),
    };
    let payload = ExactPayload::Eip3009(Eip3009Payload { signature: vec![1; 65].into(), authorization }).to_json();
    let accepted = accepted.clone();
    header::encode(&PaymentPayload { x402_version: V2, resource: None, accepted, payload, extensions: None }).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_proof_in_fifty_concurrent_requests_is_served_once() {
    let shop = shop().await;
    let payment = shop.payment().await;
    let statuses = join_all((0..50).map(|_| async { shop.get("report", Some(&payment)).await.status().as_u16() })).await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 409, 503].contains(status)), "nobody is asked to pay again: {statuses:?}");
    assert_eq!((shop.served(), shop.ledger.settle_calls()), (1, 1));
}

#[tokio::test]
async fn an_unpaid_request_is_told_how_to_pay() {
    let shop = shop().await;
    let response = shop.get("report?x=1", None).await;
    assert_eq!(response.status(), 402);
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert!(response.headers()["access-control-expose-headers"].to_str().unwrap().contains("PAYMENT-REQUIRED"));
    let required: PaymentRequired = header::decode(response.headers()[header::PAYMENT_REQUIRED].as_bytes()).unwrap();
    assert_eq!(required.resource.url, shop.url.join("report?x=1").unwrap().as_str());
    assert_eq!(required.accepts[0].amount, offer("0.05").amount);
}

#[tokio::test]
async fn a_browser_is_shown_a_page() {
    let shop = shop().await;
    let request = reqwest::Client::new().get(shop.url.join("report").unwrap()).header("accept", "text/html");
    let response = request.header("user-agent", "Mozilla/5.0").send().await.unwrap();
    assert_eq!(response.status(), 402);
    assert!(response.text().await.unwrap().starts_with("<!doctype html>"));
}

#[tokio::test]
async fn a_paid_answer_carries_its_receipt_and_stays_out_of_shared_caches() {
    let shop = shop().await;
    let response = shop.get("report", Some(&shop.payment().await)).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["cache-control"], "private, max-age=60");
    let receipt: SettleResponse = header::decode(response.headers()[header::PAYMENT_RESPONSE].as_bytes()).unwrap();
    assert!(receipt.success);
}

#[tokio::test]
async fn a_failed_handler_charges_nobody_and_leaves_the_payment_usable() {
    let shop = shop().await;
    let payment = shop.payment().await;
    assert_eq!(shop.get("broken", Some(&payment)).await.status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(shop.ledger.settle_calls(), 0);
    assert_eq!(shop.get("report", Some(&payment)).await.status(), 200);
}

#[tokio::test]
async fn after_an_unknown_outcome_the_same_payment_gets_the_kept_answer() {
    let shop = shop().await;
    let payment = shop.payment().await;
    shop.ledger.lose_answers(1);
    let unknown = shop.get("report", Some(&payment)).await;
    assert_eq!((unknown.status().as_u16(), unknown.headers()["retry-after"].to_str().unwrap()), (503, "1"));
    let retried = shop.get("report", Some(&payment)).await;
    assert_eq!(retried.status(), 200);
    assert_eq!((shop.served(), shop.ledger.settled()), (1, 1));
    assert_eq!(shop.get("report", Some(&payment)).await.status(), 409);
}

#[tokio::test]
async fn a_streamed_answer_is_not_said_to_be_kept_and_its_handler_knows_that_it_works_again() {
    let shop = shop().await;
    let payment = shop.payment().await;
    shop.ledger.lose_answers(1);
    let unknown = shop.get("stream", Some(&payment)).await;
    assert_eq!(unknown.status(), 503);
    let told = unknown.text().await.unwrap();
    assert!(!told.contains("kept"), "{told}");
    assert_eq!(shop.get("stream", Some(&payment)).await.text().await.unwrap(), "again");
    assert_eq!(shop.ledger.settled(), 1);
}

#[tokio::test]
async fn a_payment_that_cannot_settle_is_a_402_with_its_reason() {
    let shop = shop().await;
    shop.ledger.refuse(Reason::InsufficientBalance);
    let response = shop.get("report", Some(&shop.payment().await)).await;
    assert_eq!(response.status(), 402);
    let receipt: SettleResponse = header::decode(response.headers()[header::PAYMENT_RESPONSE].as_bytes()).unwrap();
    assert_eq!(receipt.error_reason, Some(Reason::InsufficientBalance));
    let text = response.text().await.unwrap();
    assert!(!text.contains("for 0x"), "the work is not given away: {text}");
}

#[tokio::test]
async fn a_used_nonce_at_settlement_never_asks_for_a_second_payment() {
    let shop = shop().await;
    shop.ledger.refuse(Reason::NonceAlreadyUsed);
    assert_eq!(shop.get("report", Some(&shop.payment().await)).await.status(), 503);
}

#[tokio::test]
async fn a_payment_for_another_price_is_refused() {
    let shop = shop().await;
    let payment: PaymentPayload = header::decode(shop.payment().await.as_bytes()).unwrap();
    let cheap = PaymentPayload { accepted: offer("0.01"), ..payment };
    let response = shop.get("report", Some(&header::encode(&cheap).unwrap())).await;
    assert_eq!((response.status().as_u16(), shop.served()), (402, 0));
    for junk in ["", "@@@", "e30="] {
        assert_eq!(shop.get("report", Some(junk)).await.status(), 402);
    }
}

#[tokio::test]
async fn our_client_buys_from_our_server() {
    let shop = shop().await;
    let client = client(Policy::default());
    let answer = client.get(shop.url.join("report").unwrap()).await.unwrap();
    assert!(answer.paid().unwrap().receipt.as_ref().unwrap().success);
    assert!(answer.into_response().text().await.unwrap().starts_with("for 0x"));
    assert_eq!(client.spent(), "0.05".parse().unwrap());
}
