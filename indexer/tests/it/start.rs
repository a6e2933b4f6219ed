//! Every mistake in the configuration ends the start with what to do about it.

use indexer::Error;

use crate::harness::{Chain, Indexer, WAIT, config, database, pool, synced};

async fn refused(config: indexer::Config) -> Error {
    tokio::time::timeout(WAIT, Indexer::start_with(config).await.task).await.unwrap().unwrap().unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_said_at_the_start() {
    let chain = Chain::start().await;
    let database = database().await;
    let good = config(&chain, &database);

    let mut wrong = good.clone();
    wrong.chain_id = Some(1);
    assert!(matches!(refused(wrong).await, Error::WrongChain { expected: 1, actual: 84532, .. }));

    let mut wrong = good.clone();
    wrong.rpc_url = vec!["http://user:secret@127.0.0.1:1/key".parse().unwrap()];
    let error = refused(wrong).await;
    assert!(matches!(error, Error::NodeUnreachable { .. }), "{error}");
    assert!(!error.to_string().contains("secret") && !error.to_string().contains("key"), "{error}");

    let mut wrong = good.clone();
    wrong.database_url = "postgres://nobody@127.0.0.1:1/none".into();
    assert!(matches!(refused(wrong).await, Error::DatabaseUnreachable(_)));

    let mut wrong = good.clone();
    wrong.deployment = Some("/nowhere/84532.json".into());
    assert!(matches!(refused(wrong).await, Error::Deployment(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_mirrors_something_else_is_left_alone() {
    let chain = Chain::start().await;
    let database = database().await;
    Indexer::start(&chain, &database).await.stop().await;
    let mut later = config(&chain, &database);
    later.start_block = Some(chain.deployment.start_block + 1);
    assert!(matches!(refused(later).await, Error::OtherMirror { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_pushes_new_blocks_is_followed_too() {
    let chain = Chain::start().await;
    let database = database().await;
    let mut pushed = config(&chain, &database);
    pushed.rpc_url[0].set_scheme("ws").unwrap();
    let indexer = Indexer::start_with(pushed).await;
    indexer.ready().await;
    let pool = pool(&database).await;
    for i in 0..5 {
        chain.pay(i, i + 1, 3).await;
        synced(&chain, &pool).await;
    }
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stands_still_makes_the_mirror_not_ready_however_often_it_answers() {
    let chain = Chain::start().await;
    let database = database().await;
    let mut config = config(&chain, &database);
    config.block_seconds = Some(1);
    let indexer = Indexer::start_with(config).await;
    indexer.ready().await;
    let pool = pool(&database).await;
    synced(&chain, &pool).await;
    // The newest block is what it was ten minutes ago, and the node says so again and again.
    sqlx::query("UPDATE chain.blocks SET timestamp = timestamp - interval '10 minutes'").execute(&pool).await.unwrap();
    let (status, answer) = indexer.get("/ready").await;
    assert!(status == 503 && answer["detail"].as_str().unwrap().contains("stands still"), "{answer}");
    let (_, status) = indexer.get("/api/v1/chain/status").await;
    assert!(status["block_age_seconds"].as_u64().unwrap() >= 600 && status["lag_blocks"] == 0, "{status}");
    chain.pay(1, 2, 1).await;
    indexer.ready().await;
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_takes_the_finality_that_is_known_of_it() {
    let chain = Chain::start().await;
    let database = database().await;
    let mut config = config(&chain, &database);
    config.finality_blocks = None;
    let indexer = Indexer::start_with(config).await;
    indexer.ready().await;
    assert_eq!(indexer.get("/api/v1/base-sepolia/status").await.1["finality_blocks"], 600);
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_whose_blocks_cannot_be_proved_is_mirrored_only_on_trust_and_says_so() {
    let anvil = stack::Anvil::start(&stack::AnvilOptions::default()).await.unwrap();
    let provider = alloy::providers::ProviderBuilder::new().connect_http(anvil.rpc_url().clone());
    alloy::providers::ext::AnvilApi::anvil_set_chain_id(&provider, 25).await.unwrap();
    let mut config = indexer::Config::new(database().await, anvil.rpc_url().clone());
    config.start_block = Some(0);
    let error = refused(config.clone()).await;
    assert!(
        error.to_string().contains("blocks of cronos cannot be proved") && error.to_string().contains("--trust-node"),
        "{error}"
    );
    config.trust_node = true;
    let indexer = Indexer::start_with(config).await;
    indexer.ready().await;
    assert_eq!(indexer.get("/api/v1/cronos/blocks/0").await.1["proof"], "told");
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_without_balances_tells_none() {
    let chain = Chain::start().await;
    let database = database().await;
    let mut config = config(&chain, &database);
    config.raw = true;
    let indexer = Indexer::start_with(config).await;
    indexer.ready().await;
    for path in ["", "/statement"] {
        let (status, answer) = indexer.get(&format!("/api/v1/chain/accounts/{}{path}", chain.accounts[1])).await;
        assert_eq!((status, answer["code"].as_str()), (404, Some("not_mirrored")), "{answer}");
    }
    indexer.stop().await;
}
