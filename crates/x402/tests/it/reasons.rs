//! The official reasons that a server gives by itself, without a chain.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use alloy::{
    primitives::{B256, Bytes, U256},
    signers::{SignerSync, local::PrivateKeySigner},
};
use axum::{
    Json, Router,
    routing::{get, post},
};
use futures::future::{BoxFuture, FutureExt, ready};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::Notify;
use url::Url;
use x402::{
    EIP2612_GAS_SPONSORING, FacilitatorClient, PaymentPayload, PaymentRequest, PaymentRequired, PaymentRequirements, Reason,
    ResourceInfo, SettleResponse, V2, VerifyResponse,
    batch::{
        BatchPayload, Chain, ChannelConfig, ChannelState, Deposit, DepositAuthorization, DepositPayload, Erc3009Deposit,
        RefundPayload, Voucher, VoucherPayload,
    },
    header,
    server::{Authorizer, Channel, ChannelStore, Channels, Gate, MemoryChannels, PaidLayer, Pricing, ReservationError},
};

use crate::support::{Ledger, SELLER, listen, offer};

fn key() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(7)).unwrap()
}

/// A store that fails, or forgets, when it is told to.
#[derive(Default)]
struct Moody {
    channels: MemoryChannels,
    fails: AtomicBool,
    forgets: AtomicBool,
}

impl ChannelStore for Moody {
    fn load(&self, id: B256) -> BoxFuture<'_, Result<Option<Channel>, ReservationError>> {
        if self.fails.load(Ordering::SeqCst) {
            return ready(Err(ReservationError::Full)).boxed();
        }
        if self.forgets.load(Ordering::SeqCst) { ready(Ok(None)).boxed() } else { self.channels.load(id) }
    }

    fn swap(&self, next: Channel) -> BoxFuture<'_, Result<bool, ReservationError>> {
        self.channels.swap(next)
    }

    fn list(&self, after: Option<B256>, limit: usize) -> BoxFuture<'_, Result<Vec<Channel>, ReservationError>> {
        self.channels.list(after, limit)
    }
}

/// Says of every channel that it holds a thousand units.
async fn verify(Json(request): Json<PaymentRequest>) -> Json<VerifyResponse> {
    let payload = BatchPayload::from_json(&request.payment_payload.payload).unwrap();
    let (config, voucher) = (payload.channel_config().unwrap(), payload.voucher().unwrap());
    let state = ChannelState { channel_id: voucher.channel_id, balance: 1_000, ..ChannelState::default() };
    Json(VerifyResponse { extra: Some(state.to_extra()), ..VerifyResponse::valid(config.payer) })
}

/// A shop of three routes that share their channels: `/` for 100 units, `/dear` for 200, and `/slow`, which answers when `done` is told.
struct Shop {
    url: Url,
    offer: PaymentRequirements,
    store: Arc<Moody>,
    begun: Arc<Notify>,
    done: Arc<Notify>,
}

impl Shop {
    async fn open() -> Self {
        let facilitator = listen(Router::new().route("/verify", post(verify))).await;
        let facilitator = FacilitatorClient::new(facilitator).unwrap();
        let (store, authorizer) = (Arc::<Moody>::default(), Authorizer::Own(Arc::new(key())));
        let channels = Channels::new(store.clone(), facilitator.clone(), authorizer, Duration::from_secs(900));
        let channels = channels.min_deposit(money::Usdc::from_base_units(500));
        let gate = Gate::new(facilitator).channels(channels.clone());
        let [begun, done] = [0; 2].map(|_| Arc::new(Notify::new()));
        let priced = |units: u64| {
            let offer = PaymentRequirements { amount: units.into(), ..offer("0.05") };
            PaidLayer::new(gate.clone(), Pricing::offers(vec![channels.offer(offer)]))
        };
        let (telling, waiting) = (begun.clone(), done.clone());
        let slow = move || async move {
            telling.notify_one();
            waiting.notified().await;
            "slow"
        };
        let router = Router::new()
            .merge(Router::new().route("/", get(async || "cheap")).route("/slow", get(slow)).layer(priced(100)))
            .merge(Router::new().route("/dear", get(async || "dear")).layer(priced(200)));
        let offer = channels.offer(PaymentRequirements { amount: 100.into(), ..offer("0.05") });
        Self { url: listen(router).await, offer, store, begun, done }
    }

    fn config(&self) -> ChannelConfig {
        ChannelConfig {
            payer: key().address(),
            payer_authorizer: key().address(),
            receiver: SELLER,
            receiver_authorizer: key().address(),
            token: self.offer.asset_address().unwrap(),
            withdraw_delay: 900,
            salt: B256::ZERO,
        }
    }

    fn voucher(&self, ceiling: u128) -> Voucher {
        let chain = Chain::of(&self.offer).unwrap();
        let channel_id = chain.channel_id(&self.config());
        let signature: Bytes = key().sign_hash_sync(&chain.voucher_hash(channel_id, ceiling)).unwrap().as_bytes().into();
        Voucher { channel_id, max_claimable_amount: ceiling, signature }
    }

    /// Status and reason of what answers this payload.
    async fn send(&self, path: &str, price: u64, payload: &BatchPayload) -> (StatusCode, Option<Reason>) {
        let accepted = PaymentRequirements { amount: price.into(), ..self.offer.clone() };
        send(self.url.join(path).unwrap(), accepted, payload.to_json(), None).await
    }

    async fn buy(&self, path: &str, price: u64, ceiling: u128) -> (StatusCode, Option<Reason>) {
        let payload = VoucherPayload { channel_config: self.config(), voucher: self.voucher(ceiling) };
        self.send(path, price, &BatchPayload::Voucher(payload)).await
    }
}

async fn send(
    url: Url,
    accepted: PaymentRequirements,
    payload: x402::JsonMap,
    extensions: Option<Value>,
) -> (StatusCode, Option<Reason>) {
    let extensions = extensions.map(|extensions| serde_json::from_value(extensions).unwrap());
    let resource = Some(ResourceInfo::new("http://seller/"));
    let payment = PaymentPayload { x402_version: V2, resource, accepted, payload, extensions };
    let request = reqwest::Client::new().get(url).header(header::PAYMENT_SIGNATURE, header::encode(&payment).unwrap());
    let answer = request.send().await.unwrap();
    let required = answer.headers().get(header::PAYMENT_REQUIRED);
    let required: Option<PaymentRequired> = required.map(|value| header::decode(value.as_bytes()).unwrap());
    (answer.status(), required.and_then(|required| required.error).map(Reason::from))
}

const REFUSED: StatusCode = StatusCode::PAYMENT_REQUIRED;

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_cannot_be_charged_has_its_official_reason() {
    let shop = Shop::open().await;
    let authorization = Erc3009Deposit {
        valid_after: 0.into(),
        valid_before: U256::MAX.into(),
        salt: B256::ZERO,
        signature: Bytes::from_static(&[0; 65]),
    };
    let deposit = Deposit { amount: 499, authorization: DepositAuthorization::Erc3009Authorization(authorization) };
    let deposit = DepositPayload { channel_config: shop.config(), voucher: shop.voucher(100), deposit };
    assert_eq!(shop.send("/", 100, &BatchPayload::Deposit(deposit)).await, (REFUSED, Some(Reason::BatchDepositBelowMin)));

    assert_eq!(shop.buy("/", 100, 100).await.0, StatusCode::OK);
    assert_eq!(shop.buy("/", 100, 400).await, (REFUSED, Some(Reason::BatchCumulativeMismatch)));
    shop.store.fails.store(true, Ordering::SeqCst);
    assert_eq!(shop.buy("/", 100, 200).await, (REFUSED, Some(Reason::BatchStateUnavailable)));
    shop.store.fails.store(false, Ordering::SeqCst);

    // Two requests at once, both going on from what was charged.
    let meanwhile = async {
        shop.begun.notified().await;
        let busy = shop.buy("/dear", 200, 300).await;
        // And the store loses the channel while its request is served.
        shop.store.forgets.store(true, Ordering::SeqCst);
        shop.done.notify_one();
        busy
    };
    let (slow, busy) = tokio::join!(shop.buy("/slow", 100, 200), meanwhile);
    assert_eq!(busy, (REFUSED, Some(Reason::BatchChannelBusy)));
    assert_eq!(slow, (REFUSED, Some(Reason::BatchMissingChannel)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voucher_never_pays_for_more_than_it_says() {
    let shop = Shop::open().await;
    // Something else is charged to the channel while its request is served.
    let meanwhile = async {
        shop.begun.notified().await;
        let channel = shop.store.load(shop.voucher(100).channel_id).await.unwrap().unwrap();
        let next = Channel { charged: channel.charged + 50, version: channel.version + 1, ..channel };
        assert!(shop.store.swap(next).await.unwrap());
        shop.done.notify_one();
    };
    let (told, ()) = tokio::join!(shop.buy("/slow", 100, 100), meanwhile);
    assert_eq!(told, (REFUSED, Some(Reason::BatchChargeExceedsCeiling)));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_voucher_is_worked_for_once_whatever_it_is_shown_for() {
    let shop = Shop::open().await;
    let meanwhile = async {
        shop.begun.notified().await;
        let other = tokio::time::timeout(Duration::from_secs(10), shop.buy("/slow?other", 100, 100)).await;
        shop.done.notify_one();
        other.expect("it is turned away at once")
    };
    let (first, other) = tokio::join!(shop.buy("/slow", 100, 100), meanwhile);
    assert_eq!(first.0, StatusCode::OK);
    assert_ne!(other.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_of_nothing_is_none() {
    let shop = Shop::open().await;
    assert_eq!(shop.buy("/", 100, 100).await.0, StatusCode::OK);
    let refund = |amount| {
        BatchPayload::Refund(RefundPayload {
            channel_config: shop.config(),
            voucher: shop.voucher(100),
            amount: Some(amount),
            refund_nonce: None,
            claims: None,
            refund_authorizer_signature: None,
            claim_authorizer_signature: None,
        })
    };
    assert_eq!(shop.send("/", 100, &refund(0)).await, (REFUSED, Some(Reason::BatchRefundAmountInvalid)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_may_not_change_and_a_facilitator_may_not_leave_out() {
    let ledger = Ledger::default();
    let layer = PaidLayer::new(ledger.gate().await, Pricing::offers(vec![offer("0.05")])).sponsor_permits();
    let url = listen(Router::new().route("/", get(async || "work")).layer(layer)).await;
    let altered = json!({ EIP2612_GAS_SPONSORING: { "info": { "version": "2" } } });
    let told = send(url, offer("0.05"), x402::JsonMap::new(), Some(altered)).await;
    assert_eq!(told, (REFUSED, Some(Reason::ExtensionEchoMismatch)));

    let silent = || async { Json(json!({ "isValid": false })) };
    let facilitator = FacilitatorClient::new(listen(Router::new().route("/verify", post(silent))).await).unwrap();
    let layer = PaidLayer::new(Gate::new(facilitator), Pricing::offers(vec![offer("0.05")]));
    let url = listen(Router::new().route("/", get(async || "work")).layer(layer)).await;
    let zero = B256::ZERO;
    let payload = json!({ "signature": zero, "authorization": { "from": SELLER, "to": SELLER, "value": "50000", "validAfter": "0",
        "validBefore": "9", "nonce": zero } });
    let told = send(url, offer("0.05"), serde_json::from_value(payload).unwrap(), None).await;
    assert_eq!(told, (REFUSED, Some(Reason::UnexpectedVerifyError)));
    let network = offer("0.05").network;
    assert!(SettleResponse::pending(network.clone(), SELLER, B256::repeat_byte(1)).is_pending());
    assert!(!SettleResponse::failed(network, None, Reason::SettlementPending).is_pending(), "never without a hash");
}

/// A newer SDK that says more is seen here.
#[test]
fn every_error_string_of_the_official_packages_is_known() {
    let mut folders =
        vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../node_modules/@x402/evm/dist/esm"))];
    let mut known = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("run scripts/setup") {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "mjs") {
                let code = std::fs::read_to_string(path).unwrap();
                let said =
                    code.lines().filter_map(|line| line.strip_prefix("var Err")?.split_once(" = \"")?.1.strip_suffix("\";"));
                known.extend(said.map(str::to_owned));
            }
        }
    }
    assert!(known.len() > 100, "where did they go? {known:?}");
    let unknown: Vec<_> = known.iter().filter(|text| matches!(Reason::from(text.as_str()), Reason::Other(_))).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// Whoever is told 402 pays again: not while the first payment may have been taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_reason_that_leaves_the_outcome_open_is_never_a_402() {
    let payload = json!({ "signature": B256::ZERO, "authorization": { "from": SELLER, "to": SELLER, "value": "50000",
        "validAfter": "0", "validBefore": "9", "nonce": B256::ZERO } });
    for (reason, status) in [
        (Reason::UnexpectedSettleError, StatusCode::SERVICE_UNAVAILABLE),
        (Reason::SettlementPending, StatusCode::SERVICE_UNAVAILABLE),
        (Reason::NonceAlreadyUsed, StatusCode::SERVICE_UNAVAILABLE),
        (Reason::Permit2InvalidNonce, StatusCode::SERVICE_UNAVAILABLE),
        (Reason::InsufficientBalance, REFUSED),
        (Reason::Erc20ApprovalTxFailed, REFUSED),
    ] {
        let ledger = Ledger::default();
        ledger.refuse(reason.clone());
        let layer = PaidLayer::new(ledger.gate().await, Pricing::offers(vec![offer("0.05")]));
        let url = listen(Router::new().route("/", get(async || "work")).layer(layer)).await;
        let (told, _) = send(url, offer("0.05"), serde_json::from_value(payload.clone()).unwrap(), None).await;
        assert_eq!(told, status, "{reason}");
    }
}
