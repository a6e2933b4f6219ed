//! The client's promises: nothing is signed that the policy forbids, and never two payments where one may still settle.

use std::sync::{Arc, Mutex};

use alloy::{
    primitives::{Address, B256, ChainId, Signature},
    signers::{Signer, local::PrivateKeySigner},
};
use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use futures::future::join_all;
use http::{HeaderMap, StatusCode};
use url::Url;
use x402::{
    ExactPayload, PaymentPayload, PaymentRequired, PaymentRequirements, Reason, ResourceInfo, TokenDomain, TransferMethod, V2,
    client::{Answer, Client, KeyPayer, PayError, Policy, Refusal},
    header, recover_strict,
};

use crate::support::{client, listen, offer};

/// A server that asks for `offers` and answers paid requests with the statuses in `script`, the last one for ever.
#[derive(Clone)]
pub(crate) struct Seller {
    offers: Vec<PaymentRequirements>,
    script: Arc<Mutex<Vec<u16>>>,
    /// Payment headers seen.
    paid: Arc<Mutex<Vec<String>>>,
}

impl Seller {
    pub(crate) async fn new(offers: Vec<PaymentRequirements>, script: &[u16]) -> (Self, Url) {
        let seller = Self { offers, script: Arc::new(Mutex::new(script.to_vec())), paid: Arc::default() };
        let url = listen(Router::new().route("/", get(sell)).with_state(seller.clone())).await;
        (seller, url)
    }

    pub(crate) fn payments(&self) -> usize {
        self.paid.lock().unwrap().len()
    }

    /// The payment headers, as they came.
    pub(crate) fn sent(&self) -> Vec<String> {
        self.paid.lock().unwrap().clone()
    }

    pub(crate) fn distinct_payments(&self) -> usize {
        let mut paid = self.paid.lock().unwrap().clone();
        paid.sort_unstable();
        paid.dedup();
        paid.len()
    }

    fn demand(&self, error: Option<&str>) -> Response {
        let resource = ResourceInfo::new("http://shop/");
        let error = error.map(str::to_owned);
        let required = PaymentRequired { x402_version: V2, error, resource, accepts: self.offers.clone(), extensions: None };
        (StatusCode::PAYMENT_REQUIRED, [(header::PAYMENT_REQUIRED, header::encode(&required).unwrap())]).into_response()
    }
}

async fn sell(State(seller): State<Seller>, headers: HeaderMap) -> Response {
    let Some(payment) = headers.get(header::PAYMENT_SIGNATURE) else { return seller.demand(None) };
    seller.paid.lock().unwrap().push(payment.to_str().unwrap().into());
    let mut script = seller.script.lock().unwrap();
    let status = if script.len() > 1 { script.remove(0) } else { script[0] };
    if status == 402 {
        return seller.demand(Some("invalid_exact_evm_insufficient_balance"));
    }
    StatusCode::from_u16(status).unwrap().into_response()
}

pub(crate) async fn refusal(offers: Vec<PaymentRequirements>, policy: Policy) -> Refusal {
    let (seller, url) = Seller::new(offers, &[200]).await;
    let client = client(policy);
    let Err(PayError::Refused(refusal)) = client.get(url).await else { panic!("paid") };
    assert_eq!((seller.distinct_payments(), client.spent()), (0, money::Usdc::ZERO));
    refusal
}

#[tokio::test]
async fn a_price_above_the_limit_is_not_signed() {
    let expected = Refusal::TooExpensive { price: "1.01".parse().unwrap(), max: "1".parse().unwrap() };
    assert_eq!(refusal(vec![offer("1.01")], Policy::default()).await, expected);
}

#[tokio::test]
async fn an_amount_beyond_any_usdc_is_too_expensive() {
    let mut huge = offer("1");
    huge.amount = alloy::primitives::U256::MAX.into();
    let policy = Policy::default().max_per_payment(money::Usdc::MAX).budget(money::Usdc::MAX);
    assert!(matches!(refusal(vec![huge], policy).await, Refusal::TooExpensive { .. }));
}

#[tokio::test]
async fn an_unknown_token_is_not_signed_for() {
    let mut fake = offer("0.01");
    fake.asset = "0x0000000000000000000000000000000000000bad".into();
    assert!(matches!(refusal(vec![fake], Policy::default()).await, Refusal::UnknownAsset { .. }));
    let mut renamed = offer("0.01");
    renamed.extra.as_mut().unwrap().insert("name".into(), "Other".into());
    assert!(matches!(refusal(vec![renamed], Policy::default()).await, Refusal::UnknownAsset { .. }));
}

#[tokio::test]
async fn an_unknown_scheme_or_flow_is_not_paid() {
    let mut upto = offer("0.01");
    upto.scheme = "upto".into();
    let mut strange = offer("0.01");
    strange.extra.as_mut().unwrap().insert("paymentFlow".into(), "later".into());
    let refusal = refusal(vec![upto, strange], Policy::default()).await;
    assert_eq!(refusal, Refusal::NoSupportedOffer { offered: "upto on eip155:84532, exact on eip155:84532".into() });
}

#[tokio::test]
async fn an_offer_by_permit2_is_judged_like_any_other() {
    let expensive = vec![offer("1.01").by_permit2()];
    assert!(matches!(refusal(expensive, Policy::default()).await, Refusal::TooExpensive { .. }));
    // By Permit2 an offer need not name the token's domain, but it must not name another, and the token must be an allowed one.
    let mut unnamed = offer("0.01").by_permit2();
    unnamed.extra.as_mut().unwrap().retain(|key, _| key == "assetTransferMethod");
    let mut fake = unnamed.clone();
    fake.asset = "0x0000000000000000000000000000000000000bad".into();
    let mut renamed = offer("0.01").by_permit2();
    renamed.extra.as_mut().unwrap().insert("name".into(), "Other".into());
    for refused in [fake, renamed] {
        assert!(matches!(refusal(vec![refused], Policy::default()).await, Refusal::UnknownAsset { .. }));
    }
    for (offers, method) in
        [(vec![unnamed.clone()], TransferMethod::Permit2), (vec![unnamed, offer("0.01")], TransferMethod::Eip3009)]
    {
        let (seller, url) = Seller::new(offers, &[200]).await;
        client(Policy::default()).get(url).await.unwrap();
        let sent = seller.paid.lock().unwrap()[0].clone();
        let payment: PaymentPayload = header::decode(sent.as_bytes()).unwrap();
        assert_eq!(payment.exact().unwrap().method(), method, "EIP-3009 needs no allowance");
    }
}

#[tokio::test]
async fn hosts_and_networks_are_checked() {
    let host = |refused| matches!(refused, Refusal::HostNotAllowed(host) if host == "127.0.0.1");
    assert!(host(refusal(vec![offer("0.01")], Policy::default().deny_host("127.0.0.1")).await));
    assert!(host(refusal(vec![offer("0.01")], Policy::default().allow_host("example.com")).await));
    let elsewhere = Policy::default().allow_network("eip155:8453".parse().unwrap());
    assert!(matches!(refusal(vec![offer("0.01")], elsewhere).await, Refusal::NetworkNotAllowed(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_never_exceed_the_budget_together() {
    let (seller, url) = Seller::new(vec![offer("0.30")], &[200]).await;
    let client = client(Policy::default().budget("1".parse().unwrap()));
    let answers = join_all((0..20).map(|_| client.get(url.clone()))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 3);
    assert_eq!((seller.distinct_payments(), client.spent()), (3, "0.90".parse().unwrap()));
}

#[tokio::test]
async fn after_a_5xx_the_same_payment_is_sent_again() {
    let (seller, url) = Seller::new(vec![offer("0.05")], &[503, 200]).await;
    let answer = client(Policy::default()).get(url).await.unwrap();
    assert!(matches!(answer, Answer::Paid(_)));
    assert_eq!((seller.payments(), seller.distinct_payments()), (2, 1));
}

#[tokio::test]
async fn a_repeated_request_never_signs_while_the_first_payment_may_settle() {
    let (seller, url) = Seller::new(vec![offer("0.05")], &[402, 404, 500, 500, 500, 500, 200]).await;
    let client = client(Policy::default());
    let Err(PayError::PaymentRejected { reason, .. }) = client.get(url.clone()).await else { panic!("not rejected") };
    assert_eq!(reason, Reason::InsufficientBalance);
    assert_eq!(client.get(url.clone()).await.unwrap().into_response().status(), 404);
    assert!(matches!(client.get(url.clone()).await, Err(PayError::Indeterminate { .. })));
    assert_eq!(client.get(url).await.unwrap().into_response().status(), 200);
    assert_eq!((seller.distinct_payments(), client.spent()), (1, "0.05".parse().unwrap()));
}

#[tokio::test]
async fn a_payment_is_not_carried_to_another_host_by_a_redirect() {
    let (thief, thief_url) = Seller::new(vec![offer("0.05")], &[200]).await;
    let trap = move |headers: HeaderMap| async move {
        if headers.contains_key(header::PAYMENT_SIGNATURE) {
            return Redirect::temporary(thief_url.as_str()).into_response();
        }
        let seller = Seller { offers: vec![offer("0.05")], script: Arc::default(), paid: Arc::default() };
        seller.demand(None)
    };
    let url = listen(Router::new().route("/", get(trap))).await;
    let answer = client(Policy::default()).get(url).await.unwrap();
    assert_eq!(answer.into_response().status(), 307);
    assert_eq!(thief.distinct_payments(), 0);
}

#[tokio::test]
async fn an_endless_or_senseless_402_is_an_error() {
    for body in ["x".repeat(300 * 1024), "{}".into(), r#"{"x402Version":3}"#.into()] {
        let url = listen(Router::new().route("/", get(move || async move { (StatusCode::PAYMENT_REQUIRED, body) }))).await;
        assert!(matches!(client(Policy::default()).get(url).await, Err(PayError::BadPaymentRequired(_))));
    }
}

/// A key that is somewhere else: every signature is a request that takes its time.
#[derive(Clone)]
struct RemoteKey(PrivateKeySigner);

#[async_trait::async_trait]
impl Signer for RemoteKey {
    async fn sign_hash(&self, hash: &B256) -> alloy::signers::Result<Signature> {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        self.0.sign_hash(hash).await
    }

    fn address(&self) -> Address {
        self.0.address()
    }

    fn chain_id(&self) -> Option<ChainId> {
        None
    }

    fn set_chain_id(&mut self, _: Option<ChainId>) {}
}

#[tokio::test]
async fn any_alloy_signer_pays() {
    let key = PrivateKeySigner::random();
    let (seller, url) = Seller::new(vec![offer("0.05")], &[200]).await;
    let client = Client::new(KeyPayer::new(RemoteKey(key.clone())), Policy::default()).unwrap();
    client.get(url).await.unwrap();
    let payment: PaymentPayload = header::decode(seller.sent()[0].as_bytes()).unwrap();
    let ExactPayload::Eip3009(exact) = payment.exact().unwrap() else { panic!("not EIP-3009") };
    let hash = exact.authorization.signing_hash(&TokenDomain::of(&payment.accepted).unwrap());
    assert_eq!(recover_strict(hash, &exact.signature), Some(key.address()));
}
