//! Buying and selling with the official TypeScript SDK on the other side, settled by our facilitator on a chain with Circle's USDC.

use std::process::{Command, Stdio};

use axum::{Router, routing::get};
use serde_json::Value;
use stack::Stack;

use crate::cli::{Running, florin, root};

const BUYER: usize = 7;
const SELLER: usize = 8;

pub(crate) fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(root().join("tests/interop").join(script)).current_dir(root());
    command
}

/// A paywall at a cent a request in front of an origin of our own.
pub(crate) async fn paywall(stack: &Stack, facilitator: &str) -> (Running, String) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().route("/report", get(|| async { "the report" }));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let pay_to = stack.account(SELLER).address.to_string();
    let flags = ["paywall", "--upstream", &origin, "--price", "0.01", "--listen", "127.0.0.1:0", "--facilitator", facilitator];
    let running = Running::start(florin(&flags).args(["--pay-to", &pay_to]), "paywall on http://", true);
    let url = running.announced.rsplit(' ').next().unwrap().to_owned();
    (running, url)
}

/// What an account has on chain, in base units.
pub(crate) async fn balance(stack: &Stack, account: usize) -> u64 {
    let token = contracts::usdc::Usdc::new(stack.deployment().usdc, stack.provider());
    token.balanceOf(stack.account(account).address).call().await.unwrap().to::<u64>()
}

pub(crate) fn pay(stack: &Stack, url: &str, more: &[&str]) -> std::process::Output {
    let mut command = florin(&["pay", url]);
    command.args(more).env("FLORIN_KEY", stack.account(BUYER).key()).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_buys_from_our_paywall() {
    let stack = Stack::for_test().await.unwrap();
    let (_paywall, url) = paywall(&stack, stack.facilitator_url().as_str()).await;
    let before = balance(&stack, SELLER).await;
    let bought = node("buy.mjs").arg(format!("{url}/report")).env("FLORIN_KEY", stack.account(BUYER).key()).output().unwrap();
    assert!(bought.status.success(), "{}", String::from_utf8_lossy(&bought.stderr));
    let answer: Value = serde_json::from_slice(&bought.stdout).unwrap();
    assert_eq!((&answer["status"], &answer["body"]), (&200.into(), &"the report".into()), "{answer}");
    assert_eq!(answer["receipt"]["success"], true, "{answer}");
    assert_eq!(balance(&stack, SELLER).await - before, 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn we_buy_from_the_official_server() {
    let stack = Stack::for_test().await.unwrap();
    let facilitator = stack.facilitator_url().to_string();
    let mut server = node("sell.mjs");
    server.args([facilitator.trim_end_matches('/'), &stack.account(SELLER).address.to_string()]).stderr(Stdio::inherit());
    let server = Running::start(&mut server, "http://", false);
    let before = balance(&stack, SELLER).await;
    let bought = pay(&stack, server.announced.trim(), &["--max", "0.10", "--json"]);
    let (body, receipt) = (String::from_utf8_lossy(&bought.stdout), String::from_utf8_lossy(&bought.stderr));
    assert!(bought.status.success(), "{receipt}");
    assert!(body.contains("the official server sold this"), "{body}");
    let receipt: Value = serde_json::from_str(receipt.trim()).unwrap();
    assert_eq!(receipt["paid"], true, "{receipt}");
    assert_eq!(balance(&stack, SELLER).await - before, 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_terminals_are_enough_to_buy_and_to_sell() {
    let stack = Stack::for_test().await.unwrap();
    let (_paywall, url) = paywall(&stack, stack.facilitator_url().as_str()).await;
    let before = balance(&stack, SELLER).await;

    let bought = pay(&stack, &format!("{url}/report"), &["--max", "0.10"]);
    assert_eq!(String::from_utf8_lossy(&bought.stdout), "the report");
    assert!(String::from_utf8_lossy(&bought.stderr).starts_with("paid 0.01 USDC"), "{bought:?}");

    let refused = pay(&stack, &format!("{url}/report"), &["--max", "0.001"]);
    assert_eq!(refused.status.code(), Some(3), "more than --max is refused by the buyer's own limit");

    let missing = pay(&stack, &format!("{url}/missing"), &["--max", "0.10"]);
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
    assert!(String::from_utf8_lossy(&missing.stderr).contains("not charged"), "{missing:?}");
    assert_eq!(balance(&stack, SELLER).await - before, 10_000, "only the report was charged");

    let poor = florin(&["pay", &format!("{url}/report"), "--max", "1"]).env("FLORIN_KEY", "01".repeat(32)).output().unwrap();
    assert_eq!(poor.status.code(), Some(4), "{poor:?}");
    assert!(String::from_utf8_lossy(&poor.stderr).contains("insufficient_balance"), "{poor:?}");
}
