//! What a hostile peer sends, at every surface: malformed, oversized, deep, truncated, duplicated. Nobody panics, nobody pays more than the
//! policy allows, and nothing is given away for what did not settle.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use alloy::signers::local::PrivateKeySigner;
use axum::{
    Json, Router,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, StatusCode};
use money::Usdc;
use proptest::{prelude::*, sample::Index, test_runner::TestRunner};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use url::Url;
use x402::{
    ExactPayload, FacilitatorClient, JsonMap, Network, PaymentPayload, PaymentRequired, Reason, SettleResponse, VerifyResponse,
    a2a::{self, PaidSkill},
    client::{Client, KeyPayer, Policy, Purse},
    header,
    mcp::{self, PaidTool},
    server::{Gate, PaidLayer, Pricing},
};

use crate::{
    serving::payment_for,
    support::{Ledger, SELLER, listen, offer},
};

/// How an honest message is spoiled: what is done, where, and with what.
type Spoiled = (u8, Index, Index);

fn spoiled() -> impl Strategy<Value = Spoiled> {
    (0..8_u8, any::<Index>(), any::<Index>())
}

/// What takes the place of a value.
fn junk(with: &Index) -> Value {
    let texts = ["", "0x", "-1", "1e400", "\0", "null", "eip155:0", "\u{1f4a3}", "0x00000000000000000000000000000000000000aa"];
    let values =
        [Value::Null, json!([]), json!({}), json!(-1), json!(u64::MAX), json!(1e300), json!("9".repeat(90)), true.into()];
    let all: Vec<Value> = values.into_iter().chain(texts.map(Value::from)).collect();
    with.get(&all).clone()
}

/// The JSON pointers of all values.
fn pointers(value: &Value, at: String, into: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            map.iter()
                .for_each(|(key, value)| pointers(value, format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), into));
        }
        Value::Array(list) => list.iter().enumerate().for_each(|(index, value)| pointers(value, format!("{at}/{index}"), into)),
        _ => {}
    }
    into.push(at);
}

/// `good`, still JSON, with one value that is not what it should be.
fn replaced(good: &Value, place: &Index, with: Value) -> Value {
    let (mut spoiled, mut places) = (good.clone(), Vec::new());
    pointers(good, String::new(), &mut places);
    *spoiled.pointer_mut(&places[place.index(places.len())]).unwrap() = with;
    spoiled
}

fn spoil(good: &Value, (how, place, with): &Spoiled) -> Vec<u8> {
    let text = good.to_string();
    let marked = |by: String| replaced(good, place, "@".into()).to_string().replace("\"@\"", &by);
    match how {
        0 => text.as_bytes()[..place.index(text.len())].to_vec(),
        1 => {
            let mut bytes = text.into_bytes();
            let at = place.index(bytes.len());
            bytes[at] = u8::try_from(with.index(256)).unwrap();
            bytes
        }
        2 => marked(format!("{}{}", "[".repeat(3_000), "]".repeat(3_000))).into(),
        3 => marked(format!("\"{}\"", "x".repeat(with.index(60_000)))).into(),
        4 => text.replacen('{', &format!("{{{}:{},", "\"accepts\"", junk(with)), 1).into(),
        5 => text.replacen("\"payload\":{", "\"payload\":{},\"payload\":{", 1).into(),
        _ => replaced(good, place, junk(with)).to_string().into(),
    }
}

fn run<T: std::fmt::Debug>(cases: u32, strategy: impl Strategy<Value = T>, test: impl Fn(T) -> Result<(), TestCaseError>) {
    // What fails is told here; no file keeps it.
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config).run(&strategy, test).unwrap();
}

fn map(value: Value) -> JsonMap {
    value.as_object().cloned().unwrap_or_default()
}

/// A shop, and what an honest buyer shows it.
async fn shop(gate: Gate) -> (Url, PaymentRequired) {
    let layer = PaidLayer::new(gate, Pricing::usdc(&Network::evm(84532), "0.05".parse().unwrap(), SELLER).unwrap());
    let url = listen(Router::new().route("/", get(|| async { "sold" }).layer(layer))).await;
    let answer = reqwest::get(url.clone()).await.unwrap();
    (url, header::decode(answer.headers()[header::PAYMENT_REQUIRED].as_bytes()).unwrap())
}

#[test]
fn a_hostile_buyer_gets_nothing_but_a_refusal() {
    let runtime = Runtime::new().unwrap();
    let ledger = Ledger::default();
    let (url, required) = runtime.block_on(async { shop(ledger.gate().await).await });
    let http = reqwest::Client::new();
    run(300, (spoiled(), 0..3_u8), |(spoiled, encoding)| {
        let good: Value = header::decode(payment_for(&required).as_bytes()).unwrap();
        let bytes = spoil(&good, &spoiled);
        let value = match encoding {
            0 => bytes.into_iter().filter(|byte| (32..127).contains(byte)).collect(),
            _ => STANDARD.encode(&bytes).into_bytes(),
        };
        let before = ledger.settled();
        let asked = http.get(url.clone()).header(header::PAYMENT_SIGNATURE, value);
        let status = runtime.block_on(asked.send()).unwrap().status();
        let settled = ledger.settled() - before;
        // What was spoiled may be what nobody reads: then it is a payment like any other.
        prop_assert!(matches!(status.as_u16(), 200 | 400 | 402 | 409 | 431), "{status}");
        prop_assert_eq!(status == StatusCode::OK, settled == 1);
        Ok(())
    });
}

#[test]
fn hostile_calls_of_tools_and_agents_are_answered_in_form() {
    let runtime = Runtime::new().unwrap();
    let ledger = Ledger::default();
    let gate = runtime.block_on(ledger.gate());
    let tool = PaidTool::new(gate.clone(), "weather", vec![offer("0.05")]);
    let skill = PaidSkill::new(gate, "https://agent.example/draw", vec![offer("0.05")]);
    run(200, (spoiled(), any::<bool>()), |(spoiled, v1)| {
        let required = json!({ "x402Version": 2, "resource": { "url": "u" }, "accepts": [offer("0.05")] });
        let required: PaymentRequired = serde_json::from_value(required).unwrap();
        let payment: Value = header::decode(payment_for(&required).as_bytes()).unwrap();
        let call = json!({ "name": "weather", "arguments": { "city": "Bern" }, "_meta": { mcp::PAYMENT: payment } });
        let role = if v1 { "ROLE_USER" } else { "user" };
        let message = json!({ "role": role, "parts": [{ "text": "draw" }], "metadata": { a2a::PAYLOAD: payment } });
        let worked = AtomicUsize::new(0);
        let before = ledger.settled();
        let (call, message) =
            [call, message].map(|good| map(serde_json::from_slice(&spoil(&good, &spoiled)).unwrap_or_default())).into();
        let result = runtime.block_on(tool.call(&call, || async {
            worked.fetch_add(1, Ordering::SeqCst);
            map(json!({ "content": [] }))
        }));
        prop_assert!(result.contains_key("content"), "{result:?}");
        let answer = runtime.block_on(skill.answer(&message, JsonMap::new(), || async {
            worked.fetch_add(1, Ordering::SeqCst);
            map(json!({ "status": { "state": "TASK_STATE_COMPLETED" } }))
        }));
        prop_assert!(answer["status"]["state"].is_string(), "{answer:?}");
        prop_assert_eq!(worked.into_inner(), ledger.settled() - before);
        Ok(())
    });
}

#[test]
fn a_hostile_seller_gets_no_more_than_the_policy_allows() {
    let runtime = Runtime::new().unwrap();
    let answer = Arc::new(Mutex::new((true, Vec::new(), Vec::new())));
    let paid = Arc::new(Mutex::new(Vec::new()));
    let (told, seen) = (answer.clone(), paid.clone());
    let sell = move |headers: HeaderMap| async move {
        let (in_header, required, receipt) = told.lock().unwrap().clone();
        let Some(payment) = headers.get(header::PAYMENT_SIGNATURE) else {
            let header = in_header.then(|| [(header::PAYMENT_REQUIRED, STANDARD.encode(&required))]);
            return match header {
                Some(header) => (StatusCode::PAYMENT_REQUIRED, header).into_response(),
                None => (StatusCode::PAYMENT_REQUIRED, required).into_response(),
            };
        };
        seen.lock().unwrap().push(header::decode::<PaymentPayload>(payment.as_bytes()).unwrap());
        ([(header::PAYMENT_RESPONSE, STANDARD.encode(receipt))], "sold").into_response()
    };
    let url = runtime.block_on(listen(Router::new().route("/", get(sell))));
    let max: Usdc = "0.05".parse().unwrap();
    let policy = Policy::default().max_per_payment(max).budget(Usdc::MAX).budget_per_host(Usdc::MAX).allow_payee(SELLER);
    let client = Client::new(KeyPayer::new(PrivateKeySigner::random()), policy).unwrap();
    let resource = json!({ "url": "http://shop/", "description": "a report" });
    let required =
        json!({ "x402Version": 2, "resource": resource, "accepts": [offer("0.05"), offer("0.04")], "extensions": { "x": 1 } });
    let settled = json!(SettleResponse::settled(Network::evm(84532), SELLER, [7; 32].into()));
    let case = AtomicUsize::new(0);
    run(300, (spoiled(), spoiled(), any::<bool>()), |(offers, receipt, in_header)| {
        *answer.lock().unwrap() = (in_header, spoil(&required, &offers), spoil(&settled, &receipt));
        paid.lock().unwrap().clear();
        let mut url = url.clone();
        url.set_query(Some(&case.fetch_add(1, Ordering::SeqCst).to_string()));
        let before = client.spent();
        let got = runtime.block_on(client.get(url));
        let paid = std::mem::take(&mut *paid.lock().unwrap());
        let spent = client.spent().checked_sub(before).unwrap();
        prop_assert!(paid.len() <= 1 && spent <= max, "{} for {spent}", paid.len());
        for payment in paid {
            let Ok(ExactPayload::Eip3009(signed)) = payment.exact() else { return Err(TestCaseError::fail("not EIP-3009")) };
            let authorization = signed.authorization;
            prop_assert_eq!((authorization.to, Usdc::try_from(authorization.value.0).unwrap()), (SELLER, spent));
            prop_assert!(got.is_ok(), "it was sold: {got:?}");
        }
        Ok(())
    });
}

#[test]
fn a_hostile_tool_or_agent_gets_no_more_than_the_policy_allows() {
    let runtime = Runtime::new().unwrap();
    let max: Usdc = "0.05".parse().unwrap();
    let required = json!({ "x402Version": 2, "resource": { "url": "u" }, "accepts": [offer("0.05")] });
    let settled = json!(SettleResponse::settled(Network::evm(84532), SELLER, [7; 32].into()));
    let unpaid =
        json!({ "isError": true, "structuredContent": required, "content": [{ "type": "text", "text": required.to_string() }] });
    let sold = json!({ "content": [], "_meta": { mcp::PAYMENT_RESPONSE: settled } });
    let told = |status: &str, more: Value| {
        let mut metadata = map(more);
        metadata.insert(a2a::STATUS.into(), status.into());
        json!({ "id": "1", "contextId": "2", "status": { "state": "TASK_STATE_COMPLETED", "message": { "metadata": metadata } } })
    };
    let asked = told("payment-required", json!({ a2a::REQUIRED: required }));
    let done = told("payment-completed", json!({ a2a::RECEIPTS: [settled] }));
    let url: Url = "mcp://shop/".parse().unwrap();
    run(200, (spoiled(), spoiled(), any::<bool>()), |(first, second, is_tool)| {
        let policy = Policy::default().max_per_payment(max).allow_payee(SELLER);
        let purse = Purse::new(KeyPayer::new(PrivateKeySigner::random()), policy);
        let answers = if is_tool { [&unpaid, &sold] } else { [&asked, &done] };
        let calls = AtomicUsize::new(0);
        let answer = |_: JsonMap| {
            let spoiled = [&first, &second][calls.load(Ordering::SeqCst)];
            let bytes = spoil(answers[calls.fetch_add(1, Ordering::SeqCst)], spoiled);
            async move { serde_json::from_slice::<JsonMap>(&bytes) }
        };
        let called = if is_tool {
            runtime.block_on(mcp::call_tool(&purse, &url, map(json!({ "name": "weather" })), answer))
        } else {
            runtime.block_on(a2a::send_message(&purse, &url, map(json!({ "role": "ROLE_USER" })), answer))
        };
        prop_assert!(purse.spent() <= max);
        let may_have_paid = called.as_ref().map_or_else(|error| error.may_have_paid(), |called| called.requirement.is_some());
        prop_assert_eq!(calls.into_inner() == 2, may_have_paid, "{:?}", called);
        Ok(())
    });
}

#[test]
fn nothing_is_given_away_for_what_a_hostile_facilitator_says() {
    let runtime = Runtime::new().unwrap();
    let answers = Arc::new(Mutex::new((Vec::new(), Vec::new(), 200)));
    let (verify, settle) = (answers.clone(), answers.clone());
    let answer = |status: u16, body: Vec<u8>| -> Response { (StatusCode::from_u16(status).unwrap(), body).into_response() };
    let router = Router::new()
        .route("/verify", post(move || async move { answer(200, verify.lock().unwrap().0.clone()) }))
        .route(
            "/settle",
            post(move || async move {
                let (_, body, status) = settle.lock().unwrap().clone();
                answer(status, body)
            }),
        )
        .route("/supported", get(|| async { Json(json!({ "kinds": [] })) }));
    let (url, required) = runtime.block_on(async {
        let facilitator = listen(router).await;
        shop(Gate::new(FacilitatorClient::new(facilitator).unwrap())).await
    });
    let http = reqwest::Client::new();
    let valid = [json!(VerifyResponse::valid(SELLER)), json!(VerifyResponse::invalid(Reason::InvalidSignature, None))];
    let network = Network::evm(84532);
    let ends = [
        json!(SettleResponse::settled(network.clone(), SELLER, [7; 32].into())),
        json!(SettleResponse::failed(network, None, Reason::InsufficientBalance)),
    ];
    let strategy = (prop::option::of(spoiled()), spoiled(), any::<[bool; 2]>(), prop::sample::select(vec![200_u16, 400, 500]));
    run(300, strategy, |(judged, settled, [invalid, failed], status)| {
        let (valid, end) = (&valid[usize::from(invalid)], &ends[usize::from(failed)]);
        let verdict = judged.map_or_else(|| valid.to_string().into(), |judged| spoil(valid, &judged));
        *answers.lock().unwrap() = (verdict.clone(), spoil(end, &settled), status);
        let says = |bytes: &[u8], field: &str| serde_json::from_slice::<Value>(bytes).is_ok_and(|body| body[field] == true);
        let promised = says(&verdict, "isValid") && says(&answers.lock().unwrap().1, "success");
        let response = http.get(url.clone()).header(header::PAYMENT_SIGNATURE, payment_for(&required));
        let response = runtime.block_on(response.send()).unwrap();
        let code = response.status().as_u16();
        prop_assert!(matches!(code, 200 | 402 | 412 | 503), "{code}");
        prop_assert!(promised || code != 200, "given away");
        Ok(())
    });
}
