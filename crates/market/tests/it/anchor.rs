//! A ledger that was rewritten from end to end is right in itself, and shown wrong by the chain.

use alloy::{primitives::U256, providers::ext::AnvilApi, signers::local::PrivateKeySigner};
use api::{
    AgentType,
    ledger::{Asset, Send, StatementQuery, VerifyQuery},
};
use contracts::ledger_anchor::LedgerAnchor;
use market::Config;

use crate::{
    funds::{finalize, until},
    harness::{BUYER, Market, SELLER, World},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_anchored_cannot_be_rewritten_unseen() {
    let world = World::new().await;
    let provider = world.stack.provider();
    let key = PrivateKeySigner::random();
    provider.anvil_set_balance(key.address(), U256::from(10).pow(U256::from(18))).await.unwrap();
    let market = Market::start(Config { ledger_key: Some(key.clone()), anchor_seconds: Some(1), ..world.config() }).await;
    let (from, to) = (market.join("from", SELLER, AgentType::Both).await, market.join("to", BUYER, AgentType::Both).await);
    let anchored = async || from.client.verify_ledger(&VerifyQuery::default()).await.unwrap().anchored_seals;
    let contract = LedgerAnchor::new(world.stack.deployment().ledger_anchor, provider);
    for (round, amount) in ["1", "2"].into_iter().enumerate() {
        let send = Send { to_agent_id: to.agent.id, asset: Asset::Ard, amount: amount.parse().unwrap(), memo: None };
        from.client.send_money(&send, amount).await.unwrap();
        until("it is sent", async || contract.headOf(key.address()).call().await.unwrap().sequence > round as u64).await;
    }
    finalize(&world).await;
    until("it is anchored", async || anchored().await >= 2).await;

    let query = StatementQuery { asset: Asset::Ard, until: None, cursor: None, limit: Some(1) };
    let transfer = from.client.statement(&query).await.unwrap().data[0].transfer_id;
    let proof = from.client.ledger_proof(transfer).await.unwrap();
    assert_eq!(proof.verify().unwrap().id, transfer);
    let way = proof.anchor.unwrap();
    let root = way.root(proof.seal.head()).unwrap();
    assert_eq!((way.operator, proof.seal.signer()), (key.address(), Some(key.address())));
    assert!(contract.isAnchored(way.operator, way.sequence, root, way.count).call().await.unwrap());

    let pool = market::pool(world.stack.database_url()).await.unwrap();
    sqlx::query("ALTER TABLE anchors DROP CONSTRAINT anchors_first_seal_fkey").execute(&pool).await.unwrap();
    sqlx::query("DELETE FROM seals").execute(&pool).await.unwrap();
    while market::ledger::seal(&pool).await.unwrap() > 0 {}
    // Another question: an answer is repeated for a while.
    let verified = from.client.verify_ledger(&VerifyQuery { limit: Some(10), ..VerifyQuery::default() }).await.unwrap();
    assert!(!verified.valid && verified.problem.as_ref().unwrap().contains("anchored"), "{verified:?}");
}
