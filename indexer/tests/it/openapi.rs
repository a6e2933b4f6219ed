//! The description of the API is true: every operation is called, and every answer is what the description says.

use alloy::primitives::B256;
use serde_json::Value;

use crate::{
    harness::{Chain, Indexer, database, pool, synced},
    payments::pay_by_x402,
    story,
};

/// Fails unless `value` is as `schema` says and has no field that it does not name.
fn check(document: &Value, schema: &Value, value: &Value, at: &str) {
    let mut problems = Vec::new();
    validate(document, schema, value, at, &mut problems);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn validate(document: &Value, schema: &Value, value: &Value, at: &str, problems: &mut Vec<String>) {
    const KNOWN: [&str; 22] = [
        "$ref",
        "type",
        "properties",
        "required",
        "items",
        "anyOf",
        "oneOf",
        "enum",
        "const",
        "description",
        "title",
        "format",
        "pattern",
        "examples",
        "minimum",
        "maximum",
        "default",
        "additionalProperties",
        "headers",
        "$schema",
        "maxLength",
        "minLength",
    ];
    let Some(fields) = schema.as_object() else { return };
    if let Some(unknown) = fields.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        problems.push(format!("{at}: this test does not know {unknown}"));
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(&reference[1..]).unwrap_or_else(|| panic!("{at}: {reference} is not there"));
        validate(document, target, value, at, problems);
    }
    if let Some(any) = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array()) {
        let fits = any.iter().any(|one| {
            let mut found = Vec::new();
            validate(document, one, value, at, &mut found);
            found.is_empty()
        });
        if !fits {
            problems.push(format!("{at}: {value} is none of {any:?}"));
        }
    }
    let is = |kind: &str| match kind {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{at}: type {other}"),
    };
    match &schema["type"] {
        Value::String(kind) if !is(kind) => problems.push(format!("{at}: {value} is no {kind}")),
        Value::Array(kinds) if !kinds.iter().any(|kind| is(kind.as_str().unwrap())) => {
            problems.push(format!("{at}: {value} is none of {kinds:?}"));
        }
        _ => {}
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        problems.push(format!("{at}: {value} is none of {allowed:?}"));
    }
    if !schema["const"].is_null() && schema["const"] != *value {
        problems.push(format!("{at}: {value} is not {}", schema["const"]));
    }
    if let Value::Array(items) = value {
        for (index, item) in items.iter().enumerate() {
            validate(document, &schema["items"], item, &format!("{at}[{index}]"), problems);
        }
    }
    if let (Value::Object(found), Some(properties)) = (value, schema["properties"].as_object()) {
        for (name, value) in found {
            match properties.get(name) {
                Some(schema) => validate(document, schema, value, &format!("{at}.{name}"), problems),
                None if fields.contains_key("additionalProperties") => {}
                None => problems.push(format!("{at}.{name} is not described")),
            }
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            if !found.contains_key(name.as_str().unwrap()) {
                problems.push(format!("{at}.{name} is missing"));
            }
        }
    }
}

/// Nonce of the one payment by x402.
const X402_NONCE: B256 = B256::repeat_byte(1);

/// An indexer with something of everything, and what its paths are filled with.
pub(crate) struct Filled {
    pub(crate) chain: Chain,
    pub(crate) indexer: Indexer,
    pub(crate) document: Value,
    made: story::Made,
    proposal: String,
    height: u64,
}

impl Filled {
    pub(crate) async fn start() -> Self {
        let chain = Chain::start().await;
        let database = database().await;
        let indexer = Indexer::start(&chain, &database).await;
        let pool = pool(&database).await;
        let made = story::make_one_of_each(&chain).await;
        pay_by_x402(&chain, 2, 1_000, X402_NONCE).await;
        synced(&chain, &pool).await;
        let document = indexer.get("/openapi.json").await.1;
        let proposals = indexer.get(&format!("/api/v1/chain/treasuries/{}/proposals", made.treasury)).await.1;
        let proposal = proposals["data"][0]["id"].as_str().unwrap().to_owned();
        Self { height: chain.height().await, chain, indexer, document, made, proposal }
    }

    /// What is in a path in the place of a name.
    pub(crate) fn value(&self, path: &str, name: &str) -> String {
        match (path, name) {
            (_, "chain") => "chain".to_owned(),
            (path, "address") if path.contains("/wallets") => self.made.wallet.to_string(),
            (path, "address") if path.contains("/treasuries") => self.made.treasury.to_string(),
            (path, "address") if path.contains("/authorizations") => self.chain.accounts[0].to_string(),
            (_, "address") => self.chain.accounts[2].to_string(),
            (path, "id") if path.contains("/proposals") => self.proposal.clone(),
            (path, "id") if path.contains("/agreements") => self.made.agreement.to_string(),
            (path, "id") if path.contains("/subscriptions") => self.made.subscription.to_string(),
            (path, "id") if path.contains("/services") => self.made.service.to_string(),
            (_, "nonce") => X402_NONCE.to_string(),
            (_, "number") => self.height.to_string(),
            other => panic!("a value for {other:?} is needed"),
        }
    }

    /// Every operation that answers JSON and needs no token: its path, filled in, and its description.
    pub(crate) fn operations(&self) -> impl Iterator<Item = (String, &Value)> {
        self.document["paths"].as_object().unwrap().iter().filter_map(|(path, methods)| {
            let operation = methods.get("get").filter(|of| path.contains("{chain}") && of["security"].is_null())?;
            operation["responses"]["200"]["content"].get("application/json")?;
            let mut url = path.clone();
            for parameter in operation["parameters"].as_array().unwrap().iter().filter(|p| p["in"] == "path") {
                let name = parameter["name"].as_str().unwrap();
                url = url.replace(&format!("{{{name}}}"), &self.value(path, name));
            }
            Some((url, operation))
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_answers_as_it_is_described() {
    let filled = Filled::start().await;
    let (indexer, document) = (&filled.indexer, &filled.document);
    assert_eq!(document["openapi"], "3.1.0");
    let mut called = 0;
    for (url, operation) in filled.operations() {
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        let (status, answer) = indexer.get(&url).await;
        assert_eq!(status, 200, "{url}: {answer}");
        check(document, schema, &answer, &url);
        if let Some(data) = answer["data"].as_array() {
            assert!(!data.is_empty(), "{url} has nothing to check");
        }
        // Each parameter that is described is known, and a bad value of it is a problem as described.
        for parameter in operation["parameters"].as_array().unwrap().iter().filter(|p| p["in"] == "query") {
            let (status, problem) = indexer.get(&format!("{url}?{}=%20", parameter["name"].as_str().unwrap())).await;
            if status != 200 {
                assert_eq!(status, 400, "{url} {parameter}: {problem}");
                assert!(!problem["detail"].as_str().unwrap().contains("unknown field"), "{url} {parameter}: {problem}");
                check(
                    document,
                    &document["components"]["responses"]["Problem"]["content"]["application/problem+json"]["schema"],
                    &problem,
                    &url,
                );
            }
        }
        called += 1;
    }
    assert!(called > 18, "only {called} operations were called");
    filled.indexer.stop().await;
}
