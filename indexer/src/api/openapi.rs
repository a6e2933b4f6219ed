//! The description of the API, made from the same table as its routes.

use std::sync::Arc;

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{Operation, problem::Problem, statement};

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
    let csv = "/accounts/{address}/statement.csv";
    let parameters = parameters(&statement::CsvFilter::json_schema(&mut params), csv);
    let content = json!({"text/csv": {"schema": {"type": "string"}}});
    paths.insert(chain_path(csv), get("statement_csv", "All of an account's statement, oldest line first", parameters, content));
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
            "responses": {
                "Problem": {
                    "description": "What went wrong (RFC 9457)",
                    "content": {"application/problem+json": {"schema": problem}},
                },
            },
        },
    })
}

fn chain_path(path: &str) -> String {
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
        parameter["schema"] = not_null(schema);
        parameter["description"] = description.unwrap_or_default();
        parameter
    };
    properties.into_iter().map(parameter).collect()
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
