//! A facilitator that only counts, a shop that charges, and a client, all over real sockets.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alloy::{
    primitives::{Address, B256, address},
    signers::local::PrivateKeySigner,
};
use axum::{
    Json, Router,
    extract::State,
    response::IntoResponse,
    routing::{get, post},
};
use http::StatusCode;
use url::Url;
use x402::{
    FacilitatorClient, Network, PaymentKey, PaymentPayload, PaymentRequest, PaymentRequirements, Reason, SettleResponse, Token,
    TokenAmount, VerifyResponse,
    client::{Client, KeyPayer, Policy},
    server::Gate,
};

pub(crate) const NETWORK: &str = "eip155:84532";
pub(crate) const SELLER: Address = address!("00000000000000000000000000000000000000aa");

pub(crate) fn offer(price: &str) -> PaymentRequirements {
    let token = Token::usdc(&Network::evm(84532)).unwrap();
    PaymentRequirements::exact(&token, price.parse::<money::Usdc>().unwrap(), SELLER, 60)
}

/// Serves `router` on a free port.
pub(crate) async fn listen(router: Router) -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listen_on(listener, router)
}

pub(crate) fn listen_on(listener: tokio::net::TcpListener, router: Router) -> Url {
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// What the facilitator was asked, and how it behaves.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Inner>);

#[derive(Default)]
struct Inner {
    settled: Mutex<HashMap<PaymentKey, B256>>,
    settle_calls: AtomicUsize,
    charged: Mutex<Vec<TokenAmount>>,
    /// Settlements that happen but are answered with 500.
    lost_answers: AtomicUsize,
    refusal: Mutex<Option<Reason>>,
    last: Mutex<Option<PaymentPayload>>,
}

impl Ledger {
    pub(crate) fn settled(&self) -> usize {
        self.0.settled.lock().unwrap().len()
    }

    pub(crate) fn settle_calls(&self) -> usize {
        self.0.settle_calls.load(Ordering::SeqCst)
    }

    /// What each call of settle was to charge.
    pub(crate) fn charged(&self) -> Vec<TokenAmount> {
        self.0.charged.lock().unwrap().clone()
    }

    /// The next `count` settlements happen, and nobody hears of it.
    pub(crate) fn lose_answers(&self, count: usize) {
        self.0.lost_answers.store(count, Ordering::SeqCst);
    }

    /// The payment verified last.
    pub(crate) fn last_payment(&self) -> PaymentPayload {
        self.0.last.lock().unwrap().clone().unwrap()
    }

    pub(crate) fn refuse(&self, reason: Reason) {
        *self.0.refusal.lock().unwrap() = Some(reason);
    }

    pub(crate) async fn facilitator(&self) -> Url {
        let router =
            Router::new().route("/verify", post(verify)).route("/settle", post(settle)).route("/supported", get(supported));
        listen(router.with_state(self.clone())).await
    }

    pub(crate) async fn gate(&self) -> Gate {
        Gate::new(FacilitatorClient::new(self.facilitator().await).unwrap())
    }
}

async fn verify(State(ledger): State<Ledger>, Json(request): Json<PaymentRequest>) -> Json<VerifyResponse> {
    *ledger.0.last.lock().unwrap() = Some(request.payment_payload.clone());
    Json(VerifyResponse::valid(request.payment_payload.key().unwrap().payer))
}

async fn supported() -> Json<serde_json::Value> {
    let kind = serde_json::json!({ "x402Version": 2, "scheme": "exact", "network": NETWORK });
    Json(serde_json::json!({ "kinds": [kind], "extensions": [], "signers": {} }))
}

async fn settle(State(ledger): State<Ledger>, Json(request): Json<PaymentRequest>) -> axum::response::Response {
    let call = ledger.0.settle_calls.fetch_add(1, Ordering::SeqCst);
    ledger.0.charged.lock().unwrap().push(request.payment_requirements.amount);
    let key = request.payment_payload.key().unwrap();
    if let Some(reason) = ledger.0.refusal.lock().unwrap().clone() {
        return Json(SettleResponse::failed(key.network, Some(key.payer), reason)).into_response();
    }
    let hash = B256::with_last_byte(u8::try_from(call % 255).unwrap() + 1);
    let transaction = *ledger.0.settled.lock().unwrap().entry(key.clone()).or_insert(hash);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let lost = ledger.0.lost_answers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
    if lost {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    Json(SettleResponse::settled(key.network, key.payer, transaction)).into_response()
}

pub(crate) fn client(policy: Policy) -> Client<KeyPayer<PrivateKeySigner>> {
    Client::new(KeyPayer::new(PrivateKeySigner::random()), policy).unwrap()
}
