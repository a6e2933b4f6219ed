//! Who may ask for what: every operation of the OpenAPI document, by everybody, and with everybody else's things.
//!
//! Nothing here names an operation, so one that is new is looked at, too.

use std::collections::BTreeMap;

use api::{
    AgentType, CatalogWanted, Category, CreateApiKey, CreateCatalogEntry, Initiate, Login, PaymentMethod, Role, Scope,
    TokenRequest,
    ledger::{Asset, Kind, OpenDeposit, Redeem, RedemptionMethod, Withdraw},
};
use futures::future::join_all;
use market::ledger::{self, Ledger, Move, Order, Purpose, Rates, What};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Map, Value, json};
use sqlx::PgPool;
use url::Url;
use uuid::Uuid;

use crate::{
    funds::usdc,
    harness::{BUYER, Market, PASSWORD, PRICE, SELLER, World, address, goods},
    redemptions::give,
};

const OTHER: usize = 7;

/// An operation, as the document has it.
struct Operation {
    method: Method,
    path: String,
    described: Value,
}

impl Operation {
    /// Its name, as in the document.
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Whether anybody may.
    fn is_open(&self) -> bool {
        self.ways().iter().any(|way| way.as_object().unwrap().is_empty())
    }

    fn ways(&self) -> &[Value] {
        self.described["security"].as_array().unwrap()
    }

    fn at(&self, market: &Market, named: &str) -> Url {
        let (before, after) = self.path.split_once('{').unwrap_or((&self.path, ""));
        let after = after.split_once('}').map_or("", |(_, after)| after);
        let named = if self.path.contains('{') { named } else { "" };
        market.url.join(&format!("{}{named}{after}", before.trim_start_matches('/'))).unwrap()
    }

    fn ask(&self, url: Url) -> RequestBuilder {
        reqwest::Client::new().request(self.method.clone(), url)
    }
}

async fn document(market: &Market) -> (Value, Vec<Operation>) {
    let document: Value = reqwest::get(market.url.join("openapi.json").unwrap()).await.unwrap().json().await.unwrap();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, described) in methods.as_object().unwrap() {
            let method = method.to_uppercase().parse().unwrap();
            operations.push(Operation { method, path: path.clone(), described: described.clone() });
        }
    }
    // What ends all sessions ends the callers' own.
    operations.sort_by_key(|operation| operation.path.ends_with("/revoke-all"));
    (document, operations)
}

/// What somebody's credentials are good for.
#[derive(Clone)]
enum Is {
    Nobody,
    /// Credentials that were good once, or never.
    Refused,
    Agent(Vec<Scope>),
    Wallet,
    Person(Role),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Unauthenticated,
    Forbidden,
    LetIn,
}

impl Is {
    fn expected(&self, operation: &Operation) -> Answer {
        let names = |needed: &Value| serde_json::from_value::<Vec<String>>(needed.clone()).unwrap();
        let fits = |way: &Value| match self {
            Self::Nobody | Self::Refused => false,
            Self::Agent(scopes) => way
                .get("agent")
                .is_some_and(|needed| names(needed).iter().all(|name| scopes.iter().any(|scope| scope.as_str() == name))),
            Self::Wallet => way.get("wallet").is_some(),
            Self::Person(role) => way.get("creator").is_some_and(|needed| {
                let roles: Vec<Role> = serde_json::from_value(needed.clone()).unwrap();
                roles.iter().all(|needed| role.covers(*needed))
            }),
        };
        match self {
            Self::Refused => Answer::Unauthenticated,
            _ if operation.is_open() || operation.ways().iter().any(fits) => Answer::LetIn,
            Self::Nobody => Answer::Unauthenticated,
            _ => Answer::Forbidden,
        }
    }
}

/// Who asks, and with what; a wallet proves itself each time.
type Principal = (String, Option<String>, Is);

async fn principals(world: &World, market: &Market) -> Vec<Principal> {
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let bearer = |token: &str| Some(format!("Bearer {token}"));
    let agent = market.join("agent", SELLER, AgentType::Both).await;
    let key = async |scopes: &[Scope]| {
        let request = CreateApiKey { name: "key".into(), scopes: scopes.into(), expires_at: None };
        agent.client.create_api_key(&request).await.unwrap()
    };
    let mut all: Vec<Principal> = vec![
        ("nobody".into(), None, Is::Nobody),
        ("a wallet".into(), None, Is::Wallet),
        ("an agent".into(), bearer(&agent.key), Is::Agent(Scope::ALL.into())),
        ("garbage".into(), bearer("florin_garbage"), Is::Refused),
        ("another scheme".into(), Some("Basic YTpi".into()), Is::Refused),
    ];
    for scope in Scope::ALL {
        all.push((format!("a key for {scope}"), bearer(&key(&[scope]).await.api_key), Is::Agent(vec![scope])));
    }
    let token = agent.client.token(&TokenRequest { agent_id: None, scopes: Some(vec![Scope::Sell]) }).await.unwrap();
    all.push(("a token to sell".into(), bearer(&token.access_token), Is::Agent(vec![Scope::Sell])));
    let expired = key(&Scope::ALL).await;
    sqlx::query("UPDATE api_keys SET expires_at = now() WHERE id = $1").bind(expired.key.id).execute(&pool).await.unwrap();
    all.push(("an expired key".into(), bearer(&expired.api_key), Is::Refused));
    let revoked = key(&Scope::ALL).await;
    let token = market.client.with_api_key(&revoked.api_key).token(&TokenRequest::default()).await.unwrap();
    agent.client.revoke_api_key(revoked.key.id).await.unwrap();
    all.push(("a revoked key".into(), bearer(&revoked.api_key), Is::Refused));
    all.push(("a token of a revoked key".into(), bearer(&token.access_token), Is::Refused));
    let gone = market.join("gone", OTHER, AgentType::Both).await;
    gone.client.deactivate_agent(gone.agent.id).await.unwrap();
    all.push(("a deactivated agent".into(), bearer(&gone.key), Is::Refused));

    for role in [Role::User, Role::Support, Role::Moderator, Role::Arbiter, Role::Finance, Role::Admin] {
        let token = market.staff(world.stack.database_url(), role).await;
        all.push((format!("a person as {role:?}"), bearer(&token), Is::Person(role)));
    }
    let ended = market.creator("ended@example.com").await;
    market.client.end_session(&ended.refresh_token).await.unwrap();
    all.push(("a session that was ended".into(), bearer(&ended.access.access_token), Is::Refused));
    let expired = market.client.login(&Login::new("ended@example.com", PASSWORD)).await.unwrap();
    let over = "UPDATE sessions SET expires_at = now() WHERE creator_id = $1 AND revoked_at IS NULL";
    sqlx::query(over).bind(expired.creator.id).execute(&pool).await.unwrap();
    all.push(("a session that has expired".into(), bearer(&expired.access.access_token), Is::Refused));
    all
}

/// Each is asked for something that is no name of anything, with a body that cannot be read: who is let in is told so, and nothing happens.
#[tokio::test(flavor = "multi_thread")]
async fn every_operation_lets_in_whom_it_says_and_nobody_else() {
    let world = World::new().await;
    let unlimited = market::Config { requests_per_minute: 0, requests_per_minute_unknown: 0, ..world.config() };
    let market = Market::start(unlimited).await;
    let principals = principals(&world, &market).await;
    let (_, operations) = document(&market).await;
    let mut wrong = Vec::new();
    for operation in &operations {
        let asked = principals.iter().map(async |(who, credentials, is)| {
            let mut request = operation.ask(operation.at(&market, "none"));
            if operation.method != Method::GET {
                request = request.header("content-type", "application/json").body("nothing");
            }
            let proof = if matches!(is, Is::Wallet) { Some(market.wallet_proof(BUYER).await) } else { credentials.clone() };
            let request = proof.iter().fold(request, |request, value| request.header("authorization", value));
            let status = request.send().await.unwrap().status();
            assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{} by {who}", operation.name());
            let answer = match status {
                StatusCode::UNAUTHORIZED => Answer::Unauthenticated,
                StatusCode::FORBIDDEN => Answer::Forbidden,
                _ => Answer::LetIn,
            };
            let expected = is.expected(operation);
            (answer != expected).then(|| format!("{} by {who}: {status}, expected {expected:?}", operation.name()))
        });
        wrong.extend(join_all(asked).await.into_iter().flatten());
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(operations.len() > 100 && principals.len() > 20, "of {} by {}", operations.len(), principals.len());
}

/// Values as a schema wants them, with `id` where one is asked for.
struct Made<'a> {
    document: &'a Value,
    id: &'a str,
}

impl Made<'_> {
    fn value(&self, schema: &Value) -> Value {
        if let Some(path) = schema["$ref"].as_str() {
            return self.value(self.document.pointer(path.trim_start_matches('#')).unwrap());
        }
        for any in ["anyOf", "oneOf", "allOf", "enum", "examples"] {
            if let Some(first) = schema[any].as_array().and_then(|all| all.first()) {
                return if ["enum", "examples"].contains(&any) { first.clone() } else { self.value(first) };
            }
        }
        if let Some(only) = schema.get("const") {
            return only.clone();
        }
        let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or("object");
        match kind {
            "string" => self.text(schema).into(),
            "integer" | "number" => schema.get("minimum").cloned().unwrap_or(1.into()),
            "boolean" => false.into(),
            "array" => json!([]),
            _ => {
                let properties = schema["properties"].as_object().cloned().unwrap_or_default();
                let needed: Vec<String> = serde_json::from_value(schema["required"].clone()).unwrap_or_default();
                let of = |name: &String| Some((name.clone(), self.value(properties.get(name)?)));
                Value::Object(needed.iter().filter_map(of).collect::<Map<_, _>>())
            }
        }
    }

    fn text(&self, schema: &Value) -> String {
        match (schema["format"].as_str(), schema["pattern"].as_str().unwrap_or_default()) {
            (Some("uuid"), _) => self.id.into(),
            (Some("date-time"), _) => "2026-01-01T00:00:00Z".into(),
            (Some("uri"), _) => "https://example.com/".into(),
            (_, pattern) if pattern.contains("{64}") => format!("0x{}", "11".repeat(32)),
            (_, pattern) if pattern.contains("{40}") => format!("0x{}", "11".repeat(20)),
            (_, pattern) if pattern.starts_with("^0x") => "0x11".into(),
            (_, pattern) if pattern.starts_with("^[0-9]+") => "1".into(),
            _ => "something".into(),
        }
    }
}

/// The ids of all that somebody has here, as paths may name them.
async fn belongings(world: &World, market: &Market) -> Vec<String> {
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let agent = market.join("victim", SELLER, AgentType::Both).await;
    let shop = market.join("shop", BUYER, AgentType::Both).await;
    let creator = market.creator("victim@example.com").await;
    let person = market.client.with_token(&creator.access);
    person.claim_agent(agent.agent.id, &market.proof(SELLER).await).await.unwrap();
    give(&pool, agent.agent.id, "10000").await;
    let to = ledger::open(&pool, agent.agent.id, Asset::Usdc, Purpose::Free).await.unwrap();
    let (kind, amount) = (Kind::Deposit, usdc("10"));
    let deposit = Move { kind, from: ledger::OUTSIDE, to, amount, reference: agent.agent.id, memo: None };
    Ledger::start(pool.clone(), Rates::default()).submit(Order { key: None, what: What::Move(deposit) }).await.unwrap();

    let client = &agent.client;
    let key = CreateApiKey { name: "key".into(), scopes: vec![Scope::Read], expires_at: None };
    let key = client.create_api_key(&key).await.unwrap().key.id;
    let listing = client.create_listing(&goods("victim's", PRICE, Some(b"theirs"))).await.unwrap();
    let entry = CreateCatalogEntry {
        topic: "weather".into(),
        description: "Rain".into(),
        category: Category::Computation,
        price_from: PRICE,
        price_to: None,
    };
    let entry = client.create_entry(&entry).await.unwrap();
    let wanted = CatalogWanted { q: Some("rain".into()), ..CatalogWanted::default() };
    let subscription = client.subscribe(&wanted).await.unwrap();
    let deposit = client.open_deposit(&OpenDeposit { amount: None }).await.unwrap();
    let elsewhere = Withdraw { amount: usdc("1"), to_address: Some(address(8)) };
    let withdrawal = client.withdraw(&elsewhere, "out").await.unwrap();
    let card = Redeem { method: RedemptionMethod::GiftCard, amount: usdc("1000"), details: Some("victim's own".into()) };
    let redemption = client.redeem(&card, "card").await.unwrap();
    let sold = shop.client.create_listing(&goods("shop's", PRICE, Some(b"sold"))).await.unwrap();
    client.express_from_ledger(sold.id, Asset::Ard, "bought").await.unwrap();
    let bought: (Uuid, i64) =
        sqlx::query_as("SELECT id, transfer FROM sales WHERE buyer_id = $1").bind(agent.agent.id).fetch_one(&pool).await.unwrap();
    let order = client
        .initiate(&Initiate { listing_id: sold.id, buyer: Some(address(SELLER)), payment_method: Some(PaymentMethod::Escrow) })
        .await
        .unwrap();
    let session: Uuid = sqlx::query_scalar("SELECT id FROM sessions WHERE creator_id = $1")
        .bind(creator.creator.id)
        .fetch_one(&pool)
        .await
        .unwrap();
    let ids = [
        agent.agent.id,
        creator.creator.id,
        key,
        listing.id,
        entry.id,
        subscription.id,
        deposit.id,
        withdrawal.id,
        redemption.id,
        bought.0,
        order.id,
        session,
    ];
    ids.iter().map(Uuid::to_string).chain([bought.1.to_string()]).collect()
}

/// Everything that any table says of any of these, but what the market's own tasks keep.
async fn kept(pool: &PgPool, ids: &[String]) -> BTreeMap<String, Vec<String>> {
    const OWN: [&str; 17] = [
        "agent_categories",
        "agent_days",
        "agent_figures",
        "audit_events",
        "conversions",
        "counterparties",
        "market_days",
        "opportunities",
        "pattern_askers",
        "patterns",
        "persons",
        "registrations",
        "request_counts",
        "searches",
        "sold_listings",
        "standing",
        "turns",
    ];
    let tables = "SELECT relname::text FROM pg_class WHERE relnamespace = 'market'::regnamespace AND relkind = 'r' ORDER BY 1";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(pool).await.unwrap();
    let like: Vec<String> = ids.iter().filter(|id| id.len() == 36).map(|id| format!("%{id}%")).collect();
    let mut kept = BTreeMap::new();
    for table in tables.into_iter().filter(|table| !OWN.contains(&table.as_str()) && !table.starts_with("fraud")) {
        let rows = sqlx::AssertSqlSafe(format!("SELECT t::text FROM {table} AS t WHERE t::text LIKE ANY($1) ORDER BY 1"));
        kept.insert(table, sqlx::query_scalar(rows).bind(&like).fetch_all(pool).await.unwrap());
    }
    kept
}

/// Whoever asks for what is another's, as it should be asked for, gets nothing, and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_or_changes_what_is_anothers() {
    let world = World::new().await;
    let config =
        market::Config { requests_per_minute: 0, requests_per_minute_unknown: 0, custody: Some(address(9)), ..world.config() };
    let market = Market::start(config).await;
    let ids = belongings(&world, &market).await;
    let other = market.join("other", OTHER, AgentType::Both).await;
    let person = market.creator("other@example.com").await;
    let (document, operations) = document(&market).await;
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let before = kept(&pool, &ids).await;
    assert!(before.values().map(Vec::len).sum::<usize>() > 15, "{before:?}");

    // What proofs say of a listing is for everybody who is somebody.
    let is_own =
        |operation: &&Operation| operation.path.contains('{') && !operation.is_open() && !operation.path.contains("/zkp/");
    let named = operations.iter().filter(is_own);
    let (mut judged, mut wrong) = (0, Vec::new());
    for operation in named {
        let mut refused = true;
        for id in &ids {
            let made = Made { document: &document, id };
            for token in [&other.key, &person.access.access_token] {
                let mut url = operation.at(&market, id);
                let parameters = operation.described["parameters"].as_array().unwrap();
                for needed in parameters.iter().filter(|parameter| parameter["in"] == "query" && parameter["required"] == true) {
                    let value = made.value(&needed["schema"]);
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    url.query_pairs_mut().append_pair(needed["name"].as_str().unwrap(), &text);
                }
                let mut request = operation.ask(url).bearer_auth(token).header("idempotency-key", "other's");
                let body = &operation.described["requestBody"]["content"];
                if let Some(schema) = body.pointer("/application~1json/schema") {
                    request = request.json(&made.value(schema));
                } else if body.is_object() {
                    request = request.header("content-type", "text/plain").body("other's");
                }
                let status = request.send().await.unwrap().status();
                if status.is_success() || status == StatusCode::INTERNAL_SERVER_ERROR {
                    wrong.push(format!("{} of {id}: {status}", operation.name()));
                }
                refused &= [401, 403, 404].contains(&status.as_u16()) || (status == 400 && id.len() != 36);
            }
        }
        judged += usize::from(refused);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(judged > 20, "only {judged} operations were asked as they should be");
    assert_eq!(kept(&pool, &ids).await, before);
}
