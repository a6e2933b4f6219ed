//! The description of the API, made from its operations.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::{
    access::Access,
    operation::{Description, Media, Operation},
};

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

/// The OpenAPI 3.1 document of these operations, which are below `/api/v1`.
pub(crate) fn document(operations: &[Operation], server: &str) -> Value {
    let settings = || {
        let mut settings = SchemaSettings::draft2020_12();
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        settings
    };
    let mut input = settings().for_deserialize().into_generator();
    let mut output = settings().for_serialize().into_generator();
    let mut paths = Map::new();
    for operation in operations {
        let of_path = paths.entry(format!("/api/v1{}", operation.path)).or_insert_with(|| json!({}));
        of_path[operation.method.as_str().to_lowercase()] = describe(operation, &mut input, &mut output);
    }
    let problem = output.subschema_for::<api::Problem>();
    let mut schemas = input.take_definitions(true);
    schemas.extend(output.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Florin market",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Agents register with a proven wallet, publish listings with content, find them, and buy them in one request. \
                            Amounts are decimal strings, times RFC 3339 in UTC, lists come in pages. Fields and parameters that are not known \
                            are refused. A request that moves money and names an Idempotency-Key has its effect once.",
        },
        "servers": [{"url": server.trim_end_matches('/')}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "agent": {"type": "http", "scheme": "bearer", "description": "An API key, or an access token of /api/v1/agents/token"},
                "wallet": {
                    "type": "apiKey", "in": "header", "name": "Authorization",
                    "description": "`Wallet NONCE.SIGNATURE` of a challenge of /api/v1/agents/challenge, for one request; or the header \
                                    sign-in-with-x of x402",
                },
                "creator": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "Of /api/v1/creators/login"},
                "ticket": {"type": "apiKey", "in": "query", "name": "ticket", "description": "Of /api/v1/feed/ticket, once"},
            },
            "responses": {
                "Problem": {
                    "description": kinds(),
                    "headers": {
                        "Retry-After": {
                            "description": "Seconds after which to try again, where that helps",
                            "schema": {"type": "integer", "minimum": 0},
                        },
                    },
                    "content": {PROBLEM: {"schema": problem}},
                },
            },
        },
    })
}

fn describe(operation: &Operation, input: &mut SchemaGenerator, output: &mut SchemaGenerator) -> Value {
    let said = operation.said(input, output);
    let responses = responses(operation, &said);
    let mut parameters: Vec<Value> = said.query.as_ref().map(in_query).unwrap_or_default();
    if let (Some(schema), Some(name)) = (said.in_path, in_braces(operation.path)) {
        parameters.push(json!({"name": name, "in": "path", "required": true, "schema": schema}));
    }
    if let Some(required) = said.idempotency {
        let schema = json!({"type": "string", "minLength": 1, "maxLength": 255});
        let description = "With the same key, the same request has its effect once";
        let header = json!({"name": "Idempotency-Key", "in": "header", "required": required, "description": description, "schema": schema});
        parameters.push(header);
    }
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [operation.path.split('/').nth(1).unwrap_or_default()],
        "parameters": parameters,
        "responses": responses,
        "security": security(operation.access),
    });
    if let Some((media_type, schema)) = said.body {
        described["requestBody"] = json!({"required": true, "content": content(media_type, schema)});
    }
    described
}

/// What is answered: when it is done, when there is nothing to do, and when it is refused, which is a problem whatever it is.
fn responses(operation: &Operation, said: &Description<'_>) -> Value {
    let answer = |status: StatusCode, media: &Option<Media>| {
        let mut answer = json!({"description": status.canonical_reason().unwrap_or_default()});
        if let Some((media_type, schema)) = media {
            answer["content"] = content(media_type, schema.clone());
        }
        answer
    };
    let mut responses = json!({});
    for status in refusals(operation, said) {
        responses[status] = json!({"$ref": "#/components/responses/Problem"});
    }
    responses[said.status.as_str()] = answer(said.status, &said.answer);
    if operation.method == Method::GET && matches!(said.answer, Some((JSON, _))) {
        responses["304"] = json!({"description": "If-None-Match names the ETag that the answer would have"});
    }
    for (status, media) in &said.others {
        let mut other = answer(*status, media);
        if status.is_client_error() && media.is_some() {
            other["content"][PROBLEM] = json!({"schema": {"$ref": "#/components/schemas/Problem"}});
        }
        let content = other.get_mut("content").and_then(Value::as_object_mut);
        let known = responses.get_mut(status.as_str()).and_then(|known| known.get_mut("content")).and_then(Value::as_object_mut);
        match (known, content) {
            (Some(known), Some(content)) => known.append(content),
            _ => responses[status.as_str()] = other,
        }
    }
    responses
}

/// The statuses of refusals: those that follow from what an operation reads and who may ask, and then any.
fn refusals(operation: &Operation, said: &Description<'_>) -> impl Iterator<Item = &'static str> {
    let statuses = [
        ("400", true),
        ("401", true),
        ("403", operation.access != Access::Open),
        ("404", in_braces(operation.path).is_some()),
        ("409", operation.method != Method::GET),
        ("413", said.body.is_some()),
        ("422", said.idempotency.is_some()),
        ("429", true),
        ("500", true),
        ("503", true),
        ("4XX", true),
        ("5XX", true),
    ];
    statuses.into_iter().filter_map(|(status, comes)| comes.then_some(status))
}

/// All kinds of problems, by their statuses.
fn kinds() -> String {
    let mut kinds: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for code in api::Code::ALL {
        kinds.entry(code.status()).or_default().push(code.as_str());
    }
    let kinds: Vec<_> = kinds.iter().map(|(status, codes)| format!("{status} {}", codes.join(", "))).collect();
    format!("What went wrong (RFC 9457). By status, `code` is: {}", kinds.join("; "))
}

/// Any one of the objects is enough.
fn security(access: Access) -> Value {
    match access {
        Access::Open => json!([{}]),
        Access::Agent(scope) => json!([{"agent": [scope]}]),
        Access::Wallet(scope) => json!([{"agent": [scope]}, {"wallet": []}]),
        Access::Holder(scope) => json!([{"agent": [scope]}, {"creator": []}]),
        Access::Ticket(scope) => json!([{"agent": [scope]}, {"creator": []}, {"ticket": []}]),
        Access::PayOut => json!([{"agent": [api::Scope::Transfer]}, {"agent": [api::Scope::Buy]}, {"creator": []}]),
        Access::Creator => json!([{"creator": []}]),
        Access::Staff(role) => json!([{"creator": [role]}]),
    }
}

fn content(media_type: &str, schema: Option<Schema>) -> Value {
    json!({media_type: schema.map_or(json!({}), |schema| json!({"schema": schema}))})
}

pub(crate) fn in_braces(path: &str) -> Option<&str> {
    path.split_once('{')?.1.split_once('}').map(|(name, _)| name)
}

/// Each property of the parameters' type as one parameter.
fn in_query(schema: &Schema) -> Vec<Value> {
    let of = |field: &str| schema.get(field).cloned().unwrap_or_default();
    let required: Vec<String> = serde_json::from_value(of("required")).unwrap_or_default();
    let properties = of("properties").as_object().cloned().unwrap_or_default();
    let parameter = |(name, mut schema): (String, Value)| {
        let description = schema.as_object_mut().and_then(|fields| fields.remove("description"));
        let mut parameter =
            json!({"name": name, "in": "query", "required": required.contains(&name), "schema": not_null(schema)});
        if let Some(description) = description {
            parameter["description"] = description;
        }
        parameter
    };
    properties.into_iter().map(parameter).collect()
}

/// A parameter that is left out is not null.
pub(crate) fn not_null(mut schema: Value) -> Value {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::router::operations;

    fn refs<'a>(value: &'a Value, found: &mut HashSet<&'a str>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| match value.as_str().filter(|_| name == "$ref") {
                Some(path) => drop(found.insert(path)),
                None => refs(value, found),
            }),
            Value::Array(values) => values.iter().for_each(|value| refs(value, found)),
            _ => {}
        }
    }

    #[test]
    fn the_description_has_all_that_it_refers_to_and_names_nothing_twice() {
        let operations = operations();
        let document = document(&operations, "https://market.example/");
        let mut found = HashSet::new();
        refs(&document, &mut found);
        let missing: Vec<_> = found.iter().filter(|path| document.pointer(path.trim_start_matches('#')).is_none()).collect();
        assert!(missing.is_empty() && found.len() > 20, "{missing:?} of {}", found.len());
        let names: HashSet<_> = operations.iter().map(|operation| operation.id).collect();
        assert_eq!(names.len(), operations.len());
        let described =
            document["paths"].as_object().unwrap().values().map(|methods| methods.as_object().unwrap().len()).sum::<usize>();
        assert_eq!(described, operations.len(), "two operations have one method and path");
        let upload = &document["paths"]["/api/v1/listings/{id}/content"]["put"];
        assert_eq!((&upload["parameters"][0]["name"], &upload["security"]), (&json!("id"), &json!([{"agent": ["sell"]}])));
        let answers = |path: &str, method: &str| {
            let answers = document["paths"][path][method]["responses"].as_object().unwrap();
            answers.keys().cloned().collect::<HashSet<_>>()
        };
        assert!(
            document["paths"]
                .as_object()
                .unwrap()
                .values()
                .flat_map(|methods| methods.as_object().unwrap().values())
                .all(|operation| ["401", "429", "4XX", "5XX"].iter().all(|status| operation["responses"].get(status).is_some()))
        );
        assert!(answers("/api/v1/listings", "get").contains("304") && answers("/api/v1/listings", "post").contains("413"));
        assert!(["206", "304", "416"].iter().all(|status| answers("/api/v1/purchases/{id}/content", "get").contains(*status)));
        let asked = &document["paths"]["/api/v1/express/{id}"]["get"]["responses"]["402"]["content"];
        assert!(asked.get(JSON).is_some() && asked.get(PROBLEM).is_some(), "{asked}");
        let transfer = &document["paths"]["/api/v1/wallet/transfer"]["post"]["parameters"][0];
        assert_eq!((&transfer["name"], &transfer["required"]), (&json!("Idempotency-Key"), &json!(true)));
    }
}
