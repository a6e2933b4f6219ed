//! Withdrawals on their way through a chain that does not take what is offered.

use std::collections::BTreeSet;

use alloy::{
    consensus::{Transaction as _, TxEnvelope},
    eips::eip2718::Decodable2718,
    providers::{Provider, ext::AnvilApi},
};
use api::{AgentType, ledger::Withdraw};

use crate::{
    funds::{custody, finalize, metric, top_up, until, usdc},
    harness::{BUYER, Market, World},
};

const GWEI: u128 = 1_000_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_stuck_offers_more_for_gas_and_is_paid_once() {
    let world = World::new().await;
    let (key, config) = custody(&world).await;
    let market = Market::start(config).await;
    let agent = market.join("agent", BUYER, AgentType::Both).await;
    top_up(&agent, BUYER, "100").await.unwrap();
    let had = world.balance(BUYER).await;
    let (provider, pool) = (world.stack.provider(), market::pool(world.stack.database_url()).await.unwrap());
    let attempts = async || {
        let raw = sqlx::query_scalar("SELECT raw FROM batch_attempts ORDER BY first_sent_at").fetch_all(&pool).await.unwrap();
        raw.iter().map(|raw: &Vec<u8>| TxEnvelope::decode_2718(&mut &raw[..]).unwrap()).collect::<Vec<_>>()
    };
    provider.anvil_set_auto_mine(false).await.unwrap();
    agent.client.withdraw(&Withdraw { amount: usdc("10"), to_address: None }, "a").await.unwrap();
    until("it is sent", async || attempts().await.len() == 1).await;
    // Gas becomes dearer than what it offers, so the next block goes without it.
    let offered = attempts().await[0].max_fee_per_gas();
    let base_fee = offered.max(GWEI) * 20;
    provider.anvil_set_next_block_base_fee_per_gas(base_fee).await.unwrap();
    provider.anvil_mine(Some(1), None).await.unwrap();
    assert_eq!(world.balance(BUYER).await, had);
    // A minute passes.
    sqlx::query(
        "UPDATE batch_attempts SET first_sent_at = first_sent_at - interval '1 minute', sent_at = sent_at - interval '1 minute'",
    )
    .execute(&pool)
    .await
    .unwrap();
    until("more is offered", async || attempts().await.len() == 2).await;
    let sent = attempts().await;
    assert_eq!(sent.iter().map(|attempt| attempt.nonce()).collect::<BTreeSet<_>>().len(), 1, "it takes the same place");
    assert!(sent[1].max_fee_per_gas() >= base_fee && sent[1].max_priority_fee_per_gas() > sent[0].max_priority_fee_per_gas());
    until("it is mined", async || {
        provider.anvil_mine(Some(1), None).await.unwrap();
        world.balance(BUYER).await == had + 10_000_000
    })
    .await;
    finalize(&world).await;
    until("it is final", async || metric(&market, "market_batches_open").await == 0).await;
    assert_eq!(world.balance(BUYER).await, had + 10_000_000);
    assert_eq!(metric(&market, "market_books_violated").await, 0);
    assert_eq!(provider.get_transaction_count(key.address()).await.unwrap(), 1);
}
