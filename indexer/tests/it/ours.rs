//! A mirror of our own accounts only.

use std::time::Duration;

use indexer::{Config, Transfers};
use money::Usdc;

use crate::{
    harness::{Chain, Indexer, WAIT, config, database, dump, pool, synced, transfer},
    story::{create_wallet, wallet_address},
};

#[tokio::test(flavor = "multi_thread")]
async fn two_wallets_that_were_dusted_are_complete_in_the_end_however_little_time_there_is() {
    let chain = Chain::start().await;
    let wallets = [wallet_address(&chain, 0).await, wallet_address(&chain, 1).await];
    for (from, amount) in [(2, 5), (3, 7), (2, 11)] {
        for wallet in wallets {
            chain.call(chain.accounts[from], transfer(wallet, amount)).await;
        }
        chain.pay(4, 5, 1).await;
    }
    for (salt, wallet) in (0..).zip(wallets) {
        assert_eq!(create_wallet(&chain, salt).await, wallet);
    }
    let database = database().await;
    // One step between two looks at the node.
    let config = Config {
        transfers: Transfers::Ours,
        finality_blocks: Some(1),
        earlier_turn: Duration::ZERO,
        ..config(&chain, &database)
    };
    chain.pay(4, 5, 1).await;
    let indexer = Indexer::start_with(config.clone()).await;
    indexer.ready().await;
    let told = async {
        for wallet in wallets {
            while indexer.get(&format!("/api/v1/chain/accounts/{wallet}")).await.0 != 200 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    };
    tokio::time::timeout(WAIT, told).await.expect("each search goes on where it was");
    for wallet in wallets {
        let (_, shown) = indexer.get(&format!("/api/v1/chain/accounts/{wallet}")).await;
        assert_eq!((shown["balance"].as_str(), shown["transfers"].as_u64()), (Some("0.000023"), Some(3)), "{shown}");
    }
    indexer.stop().await;
    assert_eq!(indexer::verify(&config, None, None, |_| {}).await.unwrap().differences, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_wallet_got_before_it_was_created_is_fetched_and_until_then_no_balance_is_told() {
    let chain = Chain::start().await;
    let wallet = wallet_address(&chain, 0).await;
    for (from, amount) in [(2, 5), (3, 7), (2, 11)] {
        chain.call(chain.accounts[from], transfer(wallet, amount)).await;
        chain.pay(4, 5, 1).await;
    }
    let ours = |database: &str| Config { transfers: Transfers::Ours, finality_blocks: Some(4), ..config(&chain, database) };
    let database = database().await;
    let indexer = Indexer::start_with(ours(&database)).await;
    indexer.ready().await;
    let pool = pool(&database).await;
    assert_eq!(create_wallet(&chain, 0).await, wallet);
    chain.call(chain.accounts[6], transfer(wallet, 100)).await;
    synced(&chain, &pool).await;
    let account = format!("/api/v1/chain/accounts/{wallet}");
    let (status, shown) = indexer.get(&account).await;
    assert_eq!((status, shown["code"].as_str()), (404, Some("not_mirrored")), "{shown}");
    let (_, shown) = indexer.get(&format!("/api/v1/chain/wallets/{wallet}")).await;
    assert!(shown["balance"].is_null(), "{shown}");
    for _ in 0..5 {
        chain.pay(4, 5, 1).await;
    }
    let told = async {
        loop {
            let (status, shown) = indexer.get(&account).await;
            if status == 200 {
                return shown;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let shown = tokio::time::timeout(WAIT, told).await.expect("its earlier transfers are fetched once its creation is final");
    let balance: Usdc = shown["balance"].as_str().unwrap().parse().unwrap();
    assert_eq!((balance.base_units(), shown["transfers"].as_u64()), (123, Some(4)), "{shown}");
    assert_eq!(chain.balance(wallet).await, 123);
    let (_, page) = indexer.get(&format!("{account}/statement?order=asc")).await;
    let balances: Vec<&str> = page["data"].as_array().unwrap().iter().map(|line| line["balance"].as_str().unwrap()).collect();
    assert_eq!(balances, ["0.000005", "0.000012", "0.000023", "0.000123"]);
    indexer.stop().await;
    assert_eq!(indexer::verify(&ours(&database), None, None, |_| {}).await.unwrap().differences, []);

    // Somebody else's account was never complete.
    let fresh = crate::harness::database().await;
    let indexer = Indexer::start_with(ours(&fresh)).await;
    indexer.ready().await;
    assert_eq!(indexer.get(&format!("/api/v1/chain/accounts/{}", chain.accounts[2])).await.0, 404);
    let told = async {
        while indexer.get(&account).await.0 != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WAIT, told).await.expect("a mirror that is new fetches them too");
    let again = crate::harness::pool(&fresh).await;
    synced(&chain, &again).await;
    indexer.stop().await;
    assert_eq!(dump(&pool).await, dump(&again).await);
}
