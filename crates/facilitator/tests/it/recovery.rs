use alloy::providers::ext::AnvilApi;

use crate::harness::{PRICE, World};

#[tokio::test]
async fn a_crash_after_the_broadcast_neither_loses_nor_repeats_the_payment() {
    let world = World::new().await;
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let payment = world.payment();
    let first = world.serve(&["--confirm-timeout-seconds", "1"]).await;
    let pending = first.settle(&payment).await;
    assert!(pending.is_pending(), "{pending:?}");
    first.kill().await;
    world.provider.anvil_set_auto_mine(true).await.unwrap();
    world.provider.anvil_mine(Some(1), None).await.unwrap();
    let second = world.serve(&[]).await;
    let settled = second.settle(&payment).await;
    assert!(settled.success, "{settled:?}");
    assert_eq!(settled.transaction, pending.transaction);
    assert_eq!(world.balance(world.payee).await, PRICE);
}

#[tokio::test]
async fn a_crash_between_the_journal_and_the_broadcast_is_made_good_by_the_next_start() {
    let world = World::new().await;
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let payment = world.payment();
    let first = world.serve(&["--confirm-timeout-seconds", "1"]).await;
    let pending = first.settle(&payment).await;
    first.kill().await;
    // The node forgets the transaction: as if it had never been broadcast.
    world.provider.anvil_drop_transaction(pending.transaction_hash().unwrap()).await.unwrap();
    world.provider.anvil_set_auto_mine(true).await.unwrap();
    let second = world.serve(&[]).await;
    let settled = second.settle(&payment).await;
    assert!(settled.success, "{settled:?}");
    assert_eq!(settled.transaction, pending.transaction);
    let next = second.settle(&world.payment()).await;
    assert!(next.success, "the lane goes on after the recovered nonce: {next:?}");
    assert_eq!(world.balance(world.payee).await, PRICE.checked_mul(2).unwrap());
}
