//! GraphQL says what the paths say, and nothing that could bring the indexer down.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::{
    harness::{Chain, Indexer, database},
    openapi::Filled,
};

async fn post(indexer: &Indexer, accept: &str, body: &Value) -> (u16, Value) {
    let request =
        reqwest::Client::new().post(format!("{}/api/v1/chain/graphql", indexer.url)).header("accept", accept).json(body);
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    assert!(status != 200 || response.headers().contains_key("x-florin-block"));
    (status, response.json().await.unwrap())
}

async fn ask(indexer: &Indexer, query: &str, variables: Value) -> Value {
    post(indexer, "application/json", &json!({"query": query, "variables": variables})).await.1
}

/// What the usual tools ask about a schema first.
const INTROSPECTION: &str = "
  query IntrospectionQuery {
    __schema {
      queryType { name } mutationType { name } subscriptionType { name }
      types { ...FullType }
      directives { name description locations args { ...InputValue } }
    }
  }
  fragment FullType on __Type {
    kind name description
    fields(includeDeprecated: true) { name description args { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason }
    inputFields { ...InputValue }
    interfaces { ...TypeRef }
    enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason }
    possibleTypes { ...TypeRef }
  }
  fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue }
  fragment TypeRef on __Type {
    kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name
    ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } }
  }";

/// Every field of a type, and of what its fields are, as a selection.
fn everything(schema: &Value, type_ref: &Value) -> String {
    let mut inner = type_ref;
    while !inner["ofType"].is_null() {
        inner = &inner["ofType"];
    }
    let types = schema["types"].as_array().unwrap();
    let found = types.iter().find(|one| one["name"] == inner["name"]).unwrap();
    let Some(fields) = found["fields"].as_array() else { return String::new() };
    let mut text = " {".to_owned();
    for field in fields {
        let _ = write!(text, " {}{}", field["name"].as_str().unwrap(), everything(schema, &field["type"]));
    }
    text + " }"
}

/// The same whether a field is null or left out, and whether what is not described is beside the rest or in `state`.
fn normal(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(normal).collect(),
        Value::Object(fields) => {
            let more = fields.get("state").and_then(Value::as_object).into_iter().flatten();
            let all = fields.iter().filter(|(name, _)| *name != "state").chain(more);
            all.filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.clone(), normal(value))).collect()
        }
        other => other.clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_answers_what_its_path_answers() {
    let filled = Filled::start().await;
    let indexer = &filled.indexer;
    let schema = ask(indexer, INTROSPECTION, Value::Null).await;
    assert!(schema["errors"].is_null(), "{schema}");
    let schema = &schema["data"]["__schema"];
    let query = schema["types"].as_array().unwrap().iter().find(|one| one["name"] == "Query").unwrap();
    let mut asked = 0;
    for (url, operation) in filled.operations() {
        let id = operation["operationId"].as_str().unwrap();
        let field =
            query["fields"].as_array().unwrap().iter().find(|field| field["name"] == id).unwrap_or_else(|| panic!("{id}"));
        let template = filled.document["paths"].as_object().unwrap().iter().find(|(_, path)| path["get"]["operationId"] == id);
        let (path, mut arguments) = (template.unwrap().0, String::new());
        for parameter in operation["parameters"].as_array().unwrap().iter().filter(|p| p["in"] == "path" && p["name"] != "chain")
        {
            let (name, kind) = (parameter["name"].as_str().unwrap(), &parameter["schema"]["type"]);
            let value = filled.value(path, name);
            let _ = write!(arguments, "{name}: {} ", if kind == "integer" { value } else { format!("{value:?}") });
        }
        let paged = operation["parameters"].as_array().unwrap().iter().any(|parameter| parameter["name"] == "limit");
        let limit = if paged { "limit: 3" } else { "" };
        let arguments = if paged || !arguments.is_empty() { format!("({arguments}{limit})") } else { String::new() };
        let request = format!("{{ {id}{arguments}{} }}", everything(schema, &field["type"]));
        let answer = ask(indexer, &request, Value::Null).await;
        assert!(answer["errors"].is_null(), "{request}: {answer}");
        let (status, mut expected) = indexer.get(&format!("{url}{}", if paged { "?limit=3" } else { "" })).await;
        assert_eq!(status, 200, "{url}: {expected}");
        let mut got = answer["data"][id].clone();
        for value in [&mut expected, &mut got] {
            // It is of the moment.
            value.as_object_mut().map(|fields| fields.remove("checked_seconds_ago"));
        }
        assert_eq!(normal(&got), normal(&expected), "{request}");
        asked += 1;
    }
    assert!(asked > 18, "only {asked} fields were asked");
    let sdl = reqwest::get(format!("{}/api/v1/chain/graphql", indexer.url)).await.unwrap().text().await.unwrap();
    assert!(sdl.contains("payments(") && sdl.contains("enum PaymentKind"), "{sdl}");

    // Filters, variables, several fields at one block; what is not there is null, what fails says why and takes no other with it.
    let request = "query($kind: PaymentKind, $limit: Int) {
        one: payments(kind: $kind, limit: $limit) { data { kind amount payee } }
        none: agreement(id: \"0x0000000000000000000000000000000000000000000000000000000000000001\") { status }
        late: wallets(at_block: 999999) { data { id } }
    }";
    let answer = ask(indexer, request, json!({"kind": "x402", "limit": 1})).await;
    let paid = json!([{"kind": "x402", "amount": "1000", "payee": filled.chain.accounts[2].to_string().to_lowercase()}]);
    let same = |paid: &Value| paid.to_string().to_lowercase();
    assert_eq!(same(&answer["data"]["one"]["data"]), same(&paid), "{answer}");
    assert_eq!((&answer["data"]["none"], &answer["data"]["late"]), (&Value::Null, &Value::Null), "{answer}");
    let errors = answer["errors"].as_array().unwrap();
    assert_eq!((errors.len(), &errors[0]["extensions"]["code"]), (1, &json!("not_mirrored")));
    assert_eq!(errors[0]["locations"][0]["line"], 4, "{answer}");
    filled.indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_could_answer_too_much_is_refused_before_anything_is_read() {
    let chain = Chain::start().await;
    let indexer = Indexer::start(&chain, &database().await).await;
    let row = "data { kind payer payee token amount reference part block_number block_hash timestamp finality }";
    let pages = |count: usize, limit: &str| -> String {
        (0..count).map(|index| format!("p{index}: payments(limit: {limit}) {{ {row} }} ")).collect()
    };
    let lists = |levels: usize| "fields { type { ".repeat(levels) + "name" + &" } }".repeat(levels);
    let laughs: String = (0..30).map(|level| format!("fragment f{level} on Query {{ ...f{0} ...f{0} }} ", level + 1)).collect();
    for (query, what) in [
        (format!("{{ {} }}", pages(20, "500")), "rows"),
        (format!("query($n: Int) {{ {} }}", pages(20, "$n")), "rows by a variable"),
        (format!("query($none: Int = 500) {{ {} }}", pages(20, "$none")), "rows by a default"),
        (format!("{{ {} }}", (0..100).map(|index| format!("s{index}: status {{ reorgs }} ")).collect::<String>()), "queries"),
        (format!("{{ __schema {{ types {{ {} }} }} }}", lists(5)), "the schema of the schema"),
        (format!("{{ ...f0 }} {laughs} fragment f30 on Query {{ status {{ reorgs }} }}"), "fragments of fragments"),
        ("{ ...f } fragment f on Query { ...f }".to_owned(), "a fragment in itself"),
        (format!("{{ status(x: {}{}) {{ reorgs }} }}", "[".repeat(10_000), "]".repeat(10_000)), "brackets"),
        (format!("{}a", "{a#}\n".repeat(5_000)), "brackets that a comment seems to close"),
    ] {
        let body = json!({"query": query, "variables": {"n": 500}});
        let (status, answer) = post(&indexer, "application/graphql-response+json", &body).await;
        assert_eq!((status, &answer["errors"][0]["extensions"]["code"]), (400, &json!("query_too_large")), "{what}: {answer}");
        assert_eq!(answer["data"], Value::Null, "{what}");
    }
    let (status, answer) = post(&indexer, "*/*", &json!({"query": format!("{{ {} }}", pages(5, "500"))})).await;
    assert_eq!((status, answer["errors"].is_null()), (200, true), "{answer}");
    let (status, answer) =
        post(&indexer, "application/graphql-response+json", &json!({"query": "{ payments { colour } }"})).await;
    assert_eq!((status, answer["data"].is_null()), (400, true), "{answer}");
    for body in [json!([]), json!({"query": "x".repeat(40_000)})] {
        let (status, problem) = post(&indexer, "*/*", &body).await;
        assert_eq!((status, problem["code"].as_str()), (400, Some("invalid_parameter")), "{problem}");
    }
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_whose_query_fails_takes_no_other_with_it() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = crate::harness::pool(&database).await;
    // As good as a query that takes too long.
    sqlx::query("ALTER TABLE chain.services RENAME TO gone").execute(&pool).await.unwrap();
    let answer =
        ask(&indexer, "{ services { data { owner } } a: blocks(limit: 1) { data { number } } b: status { reorgs } }", json!({}))
            .await;
    assert_eq!(answer["errors"].as_array().unwrap().len(), 1, "{answer}");
    assert!(answer["data"]["a"]["data"][0]["number"].is_u64() && answer["data"]["b"]["reorgs"] == 0, "{answer}");
    indexer.stop().await;
}
