//! The market for models: the protocol as bytes over HTTP, and as the official clients speak it.

use std::process::Command;

use api::{AgentType, Listing, UpdateListing};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use market::Config;
use reqwest::{Method, Response, StatusCode};
use ring::hmac;
use serde_json::{Value, json};
use stack::Account;
use uuid::Uuid;

use crate::harness::{BUYER, Market, Member, PRICE, SELLER, World, address, because, goods, pay};

const GOODS: &str = "42.17 EUR/MWh";
const CURRENT: &str = "2026-07-28";
pub(crate) const SECRET: [u8; 32] = [7; 32];
/// Of no content.
const OTHER_HASH: &str = "0x0000000000000000000000000000000000000000000000000000000000000001";

/// Who speaks the protocol, with a key or without.
pub(crate) struct Model<'a> {
    pub(crate) market: &'a Market,
    pub(crate) key: Option<&'a str>,
}

impl Model<'_> {
    pub(crate) async fn post(&self, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Response {
        let request = reqwest::Client::new().post(self.market.url.join("mcp").unwrap()).body(body);
        let request = self.key.iter().fold(request, |request, key| request.bearer_auth(key));
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
    }

    /// As a client of a revision with `initialize` calls.
    async fn rpc(&self, method: &str, params: Value) -> Value {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.post(&[("mcp-protocol-version", "2025-11-25")], message.to_string()).await.json().await.unwrap()
    }

    async fn call(&self, tool: &str, arguments: Value) -> Value {
        let answer = self.rpc("tools/call", json!({"name": tool, "arguments": arguments})).await;
        answer.get("result").unwrap_or_else(|| panic!("{answer}")).clone()
    }

    /// What a tool told that did what was asked.
    pub(crate) async fn told(&self, tool: &str, arguments: Value) -> Value {
        let result = self.call(tool, arguments).await;
        assert_eq!(result["isError"], false, "{tool}: {result}");
        result["structuredContent"].clone()
    }

    /// The code of a tool's refusal.
    async fn refusal(&self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments).await;
        assert_eq!(result["isError"], true, "{tool}: {result}");
        result["structuredContent"]["code"].as_str().unwrap_or_else(|| panic!("{result}")).to_owned()
    }

    /// As a client of the revision without sessions calls, that can ask its user.
    async fn ask(&self, tool: &str, params: Value) -> Value {
        let mut params = params;
        params["name"] = tool.into();
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": CURRENT,
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
        });
        let message = json!({"jsonrpc": "2.0", "id": "1", "method": "tools/call", "params": params});
        let headers = [("mcp-protocol-version", CURRENT), ("mcp-method", "tools/call"), ("mcp-name", tool)];
        let answer: Value = self.post(&headers, message.to_string()).await.json().await.unwrap();
        answer["result"].clone()
    }
}

/// A listing for sale, and a buyer with 100 ARD.
pub(crate) async fn shop(market: &Market) -> (Member, Listing, Member) {
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let listing = seller.client.create_listing(&goods("prices", PRICE, Some(GOODS.as_bytes()))).await.unwrap();
    let buyer = market.join("buyer", BUYER, AgentType::Both).await;
    (seller, listing, buyer)
}

pub(crate) async fn ard(model: &Model<'_>) -> Value {
    let wallet = model.told("wallet_balance", json!({})).await;
    let balances = wallet["balances"].as_array().unwrap();
    balances.iter().find(|balance| balance["asset"] == "ARD").unwrap()["free"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_every_revision_find_what_there_is() {
    let world = World::new().await;
    let market = world.market().await;
    let model = Model { market: &market, key: None };
    for (asked, served) in [("2025-06-18", "2025-06-18"), ("2025-03-26", "2025-03-26"), ("1999-01-01", "2025-11-25")] {
        let params = json!({"protocolVersion": asked, "capabilities": {}, "clientInfo": {"name": "it", "version": "1"}});
        let message = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let answer: Value = model.post(&[], message.to_string()).await.json().await.unwrap();
        assert_eq!((&answer["id"], &answer["result"]["protocolVersion"]), (&json!(0), &json!(served)), "{answer}");
    }
    assert_eq!(model.rpc("ping", json!({})).await["result"], json!({}));
    let listed = model.rpc("tools/list", json!({})).await["result"]["tools"].as_array().unwrap().len();
    assert!(listed > 20, "{listed}");
    assert_eq!(model.rpc("tools/list", json!({"cursor": "x"})).await["error"]["code"], -32602);
    assert_eq!(model.rpc("prompts/list", json!({})).await["error"]["code"], -32601);
    let done = model.post(&[], json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string()).await;
    assert_eq!((done.status(), done.bytes().await.unwrap().len()), (StatusCode::ACCEPTED, 0));

    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": CURRENT, "io.modelcontextprotocol/clientCapabilities": {},
    });
    let current = async |method: &str, meta: &Value, headers: &[(&str, &str)]| {
        let message = json!({"jsonrpc": "2.0", "id": 2, "method": method, "params": {"_meta": meta}});
        let answer = model.post(headers, message.to_string()).await;
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, found) =
        current("server/discover", &meta, &[("mcp-protocol-version", CURRENT), ("mcp-method", "server/discover")]).await;
    assert_eq!(
        (status, &found["result"]["resultType"], &found["result"]["supportedVersions"][0]),
        (200, &json!("complete"), &json!(CURRENT))
    );
    let (status, tools) = current("tools/list", &meta, &[("mcp-protocol-version", CURRENT), ("mcp-method", "tools/list")]).await;
    assert_eq!((status, &tools["result"]["cacheScope"]), (200, &json!("public")), "{tools}");
    let of = [("mcp-protocol-version", CURRENT), ("mcp-method", "ping")];
    let (status, gone) = current("ping", &meta, &of).await;
    assert_eq!((status, &gone["error"]["code"]), (404, &json!(-32601)), "the revision has no ping");
    for (meta, headers, code) in [
        (&meta, &[("mcp-protocol-version", CURRENT)][..], -32020),
        (&meta, &[("mcp-protocol-version", "2025-11-25"), ("mcp-method", "tools/list")], -32020),
        (&meta, &[], -32020),
        (&json!({}), &[("mcp-protocol-version", CURRENT), ("mcp-method", "tools/list")], -32602),
        (&json!({}), &[("mcp-protocol-version", "1900-01-01")], -32022),
    ] {
        let (status, refused) = current("tools/list", meta, headers).await;
        assert_eq!((status, &refused["error"]["code"]), (400, &json!(code)), "{headers:?}: {refused}");
    }

    for path in ["mcp/health", "api/v1/mcp/health"] {
        let health: Value = reqwest::get(market.url.join(path).unwrap()).await.unwrap().json().await.unwrap();
        assert_eq!((&health["status"], health["tools"].as_u64()), (&json!("ok"), Some(listed as u64)), "{path}");
    }
    for method in [Method::GET, Method::DELETE] {
        let answer = reqwest::Client::new().request(method, market.url.join("mcp").unwrap()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "there are no streams and no sessions");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_is_refused_and_what_is_wrong_with_a_call_is_told_to_the_model() {
    let world = World::new().await;
    let market = world.market().await;
    let (_, listing, buyer) = shop(&market).await;
    let model = Model { market: &market, key: None };
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for hostile in [
        "",
        "null",
        "[]",
        "[{}]",
        "{",
        "\u{0}",
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        deep.as_str(),
        r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
    ] {
        let answer = model.post(&[], hostile.to_owned()).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{}", &hostile[..hostile.len().min(60)]);
    }
    assert_eq!(model.post(&[], vec![b' '; (6 << 20) + 1]).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let page = model.post(&[("origin", "http://elsewhere.example")], "{}").await;
    assert_eq!(page.status(), StatusCode::FORBIDDEN);
    let stranger = Model { market: &market, key: Some("florin_nobody") };
    assert_eq!(stranger.post(&[], "{}").await.status(), StatusCode::UNAUTHORIZED);

    assert_eq!(model.rpc("tools/call", json!({"name": "rm"})).await["error"]["code"], -32602);
    assert_eq!(model.rpc("tools/call", json!({"name": "wallet_balance", "arguments": []})).await["error"]["code"], -32602);
    for (tool, arguments, code) in [
        ("wallet_balance", json!({}), "unauthenticated"),
        ("marketplace_quote", json!({"listing_id": listing.id}), "unauthenticated"),
        ("marketplace_discover", json!({"nonsense": 1}), "invalid_request"),
        ("marketplace_discover", json!({"limit": {}}), "invalid_request"),
        ("marketplace_reputation", json!({}), "invalid_request"),
        ("marketplace_reputation", json!({"agent_id": "../../health"}), "invalid_request"),
        ("marketplace_reputation", json!({"agent_id": ".."}), "not_found"),
        ("marketplace_express_buy", json!({}), "invalid_request"),
        ("marketplace_express_buy", json!({"listing_id": Uuid::now_v7()}), "not_found"),
    ] {
        assert_eq!(model.refusal(tool, arguments.clone()).await, code, "{tool} {arguments}");
    }
    let known = Model { market: &market, key: Some(&buyer.key) };
    let buying = json!({"q": "prices", "auto_buy": true});
    assert_eq!(known.refusal("marketplace_auto_match", buying).await, "invalid_request", "nothing is bought without a quote");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_is_paid_once_by_whom_it_is_for_and_buys_what_it_says_or_nothing() {
    let world = World::new().await;
    let config = || Config { token_secrets: vec![SECRET.into()], ..world.config() };
    let (market, other) = (Market::start(config()).await, Market::start(config()).await);
    let (seller, listing, buyer) = shop(&market).await;
    let (model, elsewhere) = (Model { market: &market, key: Some(&buyer.key) }, Model { market: &other, key: Some(&buyer.key) });
    let wanted = json!({"listing_id": listing.id, "asset": "ARD"});
    let quote = model.told("marketplace_quote", wanted.clone()).await;
    assert_eq!((&quote["amount"], &quote["is_enough"]), (&json!("50.00"), &json!(true)), "{quote}");
    assert_eq!(ard(&model).await, "100.00", "a quote costs nothing");
    let another = json!({"listing_id": listing.id, "content_hash": OTHER_HASH});
    assert_eq!(model.refusal("marketplace_quote", another).await, "wrong_state", "it is not what is wanted");
    let pays = json!({"quote_id": quote["quote_id"]});

    let quoted = quote["quote_id"].as_str().unwrap();
    let (text, seal) = quoted.split_once('.').unwrap();
    let other_text = BASE64.encode(String::from_utf8(BASE64.decode(text).unwrap()).unwrap().replace("0.05", "0.01"));
    let stranger = Model { market: &market, key: Some(&seller.key) };
    assert_eq!(stranger.refusal("marketplace_express_buy", pays.clone()).await, "invalid_request", "it is another's");
    assert_eq!(model.refusal("wallet_transfer", pays.clone()).await, "invalid_request", "it is for a purchase");
    let expired = {
        let mut said: Value = serde_json::from_slice(&BASE64.decode(text).unwrap()).unwrap();
        said["until"] = 1.into();
        let text = BASE64.encode(said.to_string());
        let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &SECRET), b"florin market seal quote");
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_ref());
        format!("{text}.{}", BASE64.encode(hmac::sign(&key, text.as_bytes())))
    };
    for (forged, code) in [
        (format!("{other_text}.{seal}"), "invalid_request"),
        (format!("{text}.{}", "A".repeat(seal.len())), "invalid_request"),
        ("A".repeat(1 << 20), "invalid_request"),
        (expired, "wrong_state"),
    ] {
        assert_eq!(model.refusal("marketplace_express_buy", json!({"quote_id": forged})).await, code);
    }
    assert_eq!(ard(&model).await, "100.00");

    // The answer was lost, and another instance is asked.
    let bought = model.call("marketplace_express_buy", pays.clone()).await;
    assert_eq!(bought["content"][0]["text"], GOODS, "{bought}");
    let again = elsewhere.call("marketplace_express_buy", pays.clone()).await;
    assert_eq!((&again["content"][0]["text"], &again["structuredContent"]["replayed"]), (&json!(GOODS), &json!(true)), "{again}");
    assert_eq!(ard(&model).await, "50.00");
    let read = model.call("marketplace_read_purchase", json!({"purchase_id": bought["structuredContent"]["purchase_id"]})).await;
    assert_eq!(read["content"][0]["text"], GOODS);

    // What is quoted is neither dearer nor something else by the time it is paid.
    let second = seller.client.create_listing(&goods("weather", PRICE, Some(b"\xff\x00rain"))).await.unwrap();
    let wanted = json!({"listing_id": second.id, "asset": "ARD"});
    let quote = model.told("marketplace_quote", wanted.clone()).await;
    let dearer = UpdateListing { price: Some(PRICE.checked_mul(2).unwrap()), ..UpdateListing::default() };
    seller.client.update_listing(second.id, &dearer).await.unwrap();
    let pays = json!({"quote_id": quote["quote_id"]});
    assert_eq!(model.refusal("marketplace_express_buy", pays.clone()).await, "price_too_high");
    let cheap = UpdateListing { price: Some(PRICE), ..UpdateListing::default() };
    seller.client.update_listing(second.id, &cheap).await.unwrap();
    seller.client.upload(second.id, "application/x-weather", "\u{fffd}snow").await.unwrap();
    assert_eq!(model.refusal("marketplace_express_buy", pays).await, "wrong_state");
    assert_eq!(ard(&model).await, "50.00");
    seller.client.upload(second.id, "application/x-weather", &b"\xff\x00rain"[..]).await.unwrap();
    let quote = model.told("marketplace_quote", wanted).await;
    let bought = model.call("marketplace_express_buy", json!({"quote_id": quote["quote_id"]})).await;
    let resource = &bought["content"][0]["resource"];
    assert_eq!((&resource["mimeType"], &resource["blob"]), (&json!("application/x-weather"), &json!("/wByYWlu")), "{bought}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_is_sent_once_and_above_the_limit_only_when_the_user_agrees() {
    let world = World::new().await;
    let limited = Config { mcp_approve_above: "0.01".parse().unwrap(), ..world.config() };
    let market = Market::start(limited).await;
    let (seller, _, buyer) = shop(&market).await;
    let model = Model { market: &market, key: Some(&buyer.key) };
    let send = |amount: &str| json!({"to_agent_id": seller.agent.id, "asset": "ARD", "amount": amount});
    let small = model.told("wallet_quote_transfer", send("10")).await;
    assert_eq!((&small["needs_approval"], &small["to"]["name"]), (&json!(false), &json!("seller")), "{small}");
    for _ in 0..2 {
        model.told("wallet_transfer", json!({"quote_id": small["quote_id"]})).await;
    }
    assert_eq!(ard(&model).await, "90.00", "sent once");

    let large = model.told("wallet_quote_transfer", send("10.000001")).await;
    assert_eq!(large["needs_approval"], true);
    let arguments = json!({"quote_id": large["quote_id"]});
    let confirmed = json!({"quote_id": large["quote_id"], "confirm": true});
    assert_eq!(model.refusal("wallet_transfer", arguments.clone()).await, "approval_needed");
    // A client that can ask its user does so, whatever the model says.
    let asked = model.ask("wallet_transfer", json!({"arguments": confirmed})).await;
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let question = &asked["inputRequests"]["approval"];
    assert_eq!(question["method"], "elicitation/create");
    assert!(question["params"]["message"].as_str().unwrap().contains("10.000001 ARD to the agent \"seller\""), "{question}");
    for answer in [json!({"action": "decline"}), json!({"action": "accept", "content": {"approve": false}})] {
        let told = model.ask("wallet_transfer", json!({"arguments": arguments, "inputResponses": {"approval": answer}})).await;
        assert_eq!((&told["isError"], &told["structuredContent"]["code"]), (&json!(true), &json!("approval_needed")), "{told}");
    }
    assert_eq!(ard(&model).await, "90.00");
    let agreed = json!({"approval": {"action": "accept", "content": {"approve": true}}});
    let sent = model.ask("wallet_transfer", json!({"arguments": arguments, "inputResponses": agreed})).await;
    assert_eq!((&sent["isError"], &sent["resultType"]), (&json!(false), &json!("complete")), "{sent}");
    model.told("wallet_transfer", confirmed).await;
    assert_eq!(ard(&model).await, "79.999999", "the same, told again");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_account_a_listing_is_bought_by_x402_and_a_payment_serves_one_purchase() {
    let world = World::new().await;
    let market = world.market().await;
    let (seller, listing, _) = shop(&market).await;
    let model = Model { market: &market, key: None };
    let named =
        |hash: Value| json!({"name": "marketplace_express_buy", "arguments": {"listing_id": listing.id, "content_hash": hash}});
    let call = named(json!(listing.content_hash));
    let unpaid = model.rpc("tools/call", call.clone()).await["result"].clone();
    assert_eq!(unpaid["isError"], true, "{unpaid}");
    let asked: x402::PaymentRequired = serde_json::from_value(unpaid["structuredContent"].clone()).unwrap();
    let (had, payment) = (world.balance(SELLER).await, pay(&asked, BUYER));
    let with = |call: &Value, payment: Value| {
        let mut call = call.clone();
        call["_meta"] = json!({"x402/payment": payment});
        call
    };
    let another = model.rpc("tools/call", with(&named(json!(OTHER_HASH)), json!(payment))).await["result"].clone();
    assert_eq!(another["structuredContent"]["code"], "wrong_state", "{another}");
    assert_eq!(world.balance(SELLER).await, had, "what is not wanted is not charged");
    for _ in 0..2 {
        let paid = model.rpc("tools/call", with(&call, json!(payment))).await["result"].clone();
        assert_eq!(paid["content"][0]["text"], GOODS, "{paid}");
        assert_eq!(paid["_meta"]["x402/payment-response"]["success"], true);
    }
    assert_eq!(world.balance(SELLER).await, had + PRICE.base_units());
    let other = seller.client.create_listing(&goods("other", PRICE, Some(b"other"))).await.unwrap();
    let elsewhere = json!({"name": "marketplace_express_buy", "arguments": {"listing_id": other.id}});
    for (call, payment) in
        [(&elsewhere, json!(payment)), (&call, json!("junk")), (&call, json!({"payload": "A".repeat(1 << 20)}))]
    {
        let refused = model.rpc("tools/call", with(call, payment)).await["result"].clone();
        assert_eq!(refused["isError"], true, "{refused}");
        assert_ne!(refused["content"][0]["text"], "other");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_and_documents_at_known_places_show_what_there_is() {
    let world = World::new().await;
    let market = world.market().await;
    let (seller, listing, _) = shop(&market).await;
    let second = seller.client.create_listing(&goods("second", PRICE, Some(b"2"))).await.unwrap();
    let model = Model { market: &market, key: None };
    let resources = model.rpc("resources/list", json!({})).await["result"]["resources"].clone();
    for resource in resources.as_array().unwrap() {
        let read = model.rpc("resources/read", json!({"uri": resource["uri"]})).await["result"]["contents"][0].clone();
        assert_eq!(read["uri"], resource["uri"], "{read}");
        assert!(serde_json::from_str::<Value>(read["text"].as_str().unwrap()).unwrap()["data"].is_array(), "{read}");
    }
    assert_eq!(resources.as_array().unwrap().len(), 4);
    let agent = format!("marketplace://agent/{}", seller.agent.id);
    let read = model.rpc("resources/read", json!({"uri": agent})).await["result"]["contents"][0]["text"].clone();
    assert!(read.as_str().unwrap().contains("seller"), "{read}");
    for missing in ["marketplace://agent/", "marketplace://agent/nobody", "marketplace://elsewhere", ""] {
        assert_eq!(model.rpc("resources/read", json!({"uri": missing})).await["error"]["code"], -32002, "{missing}");
    }

    let get = async |path: &str| reqwest::get(market.url.join(path).unwrap()).await.unwrap().json::<Value>().await.unwrap();
    let card = get(".well-known/agent-card.json").await;
    let at = card["supportedInterfaces"][0]["url"].as_str().unwrap();
    assert_eq!((at, card["skills"].as_array().unwrap().len() > 20), (market.url.join("mcp").unwrap().as_str(), true));
    let newest = get(".well-known/x402?limit=1").await;
    let sold = &newest["resources"][0];
    assert_eq!(sold["url"], market.client.express_url(second.id).as_str());
    let offer = &sold["accepts"][0];
    assert_eq!((&offer["amount"], offer["payTo"].as_str().unwrap().parse()), (&json!("50000"), Ok(address(SELLER))));
    let next: Value = reqwest::get(newest["next"].as_str().unwrap()).await.unwrap().json().await.unwrap();
    assert_eq!(next["resources"][0]["url"], market.client.express_url(listing.id).as_str());
    assert!(next.get("next").is_none(), "{next}");
    let refused = reqwest::get(market.url.join(".well-known/x402?limit=1000").unwrap()).await.unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
}

/// What the official clients are to call, in this order, and whether it fails. `$3.id` is the `id` that the fourth call told.
fn plan(listing: &Listing) -> Vec<(&'static str, Value, bool)> {
    let (nobody, hash) = (Uuid::now_v7(), listing.content_hash.unwrap());
    let sold = json!({"title": "Rain", "category": "computation", "price": "0.01", "content_base64": "cmFpbg=="});
    vec![
        ("marketplace_discover", json!({"q": "prices", "limit": 5, "facets": true}), false),
        ("marketplace_quote", json!({"listing_id": listing.id, "asset": "ARD"}), false),
        ("marketplace_express_buy", json!({"quote_id": "$1.quote_id"}), false),
        ("marketplace_purchases", json!({}), false),
        ("marketplace_read_purchase", json!({"purchase_id": "$2.purchase_id"}), false),
        ("marketplace_auto_match", json!({"q": "prices"}), false),
        ("marketplace_sell", sold, false),
        (
            "marketplace_register_catalog",
            json!({"topic": "weather.rain", "category": "computation", "price_from": "0.01"}),
            false,
        ),
        ("marketplace_trending", json!({"hours": 6}), false),
        ("marketplace_reputation", json!({"agent_id": listing.seller_id}), false),
        ("wallet_balance", json!({}), false),
        ("wallet_history", json!({"asset": "ARD"}), false),
        ("wallet_quote_transfer", json!({"to_agent_id": listing.seller_id, "asset": "ARD", "amount": "1"}), false),
        ("wallet_transfer", json!({"quote_id": "$12.quote_id"}), false),
        ("wallet_quote_withdrawal", json!({"amount": "0.5"}), false),
        ("wallet_withdraw", json!({"quote_id": "$14.quote_id"}), true),
        ("wallet_withdrawal", json!({"withdrawal_id": nobody}), true),
        ("wallet_deposit", json!({"amount": "5"}), false),
        ("wallet_deposit_status", json!({"deposit_id": "$17.id"}), false),
        ("wallet_top_up", json!({"amount": "1"}), true),
        ("escrow_initiate", json!({"listing_id": listing.id, "buyer": address(BUYER), "payment_method": "escrow"}), false),
        ("escrow_status", json!({"transaction_id": "$20.id"}), false),
        ("escrow_deliver", json!({"transaction_id": "$20.id", "delivery_hash": hash}), true),
        ("escrow_content", json!({"transaction_id": "$20.id"}), true),
        ("treasury_status", json!({"address": address(BUYER)}), true),
        ("treasury_proposals", json!({"address": address(BUYER)}), false),
        ("marketplace_verify_zkp", json!({"listing_id": listing.id, "min_size": 1}), false),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_clients_list_and_call_every_tool_and_pay_for_one() {
    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    for program in
        [vec!["node", "tests/interop/mcp/market.mjs"], vec!["target/interop/bin/python", "tests/interop/mcp/market.py"]]
    {
        let world = World::new().await;
        // A buyer with 1,000 ARD, whose user is asked about more than 60.
        let (signup_bonus, mcp_approve_above) = ("1000".parse().unwrap(), "0.06".parse().unwrap());
        let config = Config { custody: Some(address(8)), signup_bonus, mcp_approve_above, ..world.config() };
        let market = Market::alone(config, because::STREAM).await;
        let (seller, listing, buyer) = shop(&market).await;
        let plan = plan(&listing);
        let calls: Vec<_> = plan.iter().map(|(name, arguments, _)| json!({"name": name, "arguments": arguments})).collect();
        let had = world.balance(SELLER).await;
        // Named as a path it is found from where this runs, not from where it will run.
        let named = if program[0].contains('/') { format!("{ROOT}/{}", program[0]) } else { program[0].to_owned() };
        let mut command = Command::new(named);
        command.args(&program[1..]).args([world.stack.rpc_url().as_str(), market.url.join("mcp").unwrap().as_str()]);
        command.args([listing.id.to_string(), seller.agent.id.to_string()]).current_dir(ROOT);
        command.env("FLORIN_KEY", Account::at(7).key()).env("FLORIN_API_KEY", &buyer.key);
        command.env("FLORIN_PLAN", json!(calls).to_string());
        let output = tokio::task::spawn_blocking(move || command.output().expect("run scripts/setup --tests")).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{program:?}: {error}: {said}"));

        let mut listed: Vec<_> = told["tools"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        let mut called: Vec<_> = plan.iter().map(|(name, ..)| *name).collect();
        listed.sort_unstable();
        called.sort_unstable();
        assert_eq!(listed, called, "every tool is called");
        assert_eq!((told["read"].as_array().unwrap().len(), told["templates"].as_array().unwrap().len()), (5, 1), "{program:?}");
        for ((name, _, fails), result) in plan.iter().zip(told["called"].as_array().unwrap()) {
            assert_eq!(result["isError"].as_bool().unwrap_or_default(), *fails, "{program:?} {name}: {result}");
        }
        assert_eq!(told["called"][2]["content"][0]["text"], GOODS);
        for (transport, asked) in told["asked"].as_object().unwrap() {
            assert_eq!(
                (asked["questions"].as_array().unwrap().len(), &asked["failed"]),
                (1, &json!(false)),
                "{program:?} {transport}"
            );
        }
        assert_eq!(told["asked"].as_object().unwrap().len(), 2, "{program:?}");
        let streamed = &told["streamed"];
        assert_eq!(streamed["tools"].as_u64(), Some(plan.len() as u64), "{program:?}: {streamed}");
        assert!(streamed["called"]["structuredContent"]["balances"].is_array(), "{program:?}: {streamed}");
        assert!(told["called"][19]["structuredContent"]["accepts"].is_array(), "{}", told["called"][19]);
        assert_eq!(
            (&told["bought"]["text"], &told["bought"]["receipt"]["success"]),
            (&json!(GOODS), &json!(true)),
            "{program:?}"
        );
        assert_eq!(world.balance(SELLER).await, had + PRICE.base_units(), "{program:?}");
    }
}
