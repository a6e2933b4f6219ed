//! The marketplace's tools over stdio.

use std::{
    collections::HashMap,
    io::Write,
    process::{Command, Stdio},
};

use alloy::signers::SignerSync;
use api::{AgentType, Category, Client, CreateListing, Register};
use serde_json::{Value, json};
use stack::Stack;
use uuid::Uuid;

use crate::{cli::florin, interop::balance};

const SELLER: usize = 5;
const BUYER: usize = 7;

/// Something for five cents.
async fn sell(stack: &Stack) -> Uuid {
    let (market, seller) = (Client::new(stack.market_url().clone()), stack.account(SELLER));
    let challenge = market.challenge(seller.address).await.unwrap();
    let signature = seller.signer.sign_message_sync(challenge.message.as_bytes()).unwrap();
    let proof = signature.as_bytes().into();
    let registration = Register::new("seller", AgentType::Seller, seller.address, challenge.nonce, proof);
    let key = market.register(&registration).await.unwrap().api_key;
    let listing = CreateListing {
        title: "Rain".into(),
        description: String::new(),
        category: Category::Computation,
        tags: Vec::new(),
        price: "0.05".parse().unwrap(),
        content_type: "text/plain".into(),
        content_base64: Some("cmFpbg==".into()),
        metadata: serde_json::Map::new(),
        expires_at: None,
    };
    market.with_api_key(&key).create_listing(&listing).await.unwrap().id
}

/// What a program is answered that says these messages, by their ids.
fn answers(command: &mut Command, messages: &[Value]) -> HashMap<u64, Value> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    messages.iter().for_each(|message| writeln!(input, "{message}").unwrap());
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let answers = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    answers.map(|answer| (answer["id"].as_u64().unwrap(), answer)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_buys_over_stdio_within_its_users_limits() {
    let stack = Stack::for_test().await.unwrap();
    let (listing, market) = (sell(&stack).await, stack.market_url().as_str());
    let call = |id: u64, tool: &str, arguments: Value| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
    let client = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "it", "version": "1"}});
    let messages = [
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": client}),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}),
        call(3, "marketplace_express_buy", json!({"listing_id": listing})),
        call(4, "marketplace_discover", json!({"q": "rain"})),
        call(5, "wallet_balance", json!({})),
        call(6, "nothing", json!({})),
    ];
    let had = balance(&stack, SELLER).await;
    let with = |limits: &[&str]| {
        let mut command = florin(&["mcp", market]);
        command.args(limits).env("FLORIN_KEY", stack.account(BUYER).key());
        answers(&mut command, &messages)
    };
    let unpaid = with(&[]);
    assert_eq!(unpaid[&1]["result"]["protocolVersion"], "2025-06-18");
    assert!(unpaid[&2]["result"]["tools"].as_array().unwrap().len() > 20);
    assert!(unpaid[&3]["result"]["structuredContent"]["accepts"].is_array(), "{}", unpaid[&3]);
    let refused = with(&["--max", "0.01"]);
    assert_eq!(refused[&3]["result"]["isError"], true, "{}", refused[&3]);
    assert_eq!(balance(&stack, SELLER).await, had, "nothing was paid");

    let bought = with(&["--max", "0.05"]);
    assert_eq!(bought[&3]["result"]["content"][0]["text"], "rain", "{}", bought[&3]);
    assert_eq!(balance(&stack, SELLER).await, had + 50_000);
    assert_eq!(bought[&4]["result"]["structuredContent"]["data"][0]["title"], "Rain");
    assert_eq!(bought[&5]["result"]["structuredContent"]["code"], "unauthenticated", "there is no key of an agent");
    assert_eq!((&bought[&6]["error"]["code"], bought.len()), (&json!(-32602), 6));
}
