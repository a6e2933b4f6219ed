use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::harness::{Chain, Indexer, assert_as_from_scratch, assert_balances, config, database, pool, synced};

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_points_it_neither_loses_nor_repeats_a_row() {
    let chain = Chain::start().await;
    let database = database().await;
    indexer::migrate(&database).await.unwrap();
    let pool = pool(&database).await;
    let mut random = StdRng::seed_from_u64(5);
    for round in 0..12_u64 {
        let indexer = Indexer::start_with(config(&chain, &database)).await;
        for _ in 0..random.random_range(1..30) {
            let (from, to) = (random.random_range(0..10), random.random_range(0..10));
            chain.block(&[(from, to, round), (to, from, 3)]).await;
        }
        tokio::time::sleep(Duration::from_micros(random.random_range(0..20_000))).await;
        indexer.kill().await;
    }
    let indexer = Indexer::start(&chain, &database).await;
    synced(&chain, &pool).await;
    assert_balances(&chain, &pool).await;
    assert_as_from_scratch(&chain, &pool).await;
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_instances_one_writes_and_the_other_takes_over() {
    let chain = Chain::start().await;
    let database = database().await;
    let pool = pool(&database).await;
    let first = Indexer::start(&chain, &database).await;
    let second = Indexer::start(&chain, &database).await;
    chain.pay(1, 2, 3).await;
    synced(&chain, &pool).await;
    let (status, _) = second.get("/api/v1/chain/status").await;
    assert_eq!(status, 200, "the one that waits answers queries");
    first.kill().await;
    chain.pay(2, 3, 4).await;
    synced(&chain, &pool).await;
    assert_balances(&chain, &pool).await;
    second.stop().await;
}
