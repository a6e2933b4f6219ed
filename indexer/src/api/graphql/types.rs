//! The schema, out of the description of the API: an operation is a field of the query, a JSON schema a type.

use std::{collections::BTreeMap, sync::Arc};

use async_graphql::{
    Value as Constant,
    dynamic::{
        Enum, EnumItem, Field, FieldFuture, FieldValue, InputValue, Object, ResolverContext, Scalar, Schema, SchemaError, Type,
        TypeRef,
    },
};
use serde_json::Value;

use super::{Operation, Problem, Snapshot};
use crate::api::openapi::chain_path;

const QUERY: &str = "Query";
const LONG: &str = "Long";
const JSON: &str = "JSON";
/// Field of what has more fields than are described: the state of a contract.
const MORE: &str = "state";

pub(super) fn schema(operations: &[Arc<Operation>], description: &Value) -> Result<Schema, SchemaError> {
    let mut types = Types { described: &description["components"]["schemas"], made: BTreeMap::new() };
    let query = "What can be asked about the chain. All of a request is of one block, named by X-Florin-Block.";
    let mut query = Object::new(QUERY).description(query);
    for operation in operations {
        query = query.field(types.operation(operation.clone(), description));
    }
    let long = Scalar::new(LONG).description("An integer of up to 64 bits, as a number.");
    let json = Scalar::new(JSON).description("Any JSON.");
    let builder = Schema::build(QUERY, None, None).register(long).register(json).register(query);
    types.made.into_values().flatten().fold(builder, |builder, made| builder.register(made)).finish()
}

/// What an operation takes, its chain left out.
pub(super) fn parameters<'a>(description: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    let described = description["paths"][chain_path(path)]["get"]["parameters"].as_array();
    described.into_iter().flatten().filter(|parameter| parameter["name"] != "chain")
}

struct Types<'a> {
    described: &'a Value,
    /// By name; none while it is being made.
    made: BTreeMap<String, Option<Type>>,
}

impl Types<'_> {
    fn operation(&mut self, operation: Arc<Operation>, description: &Value) -> Field {
        let answer = &description["paths"][chain_path(operation.path)]["get"]["responses"]["200"]["content"]["application/json"];
        let (id, summary, ty) = (operation.id, operation.summary, self.of(&answer["schema"]));
        let arguments: Vec<InputValue> = parameters(description, operation.path)
            .map(|parameter| {
                let ty = self.of(&parameter["schema"]);
                let ty = if parameter["required"] == true { TypeRef::NonNull(Box::new(ty)) } else { ty };
                InputValue::new(text(&parameter["name"]), ty).description(text(&parameter["description"]))
            })
            .collect();
        // It may be null: a field that fails takes no other with it.
        let field = Field::new(id, ty, move |ctx| {
            let operation = operation.clone();
            FieldFuture::new(async move { answer_of(&operation, &ctx).await })
        });
        arguments.into_iter().fold(field.description(summary), Field::argument)
    }

    /// The type of what a JSON schema describes, without saying that it is there.
    fn of(&mut self, schema: &Value) -> TypeRef {
        if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
            self.make(name);
            return TypeRef::named(name);
        }
        if let Some(some) = schema["anyOf"].as_array().and_then(|any| any.first()) {
            return self.of(some);
        }
        match kind(schema) {
            "array" => TypeRef::List(Box::new(TypeRef::NonNull(Box::new(self.of(&schema["items"]))))),
            "string" => TypeRef::named(TypeRef::STRING),
            "boolean" => TypeRef::named(TypeRef::BOOLEAN),
            "integer" if schema["maximum"].as_i64().is_some_and(|most| i32::try_from(most).is_ok()) => {
                TypeRef::named(TypeRef::INT)
            }
            "integer" => TypeRef::named(LONG),
            _ => TypeRef::named(JSON),
        }
    }

    /// Makes the type of a definition, once.
    fn make(&mut self, name: &str) {
        if self.made.contains_key(name) {
            return;
        }
        self.made.insert(name.to_owned(), None);
        let schema = &self.described[name];
        let made = match schema["oneOf"].as_array() {
            Some(values) => {
                let item = |value: &Value| EnumItem::new(text(&value["const"])).description(text(&value["description"]));
                Enum::new(name).description(text(&schema["description"])).items(values.iter().map(item)).into()
            }
            None => self.object(name, schema).into(),
        };
        self.made.insert(name.to_owned(), Some(made));
    }

    fn object(&mut self, name: &str, schema: &Value) -> Object {
        let mut object = Object::new(name).description(text(&schema["description"]));
        let fields = schema["properties"].as_object().cloned().unwrap_or_default();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, schema) in &fields {
            let ty = self.of(schema);
            let is_json = ty.type_name() == JSON;
            let ty = if required.contains(&Value::from(name.as_str())) && !nullable(schema) && !is_json {
                TypeRef::NonNull(Box::new(ty))
            } else {
                ty
            };
            let key = name.clone();
            let field = Field::new(name, ty, move |ctx| {
                let found = ctx.parent_value.downcast_ref::<Value>().and_then(|parent| parent.get(&key));
                FieldFuture::Value(found.and_then(|value| if is_json { json(value) } else { borrowed(value) }))
            });
            object = object.field(field.description(text(&schema["description"])));
        }
        if schema["additionalProperties"] == true {
            let more = Field::new(MORE, TypeRef::named(JSON), move |ctx| {
                let all = ctx.parent_value.downcast_ref::<Value>().and_then(Value::as_object);
                let more = all.into_iter().flatten().filter(|(name, _)| !fields.contains_key(*name));
                FieldFuture::Value(json(&more.map(|(name, value)| (name.clone(), value.clone())).collect()))
            });
            object = object.field(more.description("All its other fields."));
        }
        object
    }
}

async fn answer_of<'a>(operation: &Operation, ctx: &ResolverContext<'a>) -> async_graphql::Result<Option<FieldValue<'a>>> {
    let snapshot = ctx.data::<Snapshot>()?.clone();
    let pair = |name: &str, value: &Constant| {
        let value = match value {
            Constant::Null => return None,
            Constant::String(text) => text.clone(),
            Constant::Enum(name) => name.to_string(),
            other => other.to_string(),
        };
        Some((name.to_owned(), value))
    };
    let pairs: Vec<_> = ctx.args.iter().filter_map(|(name, value)| pair(name, value.as_value())).collect();
    match snapshot.one_of_several(operation.answer(snapshot.clone(), &pairs)).await {
        Ok(body) => Ok(owned(serde_json::from_slice(&body)?)),
        Err(problem) if problem.is_not_found() => Ok(None),
        Err(problem) => Err(problem.into()),
    }
}

impl From<Problem> for async_graphql::Error {
    fn from(problem: Problem) -> Self {
        let mut error = Self::new(problem.detail());
        error.extensions.get_or_insert_default().set("code", problem.code());
        error
    }
}

/// An answer of an operation: an object or a list of objects.
fn owned(value: Value) -> Option<FieldValue<'static>> {
    match value {
        Value::Null => None,
        Value::Array(items) => Some(FieldValue::list(items.into_iter().map(FieldValue::owned_any))),
        value => Some(FieldValue::owned_any(value)),
    }
}

/// A part of it.
fn borrowed(value: &Value) -> Option<FieldValue<'_>> {
    match value {
        Value::Null => None,
        Value::Array(items) => Some(FieldValue::list(items.iter().filter_map(borrowed))),
        Value::Object(_) => Some(FieldValue::borrowed_any(value)),
        value => json(value),
    }
}

fn json(value: &Value) -> Option<FieldValue<'static>> {
    Constant::from_json(value.clone()).ok().filter(|value| *value != Constant::Null).map(FieldValue::value)
}

/// The type of a schema, null left out.
fn kind(schema: &Value) -> &str {
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null"),
        kind => Some(kind),
    };
    kinds.and_then(Value::as_str).unwrap_or_default()
}

fn nullable(schema: &Value) -> bool {
    let null = |schema: &Value| schema["type"] == "null";
    schema["type"].as_array().is_some_and(|kinds| kinds.contains(&"null".into()))
        || schema["anyOf"].as_array().is_some_and(|any| any.iter().any(null))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
