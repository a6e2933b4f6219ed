//! The page for browsers, in a real Chromium whose injected wallet has a real key.

use alloy::{
    dyn_abi::TypedData,
    signers::{SignerSync, local::PrivateKeySigner},
};
use axum::{
    Json, Router,
    response::IntoResponse,
    routing::{get, post},
};
use http::StatusCode;
use serde_json::{Value, json};
use x402::{
    ExactPayload, Network, ResourceInfo, TokenDomain, recover_strict,
    server::{Extras, Payer, Seller},
};

use crate::{
    sdk::run,
    support::{Ledger, SELLER, listen},
};

/// Ends the script and the page, if anything does.
const HOSTILE: &str = "<img src=x onerror=\"window.hostile=1\"></script><script>window.hostile=1</script><!-- A 'report' & more";

/// Answers what a page asks its wallet, by HTTP.
async fn wallet(key: PrivateKeySigner) -> String {
    let answer = move |Json(call): Json<Value>| async move {
        match call["method"].as_str() {
            Some("eth_requestAccounts") => Json(json!([key.address()])).into_response(),
            Some("eth_chainId") => Json(json!("0x14a34")).into_response(),
            Some("eth_signTypedData_v4") => {
                let typed: TypedData = serde_json::from_str(call["params"][1].as_str().unwrap()).unwrap();
                let signature = key.sign_hash_sync(&typed.eip712_signing_hash().unwrap()).unwrap();
                Json(json!(alloy::primitives::hex::encode_prefixed(signature.as_bytes()))).into_response()
            }
            _ => (StatusCode::BAD_REQUEST, "the wallet does not know this").into_response(),
        }
    };
    listen(Router::new().route("/", post(answer))).await.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_pays_in_a_browser_once_although_an_answer_is_lost() {
    let (ledger, key) = (Ledger::default(), PrivateKeySigner::random());
    let seller = Seller::new(ledger.gate().await, &Network::evm(84532), SELLER).unwrap();
    let info = ResourceInfo { description: Some(HOSTILE.into()), ..ResourceInfo::default() };
    let extras = Extras::default().payment_identifier(true);
    let layer = seller.price("0.05".parse().unwrap()).describe(info).extras(extras);
    let report = |Payer(payer): Payer| async move { format!("the report for {payer}") };
    let shop = listen(Router::new().route("/report", get(report).layer(layer))).await;

    ledger.lose_answers(1);
    let chromium = std::env::var("FLORIN_CHROMIUM").unwrap_or_else(|_| "chromium".into());
    let request = json!({ "url": shop.join("report").unwrap(), "wallet": wallet(key.clone()).await, "chromium": chromium });
    let page = tokio::task::spawn_blocking(move || run("chromium.cjs", &[], request)).await.unwrap();

    let before = page["before"].as_str().unwrap();
    assert!(before.contains("$0.05 in USDC on eip155:84532") && before.contains(HOSTILE), "{before}");
    assert!(page["status"].as_str().unwrap().starts_with("Paid in transaction 0x"), "{page}");
    assert_eq!(page["result"], format!("the report for {}", key.address()));
    assert_eq!((&page["hostile"], &page["ran"]), (&false.into(), &false.into()), "no script but the page's own runs: {page}");
    assert_eq!(ledger.settled(), 1);

    let paid = ledger.last_payment();
    let ExactPayload::Eip3009(exact) = paid.exact().unwrap() else { panic!("not EIP-3009") };
    let domain = TokenDomain::of(&paid.accepted).unwrap();
    assert_eq!(recover_strict(exact.authorization.signing_hash(&domain), &exact.signature), Some(key.address()));
}
