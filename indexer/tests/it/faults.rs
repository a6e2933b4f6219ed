//! A process that is killed for real, while the chain under it reorganises under load.

use std::{process::Stdio, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::process::{Child, Command};

use crate::{
    harness::{Chain, assert_as_from_scratch, assert_balances, database, pool, synced},
    reorg::reorg,
};

/// Reorganisations, unless `FLORIN_FAULTS` says how many.
const REORGS: u32 = 10;
const DEPTH_MAX: u64 = 30;

fn start(chain: &Chain, database: &str) -> Child {
    let program = std::env::current_exe().unwrap();
    let program = program.parent().unwrap().with_file_name("examples").join("serve_indexer");
    Command::new(&program)
        .args(["--database-url", database, "--rpc-url", chain.url().as_str(), "--listen", "127.0.0.1:0"])
        .args(["--start-block", &chain.deployment.start_block.to_string(), "--reconcile-seconds", "0"])
        // While it is dead, several reorganisations add up.
        .args(["--finality-blocks", "1000"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; cargo build -p indexer --examples makes it", program.display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_chain_reorganises_it_ends_with_the_rows_of_the_final_chain() {
    let reorgs = std::env::var("FLORIN_FAULTS").map_or(REORGS, |count| count.parse().unwrap());
    let mut random = StdRng::seed_from_u64(30);
    let chain = Chain::start().await;
    for i in 0..40 {
        chain.block(&[(i % 10, (i + 3) % 10, 10)]).await;
    }
    let database = database().await;
    indexer::migrate(&database).await.unwrap();
    let pool = pool(&database).await;
    let mut process = start(&chain, &database);
    for round in 0..reorgs {
        for _ in 0..random.random_range(1..5) {
            let (from, to) = (random.random_range(0..10), random.random_range(0..10));
            chain.block(&[(from, to, u64::from(round) + 1), (to, from, 3)]).await;
        }
        if random.random_ratio(1, 3) {
            synced(&chain, &pool).await;
        }
        reorg(&chain, random.random_range(1..=DEPTH_MAX), u64::from(round)).await;
        chain.block(&[(1, 2, 1)]).await;
        if random.random_ratio(1, 2) {
            tokio::time::sleep(Duration::from_micros(random.random_range(0..60_000))).await;
            process.kill().await.unwrap();
            process = start(&chain, &database);
            tokio::time::sleep(Duration::from_micros(random.random_range(0..200_000))).await;
        }
    }
    synced(&chain, &pool).await;
    process.kill().await.unwrap();
    let undone: i64 = sqlx::query_scalar("SELECT count(*) FROM chain.reorgs").fetch_one(&pool).await.unwrap();
    assert!(undone > 0, "the process lived long enough to see one");
    assert_balances(&chain, &pool).await;
    assert_as_from_scratch(&chain, &pool).await;
}
