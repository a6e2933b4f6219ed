//! Webhooks from the command line, at an indexer of its own.

use std::net::SocketAddr;

use alloy::providers::{Provider, ProviderBuilder};
use contracts::dev;
use serde_json::Value;
use stack::{Anvil, AnvilOptions, Postgres};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::{florin, refusal};

const TOKEN: &str = "administrator";

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_registered_listed_replayed_and_removed() {
    let anvil = Anvil::start(&AnvilOptions::default()).await.unwrap();
    let provider = ProviderBuilder::new().connect_http(anvil.rpc_url().clone()).erased();
    let deployment = dev::set_up(&provider).await.unwrap();
    let postgres = Postgres::start(None).await.unwrap();
    let mut config = indexer::Config::new(postgres.create("webhooks", None).await.unwrap().url, anvil.rpc_url().clone());
    config.start_block = Some(deployment.start_block);
    config.admin_token = Some(TOKEN.into());
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    let indexer = tokio::spawn(indexer::serve(config, listener, shutdown.clone()));
    while !reqwest::get(format!("{url}/ready")).await.is_ok_and(|answer| answer.status().is_success()) {
        assert!(!indexer.is_finished(), "the indexer ended");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let command = |args: &[&str]| {
        let mut command = florin(&["webhook"]);
        command.args(args).env("FLORIN_INDEXER_URL", &url).env("FLORIN_INDEXER_ADMIN_TOKEN", TOKEN);
        command
    };
    let answer = |args: &[&str]| {
        let output = command(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };

    let hook = "https://shop.example/hook";
    let made = answer(&["add", hook, "--topics", "payments,blocks", "--confirmations", "3", "--json"]);
    let made: Value = serde_json::from_str(&made).unwrap();
    let (id, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    assert!(secret.starts_with("whsec_"));
    let listed = answer(&["list"]);
    assert!(listed.contains(id) && listed.contains(hook) && !listed.contains(secret), "{listed}");
    answer(&["replay", id, "--from-block", "1"]);
    assert_eq!(answer(&["dead-letters", id]).trim(), "none");
    answer(&["remove", id]);
    assert_eq!(answer(&["list"]).trim(), "none");

    for (args, why) in [
        (vec!["remove", id], "There is no webhook"),
        (vec!["add", "http://127.0.0.1/hook"], "https"),
        (vec!["add", hook, "--topics", "weather"], "topics must be"),
        (vec!["list", "--admin-token", "guessed"], "administrator's token"),
        (vec!["list", "--chain", "elsewhere"], "No chain elsewhere"),
    ] {
        let (code, said) = refusal(&mut command(&args));
        assert!(code == 1 && said.contains(why), "{args:?}: {said}");
    }
    let (_, said) = refusal(command(&["list"]).env_remove("FLORIN_INDEXER_ADMIN_TOKEN"));
    assert!(said.contains("FLORIN_INDEXER_ADMIN_TOKEN"), "{said}");
    shutdown.cancel();
    indexer.await.unwrap().unwrap();
}
