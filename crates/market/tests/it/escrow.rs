use alloy::primitives::{Address, B256, U256};
use api::{
    AgentType, Code, EscrowAgreement, EscrowTerms, EventType, FeedQuery, Initiate, PaymentMethod, Transaction, TransactionStatus,
};
use contracts::{
    escrow::{Escrow, IEscrow::Terms},
    usdc::Usdc as Token,
};
use serde_json::json;
use tokio::time::timeout;

use crate::harness::{BUYER, Market, PRICE, SELLER, WAIT, World, address, goods, refusal};

const GOODS: &[u8] = b"a year of prices";

#[tokio::test(flavor = "multi_thread")]
async fn escrowed_content_opens_when_the_chain_has_both_the_money_and_the_delivery() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    let listing = seller.client.create_listing(&goods("prices", PRICE, Some(GOODS))).await.unwrap();
    let request = through_escrow(listing.id, BUYER);
    assert_eq!(refusal(market.as_wallet(7).await.initiate(&request).await), Code::Forbidden);
    let own = Initiate { buyer: Some(address(SELLER)), ..request.clone() };
    assert_eq!(refusal(seller.client.initiate(&own).await), Code::Inconsistent);
    let order = buyer.client.initiate(&request).await.unwrap();
    let agreement = agreement(&order);
    assert_eq!((order.status, agreement.terms.amount), (TransactionStatus::PaymentPending, PRICE));

    let provider = world.stack.provider();
    let escrow = Escrow::new(agreement.escrow, provider);
    let terms = terms(&agreement.terms);
    assert_eq!(escrow.agreementId(terms.clone()).call().await.unwrap(), agreement.agreement_id, "both name the agreement alike");
    let hash = agreement.terms.content_hash;
    assert_eq!(refusal(buyer.client.transaction_content(order.id).await), Code::WrongState);
    assert_eq!(refusal(seller.client.deliver(order.id, hash).await), Code::WrongState);

    let token = Token::new(world.stack.deployment().usdc, provider);
    mined(token.approve(agreement.escrow, U256::MAX).from(address(BUYER))).await;
    mined(escrow.fund(terms.clone()).from(address(BUYER))).await;
    world.mirrored().await;
    let status = async || -> Transaction { buyer.client.transaction(order.id).await.unwrap() };
    assert_eq!(status().await.status, TransactionStatus::PaymentConfirmed);
    assert_eq!(refusal(buyer.client.transaction_content(order.id).await), Code::WrongState);

    // The seller's word alone opens nothing.
    assert_eq!(seller.client.deliver(order.id, hash).await.unwrap().status, TransactionStatus::PaymentConfirmed);
    assert_eq!(refusal(buyer.client.transaction_content(order.id).await), Code::WrongState);

    mined(escrow.markDelivered(terms.clone(), hash).from(address(SELLER))).await;
    world.mirrored().await;
    assert_eq!(refusal(seller.client.deliver(order.id, B256::ZERO).await), Code::Inconsistent);
    assert_eq!(refusal(buyer.client.deliver(order.id, hash).await), Code::Forbidden);
    assert_eq!(seller.client.deliver(order.id, hash).await.unwrap().status, TransactionStatus::Delivered);
    assert_eq!(buyer.client.transaction_content(order.id).await.unwrap().body, GOODS);
    assert_eq!(market.as_wallet(BUYER).await.transaction_content(order.id).await.unwrap().body, GOODS);
    assert_eq!(refusal(market.as_wallet(7).await.transaction_content(order.id).await), Code::NotFound);
    assert_eq!(refusal(market.as_wallet(7).await.transaction(order.id).await), Code::NotFound);

    mined(escrow.release(terms).from(address(BUYER))).await;
    world.mirrored().await;
    let done = status().await;
    assert_eq!((done.status, done.content_available), (TransactionStatus::Completed, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_disputes_puts_up_a_bond_where_somebody_rules() {
    let world = World::new().await;
    let market = Market::start(market::Config { arbiter: Some(address(8)), ..world.config() }).await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let listing =
        seller.client.create_listing(&goods("prices", money::Usdc::from_base_units(1_000_001), Some(GOODS))).await.unwrap();
    // A wallet that has nothing in the ledger pays through the escrow.
    let order = Initiate { payment_method: None, ..through_escrow(listing.id, BUYER) };
    let order = market.as_wallet(BUYER).await.initiate(&order).await.unwrap();
    let terms = &agreement(&order).terms;
    // A twentieth, rounded up.
    assert_eq!((terms.arbiter, terms.dispute_bond), (address(8), money::Usdc::from_base_units(50_001)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_chain_does_is_told_to_the_parties_once_however_many_instances_look() {
    let world = World::new().await;
    let (market, _other) = (world.market().await, world.market().await);
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    let listing = seller.client.create_listing(&goods("prices", PRICE, Some(GOODS))).await.unwrap();
    let kinds = [EventType::PaymentConfirmed, EventType::ContentDelivered, EventType::TransactionCompleted];
    let query = FeedQuery { event_types: Some(kinds.map(EventType::as_str).join(",")), ..FeedQuery::default() };
    let mut feeds = [seller.client.feed(&query).await.unwrap(), buyer.client.feed(&query).await.unwrap()];
    // What was told twice of the first would come before what the second does.
    for _ in 0..2 {
        let order = buyer.client.initiate(&through_escrow(listing.id, BUYER)).await.unwrap();
        play(&world, &order).await;
        for feed in &mut feeds {
            for kind in kinds {
                let told = timeout(WAIT, feed.next()).await.expect("it is told").unwrap().expect("the feed goes on");
                assert_eq!((told.event_type, &told.data["transaction_id"]), (kind, &json!(order.id)));
            }
        }
    }
}

/// A purchase through the escrow by an account.
pub(crate) fn through_escrow(listing_id: uuid::Uuid, buyer: usize) -> Initiate {
    Initiate { listing_id, buyer: Some(address(buyer)), payment_method: Some(PaymentMethod::Escrow) }
}

pub(crate) fn agreement(order: &Transaction) -> EscrowAgreement {
    order.agreement.clone().expect("it goes through the escrow")
}

/// Funds, delivers and releases what was ordered.
pub(crate) async fn play(world: &World, order: &Transaction) {
    let (provider, agreement) = (world.stack.provider(), agreement(order));
    let (escrow, terms) = (Escrow::new(agreement.escrow, provider), terms(&agreement.terms));
    let token = Token::new(world.stack.deployment().usdc, provider);
    mined(token.approve(agreement.escrow, U256::MAX).from(address(BUYER))).await;
    mined(escrow.fund(terms.clone()).from(address(BUYER))).await;
    mined(escrow.markDelivered(terms.clone(), order.content_hash).from(address(SELLER))).await;
    mined(escrow.release(terms).from(address(BUYER))).await;
}

pub(crate) async fn mined<P: alloy::providers::Provider, D: alloy::contract::CallDecoder>(
    call: alloy::contract::CallBuilder<P, D>,
) {
    assert!(call.send().await.unwrap().get_receipt().await.unwrap().status());
}

fn terms(t: &EscrowTerms) -> Terms {
    assert_eq!(t.arbiter, Address::ZERO);
    Terms {
        buyer: t.buyer,
        seller: t.seller,
        arbiter: t.arbiter,
        token: t.token,
        amount: t.amount.into(),
        feeBps: t.fee_bps,
        feeRecipient: t.fee_recipient,
        deliverBy: t.deliver_by,
        reviewPeriod: t.review_period,
        arbitrationPeriod: t.arbitration_period,
        disputeBond: t.dispute_bond.into(),
        defaultOutcome: t.default_outcome,
        contentHash: t.content_hash,
        agentId: U256::from(t.agent_id),
        salt: t.salt,
    }
}
