//! Paid tools (MCP) and paid tasks (A2A) on the real chain, with the official SDKs on the other side. Only Python has an official MCP
//! payment package; elsewhere scripts join the official SDKs of MCP or A2A and x402.

use std::process::Command;

use alloy::{providers::ext::AnvilApi, signers::local::PrivateKeySigner};
use axum::{
    Json, Router,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use money::Usdc;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use url::Url;
use x402::{
    FacilitatorClient, JsonMap, SettleResponse,
    a2a::{self, PaidSkill, PaymentStatus, send_message},
    client::{DailyBudget, KeyPayer, Policy, Purse},
    mcp::{PaidTool, call_tool},
    server::Gate,
};

use crate::{
    harness::{Facilitator, PRICE, World},
    interop::{Official, is_paid, node, python},
};

const CITIES: [&str; 2] = ["Bern", "nowhere"];

impl World {
    fn purse(&self) -> Purse<KeyPayer<PrivateKeySigner>> {
        Purse::new(KeyPayer::new(self.payer.clone()), Policy::default())
    }

    /// Whether the payer paid the price for this.
    async fn paid(&self, receipt: Option<SettleResponse>) -> bool {
        let hash = receipt.filter(|receipt| receipt.success).and_then(|receipt| receipt.transaction_hash());
        match hash {
            Some(hash) => is_paid(self, hash, self.payer.address(), PRICE.base_units()).await,
            None => false,
        }
    }

    /// A script that sells through `facilitator`.
    async fn official_seller(&self, mut command: Command, facilitator: &Facilitator) -> Official {
        command.args([&self.payee.to_checksum(None), &facilitator.url]);
        Official::start(command).await
    }

    /// What a script bought with the payer's key.
    async fn bought_by<T: DeserializeOwned>(&self, mut command: Command, args: &[&str]) -> Vec<T> {
        command.args(args).env("FLORIN_KEY", self.payer.to_bytes().to_string());
        let bought = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let told = String::from_utf8_lossy(&bought.stderr);
        serde_json::from_slice(&bought.stdout).unwrap_or_else(|error| panic!("{error}: {told}"))
    }
}

fn gate(facilitator: &Facilitator) -> Gate {
    Gate::new(FacilitatorClient::new(facilitator.url.parse().unwrap()).unwrap())
}

async fn listen(path: &str, app: impl FnOnce(Url) -> Router) -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("http://{}{path}", listener.local_addr().unwrap()).parse().unwrap();
    let app = app(url.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// One JSON-RPC call; the result.
async fn rpc(url: Url, method: &str, params: JsonMap) -> Result<JsonMap, reqwest::Error> {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let request = reqwest::Client::new().post(url).json(&body).header("accept", "application/json, text/event-stream");
    let request = request.header(a2a::EXTENSIONS_HEADER, a2a::EXTENSION_URI).header("A2A-Version", "1.0");
    let answer: Value = request.send().await?.json().await?;
    Ok(map(answer.get("result").unwrap_or_else(|| panic!("{answer}")).clone()))
}

fn map(value: Value) -> JsonMap {
    serde_json::from_value(value).unwrap()
}

/// What a client of tools brings home.
#[derive(Debug, Deserialize)]
struct Told {
    text: String,
    failed: bool,
    receipt: Option<SettleResponse>,
}

/// MCP over HTTP without sessions, and a paid tool.
async fn mcp_server(world: &World, facilitator: &Facilitator) -> Url {
    let tool = PaidTool::new(gate(facilitator), "weather", vec![world.requirements()]);
    let answer = move |Json(request): Json<Value>| async move { answer_mcp(&tool, &request).await };
    listen("/mcp", |_| Router::new().route("/mcp", post(answer))).await
}

async fn answer_mcp(tool: &PaidTool, request: &Value) -> Response {
    let (Some(id), params) = (request.get("id"), &request["params"]) else { return StatusCode::ACCEPTED.into_response() };
    let result = match request["method"].as_str().unwrap() {
        "initialize" => json!({
            "protocolVersion": params["protocolVersion"],
            "capabilities": { "tools": {} },
            "serverInfo": { "name": "ours", "version": "1" },
        }),
        "tools/list" => json!({ "tools": [{ "name": "weather", "inputSchema": { "type": "object" } }] }),
        "tools/call" => {
            let (city, failed) = (&params["arguments"]["city"], params["arguments"]["city"] == "nowhere");
            let text = if failed { "no such city".to_owned() } else { format!("sunny in {}", city.as_str().unwrap()) };
            let work = || async move { map(json!({ "content": [{ "type": "text", "text": text }], "isError": failed })) };
            tool.call(params.as_object().unwrap(), work).await.into()
        }
        other => panic!("{other} is not expected of a client that only calls tools"),
    };
    Json(json!({ "jsonrpc": "2.0", "id": id, "result": result })).into_response()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_are_sold_to_and_bought_from_the_official_mcp_sdks() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let ours = mcp_server(&world, &facilitator).await;
    let script = |name: &str| {
        let mut command = python("python");
        command.arg(format!("tests/interop/mcp/{name}.py"));
        command
    };
    let mut bought = Vec::new();
    for (buyer, seller) in [(script("buy"), script("sell")), (node("mcp/buy.mjs"), node("mcp/sell.mjs"))] {
        let theirs = world.official_seller(seller, &facilitator).await;
        let args = [&[world.anvil.rpc_url().as_str(), ours.as_str()], &CITIES[..]].concat();
        bought.push(world.bought_by::<Told>(buyer, &args).await);
        let (url, purse): (Url, _) = (theirs.urls[0].parse().unwrap(), world.purse());
        let mut by_us = Vec::new();
        for city in CITIES {
            let params = map(json!({ "name": "weather", "arguments": { "city": city } }));
            let called = call_tool(&purse, &url, params, |params| rpc(url.clone(), "tools/call", params)).await.unwrap();
            let (text, failed) = (
                called.value["content"][0]["text"].as_str().unwrap().to_owned(),
                called.value.get("isError") == Some(&Value::Bool(true)),
            );
            by_us.push(Told { text, failed, receipt: called.receipt });
        }
        bought.push(by_us);
    }

    for told in bought {
        let [sold, failed]: [Told; 2] = told.try_into().unwrap();
        assert!(!sold.failed && sold.text == "sunny in Bern", "{sold:?}");
        assert!(world.paid(sold.receipt).await);
        assert!(failed.failed && failed.text.contains("no such city") && failed.receipt.is_none(), "{failed:?}");
    }
    assert_eq!(
        world.balance(world.payee).await,
        Usdc::from_base_units(4 * PRICE.base_units()),
        "a tool that fails costs nothing"
    );
}

/// What a client of agents brings home.
#[derive(Debug, Deserialize)]
struct Drawn {
    state: String,
    text: Option<String>,
    status: PaymentStatus,
    receipt: Option<SettleResponse>,
}

/// An A2A agent with its card.
async fn agent(world: &World, facilitator: &Facilitator) -> Url {
    let skill = PaidSkill::new(gate(facilitator), "a2a://ours/draw", vec![world.requirements()]);
    let answer = move |Json(request): Json<Value>| async move {
        assert_eq!(request["method"], "SendMessage");
        let message = request["params"]["message"].as_object().unwrap();
        let id = message.get("taskId").cloned().unwrap_or_else(|| "task-1".into());
        let task = map(json!({ "id": id, "contextId": "context-1" }));
        let artifact = json!({ "artifactId": "1", "parts": [{ "text": "a drawing" }] });
        let done =
            json!({ "id": id, "contextId": "context-1", "status": { "state": "TASK_STATE_COMPLETED" }, "artifacts": [artifact] });
        let task = skill.answer(message, task, || async { map(done) }).await;
        Json(json!({ "jsonrpc": "2.0", "id": request["id"], "result": { "task": task } }))
    };
    let card = |url: &Url| {
        json!({
            "name": "ours", "description": "draws", "version": "1", "skills": [],
            "supportedInterfaces": [{ "url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0" }],
            "capabilities": { "extensions": [{ "uri": a2a::EXTENSION_URI, "required": true }] },
            "defaultInputModes": ["text/plain"], "defaultOutputModes": ["text/plain"],
        })
    };
    listen("/", |url| {
        let card = card(&url);
        Router::new().route("/", post(answer)).route("/.well-known/agent-card.json", get(|| async { Json(card) }))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_are_sold_to_and_bought_from_the_official_a2a_sdk() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let theirs = world.official_seller(node("a2a/sell.mjs"), &facilitator).await;

    let ours = agent(&world, &facilitator).await;
    let [drawn]: [Drawn; 1] = world.bought_by(node("a2a/buy.mjs"), &[ours.as_str(), "draw"]).await.try_into().unwrap();
    assert_eq!((drawn.state.as_str(), drawn.status), ("TASK_STATE_COMPLETED", PaymentStatus::PaymentCompleted));
    assert_eq!(drawn.text.as_deref(), Some("a drawing"));
    assert!(world.paid(drawn.receipt).await);

    let (url, purse): (Url, _) = (theirs.urls[0].parse().unwrap(), world.purse());
    let send = |message: JsonMap| {
        let sending = rpc(url.clone(), "SendMessage", map(json!({ "message": message })));
        async move { Ok::<_, reqwest::Error>(map(sending.await?["task"].clone())) }
    };
    let message = map(json!({ "messageId": "m1", "role": "ROLE_USER", "parts": [{ "text": "draw" }] }));
    let called = send_message(&purse, &url, message, send).await.unwrap();
    assert_eq!(called.value["artifacts"][0]["parts"][0]["text"], "a drawing");
    assert!(world.paid(called.receipt).await);
}

#[tokio::test]
async fn what_ended_unused_is_given_back_and_nothing_else() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let tool = PaidTool::new(gate(&facilitator), "weather", vec![world.requirements()]);
    let folder = tempfile::tempdir().unwrap();
    let budget = DailyBudget::new(folder.path().join("spent"), Usdc::from_whole(1).unwrap());
    let purse = Purse::new(KeyPayer::new(world.payer.clone()), Policy::default().daily(budget.clone()));
    let url: Url = "mcp://shop/".parse().unwrap();
    for failed in [true, false] {
        let work = || async move { map(json!({ "content": [], "isError": failed })) };
        let call = |params: JsonMap| {
            let tool = tool.clone();
            async move { Ok::<_, reqwest::Error>(tool.call(&params, work).await) }
        };
        call_tool(&purse, &url, map(json!({ "name": "weather", "arguments": failed })), call).await.unwrap();
    }
    let two = Usdc::from_base_units(2 * PRICE.base_units());
    assert_eq!(purse.reclaim(&world.provider).await.unwrap(), Usdc::ZERO, "neither has ended on the chain");
    world.provider.anvil_increase_time(3600).await.unwrap();
    world.provider.anvil_mine(Some(100), None).await.unwrap();
    assert_eq!((purse.spent(), budget.spent().unwrap()), (two, two));
    assert_eq!(purse.reclaim(&world.provider).await.unwrap(), PRICE);
    assert_eq!(purse.reclaim(&world.provider).await.unwrap(), Usdc::ZERO, "once");
    assert_eq!(purse.spent(), PRICE);
    let given_back = async {
        while budget.spent().unwrap() != PRICE {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), given_back).await.expect("today's budget has it back");
}
