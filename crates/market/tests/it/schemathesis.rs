//! Schemathesis asks what the description of the API allows, and what it does not, as everybody who may ask, and compares every answer with it.
//!
//! By default for a short while; `FLORIN_SCHEMATHESIS_CASES=10000 cargo test -p market schemathesis::` goes on until there were so many cases, and
//! begins with the limits of every value.

use std::{collections::BTreeMap, fmt::Write as _};

use api::{
    AgentType, CatalogWanted, Category, CreateApiKey, CreateCatalogEntry, Initiate, PaymentMethod, RegisterWebhook, Role, Scope,
    ledger::{Asset, OpenDeposit, Redeem, RedemptionMethod, VerifyQuery, Withdraw},
};
use market::Config;
use serde_json::{Value, json};
use tokio::process::Command;
use uuid::Uuid;

use crate::{
    funds::{custody, top_up, usdc},
    harness::{BUYER, Market, PRICE, SELLER, World, address, goods},
    redemptions::give,
};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/openapi/bin/schemathesis");
/// What is looked at: that nothing breaks, and that every answer has a status, a media type, headers and a shape that are described. Whether a value
/// that its schema allows is good enough is told by the rules in the descriptions, and who may ask what is tried in `matrix`.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance";
/// Two do not end, and one ends the session of who asks.
const LEFT_OUT: [&str; 3] = ["feed", "mcp_stream", "revoke_all_sessions"];
/// Cases of a test that nobody said a number for.
const CASES: u64 = 500;
/// Where webhooks may be posted to: nobody is reached there, and each is refused in its own way.
const NOWHERE: [&str; 3] = ["https://localhost:1/", "https://127.0.0.1/", "http://localhost/"];

/// Who asks.
#[derive(Clone, Copy, Debug)]
enum Who {
    /// For everything.
    Agent,
    /// For what is a person's.
    Creator,
    /// For what needs a role.
    Admin,
}

impl Who {
    fn asks_for(self, operation: &Value) -> bool {
        let roles = operation["security"].as_array().unwrap().iter().find_map(|way| way["creator"].as_array());
        let left_out = LEFT_OUT.iter().any(|id| operation["operationId"] == *id);
        !left_out
            && match self {
                Self::Agent => true,
                Self::Creator => roles.is_some_and(Vec::is_empty),
                Self::Admin => roles.is_some_and(|roles| !roles.is_empty()),
            }
    }
}

/// A market with something of everything, and what paths name by operation.
struct Filled {
    market: Market,
    document: Value,
    key: String,
    named: BTreeMap<&'static str, String>,
}

impl Filled {
    async fn start(world: &World) -> Self {
        let (_, config) = custody(world).await;
        let market = Market::start(Config { requests_per_minute: 0, requests_per_minute_unknown: 0, ..config }).await;
        let agent = market.join("agent", BUYER, AgentType::Both).await;
        let seller = market.join("seller", SELLER, AgentType::Both).await;
        let bystander = market.creator("bystander@example.com").await.creator.id;
        top_up(&agent, BUYER, "100").await.unwrap();
        give(&market::pool(world.stack.database_url()).await.unwrap(), agent.agent.id, "100000").await;
        let client = &agent.client;
        let listed =
            async |title: &str| client.create_listing(&goods(title, PRICE, Some(b"rain, wind and 21 degrees"))).await.unwrap().id;
        let (own, spare) = (listed("weather").await, listed("weather of yesterday").await);
        let sold = seller.client.create_listing(&goods("prices", PRICE, Some(b"0.21"))).await.unwrap().id;
        let bought = client.express_from_ledger(sold, Asset::Ard, "bought").await.unwrap();
        let order = Initiate { listing_id: sold, buyer: None, payment_method: Some(PaymentMethod::Token) };
        let order = client.initiate(&order).await.unwrap().id;
        client.confirm_payment(order).await.unwrap();
        let entry = |topic: &str| CreateCatalogEntry {
            topic: topic.into(),
            description: "Rain".into(),
            category: Category::Computation,
            price_from: PRICE,
            price_to: None,
        };
        let entries = [
            client.create_entry(&entry("weather")).await.unwrap().id,
            client.create_entry(&entry("weather.rain")).await.unwrap().id,
        ];
        let subscription =
            client.subscribe(&CatalogWanted { q: Some("rain".into()), ..CatalogWanted::default() }).await.unwrap().id;
        let key = CreateApiKey { name: "spare".into(), scopes: vec![Scope::Read], expires_at: None };
        let key = client.create_api_key(&key).await.unwrap().key.id;
        let deposit = client.open_deposit(&OpenDeposit { amount: None }).await.unwrap().id;
        let elsewhere = Withdraw { amount: usdc("1"), to_address: Some(address(8)) };
        let withdrawal = client.withdraw(&elsewhere, "out").await.unwrap().id;
        let card = Redeem { method: RedemptionMethod::GiftCard, amount: usdc("1000"), details: Some("me@example.com".into()) };
        let redemption = client.redeem(&card, "card").await.unwrap().id;
        let url = NOWHERE[0].parse().unwrap();
        let webhook =
            RegisterWebhook { url, topics: None, event_types: None, categories: None, min_urgency_bps: None, bearer_token: None };
        let webhook = client.register_webhook(&webhook).await.unwrap().webhook.id;

        // What is ended when it is asked for is spare, or what schemathesis makes up: never who asks.
        let ids: [(&[&'static str], Uuid); 16] = [
            (&["agent", "agent_card", "update_agent", "heartbeat", "export_agent"], agent.agent.id),
            (&["reputation", "profile", "catalog_of"], seller.agent.id),
            (&["grant_role"], bystander),
            (&["listing", "update_listing", "upload", "listing_versions", "judge_listing"], own),
            (&["content_proofs", "verify_content", "keyword", "express_offer", "express_buy"], sold),
            (&["delist"], spare),
            (&["entry", "update_entry"], entries[0]),
            (&["remove_entry"], entries[1]),
            (&["unsubscribe"], subscription),
            (&["revoke_api_key"], key),
            (&["deposit", "deposit_confirm"], deposit),
            (&["withdrawal", "approve_withdrawal", "reject_withdrawal"], withdrawal),
            (&["redemption", "approve_redemption", "complete_redemption", "reject_redemption"], redemption),
            (&["test_webhook", "rotate_webhook", "webhook_deliveries", "replay_webhook"], webhook),
            (
                &["transaction", "confirm_payment", "deliver", "transaction_content", "verify_delivery", "dispute", "evidence"],
                order,
            ),
            (&["submit_evidence", "transaction_history", "case", "case_content", "award", "cancel_transaction"], order),
        ];
        let mut named: BTreeMap<_, _> = ids
            .iter()
            .flat_map(|(operations, id)| operations.iter().map(move |operation| (*operation, id.to_string())))
            .collect();
        let purchase = bought.headers[api::header::PURCHASE_ID].to_str().unwrap().to_owned();
        let numbers = ["ledger_proof", "audit_proof", "reverse"].map(|operation| (operation, "1".to_owned()));
        named.extend([("purchase_content", purchase), ("leaderboard", "earnings".into())]);
        named.extend(numbers);
        let mut document: Value = reqwest::get(market.url.join("openapi.json").unwrap()).await.unwrap().json().await.unwrap();
        lead(&mut document, sold, seller.agent.id);
        Self { market, document, key: agent.key, named }
    }

    /// What somebody asks for.
    fn document(&self, who: Who) -> Value {
        let mut document = self.document.clone();
        let paths = document["paths"].as_object_mut().unwrap();
        for methods in paths.values_mut() {
            methods.as_object_mut().unwrap().retain(|_, operation| who.asks_for(operation));
        }
        paths.retain(|_, methods| !methods.as_object().unwrap().is_empty());
        document
    }

    /// The settings for a document; with ids of what is there, or with any.
    fn settings(&self, document: &Value, is_there: bool) -> String {
        // HTTP has no control characters in headers: what carries one is refused before anybody reads it.
        let none: String = (0..32_u8).chain([127]).map(|code| format!("\\u{code:04x}")).collect();
        let mut text = format!(
            "suppress-health-check = [\"all\"]\n\n[generation]\nwith-security-parameters = false\nexclude-header-characters = \"{none}\"\n"
        );
        let operations =
            document["paths"].as_object().unwrap().values().flat_map(|methods| methods.as_object().unwrap().values());
        for operation in operations.filter(|_| is_there) {
            let id = operation["operationId"].as_str().unwrap();
            let parameters = operation["parameters"].as_array().unwrap();
            let in_path = parameters.iter().find(|parameter| parameter["in"] == "path");
            if let (Some(value), Some(parameter)) = (self.named.get(id), in_path) {
                let name = parameter["name"].as_str().unwrap();
                let fixed = format!("include-operation-id = {id:?}\nparameters = {{ \"path.{name}\" = {value:?} }}");
                write!(text, "\n[[operations]]\n{fixed}\n").unwrap();
            }
        }
        text
    }

    /// Has schemathesis ask, and says for how many cases it did.
    async fn ask(&self, who: Who, token: &str, round: u64, arguments: [&str; 4]) -> u64 {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let document = self.document(who);
        std::fs::write(at("openapi.json"), document.to_string()).unwrap();
        std::fs::write(at("schemathesis.toml"), self.settings(&document, round.is_multiple_of(2))).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["--config-file", "schemathesis.toml", "run", "openapi.json", "--checks", CHECKS, "--no-color"]);
        command.args(["--warnings", "off", "--request-timeout", "60", "--report-json-path", "report.json"]);
        command.args(["--url", self.market.url.as_str().trim_end_matches('/')]).args(arguments);
        command.args(["--header", &format!("Authorization: Bearer {token}"), "--seed", &(402 + round).to_string()]);
        let output = command.current_dir(folder.path()).kill_on_drop(true).output().await.expect("run scripts/setup");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "as {who:?}: {said}\n{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&std::fs::read(at("report.json")).unwrap()).unwrap();
        report["test_cases"]["generated"].as_u64().unwrap()
    }
}

/// Leads to where there is something: content that is for sale, somebody to send money to. To nobody's address, and not to an end of the agent's selling.
fn lead(document: &mut Value, listing: Uuid, agent: Uuid) {
    for (property, values) in [
        ("Initiate/properties/listing_id", json!([listing])),
        ("Send/properties/to_agent_id", json!([agent])),
        ("RegisterWebhook/properties/url", json!(NOWHERE)),
        ("UpdateAgent/properties/agent_type", json!(["both"])),
    ] {
        *document.pointer_mut(&format!("/components/schemas/{property}")).unwrap() = json!({"type": "string", "enum": values});
    }
    // Of any media type, one that schemathesis can write.
    let upload = document.pointer_mut("/paths/~1api~1v1~1listings~1{id}~1content/put/requestBody/content").unwrap();
    *upload = json!({"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}});
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_can_be_asked_breaks_it_or_is_answered_otherwise_than_described() {
    let wanted = std::env::var("FLORIN_SCHEMATHESIS_CASES").map_or(CASES, |cases| cases.parse().expect("a number of cases"));
    let world = World::new().await;
    let filled = Filled::start(&world).await;
    let operations: Vec<&Value> =
        filled.document["paths"].as_object().unwrap().values().flat_map(|of| of.as_object().unwrap().values()).collect();
    let unknown: Vec<_> =
        filled.named.keys().filter(|id| !operations.iter().any(|operation| operation["operationId"] == **id)).collect();
    assert!(unknown.is_empty(), "no operations: {unknown:?}");
    let (mut cases, mut round) = (0, 0);
    while cases < wanted {
        let (examples, phases) = match round {
            _ if wanted <= CASES => ("4", "fuzzing"),
            0 => ("20", "coverage,fuzzing"),
            _ => ("40", "fuzzing"),
        };
        let arguments = ["--max-examples", examples, "--phases", phases];
        // New ones each time: passwords that were guessed lock sign-ins from here, and tokens end.
        let creator = filled.market.creator(&format!("creator{round}@example.com")).await;
        let email = format!("admin{round}@example.com");
        let admin = filled.market.creator(&email).await;
        assert!(market::grant(world.stack.database_url(), &email, Role::Admin).await.unwrap());
        let before = cases;
        for (who, token) in [
            (Who::Agent, filled.key.as_str()),
            (Who::Creator, creator.access.access_token.as_str()),
            (Who::Admin, admin.access.access_token.as_str()),
        ] {
            cases += filled.ask(who, token, round, arguments).await;
        }
        assert!(cases > before, "nothing was asked");
        round += 1;
    }
    let health = filled.market.client.health().await.unwrap();
    assert_eq!(health.status, "ok");
    assert!(filled.market.client.verify_ledger(&VerifyQuery::default()).await.unwrap().valid, "after {cases} cases");
}
