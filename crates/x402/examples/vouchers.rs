//! How many voucher payments a second one process sells over HTTP, with the buyers on the same cores: one channel per buyer, each voucher
//! signed, sent, checked, charged in the store and answered with a receipt. The facilitator is a stub that is asked once per channel.
//!
//! ```sh
//! cargo run --release -p x402 --example vouchers -- 64 5            # buyers, seconds
//! DATABASE_URL=postgres://.. cargo run --release -p x402 --features postgres --example vouchers -- 256 5
//! ```
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alloy::{
    primitives::{Address, B256, Bytes},
    signers::{SignerSync, local::PrivateKeySigner},
};
use axum::{Json, Router, routing::get, routing::post};
use serde_json::{Value, json};
use x402::{
    FacilitatorClient, Network, PaymentPayload, PaymentRequest, PaymentRequirements, ResourceInfo, Token, V2, VerifyResponse,
    batch::{BatchPayload, Chain, ChannelConfig, ChannelState, Voucher, VoucherPayload},
    client::hot_key,
    header,
    server::{Authorizer, ChannelStore, Channels, Gate, MemoryChannels, PaidLayer, Pricing},
};

const PRICE: u64 = 100;
const SELLER: Address = Address::repeat_byte(0xaa);

async fn listen(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// Says of every channel that it is full of money.
async fn verify(Json(request): Json<PaymentRequest>) -> Json<Value> {
    let payload = BatchPayload::from_json(&request.payment_payload.payload).unwrap();
    let (config, voucher) = (payload.channel_config().unwrap(), payload.voucher().unwrap());
    let state = ChannelState { channel_id: voucher.channel_id, balance: u128::MAX, ..ChannelState::default() };
    Json(json!(VerifyResponse { extra: Some(state.to_extra()), ..VerifyResponse::valid(config.payer) }))
}

async fn store() -> Arc<dyn ChannelStore> {
    #[cfg(feature = "postgres")]
    if let Ok(url) = std::env::var("DATABASE_URL") {
        let pool = sqlx::PgPool::connect(&url).await.unwrap();
        return Arc::new(x402::server::PostgresChannels::new(pool).await.unwrap());
    }
    Arc::new(MemoryChannels::default())
}

/// Pays again and again through one channel until `end`; the latencies.
async fn buy(
    client: reqwest::Client,
    url: String,
    offer: PaymentRequirements,
    authorizer: Address,
    end: Instant,
) -> Vec<Duration> {
    let (key, chain) = (hot_key(&PrivateKeySigner::random()), Chain::of(&offer).unwrap());
    let channel_config = ChannelConfig {
        payer: key.address(),
        payer_authorizer: key.address(),
        receiver: SELLER,
        receiver_authorizer: authorizer,
        token: offer.asset_address().unwrap(),
        withdraw_delay: 3600,
        salt: B256::ZERO,
    };
    let channel_id = chain.channel_id(&channel_config);
    let (mut ceiling, mut latencies) = (0, Vec::new());
    while Instant::now() < end {
        let begun = Instant::now();
        ceiling += u128::from(PRICE);
        let signature: Bytes = key.sign_hash_sync(&chain.voucher_hash(channel_id, ceiling)).unwrap().as_bytes().into();
        let voucher = Voucher { channel_id, max_claimable_amount: ceiling, signature };
        let payload = BatchPayload::Voucher(VoucherPayload { channel_config, voucher }).to_json();
        let (resource, accepted) = (Some(ResourceInfo::new(&url)), offer.clone());
        let payment = PaymentPayload { x402_version: V2, resource, accepted, payload, extensions: None };
        let request = client.get(&url).header(header::PAYMENT_SIGNATURE, header::encode(&payment).unwrap());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{:?}", answer.headers());
        assert!(answer.headers().contains_key(header::PAYMENT_RESPONSE));
        answer.bytes().await.unwrap();
        latencies.push(begun.elapsed());
    }
    latencies
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().unwrap());
    let (buyers, seconds) = (arguments.next().unwrap_or(64), arguments.next().unwrap_or(5));
    let facilitator = listen(Router::new().route("/verify", post(verify))).await;
    let facilitator = FacilitatorClient::new(facilitator.parse().unwrap()).unwrap();
    let key = PrivateKeySigner::random();
    let (authorizer, store) = (key.address(), store().await);
    let channels = Channels::new(store.clone(), facilitator.clone(), Authorizer::Own(Arc::new(key)), Duration::from_secs(3600));
    let token = Token::usdc(&Network::evm(84532)).unwrap();
    let offer = channels.offer(PaymentRequirements::exact(&token, PRICE, SELLER, 60));
    let layer = PaidLayer::new(Gate::new(facilitator).channels(channels), Pricing::offers(vec![offer.clone()]));
    let url = listen(Router::new().route("/", get(|| async { "an answer" })).layer(layer)).await;

    // Each reads the certificates of the system, which takes longer than a hundred payments.
    let clients: Vec<_> = (0..buyers).map(|_| reqwest::Client::new()).collect();
    let (begun, end) = (Instant::now(), Instant::now() + Duration::from_secs(seconds));
    let bought: Vec<_> =
        clients.into_iter().map(|client| tokio::spawn(buy(client, url.clone(), offer.clone(), authorizer, end))).collect();
    let mut latencies = Vec::new();
    for buyer in bought {
        latencies.extend(buyer.await.unwrap());
    }
    let (count, took) = (latencies.len(), begun.elapsed());
    latencies.sort_unstable();
    let (mut charged, mut last) = (0_u128, None);
    loop {
        let page = store.list(last, 500).await.unwrap();
        let Some(end) = page.last() else { break };
        last = Some(end.id);
        charged += page.iter().map(|channel| channel.charged).sum::<u128>();
    }
    let at = |part: usize| latencies.get(count * part / 100).copied().unwrap_or_default();
    println!(
        "{buyers} buyers: {} payments a second, p50 {:?}, p99 {:?}",
        count as u128 * 1000 / took.as_millis(),
        at(50),
        at(99)
    );
    println!("{count} payments, {charged} base units charged (expected {})", count as u128 * u128::from(PRICE));
}
