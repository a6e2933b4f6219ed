//! Agents that pay each other over A2A 0.3: JSON-RPC on a real socket.

use std::sync::{Arc, Mutex};

use alloy::signers::local::PrivateKeySigner;
use axum::{Json, Router, extract::State, routing::post};
use http::HeaderMap;
use serde_json::{Value, json};
use url::Url;
use x402::{
    JsonMap, Reason,
    a2a::{EXTENSION_URI, EXTENSIONS_HEADER_0_3, PaidSkill, PaymentStatus, RECEIPTS, REQUIRED, STATUS, send_message},
    client::{Called, KeyPayer, PayError, Policy, Purse},
};

use crate::{
    mcp::purse,
    support::{Ledger, listen, offer},
};

#[derive(Clone)]
struct Agent {
    skill: PaidSkill,
    /// Messages received.
    heard: Arc<Mutex<Vec<Value>>>,
}

async fn agent() -> (Agent, Ledger, Url) {
    let ledger = Ledger::default();
    let skill = PaidSkill::new(ledger.gate().await, "https://agent.example/draw", vec![offer("0.05")]);
    let agent = Agent { skill, heard: Arc::default() };
    let url = listen(Router::new().route("/", post(serve)).with_state(agent.clone())).await;
    (agent, ledger, url)
}

async fn serve(State(agent): State<Agent>, headers: HeaderMap, Json(request): Json<Value>) -> Json<Value> {
    assert_eq!((headers[EXTENSIONS_HEADER_0_3].to_str().unwrap(), &request["method"]), (EXTENSION_URI, &"message/send".into()));
    let message = request["params"]["message"].as_object().unwrap();
    agent.heard.lock().unwrap().push(message.clone().into());
    let task_id = message.get("taskId").cloned().unwrap_or_else(|| "task-1".into());
    let task = json!({ "id": task_id, "contextId": "context-1" }).as_object().unwrap().clone();
    let state = if message["parts"][0]["text"] == "fail" { "failed" } else { "completed" };
    let done = JsonMap::from_iter(task.clone().into_iter().chain([
        ("artifacts".into(), json!([{ "parts": [{ "kind": "text", "text": "a drawing" }] }])),
        ("status".into(), json!({ "state": state })),
    ]));
    let answered = agent.skill.answer(message, task, || async { done }).await;
    Json(json!({ "jsonrpc": "2.0", "id": request["id"], "result": answered }))
}

async fn send(url: &Url, message: JsonMap) -> Result<JsonMap, reqwest::Error> {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "message/send", "params": { "message": message } });
    let sent = reqwest::Client::new().post(url.clone()).header(EXTENSIONS_HEADER_0_3, EXTENSION_URI).json(&body).send().await?;
    Ok(sent.json::<Value>().await?["result"].as_object().unwrap().clone())
}

async fn ask(purse: &Purse<KeyPayer<PrivateKeySigner>>, url: &Url, text: &str) -> Result<Called<JsonMap>, PayError> {
    let message = json!({ "role": "user", "messageId": "m1", "parts": [{ "kind": "text", "text": text }] });
    send_message(purse, url, message.as_object().unwrap().clone(), |message| send(url, message)).await
}

#[tokio::test]
async fn a_task_is_paid_for_and_carries_the_receipt() {
    let (agent, ledger, url) = agent().await;
    let purse = purse(Policy::default());
    let called = ask(&purse, &url, "draw").await.unwrap();
    let metadata = &called.value["status"]["message"]["metadata"];
    assert_eq!(metadata[STATUS], json!(PaymentStatus::PaymentCompleted));
    assert_eq!((&metadata[RECEIPTS][0]["success"], called.receipt.unwrap().success), (&true.into(), true));
    assert_eq!(called.value["artifacts"][0]["parts"][0]["text"], "a drawing");
    assert_eq!((ledger.settled(), purse.spent()), (1, "0.05".parse().unwrap()));
    let heard = agent.heard.lock().unwrap();
    assert_eq!((&heard[1]["taskId"], &heard[1]["metadata"][STATUS]), (&"task-1".into(), &"payment-submitted".into()));
    assert_ne!(heard[0]["messageId"], heard[1]["messageId"]);
}

#[tokio::test]
async fn an_unpaid_task_waits_for_input_and_says_how_to_pay() {
    let (_, _, url) = agent().await;
    let message = json!({ "role": "user", "messageId": "m1", "parts": [] });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "message/send", "params": { "message": message } });
    let sent = reqwest::Client::new().post(url).header(EXTENSIONS_HEADER_0_3, EXTENSION_URI).json(&body).send().await.unwrap();
    let task = &sent.json::<Value>().await.unwrap()["result"];
    let metadata = &task["status"]["message"]["metadata"];
    assert_eq!((&task["kind"], &task["status"]["state"]), (&"task".into(), &"input-required".into()));
    assert_eq!(metadata[STATUS], "payment-required");
    assert_eq!(metadata[REQUIRED]["accepts"], json!([offer("0.05")]));
}

#[tokio::test]
async fn a_task_that_fails_costs_nothing_and_a_refused_payment_is_told() {
    let (agent, ledger, url) = agent().await;
    let purse = purse(Policy::default());
    for _ in 0..2 {
        let called = ask(&purse, &url, "fail").await.unwrap();
        assert_eq!((&called.value["status"]["state"], called.receipt), (&"failed".into(), None));
    }
    assert_eq!((ledger.settle_calls(), purse.spent()), (0, "0.05".parse().unwrap()));
    let paid: Vec<_> =
        agent.heard.lock().unwrap().iter().filter_map(|m| m["metadata"].get("x402.payment.payload").cloned()).collect();
    assert_eq!((paid.len(), &paid[0]), (2, &paid[1]), "the same payment for the same message");

    ledger.refuse(Reason::InsufficientBalance);
    let refused = ask(&purse, &url, "draw").await;
    assert!(matches!(refused, Err(PayError::PaymentRejected { reason: Reason::InsufficientBalance, .. })), "{refused:?}");
}

#[tokio::test]
async fn after_an_unknown_outcome_the_same_message_gets_the_kept_task() {
    let (_, ledger, url) = agent().await;
    let purse = purse(Policy::default());
    ledger.lose_answers(1);
    assert_eq!(ask(&purse, &url, "draw").await.unwrap().value["status"]["state"], "working");
    assert_eq!(ask(&purse, &url, "draw").await.unwrap().value["status"]["state"], "completed");
    assert_eq!((ledger.settled(), purse.spent()), (1, "0.05".parse().unwrap()));
}

#[tokio::test]
async fn a_kept_task_is_for_nobody_who_asks_for_something_else() {
    let (agent, ledger, url) = agent().await;
    let purse = purse(Policy::default());
    ledger.lose_answers(1);
    ask(&purse, &url, "draw").await.unwrap();
    let mut other = agent.heard.lock().unwrap()[1].as_object().unwrap().clone();
    other["parts"][0]["text"] = "sing".into();
    let refused = send(&url, other).await.unwrap();
    assert_eq!((&refused["status"]["state"], refused.get("artifacts")), (&"working".into(), None));
    assert_eq!(ask(&purse, &url, "draw").await.unwrap().value["artifacts"][0]["parts"][0]["text"], "a drawing");
}
