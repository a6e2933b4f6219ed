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
