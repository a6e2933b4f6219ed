use std::time::Duration;

use alloy::{primitives::U256, providers::ext::AnvilApi};
use facilitator::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::harness::World;

async fn refusal(config: facilitator::Config) -> Error {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    facilitator::serve(config, listener, CancellationToken::new()).await.unwrap_err()
}

#[tokio::test]
async fn a_wrong_setting_is_named_at_the_start() {
    let world = World::new().await;
    let wrong_chain = refusal(world.config(&["--chain-id", "1"])).await;
    assert!(matches!(wrong_chain, Error::WrongChain { expected: 1, found: 84532 }), "{wrong_chain}");

    let no_node =
        refusal(facilitator::Config { rpc_urls: vec!["http://127.0.0.1:1".parse().unwrap()], ..world.config(&[]) }).await;
    assert!(matches!(no_node, Error::Node(_)), "{no_node}");

    let database_url = Some("postgres://nobody@127.0.0.1:1/none".to_owned());
    let no_database = refusal(facilitator::Config { database_url, ..world.config(&[]) }).await;
    assert!(matches!(no_database, Error::Database(_)), "{no_database}");

    world.provider.anvil_set_balance(world.signer.address(), U256::ZERO).await.unwrap();
    let no_gas = refusal(world.config(&[])).await;
    assert!(no_gas.to_string().contains(&world.signer.address().to_string()), "{no_gas}");
}

#[tokio::test]
async fn it_ends_when_it_is_told_to() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(facilitator::serve(world.config(&[]), listener, shutdown.clone()));
    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(10), serving).await.expect("it ends").unwrap().unwrap();
}

#[tokio::test]
async fn two_instances_never_share_a_signer() {
    let world = World::new().await;
    let _first = world.serve(&[]).await;
    assert!(matches!(refusal(world.config(&[])).await, Error::SignerInUse(signer) if signer == world.signer.address()));
}

#[tokio::test]
async fn two_instances_never_share_a_journal_file() {
    let world = World::new().await;
    let journal = format!("file:{}", world.anvil.directory().join("journal").display());
    let first = world.serve(&["--journal", &journal]).await;
    assert!(matches!(refusal(world.config(&["--journal", &journal])).await, Error::JournalInUse(_)));
    let health: serde_json::Value = reqwest::get(format!("{}/health", first.url)).await.unwrap().json().await.unwrap();
    assert_eq!(health["journal"], serde_json::json!({ "kind": "file", "writable": true }), "{health}");
}

#[test]
fn a_key_that_is_not_one_is_refused_without_being_shown() {
    let refused = "deadbeef".parse::<facilitator::SignerKey>().unwrap_err().to_string();
    assert!(!refused.contains("deadbeef"), "{refused}");
}
