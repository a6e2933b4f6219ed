//! A ledger that was rewritten from end to end is right in itself, and shown wrong by the chain.

use alloy::{primitives::U256, providers::ext::AnvilApi, signers::local::PrivateKeySigner};
use api::{
    AgentType, Role,
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
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    for amount in ["1", "2"] {
        let send = Send { to_agent_id: to.agent.id, asset: Asset::Ard, amount: amount.parse().unwrap(), memo: None };
        from.client.send_money(&send, amount).await.unwrap();
        until("it is sealed", async || {
            let unsealed = "SELECT last_id - (SELECT coalesce(max(first_id + count - 1), 0) FROM seals) FROM ledger";
            sqlx::query_scalar::<_, i64>(unsealed).fetch_one(&pool).await.unwrap() == 0
        })
        .await;
    }
    until("all is anchored", async || {
        finalize(&world).await;
        let open =
            "SELECT (SELECT count(*) FROM seals WHERE anchor IS NULL) + (SELECT count(*) FROM audit_seals WHERE anchor IS NULL)
             + (SELECT count(*) FROM audit_events WHERE number IS NULL)";
        sqlx::query_scalar::<_, i64>(open).fetch_one(&pool).await.unwrap() == 0
    })
    .await;
    assert!(anchored().await >= 2);

    let query = StatementQuery { asset: Asset::Ard, until: None, cursor: None, limit: Some(1) };
    let transfer = from.client.statement(&query).await.unwrap().data[0].transfer_id;
    let proof = from.client.ledger_proof(transfer).await.unwrap();
    assert_eq!(proof.verify().unwrap().id, transfer);
    let way = proof.anchor.unwrap();
    let root = way.root(proof.seal.head()).unwrap();
    assert_eq!((way.operator, proof.seal.signer()), (key.address(), Some(key.address())));
    assert!(contract.isAnchored(way.operator, way.sequence, root, way.count).call().await.unwrap());

    // What happened is anchored with the money.
    let support = market.client.with_api_key(&market.staff(world.stack.database_url(), Role::Support).await);
    let proof = support.audit_proof(1).await.unwrap();
    let (event, way) = (proof.verify().unwrap(), proof.anchor.unwrap());
    assert_eq!(event.event_type, "agent_registered");
    let root = way.root(proof.seal.head()).unwrap();
    assert!(contract.isAnchored(way.operator, way.sequence, root, way.count).call().await.unwrap());
    sqlx::query("UPDATE audit_seals SET head = sha256(head) WHERE sequence = 1").execute(&pool).await.unwrap();
    let verified = support.verify_audit(&VerifyQuery { from: Some(1), limit: Some(1) }).await.unwrap();
    assert!(!verified.valid && verified.problem.as_ref().unwrap().contains("anchored"), "{verified:?}");

    sqlx::query("DELETE FROM seals").execute(&pool).await.unwrap();
    while market::ledger::seal(&pool).await.unwrap() > 0 {}
    // Another question: an answer is repeated for a while.
    let verified = from.client.verify_ledger(&VerifyQuery { limit: Some(10), ..VerifyQuery::default() }).await.unwrap();
    assert!(!verified.valid && verified.problem.as_ref().unwrap().contains("anchored"), "{verified:?}");
}
