//! Extensions: names of purchases, signing in, signed offers and receipts; alone, and with the official SDK on the other side.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use alloy::{
    primitives::{Address, hex},
    signers::{SignerSync, local::PrivateKeySigner},
};
use axum::{Router, response::IntoResponse, routing::any};
use futures::future::join_all;
use http::{HeaderMap, Method};
use reqwest::Response;
use serde_json::{Value, json};
use url::Url;
use x402::{
    BUILDER_CODE, BuilderCode, Discovery, Network, OFFER_RECEIPT, OfferPayload, PaymentId, PaymentPayload, PaymentRequired,
    Reason, ReceiptMismatch, ReceiptPayload, SIGN_IN_WITH_X, Seal, SealFormat, SettleResponse, SignIn, SignInInfo, SignedOffer,
    SignedReceipt,
    client::{Answer, Client, KeyPayer, Policy},
    header,
    server::{Extras, Payer, Seller, SignInRule},
};

use crate::{
    sdk::run,
    serving::payment_for,
    support::{Ledger, SELLER, listen_on, offer},
};

/// A shop with every extension.
struct Shop {
    ledger: Ledger,
    url: Url,
    issuer: Address,
}

async fn shop(required: bool) -> Shop {
    let (ledger, issuer) = (Ledger::default(), PrivateKeySigner::random());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let address = issuer.address();
    let extras = Extras::default()
        .payment_identifier(required)
        .sign_in(SignInRule::new(origin.clone()).statement("Come in"))
        .sign_offers(origin.clone(), issuer, SealFormat::Eip712, false)
        .builder_code(&BuilderCode::new("shop", &["florin"]).unwrap());
    let seller = Seller::new(ledger.gate().await, &Network::evm(84532), SELLER).unwrap();
    let item = Discovery::query(json!({ "page": "1" }), json!({ "properties": { "page": { "type": "string" } } }))
        .output(json!({ "text": "for 0x…" }));
    let layer = seller.price("0.05".parse().unwrap()).extras(extras).discoverable(item);
    let report = |Payer(payer): Payer, body: String| async move { format!("for {payer} {body}").into_response() };
    listen_on(listener, Router::new().route("/items/{id}", any(report).layer(layer)));
    Shop { ledger, url: origin.join("items/7").unwrap(), issuer: address }
}

impl Shop {
    async fn send(&self, method: Method, body: &'static str, headers: &[(&str, &str)]) -> Response {
        let request = reqwest::Client::new().request(method, self.url.clone()).body(body);
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
    }

    async fn get(&self, headers: &[(&str, &str)]) -> Response {
        self.send(Method::GET, "", headers).await
    }

    async fn required(&self) -> PaymentRequired {
        let response = self.get(&[]).await;
        header::decode(response.headers()[header::PAYMENT_REQUIRED].as_bytes()).unwrap()
    }

    /// The header of a fresh payment, named `id`.
    async fn payment(&self, id: &str) -> String {
        let mut payment: PaymentPayload = header::decode(payment_for(&self.required().await).as_bytes()).unwrap();
        let extensions = json!({ "payment-identifier": { "info": { "required": false, "id": id } } });
        payment.extensions = extensions.as_object().cloned();
        header::encode(&payment).unwrap()
    }

    /// Signs in as `wallet`, with whatever `change` does to the message before it is signed.
    async fn sign_in(&self, wallet: &PrivateKeySigner, change: impl Fn(&mut SignIn)) -> String {
        let required = self.required().await;
        let extension = &required.extensions.as_ref().unwrap()[SIGN_IN_WITH_X];
        let info: SignInInfo = serde_json::from_value(extension["info"].clone()).unwrap();
        let mut sign_in = SignIn {
            info,
            address: wallet.address().to_checksum(None),
            chain_id: "eip155:84532".into(),
            kind: "eip191".into(),
            signature_scheme: None,
            signature: "0x".into(),
        };
        change(&mut sign_in);
        if let Ok(hash) = sign_in.signing_hash()
            && sign_in.signature == "0x"
        {
            sign_in.signature = hex::encode_prefixed(wallet.sign_hash_sync(&hash).unwrap().as_bytes());
        }
        header::encode(&sign_in).unwrap()
    }
}

async fn error(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    (status, body["error"].as_str().unwrap().into())
}

#[tokio::test]
async fn a_named_purchase_is_answered_again_and_its_name_is_good_for_nothing_else() {
    let shop = shop(false).await;
    let id = PaymentId::random();
    let payment = shop.payment(id.as_str()).await;
    let pay = [(header::PAYMENT_SIGNATURE, &*payment)];
    let first = shop.get(&pay).await;
    assert_eq!(first.status(), 200);
    let text = first.text().await.unwrap();
    let again = shop.get(&pay).await;
    assert!(again.headers().contains_key(header::PAYMENT_RESPONSE));
    assert_eq!((again.status().as_u16(), again.text().await.unwrap()), (200, text));
    let other_request = shop.send(Method::POST, "other", &pay).await;
    assert_eq!(error(other_request).await, (409, "payment_identifier_conflict".into()));
    let other_payment = shop.payment(id.as_str()).await;
    let refused = shop.get(&[(header::PAYMENT_SIGNATURE, &other_payment)]).await;
    assert_eq!(error(refused).await, (409, "payment_identifier_conflict".into()));
    assert_eq!(shop.ledger.settle_calls(), 1);
}

/// Or one payment that is never spent could fill the store with names.
#[tokio::test]
async fn a_payment_has_one_name() {
    let shop = shop(false).await;
    shop.ledger.refuse(Reason::InsufficientBalance);
    let mut payment: PaymentPayload = header::decode(shop.payment("the_name_of_a_purchase").await.as_bytes()).unwrap();
    let first = header::encode(&payment).unwrap();
    assert_eq!(shop.get(&[(header::PAYMENT_SIGNATURE, &first)]).await.status(), 402);
    payment.extensions.as_mut().unwrap()["payment-identifier"]["info"]["id"] = "another_name_of_it_again".into();
    let renamed = header::encode(&payment).unwrap();
    let refused = shop.get(&[(header::PAYMENT_SIGNATURE, &renamed)]).await;
    assert_eq!(error(refused).await, (409, "payment_identifier_conflict".into()));
}

#[tokio::test]
async fn the_body_is_part_of_what_a_name_means() {
    let shop = shop(false).await;
    let payment = shop.payment("a_name_of_a_purchase").await;
    let pay = [(header::PAYMENT_SIGNATURE, &*payment)];
    assert!(shop.send(Method::POST, "one", &pay).await.text().await.unwrap().ends_with(" one"));
    assert_eq!(shop.send(Method::POST, "two", &pay).await.status(), 409);
    assert!(shop.send(Method::POST, "one", &pay).await.text().await.unwrap().ends_with(" one"));
}

#[tokio::test]
async fn a_purchase_without_a_name_is_refused_where_it_needs_one() {
    let shop = shop(true).await;
    let unnamed = payment_for(&shop.required().await);
    assert_eq!(
        error(shop.get(&[(header::PAYMENT_SIGNATURE, &unnamed)]).await).await,
        (400, "payment_identifier_required".into())
    );
    let mut strange: PaymentPayload = header::decode(unnamed.as_bytes()).unwrap();
    for id in [json!("short"), json!("has spaces in its text"), json!(7)] {
        let extensions = json!({ "payment-identifier": { "info": { "required": true, "id": id } } });
        strange.extensions = extensions.as_object().cloned();
        let strange = header::encode(&strange).unwrap();
        let refused = shop.get(&[(header::PAYMENT_SIGNATURE, &strange)]).await;
        assert_eq!(error(refused).await, (400, "invalid_payment_identifier".into()));
    }
}

#[tokio::test]
async fn our_client_names_its_purchase_and_comes_in_again_for_nothing() {
    let shop = shop(true).await;
    let key = PrivateKeySigner::random();
    let client = Client::new(KeyPayer::new(key.clone()), Policy::default()).unwrap().sign_in_with(key);
    let bought = client.get(shop.url.clone()).await.unwrap();
    let receipt = bought.paid().unwrap().receipt.clone().unwrap();
    assert_eq!(SignedReceipt::of(&receipt).unwrap().signer(), Some(shop.issuer));
    let answer = client.get(shop.url.clone()).await.unwrap();
    assert!(matches!(answer, Answer::Free(_)));
    let response = answer.into_response();
    assert_eq!((response.status().as_u16(), response.headers()["cache-control"].to_str().unwrap()), (200, "private"));
    assert_eq!(shop.ledger.settle_calls(), 1);
    // Another address is another purchase.
    let mut elsewhere = shop.url.clone();
    elsewhere.set_path("items/8");
    assert!(client.get(elsewhere).await.unwrap().paid().is_some());
}

#[tokio::test]
async fn a_wallet_that_did_not_pay_is_asked_to_pay() {
    let shop = shop(false).await;
    let header = shop.sign_in(&PrivateKeySigner::random(), |_| {}).await;
    assert_eq!(shop.get(&[(SIGN_IN_WITH_X, &header)]).await.status(), 402);
}

#[tokio::test]
async fn a_message_lets_in_once_however_many_bring_it() {
    let shop = shop(false).await;
    let key = PrivateKeySigner::random();
    let client = Client::new(KeyPayer::new(key.clone()), Policy::default()).unwrap();
    client.get(shop.url.clone()).await.unwrap();
    let header = shop.sign_in(&key, |_| {}).await;
    let sent = join_all((0..10).map(|_| async { shop.get(&[(SIGN_IN_WITH_X, &header)]).await.status().as_u16() })).await;
    assert_eq!(sent.iter().filter(|status| **status == 200).count(), 1, "{sent:?}");
    let refused = shop.get(&[(SIGN_IN_WITH_X, &header)]).await;
    assert_eq!(error(refused).await, (402, "invalid_siwx_nonce".into()));
}

#[tokio::test]
async fn every_flaw_of_a_message_has_its_code() {
    type Change = fn(&mut SignIn);
    let shop = shop(false).await;
    let flaws: [(Change, &str); 14] = [
        (|s| s.info.domain = "evil.example".into(), "domain_mismatch"),
        (|s| s.info.uri = "http://evil.example/items/7".into(), "uri_mismatch"),
        (|s| s.info.uri = "nowhere".into(), "uri_mismatch"),
        (|s| s.info.issued_at = "yesterday".into(), "issued_at"),
        (|s| s.info.issued_at = "2026-01-01T00:00:00Z".into(), "issued_at_too_old"),
        (|s| s.info.issued_at = "2999-01-01T00:00:00Z".into(), "issued_at_in_future"),
        (|s| s.info.expiration_time = Some("never".into()), "expiration_time"),
        (|s| s.info.expiration_time = Some("2020-01-01T00:00:00Z".into()), "expired"),
        (|s| s.info.not_before = Some("soon".into()), "not_before"),
        (|s| s.info.not_before = Some("2999-01-01T00:00:00Z".into()), "not_yet_valid"),
        (|s| s.chain_id = "solana:mainnet".into(), "unsupported_chain"),
        (|s| s.chain_id = "eip155:one".into(), "chain_id"),
        (|s| s.signature = "0xzz".into(), "malformed_signature"),
        (|s| s.address = SELLER.to_checksum(None), "signature"),
    ];
    let wallet = PrivateKeySigner::random();
    for (change, code) in flaws {
        let header = shop.sign_in(&wallet, change).await;
        let refused = shop.get(&[(SIGN_IN_WITH_X, &header)]).await;
        assert_eq!(error(refused).await, (402, format!("invalid_siwx_{code}")));
    }
    for header in ["", "e30=", "@"] {
        assert_eq!(error(shop.get(&[(SIGN_IN_WITH_X, header)]).await).await, (402, "invalid_siwx_header".into()));
    }
    let injected = shop.sign_in(&wallet, |s| s.info.statement = Some("a\n\nURI: http://shop/".into())).await;
    assert_eq!(error(shop.get(&[(SIGN_IN_WITH_X, &injected)]).await).await, (402, "invalid_siwx_header".into()));
}

#[tokio::test]
async fn a_client_does_not_sign_in_at_a_server_that_speaks_for_another() {
    let shop = shop(false).await;
    let seen = Arc::new(AtomicBool::new(false));
    let relay = {
        let (origin, seen) = (shop.url.clone(), seen.clone());
        let relay = move |headers: HeaderMap| async move {
            seen.fetch_or(headers.contains_key(SIGN_IN_WITH_X), Ordering::SeqCst);
            let response = reqwest::get(origin).await.unwrap();
            (response.status(), [(header::PAYMENT_REQUIRED, response.headers()[header::PAYMENT_REQUIRED].clone())])
                .into_response()
        };
        crate::support::listen(Router::new().route("/", any(relay))).await
    };
    let key = PrivateKeySigner::random();
    let client = Client::new(KeyPayer::new(key.clone()), Policy::default()).unwrap().sign_in_with(key);
    // It offers a payment, as it was asked to, and is refused; but nobody holds its signature for the shop.
    client.get(relay).await.unwrap_err();
    assert!(!seen.load(Ordering::SeqCst));
}

#[tokio::test]
async fn offers_and_receipts_are_signed_and_checked() {
    let shop = shop(false).await;
    let required = shop.required().await;
    let [signed] = <[SignedOffer; 1]>::try_from(SignedOffer::all(&required)).unwrap();
    assert_eq!(signed.signer(), Some(shop.issuer));
    assert!(signed.payload.offers(&required.accepts[0]) && !signed.payload.offers(&offer("0.06")));
    let response = shop.get(&[("host", "somebody-else.example")]).await;
    let elsewhere: PaymentRequired = header::decode(response.headers()[header::PAYMENT_REQUIRED].as_bytes()).unwrap();
    let signed_elsewhere = SignedOffer::all(&elsewhere).remove(0);
    assert_eq!(signed_elsewhere.payload.resource_url, shop.url.as_str(), "in the shop's own name, whatever a request calls it");

    let response = shop.get(&[(header::PAYMENT_SIGNATURE, &payment_for(&required))]).await;
    let settled: SettleResponse = header::decode(response.headers()[header::PAYMENT_RESPONSE].as_bytes()).unwrap();
    let receipt = SignedReceipt::of(&settled).unwrap();
    let (payer, now) = (settled.payer.unwrap().parse().unwrap(), receipt.payload.issued_at + 10);
    let check = |receipt: &SignedReceipt, payer, now| receipt.check(shop.issuer, &signed.payload, payer, now, 60);
    assert_eq!(check(&receipt, payer, now), Ok(()));
    assert_eq!(check(&receipt, SELLER, now), Err(ReceiptMismatch::Field("payer")));
    assert_eq!(check(&receipt, payer, now + 60), Err(ReceiptMismatch::Field("time")));
    let mut forged = receipt.clone();
    forged.payload.issued_at += 1;
    assert!(matches!(check(&forged, payer, now), Err(ReceiptMismatch::Signer { .. })));
    forged.seal = Seal::Eip712(vec![0; 3].into());
    assert_eq!(check(&forged, payer, now), Err(ReceiptMismatch::Signature));
}

#[tokio::test(flavor = "multi_thread")]
async fn offers_and_receipts_as_jws_are_those_of_the_official_sdk() {
    let (key, payer) = (PrivateKeySigner::random(), PrivateKeySigner::random().address());
    let payload = OfferPayload::new("http://shop/\u{e9}\"", &offer("0.05"), 2_000_000_000);
    let offer = SignedOffer::new(payload, Some(0), SealFormat::Jws, &key).unwrap();
    let settled = SettleResponse::settled(Network::evm(84532), payer, [7; 32].into());
    let payload = ReceiptPayload::new("http://shop/", &settled, payer, 1_900_000_000, true);
    let receipt = SignedReceipt::new(payload, None, SealFormat::Jws, &key).unwrap();
    let request = json!({ "offer": offer, "receipt": receipt, "key": key.to_bytes() });
    let answer = tokio::task::spawn_blocking(move || run("extensions.cjs", &["jws"], request)).await.unwrap();
    assert_eq!(answer["verified"], json!({ "offer": offer.payload, "receipt": receipt.payload }));

    let theirs: SignedOffer = serde_json::from_value(answer["offer"].clone()).unwrap();
    assert_eq!((theirs.signer(), theirs.payload.amount.as_str()), (Some(key.address()), "50000"));
    let theirs: SignedReceipt = serde_json::from_value(answer["receipt"].clone()).unwrap();
    let now = theirs.payload.issued_at;
    assert_eq!(theirs.check(key.address(), &offer.payload, payer, now, 60), Ok(()));
    let mut forged = theirs;
    forged.payload.issued_at -= 1;
    assert_eq!(forged.check(key.address(), &offer.payload, payer, now, 60), Err(ReceiptMismatch::Signature));
    let Seal::Jws(token) = &receipt.seal else { panic!("{receipt:?}") };
    for (at, junk) in [(0, ""), (4, "."), (token.len() - 4, "AAAA"), (token.len(), "A"), (token.find('.').unwrap() + 3, "A")] {
        let seal = Seal::Jws(format!("{}{junk}", &token[..at]));
        assert_eq!(SignedReceipt { seal, ..receipt.clone() }.signer(), None);
    }
}

#[tokio::test]
async fn a_client_adds_services_to_a_builder_code_and_never_the_application() {
    let shop = shop(false).await;
    let mut payment: PaymentPayload = header::decode(payment_for(&shop.required().await).as_bytes()).unwrap();
    let many: Vec<_> = (0..11).map(|index| format!("s{index}")).chain(["florin".to_owned()]).collect();
    for (info, status) in [
        (json!({ "a": "other", "s": ["florin"] }), 402),
        (json!({ "a": "shop" }), 402),
        (json!({ "a": "shop", "s": many }), 402),
        (json!({ "a": "shop", "s": ["florin", "mine"], "w": "wallet" }), 200),
    ] {
        payment.extensions = json!({ BUILDER_CODE: { "info": info } }).as_object().cloned();
        let header = header::encode(&payment).unwrap();
        assert_eq!(shop.get(&[(header::PAYMENT_SIGNATURE, &header)]).await.status(), status, "{info}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_uses_every_extension_of_our_server() {
    let shop = shop(true).await;
    let key = PrivateKeySigner::random();
    let request = json!({ "url": shop.url, "key": key.to_bytes() });
    let answer = tokio::task::spawn_blocking(move || run("extensions.cjs", &["buy"], request)).await.unwrap();
    let body = format!("for {} ", key.address());
    assert_eq!((&answer["status"], &answer["body"]), (&200.into(), &body.clone().into()), "{answer}");
    assert_eq!(answer["again"], json!({ "status": 200, "body": body }), "the kept answer, by its name");
    assert_eq!(answer["renewed"], 409, "another payment under the same name");
    let issuer = Value::from(shop.issuer.to_checksum(None));
    assert_eq!((&answer["offerSigner"], &answer["receiptSigner"], &answer["matches"]), (&issuer, &issuer, &true.into()));
    assert_eq!(answer["signedIn"], json!({ "status": 200, "body": body, "free": true }));
    assert_eq!((&answer["discovery"]["valid"], &answer["template"]), (&true.into(), &"/items/:id".into()), "{answer}");
    assert_eq!(shop.ledger.settle_calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_uses_every_extension_of_the_official_server() {
    let (ledger, issuer) = (Ledger::default(), PrivateKeySigner::random());
    let facilitator = ledger.facilitator().await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/extensions.cjs");
    let mut node = Command::new("node");
    node.args([
        script,
        "sell",
        facilitator.as_str().trim_end_matches('/'),
        &SELLER.to_checksum(None),
        &issuer.to_bytes().to_string(),
    ]);
    let mut node = node.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(node.stdout.as_mut().unwrap()).read_line(&mut url).unwrap();
    let url: Url = url.trim().parse().unwrap();

    let key = PrivateKeySigner::random();
    let client = Client::new(KeyPayer::new(key.clone()), Policy::default()).unwrap().sign_in_with(key.clone());
    let response = reqwest::get(url.clone()).await.unwrap();
    let required: PaymentRequired = header::decode(response.headers()[header::PAYMENT_REQUIRED].as_bytes()).unwrap();
    let offer = SignedOffer::all(&required).remove(0);
    assert_eq!(offer.signer(), Some(issuer.address()));
    let bought = client.get(url.clone()).await.unwrap();
    let receipt = SignedReceipt::of(bought.paid().unwrap().receipt.as_ref().unwrap()).unwrap();
    let now = receipt.payload.issued_at;
    assert_eq!(receipt.check(issuer.address(), &offer.payload, key.address(), now, 60), Ok(()));
    let body: Value = bought.into_response().json().await.unwrap();
    assert!(body["valid"] == true && body["id"].as_str().unwrap().parse::<PaymentId>().is_ok(), "{body}");
    let again = client.get(url).await.unwrap();
    assert!(matches!(again, Answer::Free(_)));
    assert_eq!(again.into_response().json::<Value>().await.unwrap(), json!({ "signedIn": true }));
    assert_eq!(ledger.settle_calls(), 1);
    assert!(required.extensions.unwrap().contains_key(OFFER_RECEIPT));
    node.kill().unwrap();
    node.wait().unwrap();
}
