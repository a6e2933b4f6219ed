//! The description of the API, made from the same table as its routes.

use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    Operation, graphql,
    problem::Problem,
    statement, stream,
    webhooks::{Registration, Replay},
};
use crate::webhooks::{Dead, Registered, Shown};

const STREAMS: [(&str, &str, &str); 2] = [
    ("/stream", "stream", "What happens, as server-sent events: the id of each is the cursor to go on after it"),
    ("/stream/ws", "stream_ws", "The same by WebSocket: each message is an object of kind, cursor and data"),
];

/// The OpenAPI 3.1 document of these operations and of what is not one.
pub(super) fn document(operations: &[Arc<Operation>]) -> Value {
    let settings = || {
        let mut settings = SchemaSettings::draft2020_12();
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        settings
    };
    let mut answers = settings().for_serialize().into_generator();
    let mut params = settings().for_deserialize().into_generator();
    let mut paths = Map::new();
    for operation in operations {
        let schema = (operation.answer)(&mut answers);
        let content = json!({"application/json": {"schema": schema}});
        let parameters = parameters(&(operation.params)(&mut params), operation.path);
        paths.insert(chain_path(operation.path), get(operation.id, operation.summary, parameters, content));
    }
    for (path, id, summary) in STREAMS {
        let content = json!({"text/event-stream": {"schema": {"type": "string"}}});
        let parameters = parameters(&stream::Filter::json_schema(&mut params), path);
        paths.insert(chain_path(path), get(id, summary, parameters, content));
    }
    let csv = "/accounts/{address}/statement.csv";
    let parameters = parameters(&statement::CsvFilter::json_schema(&mut params), csv);
    let content = json!({"text/csv": {"schema": {"type": "string"}}});
    paths.insert(chain_path(csv), get("statement_csv", "All of an account's statement, oldest line first", parameters, content));
    paths.insert(chain_path("/graphql"), graphql(&mut params));
    webhooks(&mut paths, &mut params, &mut answers);
    let problem = answers.subschema_for::<Problem>();
    let mut schemas = params.take_definitions(true);
    schemas.extend(answers.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Florin indexer",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What happened on the chain: payments, transfers, agreements, wallets and everything that follows from them. \
                            Amounts are decimal strings; those of `token` are in its base units. Every answer is of one block, named by \
                            `X-Florin-Block` and `X-Florin-Block-Hash`.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"admin": {"type": "http", "scheme": "bearer"}},
            "responses": {
                "Problem": {
                    "description": "What went wrong (RFC 9457)",
                    "content": {"application/problem+json": {"schema": problem}},
                },
            },
        },
    })
}

/// The same operations by GraphQL.
fn graphql(params: &mut SchemaGenerator) -> Value {
    let text = json!({"text/plain": {"schema": {"type": "string"}}});
    let mut path = get("graphql_schema", "The schema of GraphQL, in its own language", Vec::new(), text);
    let errors = json!({"type": "array", "items": {"type": "object"}});
    let answer = json!({"schema": {"type": "object", "properties": {"data": {}, "errors": errors}}});
    let json = json!({"application/json": answer, graphql::ANSWER_TYPE: answer});
    let mut post =
        get("graphql", "Every operation that reads, by GraphQL: any number of them at one block", Vec::new(), json)["get"].take();
    let refused =
        json!({"application/problem+json": {"schema": params.subschema_for::<Problem>()}, graphql::ANSWER_TYPE: answer});
    post["responses"]["400"] = json!({"description": "Nothing was executed", "content": refused});
    let request = params.subschema_for::<graphql::Asked>();
    post["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": request}}});
    path["post"] = post;
    path
}

/// What the administrator's token is for.
fn webhooks(paths: &mut Map<String, Value>, params: &mut SchemaGenerator, answers: &mut SchemaGenerator) {
    let mut add =
        |path: &str, method: &str, id: &str, summary: &str, body: Option<Schema>, status: &str, answer: Option<Schema>| {
            let of_one = path.contains("{id}");
            let id_parameter =
                json!({"name": "id", "in": "path", "required": true, "schema": {"type": "string", "format": "uuid"}});
            let parameters = if of_one { vec![id_parameter] } else { Vec::new() };
            let mut operation = get(id, summary, parameters, json!({}))["get"].take();
            let mut success = json!({"description": "OK"});
            if let Some(schema) = answer {
                success["content"] = json!({"application/json": {"schema": schema}});
            }
            let problem = operation["responses"]["default"].take();
            operation["responses"] = json!({status: success, "default": problem});
            operation["security"] = json!([{"admin": []}]);
            if let Some(schema) = body {
                operation["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": schema}}});
            }
            paths.entry(chain_path(path)).or_insert_with(|| json!({}))[method] = operation;
        };
    let (registration, replay) = (params.subschema_for::<Registration>(), params.subschema_for::<Replay>());
    let (registered, shown) = (answers.subschema_for::<Registered>(), answers.subschema_for::<Vec<Shown>>());
    let dead = answers.subschema_for::<Vec<Dead>>();
    add("/webhooks", "post", "register_webhook", "Register a webhook", Some(registration), "201", Some(registered));
    add("/webhooks", "get", "webhooks", "Every webhook, and what waits for it", None, "200", Some(shown));
    add("/webhooks/{id}", "delete", "remove_webhook", "Remove a webhook with all that waits for it", None, "204", None);
    add("/webhooks/{id}/dead-letters", "get", "dead_letters", "What was given up", None, "200", Some(dead));
    add(
        "/webhooks/{id}/replay",
        "post",
        "replay_webhook",
        "Try what was given up again, or tell all again",
        Some(replay),
        "202",
        None,
    );
}

pub(super) fn chain_path(path: &str) -> String {
    format!("/api/v1/{{chain}}{path}")
}

fn get(id: &str, summary: &str, mut parameters: Vec<Value>, content: Value) -> Value {
    let chain = json!({"type": "string", "examples": ["chain", "base", "8453"]});
    let description = "Name or id of a chain that is mirrored here; `chain` for the only or first one.";
    parameters.insert(0, json!({"name": "chain", "in": "path", "required": true, "description": description, "schema": chain}));
    let block =
        json!({"description": "Number of the newest block that the answer takes account of", "schema": {"type": "integer"}});
    json!({"get": {
        "operationId": id,
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "OK", "headers": {"X-Florin-Block": block}, "content": content},
            "304": {"description": "Not changed since the answer with the ETag of If-None-Match"},
            "default": {"$ref": "#/components/responses/Problem"},
        },
    }})
}

/// Each property of the parameters' type as one parameter.
fn parameters(schema: &Schema, path: &str) -> Vec<Value> {
    let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let parameter = |(name, mut schema): (String, Value)| {
        let in_path = path.contains(&format!("{{{name}}}"));
        let description = schema.as_object_mut().and_then(|fields| fields.remove("description"));
        let mut parameter = json!({"name": name, "in": if in_path { "path" } else { "query" }, "required": in_path});
        parameter["schema"] = bounded(not_null(schema));
        parameter["description"] = description.unwrap_or_default();
        parameter
    };
    properties.into_iter().map(parameter).collect()
}

/// What does not fit is refused.
fn bounded(mut schema: Value) -> Value {
    if schema["format"] == "uint64" {
        schema["maximum"] = u64::MAX.into();
    }
    schema
}

/// A parameter that is left out is not null.
fn not_null(mut schema: Value) -> Value {
    if let Some(Value::Array(types)) = schema.get("type")
        && let [only, _] = &types[..]
    {
        schema["type"] = only.clone();
    }
    if let Some(Value::Array(any)) = schema.get("anyOf")
        && let [only, _] = &any[..]
    {
        return only.clone();
    }
    schema
}
