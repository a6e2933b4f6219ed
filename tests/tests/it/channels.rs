//! Payment channels of copies of a service that share one store: no charge is lost, and no voucher serves twice.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use alloy::{
    primitives::{Address, B256, Bytes},
    signers::{SignerSync, local::PrivateKeySigner},
};
use axum::{
    Json, Router,
    routing::{get, post},
};
use futures::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use http::StatusCode;
use proptest::prelude::*;
use sqlx::PgPool;
use stack::Postgres;
use tokio::runtime::Runtime;
use x402::{
    FacilitatorClient, Network, PaymentPayload, PaymentRequest, PaymentRequired, PaymentRequirements, Reason, ResourceInfo,
    Token, V2, VerifyResponse,
    batch::{BatchPayload, Chain, ChannelConfig, ChannelState, Voucher, VoucherPayload},
    header,
    server::{
        Authorizer, Channel, ChannelStore, Channels, Gate, MemoryChannels, PaidLayer, PostgresChannels, Pricing, ReservationError,
    },
};

const PRICE: u128 = 100;
const SELLER: Address = Address::repeat_byte(0xaa);

fn key() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(7)).unwrap()
}

async fn listen(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// Says of every channel that it holds ten prices.
async fn verify(Json(request): Json<PaymentRequest>) -> Json<VerifyResponse> {
    let payload = BatchPayload::from_json(&request.payment_payload.payload).unwrap();
    let (config, voucher) = (payload.channel_config().unwrap(), payload.voucher().unwrap());
    let state = ChannelState { channel_id: voucher.channel_id, balance: 10 * PRICE, ..ChannelState::default() };
    let exceeds = voucher.max_claimable_amount > state.balance;
    Json(if exceeds {
        VerifyResponse::invalid(Reason::BatchCumulativeExceedsBalance, Some(config.payer))
    } else {
        VerifyResponse { extra: Some(state.to_extra()), ..VerifyResponse::valid(config.payer) }
    })
}

/// A copy of the service.
async fn serve(store: Arc<dyn ChannelStore>) -> (String, PaymentRequirements) {
    let facilitator = listen(Router::new().route("/verify", post(verify))).await;
    let facilitator = FacilitatorClient::new(facilitator.parse().unwrap()).unwrap();
    let authorizer = Authorizer::Own(Arc::new(key()));
    let channels = Channels::new(store, facilitator.clone(), authorizer, Duration::from_secs(900));
    let token = Token::usdc(&Network::evm(84532)).unwrap();
    let offer = channels.offer(PaymentRequirements::exact(&token, 100, SELLER, 60));
    let layer = PaidLayer::new(Gate::new(facilitator).channels(channels), Pricing::offers(vec![offer.clone()]));
    let work = || async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        "work"
    };
    (listen(Router::new().route("/", get(work)).layer(layer)).await, offer)
}

fn channel(offer: &PaymentRequirements) -> ChannelConfig {
    ChannelConfig {
        payer: key().address(),
        payer_authorizer: key().address(),
        receiver: SELLER,
        receiver_authorizer: key().address(),
        token: offer.asset_address().unwrap(),
        withdraw_delay: 900,
        salt: B256::ZERO,
    }
}

/// A request with a voucher of this ceiling: its status, and the reason of a refusal.
async fn buy(url: &str, offer: &PaymentRequirements, ceiling: u128) -> (StatusCode, Option<PaymentRequired>) {
    let (chain, channel_config) = (Chain::of(offer).unwrap(), channel(offer));
    let channel_id = chain.channel_id(&channel_config);
    let signature: Bytes = key().sign_hash_sync(&chain.voucher_hash(channel_id, ceiling)).unwrap().as_bytes().into();
    let voucher = Voucher { channel_id, max_claimable_amount: ceiling, signature };
    let payload = BatchPayload::Voucher(VoucherPayload { channel_config, voucher }).to_json();
    let resource = Some(ResourceInfo::new("http://seller/"));
    let payment = PaymentPayload { x402_version: V2, resource, accepted: offer.clone(), payload, extensions: None };
    let request = reqwest::Client::new().get(url).header(header::PAYMENT_SIGNATURE, header::encode(&payment).unwrap());
    let answer = request.send().await.unwrap();
    let required = answer.headers().get(header::PAYMENT_REQUIRED).map(|value| header::decode(value.as_bytes()).unwrap());
    (answer.status(), required)
}

async fn database() -> (Postgres, PgPool) {
    let postgres = Postgres::start(None).await.unwrap();
    let database = postgres.create("channels", None).await.unwrap();
    let pool = PgPool::connect(&database.url).await.unwrap();
    (postgres, pool)
}

fn is_open(status: StatusCode) -> bool {
    matches!(status, StatusCode::PAYMENT_REQUIRED | StatusCode::SERVICE_UNAVAILABLE | StatusCode::CONFLICT)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_voucher_serves_once_across_instances_and_every_charge_outlives_them() {
    let (_postgres, pool) = database().await;
    let instance = || async { Arc::new(PostgresChannels::new(pool.clone()).await.unwrap()) };
    let (first, offer) = serve(instance().await).await;
    let (second, _) = serve(instance().await).await;
    for round in 1..=3 {
        let urls = [&first, &second].into_iter().cycle().take(24);
        let answers = join_all(urls.map(|url| buy(url, &offer, round * PRICE))).await;
        let (served, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(status, _)| *status == StatusCode::OK);
        assert_eq!(served.len(), 1, "round {round}");
        assert!(refused.iter().all(|(status, _)| is_open(*status)), "{refused:?}");
    }
    // A copy that never saw the channel knows what was charged, and tells who asks with the wrong base.
    let (third, _) = serve(instance().await).await;
    let (status, required) = buy(&third, &offer, 9 * PRICE).await;
    let required = required.unwrap();
    assert_eq!(
        (status, required.error.as_deref()),
        (StatusCode::PAYMENT_REQUIRED, Some(Reason::BatchCumulativeMismatch.as_str()))
    );
    let extra = required.accepts[0].extra.as_ref().unwrap();
    assert_eq!(extra["channelState"]["chargedCumulativeAmount"], "300");
    assert_eq!(extra["voucherState"]["signedMaxClaimable"], "300");
    assert_eq!(buy(&third, &offer, 4 * PRICE).await.0, StatusCode::OK);
    assert_eq!(buy(&first, &offer, 5 * PRICE).await.0, StatusCode::OK, "the others learn of it");
    for ceiling in 6..=10 {
        assert_eq!(buy(&second, &offer, ceiling * PRICE).await.0, StatusCode::OK);
    }
    let (status, required) = buy(&second, &offer, 11 * PRICE).await;
    let error = required.unwrap().error;
    assert_eq!((status, error.as_deref()), (StatusCode::PAYMENT_REQUIRED, Some(Reason::BatchCumulativeExceedsBalance.as_str())));
}

/// Writes the first charge and does not say so.
#[derive(Default)]
struct Forgetful {
    channels: MemoryChannels,
    forgot: AtomicBool,
}

impl ChannelStore for Forgetful {
    fn load(&self, id: B256) -> BoxFuture<'_, Result<Option<Channel>, ReservationError>> {
        self.channels.load(id)
    }

    fn swap(&self, next: Channel) -> BoxFuture<'_, Result<bool, ReservationError>> {
        let is_charge = next.charged > 0;
        async move {
            let written = self.channels.swap(next).await?;
            if is_charge && !self.forgot.swap(true, Ordering::SeqCst) {
                return Err(ReservationError::Store("the connection broke".into()));
            }
            Ok(written)
        }
        .boxed()
    }

    fn list(&self, after: Option<B256>, limit: usize) -> BoxFuture<'_, Result<Vec<Channel>, ReservationError>> {
        self.channels.list(after, limit)
    }
}

#[tokio::test]
async fn a_charge_of_which_the_store_did_not_tell_is_made_once_and_served() {
    let store = Arc::new(Forgetful::default());
    let (url, offer) = serve(store.clone()).await;
    assert_eq!(buy(&url, &offer, PRICE).await.0, StatusCode::SERVICE_UNAVAILABLE, "nobody knows");
    assert_eq!(buy(&url, &offer, PRICE).await.0, StatusCode::OK, "the same voucher gets what it paid for");
    assert_eq!(store.list(None, 2).await.unwrap()[0].charged, PRICE);
    assert_eq!(buy(&url, &offer, 2 * PRICE).await.0, StatusCode::OK);
}

fn record(id: u8, version: u64, charged: u128) -> Channel {
    let config = channel(&PaymentRequirements::exact(&Token::usdc(&Network::evm(84532)).unwrap(), 1, SELLER, 60));
    Channel {
        id: B256::repeat_byte(id),
        chain_id: 84532,
        config,
        charged,
        ceiling: u128::MAX,
        signature: Bytes::from_static(b"signature"),
        balance: u128::MAX,
        total_claimed: 1,
        withdraw_requested_at: u64::from(u32::MAX),
        refund_nonce: alloy::primitives::U256::MAX,
        synced_at_ms: 1,
        used_at: 2,
        unclaimed_since: 3,
        pending: None,
        version,
    }
}

/// Adds one to what was charged, until it is written.
async fn charge(store: &dyn ChannelStore, id: u8) -> Result<(), ReservationError> {
    loop {
        let known = match store.recall(B256::repeat_byte(id)) {
            Some(known) => Some(known),
            None => store.load(B256::repeat_byte(id)).await?,
        };
        let next = match known {
            Some(known) => Channel { charged: known.charged + 1, version: known.version + 1, ..known },
            None => record(id, 1, 1),
        };
        if store.swap(next).await? {
            return Ok(());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_charge_is_lost_however_many_write_at_once() {
    let (_postgres, pool) = database().await;
    let (one, other) = (PostgresChannels::new(pool.clone()).await.unwrap(), PostgresChannels::new(pool.clone()).await.unwrap());
    let charges = (0..100_usize).map(|i| {
        let store = if i % 2 == 0 { one.clone() } else { other.clone() };
        tokio::spawn(async move { charge(&store, u8::try_from(i % 5).unwrap()).await })
    });
    for charged in join_all(charges).await {
        charged.unwrap().unwrap();
    }
    let fresh = PostgresChannels::new(pool).await.unwrap();
    let all = fresh.list(None, 100).await.unwrap();
    assert_eq!(all.iter().map(|channel| channel.charged).collect::<Vec<_>>(), [20; 5]);
    assert_eq!(all[4], Channel { version: 20, ..record(4, 1, 20) }, "what is read is what was written, to the last bit");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// Both stores are one map in which a write needs the version before it.
    #[test]
    fn a_write_needs_the_version_before_it(writes in prop::collection::vec((0..3_u8, 1..5_u64, any::<u128>()), 1..30)) {
        static SHARED: LazyLock<(Runtime, Postgres, PgPool)> = LazyLock::new(|| {
            let runtime = Runtime::new().unwrap();
            let (postgres, pool) = runtime.block_on(database());
            (runtime, postgres, pool)
        });
        let (runtime, _, pool) = &*SHARED;
        runtime.block_on(async {
            let stored = PostgresChannels::new(pool.clone()).await.unwrap();
            sqlx::query("TRUNCATE x402.channels").execute(pool).await.unwrap();
            let (memory, mut model) = (MemoryChannels::default(), HashMap::new());
            for (id, version, charged) in writes {
                let next = record(id, version, charged);
                let fits = model.get(&next.id).map_or(0, |known: &Channel| known.version) + 1 == version;
                assert_eq!(stored.swap(next.clone()).await.unwrap(), fits);
                assert_eq!(memory.swap(next.clone()).await.unwrap(), fits);
                if fits {
                    model.insert(next.id, next);
                }
            }
            let mut expected: Vec<_> = model.into_values().collect();
            expected.sort_by_key(|channel| channel.id);
            for store in [&stored as &dyn ChannelStore, &memory] {
                let mut paged = Vec::new();
                while let page @ [_, ..] = store.list(paged.last().map(|c: &Channel| c.id), 2).await.unwrap().as_slice() {
                    paged.extend_from_slice(page);
                }
                assert_eq!(paged, expected);
            }
        });
    }
}
