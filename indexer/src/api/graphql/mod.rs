//! GraphQL over the same operations as the paths: its schema is the description of the API in another notation, and its fields call the same
//! functions. All of a request is read from one snapshot, so its fields fit together; nothing nests into further queries, so N rows never
//! mean N queries.

mod cost;
mod types;

use std::sync::Arc;

use async_graphql::{Request, Variables, dynamic};
use axum::{
    body::{Body, Bytes},
    extract::rejection::BytesRejection,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{ApiState, Operation, operation::describe, problem::Problem, snapshot::Snapshot};
use cost::Prices;

/// Longest request, variables included.
const BODY_BYTES_MAX: usize = 32 * 1024;
/// What answers are called by the specification of GraphQL over HTTP.
pub(super) const ANSWER_TYPE: &str = "application/graphql-response+json";

/// A request.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "GraphqlRequest")]
pub(super) struct Asked {
    /// The document.
    query: String,
    /// Which of its operations, if there are several.
    #[serde(rename = "operationName")]
    operation_name: Option<String>,
    /// Values of its variables.
    variables: Option<serde_json::Map<String, Value>>,
}

impl From<Asked> for Request {
    fn from(Asked { query, operation_name, variables }: Asked) -> Self {
        let variables = Variables::from_json(Value::Object(variables.unwrap_or_default()));
        let mut request = Self::new(query).variables(variables);
        request.operation_name = operation_name;
        request
    }
}

/// What can be asked, and what it costs.
pub(super) struct Graphql {
    schema: dynamic::Schema,
    prices: Prices,
    sdl: String,
}

impl Graphql {
    /// `description` is the OpenAPI document of the operations.
    pub(super) fn new(operations: &[Arc<Operation>], description: &Value) -> Self {
        let schema = types::schema(operations, description).expect("what is described for OpenAPI is a schema: a test builds it");
        Self { sdl: schema.sdl(), schema, prices: Prices::of(operations, description) }
    }

    /// `GET .../graphql`: the schema in GraphQL's own language.
    pub(super) fn sdl(&self) -> Response {
        ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], self.sdl.clone()).into_response()
    }

    /// `POST .../graphql`
    pub(super) async fn answer(
        &self,
        api: &ApiState,
        chain: &str,
        headers: &HeaderMap,
        body: Result<Bytes, BytesRejection>,
    ) -> Result<Response, Problem> {
        let too_long = || Problem::invalid_parameter(format!("a request has at most {BODY_BYTES_MAX} bytes"));
        let body = body.ok().filter(|body| body.len() <= BODY_BYTES_MAX).ok_or_else(too_long)?;
        let asked: Asked = serde_json::from_slice(&body).map_err(|error| Problem::invalid_parameter(error.to_string()))?;
        let snapshot = Snapshot::take(api.chain(chain)?).await?;
        let answer = match self.prices.check(asked.into()) {
            Ok(request) => self.schema.execute(request.data(snapshot.clone())).await,
            Err(refused) => async_graphql::Response::from_errors(vec![refused]),
        };
        let body = serde_json::to_vec(&answer).map_err(|_| Problem::internal())?;
        let mut response = Response::new(Body::from(body));
        // Who does not know the media type takes any status but 200 for a failure of HTTP.
        let knows = |accept: &HeaderValue| accept.to_str().is_ok_and(|accept| accept.contains(ANSWER_TYPE));
        if headers.get_all(header::ACCEPT).iter().any(knows) {
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(ANSWER_TYPE));
            if answer.data == async_graphql::Value::Null {
                *response.status_mut() = StatusCode::BAD_REQUEST;
            }
        }
        describe(&mut response, &snapshot, None);
        Ok(response)
    }
}
