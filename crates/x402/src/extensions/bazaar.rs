use serde_json::{Map, Value, json};

use crate::JsonMap;

/// Key of the extension by which a facilitator's catalogue learns how a resource is called.
pub const BAZAAR: &str = "bazaar";

/// How a resource is called and what it answers, for catalogues (`/discovery/resources` of a facilitator).
///
/// ```
/// use serde_json::json;
/// use x402::Discovery;
///
/// let weather = Discovery::query(json!({ "city": "Bern" }), json!({ "properties": { "city": { "type": "string" } }, "required": ["city"] }))
///     .output(json!({ "celsius": 21 }));
/// assert_eq!(weather.declaration("GET", None, "/weather")["info"]["input"]["queryParams"]["city"], "Bern");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Discovery {
    input: Input,
    path_schema: Option<Value>,
    output: Option<(Value, Option<Value>)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Input {
    Query { example: Value, schema: Value },
    Body { kind: BodyType, example: Value, schema: Value },
}

/// What a request's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyType {
    /// `json`.
    Json,
    /// `form-data`.
    FormData,
    /// `text`.
    Text,
}

impl Discovery {
    /// Called with a query: an example, and a JSON Schema of it.
    pub fn query(example: Value, schema: Value) -> Self {
        Self { input: Input::Query { example, schema }, path_schema: None, output: None }
    }

    /// Called with a body: an example, and a JSON Schema of it.
    pub fn body(kind: BodyType, example: Value, schema: Value) -> Self {
        Self { input: Input::Body { kind, example, schema }, path_schema: None, output: None }
    }

    /// A JSON Schema of the parameters in the path.
    pub fn path_params(mut self, schema: Value) -> Self {
        self.path_schema = Some(schema);
        self
    }

    /// An example of the answer, as JSON.
    pub fn output(mut self, example: Value) -> Self {
        self.output = Some((example, None));
        self
    }

    /// A JSON Schema of the answer, for one that has an example.
    pub fn output_schema(mut self, schema: Value) -> Self {
        self.output = self.output.map(|(example, _)| (example, Some(schema)));
        self
    }

    /// What a server declares under [`BAZAAR`] for a request: its method, the route's template (`/items/{id}` or `/items/:id`) if there is
    /// one with parameters, and the path that was asked for.
    pub fn declaration(&self, method: &str, template: Option<&str>, path: &str) -> Value {
        let mut info = json!({ "type": "http", "method": method });
        let mut properties =
            json!({ "type": { "type": "string", "const": "http" }, "method": { "type": "string", "enum": [method] } });
        let mut required = vec!["type", "method"];
        match &self.input {
            Input::Query { example, schema } => {
                info["queryParams"] = example.clone();
                properties["queryParams"] = object(schema);
            }
            Input::Body { kind, example, schema } => {
                info["bodyType"] = kind.as_str().into();
                info["body"] = example.clone();
                properties["bodyType"] = json!({ "type": "string", "enum": ["json", "form-data", "text"] });
                properties["body"] = schema.clone();
                required.extend(["bodyType", "body"]);
            }
        }
        let template = template.map(colons).filter(|template| template.contains("/:"));
        if let Some(template) = &template {
            info["pathParams"] = Value::Object(parameters(template, path));
            properties["pathParams"] = self.path_schema.as_ref().map_or_else(|| json!({ "type": "object" }), object);
        }
        let input = json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false });
        let mut extension = json!({
            "info": { "input": info },
            "schema": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "properties": { "input": input },
                "required": ["input"],
            },
        });
        if let Some((example, schema)) = &self.output {
            extension["info"]["output"] = json!({ "type": "json", "example": example });
            let example = schema.as_ref().map_or_else(|| json!({}), Clone::clone);
            extension["schema"]["properties"]["output"] = json!({
                "type": "object",
                "properties": { "type": { "type": "string" }, "example": example },
                "required": ["type"],
            });
        }
        if let Some(template) = template {
            extension["routeTemplate"] = template.into();
        }
        extension
    }
}

impl BodyType {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::FormData => "form-data",
            Self::Text => "text",
        }
    }
}

/// The schema, of an object.
fn object(schema: &Value) -> Value {
    let mut all = Map::from_iter([("type".to_owned(), Value::from("object"))]);
    all.extend(schema.as_object().cloned().unwrap_or_default());
    Value::Object(all)
}

/// `/items/{id}` as `/items/:id`, which is how catalogues write it.
fn colons(template: &str) -> String {
    let segment = |segment: &str| match segment.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) {
        Some(name) => format!(":{}", name.trim_start_matches('*')),
        None => segment.to_owned(),
    };
    template.split('/').map(segment).collect::<Vec<_>>().join("/")
}

fn parameters(template: &str, path: &str) -> JsonMap {
    let pairs = template.split('/').zip(path.split('/'));
    pairs.filter_map(|(name, value)| Some((name.strip_prefix(':')?.to_owned(), value.into()))).collect()
}
