//! The market for models, by events: streams that clients keep open, and questions to their users.

use market::Config;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use url::Url;

use crate::{
    harness::{Market, WAIT, World, because},
    mcp::{Model, SECRET, ard, shop},
};

/// Events as they come.
struct Events {
    response: Response,
    read: Vec<u8>,
}

impl Events {
    fn of(response: Response) -> Self {
        assert_eq!(
            (response.status(), &response.headers()["content-type"]),
            (StatusCode::OK, &"text/event-stream".parse().unwrap())
        );
        Self { response, read: Vec::new() }
    }

    async fn open(market: &Market, key: &str) -> Self {
        let request = reqwest::Client::new().get(market.url.join("mcp/sse").unwrap()).bearer_auth(key);
        Self::of(request.send().await.unwrap())
    }

    /// The name and the data of the next event; none when there are no more.
    async fn next(&mut self) -> Option<(String, String)> {
        loop {
            if let Some(end) = self.read.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.read.drain(..end + 2).collect();
                let event = String::from_utf8(event).unwrap();
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                if let (Some(name), Some(data)) = (field("event: "), field("data: ")) {
                    return Some((name, data));
                }
                continue;
            }
            let chunk = tokio::time::timeout(WAIT, self.response.chunk()).await.unwrap().unwrap()?;
            self.read.extend_from_slice(&chunk);
        }
    }

    async fn message(&mut self) -> Value {
        let (name, data) = self.next().await.unwrap();
        assert_eq!(name, "message", "{data}");
        serde_json::from_str(&data).unwrap()
    }
}

/// What a user says who approves.
fn agreed() -> Value {
    json!({"action": "accept", "content": {"approve": true}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_answered_under_the_other_names_too() {
    let world = World::new().await;
    let market = world.market().await;
    let (_, _, buyer) = shop(&market).await;
    let call = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "wallet_balance"}});
    let post = async |path: &str, session: &[(&str, &str)]| {
        let request = reqwest::Client::new().post(market.url.join(path).unwrap()).bearer_auth(&buyer.key).body(call.to_string());
        session.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
    };
    let named = post("api/v1/mcp/message", &[("x-mcp-session-id", "mine")]).await;
    assert_eq!(named.headers()["x-mcp-session-id"], "mine");
    let answer: Value = named.json().await.unwrap();
    assert_eq!((&answer["id"], &answer["result"]["isError"]), (&json!(3), &json!(false)), "{answer}");
    let unnamed = post("api/v1/mcp/message", &[]).await;
    assert!(unnamed.headers().contains_key("x-mcp-session-id"), "clients that want a name get one");
    assert_eq!(post("api/v1/mcp/message?sessionId=nothing", &[]).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(post("api/v1/mcp/message?session=nothing", &[]).await.status(), StatusCode::BAD_REQUEST);
    let mut events = Events::of(post("api/v1/mcp/sse", &[]).await);
    assert_eq!(events.message().await["result"], answer["result"]);
    assert_eq!(events.next().await, None, "one call, one event");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_opens_a_stream_reads_there_what_is_answered_to_what_they_post_and_nobody_else_does() {
    let world = World::new().await;
    let unlimited = || Config { requests_per_minute: 0, ..world.config() };
    let alone = async || Market::alone(unlimited(), because::STREAM).await;
    let (market, other) = (alone().await, alone().await);
    let (seller, _, buyer) = shop(&market).await;
    let mut stream = Events::open(&market, &buyer.key).await;
    let (name, endpoint) = stream.next().await.unwrap();
    assert_eq!(name, "endpoint");
    let at = market.url.join(&endpoint).unwrap();
    let post = async |url: &Url, key: &str, message: &Value| {
        let request = reqwest::Client::new().post(url.clone()).bearer_auth(key).body(message.to_string());
        request.send().await.unwrap().status()
    };
    let params = json!({"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "it", "version": "1"}});
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    assert_eq!(post(&at, &buyer.key, &hello).await, StatusCode::ACCEPTED);
    let answer = stream.message().await;
    assert_eq!((&answer["id"], &answer["result"]["protocolVersion"]), (&json!(0), &json!("2024-11-05")), "{answer}");
    let call = |id: u64| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "wallet_balance"}});
    assert_eq!(post(&at, &buyer.key, &json!([])).await, StatusCode::BAD_REQUEST);
    assert_eq!(post(&at, &seller.key, &call(1)).await, StatusCode::NOT_FOUND, "the stream is another's");
    let elsewhere = other.url.join(&endpoint).unwrap();
    assert_eq!(post(&elsewhere, &buyer.key, &call(2)).await, StatusCode::NOT_FOUND, "the stream is at another instance");
    // More than may wait at once, and all are answered, because they are read.
    for id in 10..30 {
        assert_eq!(post(&at, &buyer.key, &call(id)).await, StatusCode::ACCEPTED);
        let answer = stream.message().await;
        assert_eq!((&answer["id"], &answer["result"]["isError"]), (&json!(id), &json!(false)), "{answer}");
    }

    let mut more = Vec::new();
    for _ in 1..8 {
        more.push(Events::open(&market, &buyer.key).await);
    }
    let one_too_many = reqwest::Client::new().get(market.url.join("mcp/sse").unwrap()).bearer_auth(&buyer.key);
    assert_eq!(one_too_many.send().await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
    let (_, gone) = more[0].next().await.unwrap();
    let gone = market.url.join(&gone).unwrap();
    drop(more);
    let nothing = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let noticed = async {
        while post(&gone, &buyer.key, &nothing).await != StatusCode::NOT_FOUND {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WAIT, noticed).await.unwrap();
    Events::open(&market, &buyer.key).await;

    // Nobody who only listens keeps the market from stopping.
    tokio::time::timeout(WAIT, market.stop()).await.unwrap();
    assert_eq!(stream.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_began_with_what_they_can_do_ask_their_user_while_the_call_waits() {
    let world = World::new().await;
    let config = || Config { mcp_approve_above: "0.01".parse().unwrap(), token_secrets: vec![SECRET.into()], ..world.config() };
    let alone = async || Market::alone(config(), because::STREAM).await;
    let (market, other) = (alone().await, alone().await);
    let (seller, _, buyer) = shop(&market).await;
    let model = Model { market: &market, key: Some(&buyer.key) };
    let begin = async |version: &str, capabilities: Value| {
        let params =
            json!({"protocolVersion": version, "capabilities": capabilities, "clientInfo": {"name": "it", "version": "1"}});
        let message = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let answer = model.post(&[], message.to_string()).await;
        answer.headers().get("mcp-session-id").map(|session| session.to_str().unwrap().to_owned())
    };
    assert_eq!(begin("2025-06-18", json!({})).await, None, "who cannot ask has no session");
    assert_eq!(begin("2025-06-18", json!({"elicitation": {"url": {}}})).await, None, "it can only show pages");
    assert_eq!(begin("2025-03-26", json!({"elicitation": {}})).await, None, "the revision knows no questions");
    let session = begin("2025-06-18", json!({"elicitation": {}})).await.unwrap();
    let pays = async || {
        let send = json!({"to_agent_id": seller.agent.id, "asset": "ARD", "amount": "20"});
        let quote = model.told("wallet_quote_transfer", send).await;
        let arguments = json!({"quote_id": quote["quote_id"], "confirm": true});
        let call = json!({"name": "wallet_transfer", "arguments": arguments, "inputResponses": {"approval": agreed()}});
        json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": call}).to_string()
    };
    let headers = [("mcp-session-id", session.as_str()), ("accept", "application/json, text/event-stream")];
    let say = async |at: &Market, key: &str, question: &Value, said: Value| {
        let message = json!({"jsonrpc": "2.0", "id": question["id"], "result": said});
        let speaker = Model { market: at, key: Some(key) };
        speaker.post(&[], message.to_string()).await.status()
    };

    // The user agrees, by way of another instance; nobody else can in their place.
    let mut answer = Events::of(model.post(&headers, pays().await).await);
    let question = answer.message().await;
    assert_eq!(question["method"], "elicitation/create", "neither the model nor its program says what the user said: {question}");
    assert!(question["params"]["message"].as_str().unwrap().contains("20.00 ARD to the agent \"seller\""), "{question}");
    assert_eq!(say(&market, &seller.key, &question, agreed()).await, StatusCode::BAD_REQUEST);
    assert_eq!(ard(&model).await, "100.00");
    assert_eq!(say(&other, &buyer.key, &question, agreed()).await, StatusCode::ACCEPTED);
    let told = answer.message().await;
    assert_eq!((&told["id"], &told["result"]["isError"]), (&json!(5), &json!(false)), "{told}");
    assert_eq!(answer.next().await, None);
    assert_eq!(ard(&model).await, "80.00");

    // The user does not, by way of the same instance.
    for said in [json!({"action": "decline"}), json!({"action": "cancel"}), json!({"action": "accept", "content": {}})] {
        let mut answer = Events::of(model.post(&headers, pays().await).await);
        let question = answer.message().await;
        assert_eq!(say(&market, &buyer.key, &question, said).await, StatusCode::ACCEPTED);
        assert_eq!(answer.message().await["result"]["structuredContent"]["code"], "approval_needed");
    }
    // Nobody is asked too much at once.
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let mut answer = Events::of(model.post(&headers, pays().await).await);
        answer.message().await;
        waiting.push(answer);
    }
    let mut one_too_many = Events::of(model.post(&headers, pays().await).await);
    assert_eq!(one_too_many.message().await["result"]["structuredContent"]["code"], "over_limit");

    let stranger = Model { market: &market, key: Some(&seller.key) };
    assert_eq!(stranger.post(&headers, pays().await).await.status(), StatusCode::NOT_FOUND, "the session is another's");
    assert_eq!(ard(&model).await, "80.00");
    // Questions that wait keep no instance from stopping: their calls are refused.
    tokio::time::timeout(WAIT, market.stop()).await.unwrap();
    for mut answer in waiting {
        assert_eq!(answer.message().await["result"]["structuredContent"]["code"], "approval_needed");
    }
}
