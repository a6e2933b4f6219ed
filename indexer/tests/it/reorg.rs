use alloy::{
    providers::ext::AnvilApi,
    rpc::types::anvil::{ReorgOptions, TransactionData},
};

use crate::harness::{Chain, Indexer, assert_as_from_scratch, assert_balances, config, database, pool, synced, transfer};

/// Replaces the last `depth` blocks; each new one holds one payment of `amount`.
pub(crate) async fn reorg(chain: &Chain, depth: u64, amount: u64) {
    let pay = |block: u64| {
        let from = chain.accounts[usize::try_from(block % 10).unwrap()];
        (TransactionData::JSON(chain.tx(from, transfer(chain.accounts[9], amount + block))), block)
    };
    chain.provider.anvil_reorg(ReorgOptions { depth, tx_block_pairs: (0..depth).map(pay).collect() }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_reorganisations_of_any_depth_the_mirror_is_that_of_the_final_chain() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    for i in 0..40 {
        chain.pay(i % 10, (i + 3) % 10, 10).await;
    }
    for depth in [1, 2, 1, 7, 30, 1, 3] {
        synced(&chain, &pool).await;
        reorg(&chain, depth, depth * 100).await;
        chain.pay(1, 2, depth).await;
    }
    synced(&chain, &pool).await;
    assert_balances(&chain, &pool).await;
    assert_as_from_scratch(&chain, &pool).await;
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tip_replaced_by_another_at_the_same_height_is_noticed() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    chain.pay(1, 2, 500).await;
    synced(&chain, &pool).await;
    let height = chain.height().await;
    reorg(&chain, 1, 7).await;
    assert_eq!(chain.height().await, height);
    synced(&chain, &pool).await;
    assert_balances(&chain, &pool).await;
    let (_, status) = indexer.get("/api/v1/chain/status").await;
    assert_eq!(status["reorgs"], 1);
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_that_the_node_takes_back_disappear() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    let snapshot = chain.provider.anvil_snapshot().await.unwrap();
    for _ in 0..3 {
        chain.pay(1, 2, 500).await;
    }
    synced(&chain, &pool).await;
    assert!(chain.provider.anvil_revert(snapshot).await.unwrap());
    synced(&chain, &pool).await;
    assert_balances(&chain, &pool).await;
    assert_as_from_scratch(&chain, &pool).await;
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rather_than_undo_a_final_block_the_indexer_stops_and_says_so() {
    let chain = Chain::start().await;
    let database = database().await;
    let mut config = config(&chain, &database);
    config.finality_blocks = Some(3);
    let indexer = Indexer::start_with(config).await;
    indexer.ready().await;
    let pool = pool(&database).await;
    for _ in 0..8 {
        chain.pay(1, 2, 500).await;
    }
    synced(&chain, &pool).await;
    let before = crate::harness::dump(&pool).await;
    reorg(&chain, 6, 1).await;
    let error = indexer.task.await.unwrap().unwrap_err();
    assert!(matches!(error, indexer::Error::ReorgTooDeep { finality_blocks: 3, .. }), "{error}");
    assert_eq!(crate::harness::dump(&pool).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_final_stays_final_when_a_shorter_chain_and_a_restart_follow() {
    let chain = Chain::start().await;
    let database = database().await;
    let mut config = config(&chain, &database);
    config.finality_blocks = Some(3);
    let indexer = Indexer::start_with(config.clone()).await;
    indexer.ready().await;
    let pool = pool(&database).await;
    for _ in 0..6 {
        chain.pay(1, 2, 500).await;
    }
    synced(&chain, &pool).await;
    let (final_block, snapshot) = (chain.height().await - 3, chain.height().await);
    // Three blocks go, one comes: what was final is now one block deep.
    chain.provider.anvil_rollback(Some(3)).await.unwrap();
    chain.pay(3, 4, 7).await;
    synced(&chain, &pool).await;
    assert_eq!((chain.height().await, snapshot), (final_block + 1, final_block + 3));
    indexer.stop().await;
    chain.provider.anvil_rollback(Some(2)).await.unwrap();
    chain.pay(5, 6, 9).await;
    chain.pay(5, 6, 9).await;
    let error = Indexer::start_with(config).await.task.await.unwrap().unwrap_err();
    assert!(matches!(error, indexer::Error::ReorgTooDeep { block, .. } if block == final_block), "{error}");
}
