//! Sellers of version 1: the body says how to pay, the payment goes in `X-PAYMENT`, the receipt comes in `X-PAYMENT-RESPONSE`.

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use url::Url;
use x402::{
    Network, Reason,
    client::{Answer, PayError, Policy, Refusal},
    header, v1,
};

use crate::support::{client, listen, offer};

fn demand(network: &str, error: Option<&str>) -> Response {
    let offer = offer("0.05");
    let body = json!({ "x402Version": 1, "error": error, "accepts": [
        { "scheme": "exact", "network": "solana", "maxAmountRequired": "1", "resource": "", "description": "", "payTo": "x",
          "maxTimeoutSeconds": 60, "asset": "y" },
        { "scheme": "exact", "network": network, "maxAmountRequired": "50000", "resource": "http://a/b", "description": "a report",
          "mimeType": "", "outputSchema": null, "payTo": offer.pay_to, "maxTimeoutSeconds": 60, "asset": offer.asset, "extra": offer.extra },
    ] });
    (StatusCode::PAYMENT_REQUIRED, Json(body)).into_response()
}

/// A seller of version 1 on a real socket, and the payments it saw. Answers with the statuses in `script`.
async fn seller(script: &'static [u16]) -> (Arc<Mutex<Vec<String>>>, Url) {
    let sent = Arc::<Mutex<Vec<String>>>::default();
    let seen = sent.clone();
    let sell = move |headers: HeaderMap| async move {
        let Some(payment) = headers.get(header::X_PAYMENT) else { return demand("base-sepolia", None) };
        seen.lock().unwrap().push(payment.to_str().unwrap().into());
        let payment: v1::PaymentPayload = header::decode(payment.as_bytes()).unwrap();
        let payer = payment.payload["authorization"]["from"].as_str().unwrap();
        match script[seen.lock().unwrap().len() - 1] {
            200 => {
                let receipt = json!({ "success": true, "transaction": "0xabc", "network": "base-sepolia", "payer": payer });
                (StatusCode::OK, [(header::X_PAYMENT_RESPONSE, header::encode(&receipt).unwrap())], "sold").into_response()
            }
            402 => demand("base-sepolia", Some("insufficient_funds")),
            status => StatusCode::from_u16(status).unwrap().into_response(),
        }
    };
    (sent, listen(Router::new().route("/", get(sell))).await)
}

#[tokio::test]
async fn the_payment_and_the_receipt_are_in_its_own_words() {
    let (sent, url) = seller(&[200]).await;
    let client = client(Policy::default());
    let Answer::Paid(paid) = client.get(url).await.unwrap() else { panic!("free") };
    let receipt = paid.receipt.unwrap();
    assert_eq!((receipt.success, receipt.transaction.as_str(), &receipt.network), (true, "0xabc", &Network::evm(84532)));
    assert_eq!(paid.response.text().await.unwrap(), "sold");

    let payment: Value = header::decode(sent.lock().unwrap()[0].as_bytes()).unwrap();
    assert_eq!(
        (&payment["x402Version"], &payment["scheme"], &payment["network"]),
        (&1.into(), &"exact".into(), &"base-sepolia".into())
    );
    assert_eq!(payment["payload"]["authorization"]["value"], "50000");
    assert!(payment.get("accepted").is_none() && payment.get("resource").is_none(), "{payment}");
}

#[tokio::test]
async fn a_refusal_is_read_and_a_retry_sends_the_same_payment() {
    let (sent, url) = seller(&[402, 500, 200]).await;
    let client = client(Policy::default());
    let refused = client.get(url.clone()).await;
    assert!(
        matches!(&refused, Err(PayError::PaymentRejected { reason, .. }) if *reason == Reason::from("insufficient_funds".to_owned())),
        "{refused:?}"
    );
    assert!(matches!(client.get(url).await, Ok(Answer::Paid(_))));
    let sent = sent.lock().unwrap();
    assert!(sent.len() == 3 && sent.iter().all(|payment| *payment == sent[0]));
}

#[tokio::test]
async fn the_policy_judges_version_1_alike_and_a_network_nobody_knows_is_no_offer() {
    for (name, policy, expected) in [
        ("base-sepolia", Policy::default().max_per_payment("0.01".parse().unwrap()), "most one payment may cost"),
        ("base", Policy::default(), "not a token this client may spend"),
        ("base-sepolia", Policy::default().deny_network(Network::evm(84532)), "are not allowed"),
        ("atlantis", Policy::default(), "no offer this client can pay"),
    ] {
        let url = listen(Router::new().route("/", get(move || async move { demand(name, None) }))).await;
        let client = client(policy);
        let Err(PayError::Refused(refusal)) = client.get(url).await else { panic!("{name}") };
        assert!(refusal.to_string().contains(expected), "{refusal}");
        assert!(client.spent().is_zero() && !matches!(refusal, Refusal::HostNotAllowed(_)));
    }
}
