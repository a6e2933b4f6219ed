use alloy::providers::Provider;
use api::{AgentType, Bought, Code, PurchaseFilter, PurchaseStatus};
use contracts::usdc::Usdc as Token;
use futures::future::join_all;
use x402::{ExactPayload, PaymentRequired};

use crate::{
    harness::{BUYER, Market, PRICE, SELLER, World, address, because, buy, goods, pay, refusal},
    relay::{Fault, Relay},
};

const GOODS: &[u8] = b"42.17 EUR/MWh";

#[tokio::test(flavor = "multi_thread")]
async fn one_payment_buys_the_content_once_and_again_without_a_second_charge() {
    let world = World::new().await;
    let market = world.alone(because::MEMORY).await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let listing = seller.client.create_listing(&goods("prices", PRICE, Some(GOODS))).await.unwrap();
    let asked = market.asked(&listing).await;
    assert_eq!(asked.accepts[0].pay_to_address(), Some(address(SELLER)));
    assert_eq!(asked.accepts[0].amount.to_usdc(), Some(PRICE));

    let (seller_had, buyer_had) = (world.balance(SELLER).await, world.balance(BUYER).await);
    let payment = market.payment(&listing, BUYER).await;
    let bought = buy(&market, &listing, &payment).await;
    assert_eq!(bought.body, GOODS);
    assert_eq!(bought.headers["content-type"], "text/plain");
    assert_eq!(bought.headers["cache-control"], "private, no-store");
    assert!(bought.headers.contains_key("x-delivery-ms") && bought.headers.contains_key("etag"));
    let receipt: x402::SettleResponse = x402::header::decode(bought.headers["payment-response"].as_bytes()).unwrap();
    assert!(receipt.success);

    // At once and one after the other, by GET and by POST.
    let many = join_all((0..8).map(|_| buy(&market, &listing, &payment))).await;
    assert!(many.iter().all(|again| again.body == GOODS && again.headers["x-cache"] == "hit"));
    let post = reqwest::Client::new().post(market.client.express_url(listing.id)).header("payment-signature", &payment);
    assert_eq!(post.send().await.unwrap().bytes().await.unwrap(), GOODS);
    assert_eq!(world.balance(SELLER).await, seller_had + PRICE.base_units());
    assert_eq!(world.balance(BUYER).await, buyer_had - PRICE.base_units());

    let mine = market.as_wallet(BUYER).await.purchases(&PurchaseFilter::default()).await.unwrap().data;
    assert_eq!((mine.len(), mine[0].status, mine[0].transaction_hash), (1, PurchaseStatus::Settled, receipt.transaction_hash()));
    assert_eq!(market.as_wallet(BUYER).await.purchase_content(mine[0].id).await.unwrap().body, GOODS);
    assert_eq!(seller.client.purchases(&PurchaseFilter::default()).await.unwrap().data, mine);
    let stranger = market.as_wallet(7).await;
    assert!(stranger.purchases(&PurchaseFilter::default()).await.unwrap().data.is_empty());
    assert_eq!(refusal(market.as_wallet(7).await.purchase_content(mine[0].id).await), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_requests_with_one_new_payment_charge_once() {
    let world = World::new().await;
    let (market, other) = (world.market().await, world.market().await);
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let listing = seller.client.create_listing(&goods("prices", PRICE, Some(GOODS))).await.unwrap();
    let (had, payment) = (world.balance(SELLER).await, market.payment(&listing, BUYER).await);
    let all = join_all((0..50).map(|i| buy(if i % 2 == 0 { &market } else { &other }, &listing, &payment))).await;
    assert!(all.iter().all(|bought| bought.body == GOODS));
    assert_eq!(world.balance(SELLER).await, had + PRICE.base_units());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_buys_nothing_else_than_what_it_was_signed_for() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let listing = seller.client.create_listing(&goods("prices", PRICE, Some(GOODS))).await.unwrap();
    let other = seller.client.create_listing(&goods("other", PRICE, Some(b"other"))).await.unwrap();
    let dearer = seller.client.create_listing(&goods("dearer", PRICE.checked_mul(2).unwrap(), Some(b"dear"))).await.unwrap();
    let payment = pay(&market.asked(&listing).await, BUYER);
    let header = x402::header::encode(&payment).unwrap();
    buy(&market, &listing, &header).await;
    assert_eq!(refusal(market.client.express(other.id, Some(&header)).await), Code::PaymentUsed);

    // The nonce is public on chain; without the signature it is worth nothing.
    let mut guessed = payment.clone();
    guessed.payload.insert("signature".into(), format!("0x{}", "11".repeat(65)).into());
    let guessed = x402::header::encode(&guessed).unwrap();
    assert_eq!(refusal(market.client.express(listing.id, Some(&guessed)).await), Code::PaymentUsed);

    let had = world.balance(SELLER).await;
    let cheap = market.payment(&listing, BUYER).await;
    let Bought::PaymentRequired(_) = market.client.express(dearer.id, Some(&cheap)).await.unwrap() else {
        panic!("sold too cheaply")
    };
    let mut unsigned = pay(&market.asked(&listing).await, BUYER);
    unsigned.payload.insert("signature".into(), format!("0x{}", "11".repeat(65)).into());
    let unsigned = x402::header::encode(&unsigned).unwrap();
    let Bought::PaymentRequired(why) = market.client.express(listing.id, Some(&unsigned)).await.unwrap() else {
        panic!("sold for nothing")
    };
    let why: PaymentRequired = x402::header::decode(why.as_bytes()).unwrap();
    assert!(why.error.unwrap().contains("signature"));
    assert_eq!(refusal(market.client.express(listing.id, Some("%%%")).await), Code::InvalidRequest);
    assert_eq!(world.balance(SELLER).await, had);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_whose_answer_was_lost_still_delivers_after_a_restart() {
    let world = World::new().await;
    let relay = Relay::start(world.stack.facilitator_url(), Fault::AnswerLost).await;
    let mut config = world.config();
    config.facilitator_url = relay.url.clone();
    let market = Market::start(config.clone()).await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let listing = seller.client.create_listing(&goods("prices", PRICE, Some(GOODS))).await.unwrap();
    let (had, payment) = (world.balance(SELLER).await, market.payment(&listing, BUYER).await);
    assert_eq!(refusal(market.client.express(listing.id, Some(&payment)).await), Code::SettlementPending);
    assert_eq!(world.balance(SELLER).await, had + PRICE.base_units(), "the buyer was charged");
    let open = market.as_wallet(BUYER).await.purchases(&PurchaseFilter::default()).await.unwrap().data;
    assert_eq!(open[0].status, PurchaseStatus::Verified);
    // Meanwhile the seller changes and withdraws the goods.
    seller.client.upload(listing.id, "text/plain", "something else").await.unwrap();
    seller.client.delist(listing.id).await.unwrap();
    market.stop().await;

    relay.repair();
    let market = Market::start(config).await;
    assert_eq!(buy(&market, &listing, &payment).await.body, GOODS);
    assert_eq!(world.balance(SELLER).await, had + PRICE.base_units(), "and not a second time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_somebody_else_carried_to_the_chain_delivers() {
    let world = World::new().await;
    let relay = Relay::start(world.stack.facilitator_url(), Fault::Refused).await;
    let mut config = world.config();
    config.facilitator_url = relay.url.clone();
    let market = Market::start(config).await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let listing = seller.client.create_listing(&goods("prices", PRICE, Some(GOODS))).await.unwrap();
    let payment = pay(&market.asked(&listing).await, BUYER);
    let header = x402::header::encode(&payment).unwrap();
    let front_run = async {
        relay.asked.notified().await;
        let ExactPayload::Eip3009(signed) = payment.exact().unwrap() else { panic!("EIP-3009 was asked for") };
        let a = signed.authorization;
        let token = Token::new(world.stack.deployment().usdc, world.stack.provider());
        let call = token.transferWithAuthorization_0(
            a.from,
            a.to,
            a.value.0,
            a.valid_after.0,
            a.valid_before.0,
            a.nonce,
            signed.signature,
        );
        let from = world.stack.provider().get_accounts().await.unwrap()[8];
        assert!(call.from(from).send().await.unwrap().get_receipt().await.unwrap().status());
        world.mirrored().await;
        relay.go.notify_one();
    };
    let (bought, ()) = tokio::join!(buy(&market, &listing, &header), front_run);
    assert_eq!(bought.body, GOODS);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_facilitator_nothing_is_charged_and_the_buyer_is_told_to_wait() {
    let world = World::new().await;
    let mut config = world.config();
    config.facilitator_url = "http://127.0.0.1:9".parse().unwrap();
    let market = Market::start(config).await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let listing = seller.client.create_listing(&goods("prices", PRICE, Some(GOODS))).await.unwrap();
    let payment = market.payment(&listing, BUYER).await;
    assert_eq!(refusal(market.client.express(listing.id, Some(&payment)).await), Code::Unavailable);
    assert!(market.as_wallet(BUYER).await.purchases(&PurchaseFilter::default()).await.unwrap().data.is_empty());
}
