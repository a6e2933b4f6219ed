//! Accounts with code sign in as the chain judges their signatures.

use alloy::{
    primitives::{Address, Bytes, bytes, hex},
    providers::{Provider, ProviderBuilder, ext::AnvilApi},
    signers::{SignerSync, local::PrivateKeySigner},
};
use axum::{Router, routing::get};
use stack::{Anvil, AnvilOptions};
use url::Url;
use x402::{
    FacilitatorClient, PaymentRequired, SIGN_IN_WITH_X, SignIn, SignInInfo, header,
    server::{Extras, Gate, PaidLayer, Payer, Pricing, SignInRule},
};

use crate::reservations::{facilitator, offer, payment_from};

/// Answers every call with the magic value of EIP-1271.
const WILLING: Bytes = bytes!("631626ba7e60e01b60005260206000f3");
/// Answers nothing.
const SILENT: Bytes = bytes!("00");

async fn sign_in(url: &Url, wallet: Address, key: &PrivateKeySigner) -> u16 {
    let response = reqwest::get(url.clone()).await.unwrap();
    let required: PaymentRequired = header::decode(response.headers()[header::PAYMENT_REQUIRED].as_bytes()).unwrap();
    let info: SignInInfo = serde_json::from_value(required.extensions.unwrap()[SIGN_IN_WITH_X]["info"].clone()).unwrap();
    let address = wallet.to_checksum(None);
    let (chain_id, kind, signature_scheme) = ("eip155:84532".into(), "eip191".into(), None);
    let mut sign_in = SignIn { info, address, chain_id, kind, signature_scheme, signature: String::new() };
    sign_in.signature = hex::encode_prefixed(key.sign_hash_sync(&sign_in.signing_hash().unwrap()).unwrap().as_bytes());
    let request = reqwest::Client::new().get(url.clone()).header(SIGN_IN_WITH_X, header::encode(&sign_in).unwrap());
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_with_code_is_judged_by_its_code_alone() {
    let anvil = Anvil::start(&AnvilOptions::default()).await.unwrap();
    let provider = ProviderBuilder::new().connect_http(anvil.rpc_url().clone()).erased();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let gate = Gate::new(FacilitatorClient::new(facilitator(&Default::default()).await).unwrap());
    let extras = Extras::default().sign_in(SignInRule::new(origin.clone()).provider(provider.clone()));
    let layer = PaidLayer::new(gate, Pricing::offers(vec![offer()])).extras(extras);
    let report = |Payer(payer): Payer| async move { payer.to_string() };
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/report", get(report).layer(layer))).await });
    let url = origin.join("report").unwrap();

    let key = PrivateKeySigner::random();
    let (wallet, stranger) = (Address::repeat_byte(0x71), PrivateKeySigner::random());
    for payer in [wallet, key.address()] {
        let paid = reqwest::Client::new().get(url.clone()).header(header::PAYMENT_SIGNATURE, payment_from(payer)).send().await;
        assert_eq!(paid.unwrap().status(), 200);
    }
    assert_eq!(sign_in(&url, wallet, &key).await, 402, "a signature of somebody else, for an account without code");
    provider.anvil_set_code(wallet, WILLING).await.unwrap();
    assert_eq!(sign_in(&url, wallet, &stranger).await, 200, "the contract says yes");
    assert_eq!(sign_in(&url, key.address(), &key).await, 200);
    // An account that delegated itself (EIP-7702) is judged by the code, although its key signed.
    provider.anvil_set_code(key.address(), SILENT).await.unwrap();
    assert_eq!(sign_in(&url, key.address(), &key).await, 402);
    anvil.stop().await;
}
