//! What crashes, forks and a full mempool do to payments.

use std::time::Duration;

use alloy::{
    network::TransactionBuilder,
    primitives::{Address, B256, U256},
    providers::{Provider, ProviderBuilder, ext::AnvilApi},
    rpc::types::TransactionRequest,
    signers::local::PrivateKeySigner,
};
use money::Usdc;

use crate::{
    harness::{Facilitator, PRICE, World},
    lying::{Lie, Relay},
};

const GWEI: u128 = 1_000_000_000;

/// Each kind of journal; the file is new for each call.
fn journals(world: &World) -> [Vec<String>; 2] {
    let path = world.anvil.directory().join(format!("{}.journal", PrivateKeySigner::random().address()));
    [vec![], vec!["--journal".into(), format!("file:{}", path.display())]]
}

fn flags<'a>(journal: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    journal.iter().map(String::as_str).chain(more.iter().copied()).collect()
}

async fn until_paid(world: &World, amount: Usdc) {
    let paid = async {
        while world.balance(world.payee).await != amount {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), paid).await.expect("the payee is paid");
}

#[tokio::test]
async fn a_crash_after_the_broadcast_neither_loses_nor_repeats_the_payment() {
    let world = World::new().await;
    for (paid, journal) in (1..).zip(journals(&world)) {
        world.provider.anvil_set_auto_mine(false).await.unwrap();
        let payment = world.payment();
        let first = world.serve(&flags(&journal, &["--confirm-timeout-seconds", "1"])).await;
        let pending = first.settle(&payment).await;
        assert!(pending.is_pending(), "{pending:?}");
        first.kill().await;
        world.provider.anvil_set_auto_mine(true).await.unwrap();
        world.provider.anvil_mine(Some(1), None).await.unwrap();
        let second = world.serve(&flags(&journal, &[])).await;
        let settled = second.settle(&payment).await;
        assert!(settled.success, "{settled:?}");
        assert_eq!(settled.transaction, pending.transaction);
        assert_eq!(world.balance(world.payee).await, PRICE.checked_mul(paid).unwrap());
        second.kill().await;
    }
}

#[tokio::test]
async fn a_crash_between_the_journal_and_the_broadcast_is_made_good_by_the_next_start() {
    let world = World::new().await;
    for (paid, journal) in (1..).step_by(2).zip(journals(&world)) {
        world.provider.anvil_set_auto_mine(false).await.unwrap();
        let payment = world.payment();
        let first = world.serve(&flags(&journal, &["--confirm-timeout-seconds", "1"])).await;
        let pending = first.settle(&payment).await;
        first.kill().await;
        // The node forgets the transaction: as if it had never been broadcast.
        world.provider.anvil_drop_transaction(pending.transaction_hash().unwrap()).await.unwrap();
        world.provider.anvil_set_auto_mine(true).await.unwrap();
        let second = world.serve(&flags(&journal, &[])).await;
        let settled = second.settle(&payment).await;
        assert!(settled.success, "{settled:?}");
        assert_eq!(settled.transaction, pending.transaction);
        let next = second.settle(&world.payment()).await;
        assert!(next.success, "the lane goes on after the recovered nonce: {next:?}");
        assert_eq!(world.balance(world.payee).await, PRICE.checked_mul(paid + 1).unwrap());
        second.kill().await;
    }
}

#[tokio::test]
async fn what_a_reorganisation_takes_away_is_sent_again() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let payment = world.payment();
    let settled = facilitator.settle(&payment).await;
    assert!(settled.success, "{settled:?}");
    world.provider.anvil_rollback(Some(1)).await.unwrap();
    assert_eq!(world.balance(world.payee).await, Usdc::ZERO, "the payment is undone");
    until_paid(&world, PRICE).await;
    assert_eq!(facilitator.settle(&payment).await.transaction, settled.transaction);
}

#[tokio::test]
async fn a_transaction_that_offers_too_little_is_replaced() {
    let world = World::new().await;
    let facilitator = world.serve(&["--replace-seconds", "1"]).await;
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let payment = world.payment();
    let replaced = async {
        world.until("SELECT count(*) FROM facilitator.attempts", |count| count == 1).await;
        world.provider.anvil_set_next_block_base_fee_per_gas(50 * GWEI).await.unwrap();
        world.provider.anvil_mine(Some(1), None).await.unwrap();
        world.until("SELECT count(*) FROM facilitator.attempts", |count| count > 1).await;
        // As soon as one pays enough: each block lowers the fee by an eighth, which alone would take tens of them.
        for _ in 0..8 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            world.provider.anvil_mine(Some(1), None).await.unwrap();
        }
    };
    let (settled, ()) = tokio::join!(facilitator.settle(&payment), replaced);
    assert!(settled.success, "{settled:?}");
    assert_eq!(world.balance(world.payee).await, PRICE);
}

/// A transaction by our signer's key that is not the facilitator's.
async fn by_somebody_else(world: &World, nonce: u64) -> B256 {
    let provider = ProviderBuilder::new()
        .wallet(alloy::network::EthereumWallet::from(world.signer.clone()))
        .connect_http(world.anvil.rpc_url().clone());
    let request = TransactionRequest::default()
        .with_to(Address::ZERO)
        .with_nonce(nonce)
        .with_value(U256::ONE)
        .with_gas_limit(21_000)
        .with_max_fee_per_gas(100 * GWEI)
        .with_max_priority_fee_per_gas(10 * GWEI);
    *provider.send_transaction(request).await.unwrap().tx_hash()
}

#[tokio::test]
async fn a_settlement_whose_nonce_somebody_else_used_goes_out_again() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let payment = world.payment();
    let steal = async {
        world.until("SELECT count(*) FROM facilitator.attempts", |count| count == 1).await;
        by_somebody_else(&world, 0).await;
        world.provider.anvil_mine(Some(1), None).await.unwrap();
        world.provider.anvil_set_auto_mine(true).await.unwrap();
    };
    let (settled, ()) = tokio::join!(facilitator.settle(&payment), steal);
    assert!(settled.success, "{settled:?}");
    assert_eq!(world.balance(world.payee).await, PRICE);
}

#[tokio::test]
async fn a_nonce_that_was_lost_holds_up_nobody_for_long() {
    let world = World::new().await;
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let lost = by_somebody_else(&world, 0).await;
    let facilitator = world.serve(&[]).await;
    let payment = world.payment();
    let lose = async {
        world.until("SELECT count(*) FROM facilitator.attempts WHERE tx_nonce = 1", |count| count == 1).await;
        world.provider.anvil_drop_transaction(lost).await.unwrap();
        world.until("SELECT count(*) FROM facilitator.attempts WHERE tx_nonce = 0", |count| count == 1).await;
        world.provider.anvil_set_auto_mine(true).await.unwrap();
        world.provider.anvil_mine(Some(1), None).await.unwrap();
    };
    let (settled, ()) = tokio::join!(facilitator.settle(&payment), lose);
    assert!(settled.success, "{settled:?}");
}

/// As a crash leaves it right after the journal says so: the nonce was somebody else's, and the payment is to go out again. Much was sent after
/// it, and the node fails when it is to be sent.
#[tokio::test]
async fn what_goes_out_again_does_so_though_the_process_ends_before() {
    let world = World::new().await;
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let first = world.serve(&["--confirm-timeout-seconds", "1"]).await;
    let pending = first.settle(&world.payment()).await;
    first.kill().await;
    world.provider.anvil_drop_transaction(pending.transaction_hash().unwrap()).await.unwrap();
    by_somebody_else(&world, 0).await;
    world.provider.anvil_set_auto_mine(true).await.unwrap();
    world.provider.anvil_mine(Some(1), None).await.unwrap();
    let pool = sqlx::PgPool::connect(&world.database.url).await.unwrap();
    sqlx::query("UPDATE facilitator.settlements SET state = 'again'").execute(&pool).await.unwrap();
    world.provider.anvil_set_nonce(world.signer.address(), 500).await.unwrap();
    let (relay, url) = Relay::start(&world).await;
    relay.lies(&world, Lie::Refuses("eth_feeHistory", 2)).await;
    let _second = Facilitator::start(world.config_at(&url, &[])).await;
    until_paid(&world, PRICE).await;
    assert_eq!(world.provider.get_transaction_count(world.signer.address()).await.unwrap(), 501);
}

/// The database forgets who has the signer when the connection breaks that said so.
#[tokio::test]
async fn a_signer_whose_lease_was_lost_is_taken_anew() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let pool = sqlx::PgPool::connect(&world.database.url).await.unwrap();
    let held = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = 1717658473 AND database =
        (SELECT oid FROM pg_database WHERE datname = current_database())";
    let before: i32 = sqlx::query_scalar(held).fetch_one(&pool).await.unwrap();
    sqlx::query("SELECT pg_terminate_backend($1)").bind(before).execute(&pool).await.unwrap();
    let taken = async {
        while sqlx::query_scalar(held).fetch_optional(&pool).await.unwrap().is_none_or(|pid: i32| pid == before) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), taken).await.expect("the signer is held again");
    assert!(facilitator.settle(&world.payment()).await.success);
}
