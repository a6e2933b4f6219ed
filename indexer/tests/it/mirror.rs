use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::postgres::PgListener;

use crate::{
    harness::{Chain, Indexer, WAIT, assert_as_from_scratch, assert_balances, database, pool, synced},
    reorg::reorg,
};

#[tokio::test(flavor = "multi_thread")]
async fn every_balance_equals_the_tokens_and_indexing_again_gives_the_same_rows() {
    let chain = Chain::start().await;
    for i in 0..40_u64 {
        let at = |offset: u64| usize::try_from((i + offset) % 10).unwrap();
        chain.block(&[(at(0), at(3), 100 + i), (at(1), at(1), 5), (at(2), at(0), i)]).await;
    }
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    // Some blocks came by range, these come one by one.
    for i in 0..5 {
        chain.pay(i, i + 1, 1_000).await;
    }
    let pool = pool(&database).await;
    synced(&chain, &pool).await;
    assert_balances(&chain, &pool).await;
    assert_as_from_scratch(&chain, &pool).await;
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_is_visible_soon_after_the_node_has_it() {
    let chain = Chain::start().await;
    let database = database().await;
    let _indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    let mut delays = Vec::new();
    for i in 0..20 {
        let block = chain.pay(i % 10, (i + 1) % 10, 1).await.block_number.unwrap();
        let mined = Instant::now();
        indexer::read::wait_for_block(&pool, block, WAIT).await.unwrap();
        delays.push(mined.elapsed());
    }
    delays.sort();
    assert!(delays[10] < Duration::from_millis(100), "{delays:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_listens_is_told_of_each_block_and_of_what_was_undone() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    synced(&chain, &pool).await;
    let mut listener = PgListener::connect(&database).await.unwrap();
    listener.listen(indexer::read::HEAD_CHANNEL).await.unwrap();
    let mut next = chain.height().await + 1;
    for _ in 0..5 {
        chain.pay(0, 1, 1).await;
    }
    synced(&chain, &pool).await;
    reorg(&chain, 2, 7).await;
    chain.pay(0, 1, 1).await;
    synced(&chain, &pool).await;
    let newest = indexer::read::head(&mut pool.acquire().await.unwrap()).await.unwrap().unwrap();
    let told = async {
        let mut undone = 0;
        loop {
            let news: Value = serde_json::from_str(listener.recv().await.unwrap().payload()).unwrap();
            if let Some(from) = news["undone"]["from"].as_u64() {
                undone += next - from;
                next = from;
            }
            assert_eq!(news["first"].as_u64(), Some(next), "neither left out nor told twice: {news}");
            next = news["number"].as_u64().unwrap() + 1;
            if news["hash"] == newest.hash.to_string() {
                return undone;
            }
        }
    };
    let undone = tokio::time::timeout(WAIT, told).await.expect("the newest block is told of");
    assert_eq!((next, undone), (newest.number + 1, 2));
    indexer.stop().await;
}
