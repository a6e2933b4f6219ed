//! Golden tests against the official TypeScript SDK, both ways.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use alloy::{
    primitives::{Address, B256},
    signers::local::PrivateKeySigner,
};
use serde_json::{Value, json};
use x402::{
    Eip3009Payload, ExactPayload, PaymentPayload, PaymentRequired, Reason, ResourceInfo, SettleResponse, TokenDomain, V2,
    client::{KeyPayer, Payer, TransferRequest},
    find_matching, header, recover_strict,
};

use crate::support::{NETWORK, offer};

fn sdk(request: Value) -> Value {
    node("sdk.cjs", request)
}

/// Runs a script of this directory: one JSON request, one JSON answer.
pub(crate) fn node(script: &str, request: Value) -> Value {
    run(script, &[], request)
}

/// Runs a script of this directory with arguments.
pub(crate) fn run(script: &str, arguments: &[&str], request: Value) -> Value {
    let script = format!("{}/tests/it/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut node = Command::new("node").arg(script).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    node.stdin.take().unwrap().write_all(request.to_string().as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success(), "node failed; run scripts/setup");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn required() -> PaymentRequired {
    let resource = ResourceInfo { description: Some("Größe <&>".into()), ..ResourceInfo::new("http://localhost/report") };
    PaymentRequired { x402_version: V2, error: None, resource, accepts: vec![offer("0.05")], extensions: None }
}

#[test]
fn the_official_client_reads_our_offer_and_we_read_its_payment() {
    let key = PrivateKeySigner::random();
    let required = required();
    let request = json!({ "call": "pay", "required": header::encode(&required).unwrap(), "key": key.to_bytes() });
    let answer = sdk(request);
    let payment: PaymentPayload = header::decode(answer["header"].as_str().unwrap().as_bytes()).unwrap();

    assert_eq!(payment.resource.as_ref(), Some(&required.resource));
    let matched = find_matching(&required.accepts, &payment).unwrap();
    let ExactPayload::Eip3009(exact) = payment.exact().unwrap() else { panic!("not EIP-3009") };
    let hash = exact.authorization.signing_hash(&TokenDomain::of(matched).unwrap());
    assert_eq!(recover_strict(hash, &exact.signature), Some(key.address()));
    assert_eq!(payment.key().unwrap().payer, key.address());
}

#[tokio::test]
async fn the_official_sdk_verifies_our_payment() {
    let (key, accepted) = (PrivateKeySigner::random(), offer("0.05"));
    let transfer = TransferRequest {
        token: TokenDomain::of(&accepted).unwrap(),
        to: accepted.pay_to_address().unwrap(),
        value: accepted.amount,
        valid_before_max: 4_000_000_000,
        valid_before_min: 0,
    };
    let signed = KeyPayer::new(key).authorize(&transfer).await.unwrap();
    let exact = ExactPayload::Eip3009(Eip3009Payload { signature: signed.signature, authorization: signed.authorization });
    let payment = PaymentPayload { x402_version: V2, resource: None, accepted, payload: exact.to_json(), extensions: None };
    let answer = sdk(json!({ "call": "check", "header": header::encode(&payment).unwrap() }));
    assert_eq!(answer["valid"], true);
}

#[test]
fn a_receipt_survives_the_official_sdk() {
    for receipt in [
        SettleResponse::settled(NETWORK.parse().unwrap(), Address::repeat_byte(7), B256::repeat_byte(9)),
        SettleResponse::failed(NETWORK.parse().unwrap(), None, Reason::InsufficientBalance),
    ] {
        let answer = sdk(json!({ "call": "receipt", "header": header::encode(&receipt).unwrap() }));
        let back: SettleResponse = header::decode(answer["header"].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(back, receipt);
        assert_eq!(answer["receipt"]["transaction"], receipt.transaction);
    }
}
