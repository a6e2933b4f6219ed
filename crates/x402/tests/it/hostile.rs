//! Sellers that lie: a typed error and no signature, and never a payment to anybody else.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use url::Url;
use x402::{
    DecodeError, PaymentPayload, PaymentRequirements, TokenAmount,
    client::{Answer, PayError, Policy, Refusal},
    header,
};

use crate::{
    paying::{Seller, refusal},
    support::{client, listen, offer},
};

/// What a client does with a 402 whose header is `text` as it is, or whose body is.
async fn error_of(text: String, in_header: bool) -> PayError {
    let paid = Arc::<Mutex<usize>>::default();
    let seen = paid.clone();
    let ask = move |headers: HeaderMap| async move {
        *seen.lock().unwrap() +=
            usize::from(headers.contains_key(header::PAYMENT_SIGNATURE) || headers.contains_key(header::X_PAYMENT));
        if in_header {
            return (StatusCode::PAYMENT_REQUIRED, [(header::PAYMENT_REQUIRED, text)]).into_response();
        }
        (StatusCode::PAYMENT_REQUIRED, text).into_response()
    };
    let client = client(Policy::default());
    let error = client.get(listen(Router::new().route("/", get(ask))).await).await.unwrap_err();
    assert_eq!((*paid.lock().unwrap(), client.spent()), (0, money::Usdc::ZERO), "{error}");
    error
}

fn required(offers: Vec<Value>) -> Value {
    json!({ "x402Version": 2, "resource": { "url": "http://shop/" }, "accepts": offers })
}

#[tokio::test]
async fn an_amount_that_is_no_amount_is_not_signed() {
    for amount in
        [json!("-1"), json!("1.5"), json!("0x10"), json!(""), json!(50_000.5), json!("1e3"), json!("9".repeat(200)), json!(null)]
    {
        let mut lie = serde_json::to_value(offer("0.05")).unwrap();
        lie["amount"] = amount;
        let error = error_of(required(vec![lie]).to_string(), false).await;
        assert!(matches!(error, PayError::Refused(Refusal::NoSupportedOffer { .. })), "{error}");
    }
}

#[tokio::test]
async fn what_an_offer_says_of_decimals_changes_no_price() {
    let mut cheap_looking = offer("1.50");
    cheap_looking.extra.as_mut().unwrap().insert("decimals".into(), 18.into());
    assert!(matches!(refusal(vec![cheap_looking], Policy::default()).await, Refusal::TooExpensive { .. }));
}

#[tokio::test]
async fn a_token_on_another_chain_is_another_token() {
    let mut elsewhere = offer("0.05");
    elsewhere.network = "eip155:1".parse().unwrap();
    assert!(matches!(refusal(vec![elsewhere], Policy::default()).await, Refusal::UnknownAsset { .. }));
}

#[tokio::test]
async fn a_signature_lives_no_longer_than_the_policy_says() {
    let mut endless = offer("0.05");
    endless.max_timeout_seconds = u64::MAX;
    let (seller, url) = Seller::new(vec![endless], &[200]).await;
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    client(Policy::default().validity_max_secs(60)).get(url).await.unwrap();
    let payment: PaymentPayload = header::decode(seller.sent()[0].as_bytes()).unwrap();
    let x402::ExactPayload::Eip3009(exact) = payment.exact().unwrap() else { panic!("not EIP-3009") };
    assert!(exact.authorization.valid_before <= TokenAmount::from(before + 70), "{:?}", exact.authorization);
}

#[tokio::test]
async fn a_thousand_offers_are_not_read() {
    let offers = vec![serde_json::to_value(offer("0.05")).unwrap(); 1000];
    let error = error_of(required(offers).to_string(), false).await;
    assert!(matches!(error, PayError::TooManyOffers { offered: 1000, .. }), "{error}");
}

#[tokio::test]
async fn an_oversized_or_deep_header_is_an_error_and_no_overflow() {
    let error = error_of(STANDARD.encode("x".repeat(40 * 1024)), true).await;
    assert!(matches!(error, PayError::BadPaymentRequired(DecodeError::TooLarge { .. })), "{error}");
    let mut deep = serde_json::to_value(offer("0.05")).unwrap();
    deep["extra"]["x"] = "@".into();
    let deep = required(vec![deep]).to_string().replace("\"@\"", &format!("{}{}", "[".repeat(9_000), "]".repeat(9_000)));
    for in_header in [true, false] {
        let text = if in_header { STANDARD.encode(&deep) } else { deep.clone() };
        let error = error_of(text, in_header).await;
        assert!(matches!(error, PayError::BadPaymentRequired(DecodeError::Json(_))), "{error}");
    }
}

/// Asks `first` to be paid and, once it is, asks for `then`.
async fn changing(first: PaymentRequirements, then: PaymentRequirements) -> (Arc<Mutex<Vec<String>>>, Url) {
    let sent = Arc::<Mutex<Vec<String>>>::default();
    let seen = sent.clone();
    let ask = move |headers: HeaderMap| async move {
        let paid = headers.get(header::PAYMENT_SIGNATURE);
        seen.lock().unwrap().extend(paid.map(|payment| payment.to_str().unwrap().to_owned()));
        let offer = if paid.is_some() { &then } else { &first };
        let required = required(vec![serde_json::to_value(offer).unwrap()]);
        (StatusCode::PAYMENT_REQUIRED, [(header::PAYMENT_REQUIRED, header::encode(&required).unwrap())]).into_response()
    };
    (sent, listen(Router::new().route("/", get(ask))).await)
}

#[tokio::test]
async fn terms_that_change_after_the_payment_are_not_paid_as_well() {
    let mut other_payee = offer("0.05");
    other_payee.pay_to = "0x0000000000000000000000000000000000000bad".into();
    for then in [offer("0.06"), other_payee] {
        let (sent, url) = changing(offer("0.05"), then).await;
        let client = client(Policy::default());
        for _ in 0..3 {
            assert!(matches!(client.get(url.clone()).await, Err(PayError::PaymentRejected { .. })));
        }
        let sent = sent.lock().unwrap();
        assert!(
            sent.len() == 3 && sent.iter().all(|payment| *payment == sent[0]),
            "one signature, however often it is asked for"
        );
        assert_eq!(client.spent(), "0.05".parse().unwrap());
    }
}

#[tokio::test]
async fn who_a_redirect_leads_to_is_judged_by_its_own_name() {
    let (thief, mut thief_url) = Seller::new(vec![offer("0.05")], &[200]).await;
    thief_url.set_host(Some("localhost")).unwrap();
    let url = listen(Router::new().route("/", get(move || async move { Redirect::temporary(thief_url.as_str()) }))).await;
    let refused = client(Policy::default().allow_host("127.0.0.1")).get(url).await;
    assert!(matches!(refused, Err(PayError::Refused(Refusal::HostNotAllowed(host))) if host == "localhost"));
    assert_eq!(thief.payments(), 0);
}

#[tokio::test]
async fn a_receipt_that_cannot_be_read_is_no_receipt() {
    let deep = STANDARD.encode(format!("{}{}", "[".repeat(9_000), "]".repeat(9_000)));
    for lie in [deep, "@@@".into(), STANDARD.encode("{}"), STANDARD.encode("x".repeat(40 * 1024))] {
        let answer = move |headers: HeaderMap| async move { sold(&headers, &lie) };
        let url = listen(Router::new().route("/", get(answer))).await;
        let Answer::Paid(paid) = client(Policy::default()).get(url).await.unwrap() else { panic!("free") };
        assert_eq!((paid.response.status().as_u16(), paid.receipt), (200, None));
    }
}

fn sold(headers: &HeaderMap, receipt: &str) -> Response {
    if headers.contains_key(header::PAYMENT_SIGNATURE) {
        return (StatusCode::OK, [(header::PAYMENT_RESPONSE, receipt.to_owned())]).into_response();
    }
    let required = required(vec![serde_json::to_value(offer("0.05")).unwrap()]);
    (StatusCode::PAYMENT_REQUIRED, [(header::PAYMENT_REQUIRED, header::encode(&required).unwrap())]).into_response()
}

#[tokio::test]
async fn as_a_middleware_the_client_pays_over_its_own_connection() {
    let (seller, url) = Seller::new(vec![offer("0.05")], &[500, 500, 500, 500, 200]).await;
    let paying = client(Policy::default());
    let http = reqwest_middleware::ClientBuilder::new(reqwest::Client::new()).with(paying.clone()).build();
    let error = http.get(url.clone()).send().await.unwrap_err();
    assert!(error.to_string().contains("repeat the same request"), "{error}");
    assert_eq!(http.get(url).send().await.unwrap().status(), 200);
    assert_eq!((seller.payments(), seller.distinct_payments()), (5, 1));

    let (thief, thief_url) = Seller::new(vec![offer("0.05")], &[200]).await;
    let trap = move |headers: HeaderMap| async move {
        if headers.contains_key(header::PAYMENT_SIGNATURE) {
            return Redirect::temporary(thief_url.as_str()).into_response();
        }
        sold(&headers, "")
    };
    let url = listen(Router::new().route("/", get(trap))).await;
    assert_eq!(http.get(url).send().await.unwrap().status(), 307);
    assert_eq!(thief.payments(), 0);
}
