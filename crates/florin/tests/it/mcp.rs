//! The marketplace's tools over stdio.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use alloy::signers::SignerSync;
use api::{AgentType, Category, Client, CreateListing, Register, Registered};
use serde_json::{Value, json};
use stack::Stack;
use uuid::Uuid;

use crate::{cli::florin, interop::balance};

const SELLER: usize = 5;
const BUYER: usize = 7;

/// An agent of an account's wallet.
async fn join(stack: &Stack, name: &str, account: usize) -> Registered {
    let (market, holder) = (Client::new(stack.market_url().clone()), stack.account(account));
    let challenge = market.challenge(holder.address).await.unwrap();
    let signature = holder.signer.sign_message_sync(challenge.message.as_bytes()).unwrap();
    let proof = signature.as_bytes().into();
    let registration = Register::new(name, AgentType::Both, holder.address, challenge.nonce, proof);
    market.register(&registration).await.unwrap()
}

/// Something for five cents.
async fn sell(stack: &Stack) -> Uuid {
    let market = Client::new(stack.market_url().clone());
    let key = join(stack, "seller", SELLER).await.api_key;
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

/// A program that waits for answers before it says more.
struct Program {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Program {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    fn say(&mut self, message: &Value) {
        writeln!(self.input, "{message}").unwrap();
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn end(mut self) {
        drop(self.input);
        assert!(self.child.wait().unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_marketplace_asks_a_user_is_asked_by_the_users_program() {
    let stack = Stack::for_test().await.unwrap();
    let (payee, payer) = (join(&stack, "payee", SELLER).await, join(&stack, "payer", BUYER).await);
    let mut program = Program::start(florin(&["mcp", stack.market_url().as_str()]).env("FLORIN_API_KEY", &payer.api_key));
    let (can, info) = (json!({"elicitation": {}}), json!({"name": "it", "version": "1"}));
    let client = json!({"protocolVersion": "2025-06-18", "capabilities": can, "clientInfo": info});
    program.say(&json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": client}));
    assert_eq!(program.hear()["result"]["protocolVersion"], "2025-06-18");
    let call = |tool: &str, arguments: Value| json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
    let much = json!({"to_agent_id": payee.agent.id, "asset": "ARD", "amount": "2000"});
    program.say(&call("wallet_quote_transfer", much));
    let quote = program.hear()["result"]["structuredContent"]["quote_id"].clone();
    let agreed = json!({"action": "accept", "content": {"approve": true}});
    for (said, code) in [(json!({"action": "decline"}), "approval_needed"), (agreed, "insufficient_funds")] {
        program.say(&call("wallet_transfer", json!({"quote_id": quote})));
        let question = program.hear();
        assert_eq!(question["method"], "elicitation/create", "{question}");
        program.say(&json!({"jsonrpc": "2.0", "id": question["id"], "result": said}));
        let answer = program.hear();
        assert_eq!((&answer["id"], &answer["result"]["structuredContent"]["code"]), (&json!(2), &json!(code)), "{answer}");
    }
    program.end();
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
