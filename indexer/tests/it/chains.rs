//! Several chains in one process.

use std::sync::atomic::Ordering;

use alloy::providers::{ProviderBuilder, ext::AnvilApi};

use crate::{
    endpoints::{DOWN, Gateway, UP},
    harness::{Chain, Indexer, config, database, pool, synced},
};

#[tokio::test(flavor = "multi_thread")]
async fn each_chain_is_served_by_its_name_from_a_database_of_its_own() {
    let first = Chain::start().await;
    let second = stack::Anvil::start(&stack::AnvilOptions::default()).await.unwrap();
    ProviderBuilder::new().connect_http(second.rpc_url().clone()).anvil_set_chain_id(8453).await.unwrap();
    let (database, other) = (database().await, database().await);
    let file = std::env::temp_dir().join(format!("florin-chains-{}.toml", std::process::id()));
    let section = format!("[base]\nrpc_url = [\"{}\"]\ndatabase_url = \"{other}\"\nstart_block = 0\n", second.rpc_url());
    std::fs::write(&file, &section).unwrap();
    let mut both = config(&first, &database);
    both.more_chains = Some(file.clone());
    let indexer = Indexer::start_with(both.clone()).await;
    indexer.ready().await;
    first.pay(1, 2, 5).await;
    synced(&first, &pool(&database).await).await;
    let (_, there) = indexer.get("/api/v1/base-sepolia/transfers?limit=1").await;
    let (_, base) = indexer.get("/api/v1/8453/status").await;
    assert_eq!(
        (there["data"][0]["amount"].as_str(), base["chain_id"].as_u64()),
        (Some("0.000005"), Some(8453)),
        "{there} {base}"
    );
    assert_eq!(indexer.get("/api/v1/base/transfers").await.1["data"], serde_json::json!([]));
    let metrics = reqwest::get(format!("{}/metrics", indexer.url)).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("florin_indexer_lag_blocks{chain=\"base\"} 0"), "{metrics}");
    indexer.stop().await;

    std::fs::write(&file, section.replace(&other, &database)).unwrap();
    let refused = Indexer::start_with(both).await.task.await.unwrap().unwrap_err();
    assert!(refused.to_string().contains("[base] shares its database"), "{refused}");
    std::fs::remove_file(file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_whose_node_is_down_at_the_start_is_started_when_it_is_up_and_ends_no_other() {
    let first = Chain::start().await;
    let second = stack::Anvil::start(&stack::AnvilOptions::default()).await.unwrap();
    ProviderBuilder::new().connect_http(second.rpc_url().clone()).anvil_set_chain_id(8453).await.unwrap();
    let (second, mode) = Gateway::start(second.rpc_url(), DOWN).await;
    let (database, other) = (database().await, database().await);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chains.toml");
    std::fs::write(&file, format!("[base]\nrpc_url = [\"{second}\"]\ndatabase_url = \"{other}\"\nstart_block = 0\n")).unwrap();
    let mut both = config(&first, &database);
    both.more_chains = Some(file);
    let indexer = Indexer::start_with(both).await;
    assert!(indexer.started().await);
    let pool = pool(&database).await;
    first.pay(1, 2, 5).await;
    synced(&first, &pool).await;
    for path in ["/ready", "/health", "/api/v1/base/status"] {
        let (status, answer) = indexer.get(path).await;
        assert!(status == 503 && answer["detail"].as_str().unwrap().contains("base could not be started yet"), "{answer}");
    }
    assert_eq!(indexer.get("/api/v1/base-sepolia/status").await.0, 200);
    let metrics = reqwest::get(format!("{}/metrics", indexer.url)).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("florin_indexer_up{chain=\"base\"} 0\n"), "{metrics}");
    mode.store(UP, Ordering::Relaxed);
    indexer.ready().await;
    assert_eq!(indexer.get("/api/v1/base/status").await.1["chain_id"], 8453);
    indexer.stop().await;
}
