use std::sync::Arc;

use axum::{
    body::Body,
    extract::{RawPathParams, RawQuery},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use futures::future::BoxFuture;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, de::DeserializeOwned};
use url::form_urlencoded;

use super::{ApiState, input, problem::Problem, snapshot::Snapshot};

/// From the parameters to the answer as JSON.
type Call = Box<dyn Fn(Snapshot, &[(String, String)]) -> BoxFuture<'static, Result<Vec<u8>, Problem>> + Send + Sync>;

/// Something that can be asked: one function, with a path and a description.
pub(super) struct Operation {
    /// Below `/api/v1/{chain}`.
    pub(super) path: &'static str,
    /// Its name in OpenAPI.
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    /// Whether the answer follows from the mirror alone, so that it can only change when the newest block does.
    pub(super) of_the_mirror: bool,
    pub(super) params: fn(&mut SchemaGenerator) -> Schema,
    pub(super) answer: fn(&mut SchemaGenerator) -> Schema,
    call: Call,
}

impl Operation {
    pub(super) fn new<P, A, F>(
        path: &'static str,
        id: &'static str,
        summary: &'static str,
        call: impl Fn(Snapshot, P) -> F + Send + Sync + 'static,
    ) -> Self
    where
        P: DeserializeOwned + JsonSchema + Send,
        A: Serialize + JsonSchema + Send + 'static,
        F: Future<Output = Result<A, Problem>> + Send + 'static,
    {
        Self {
            path,
            id,
            summary,
            of_the_mirror: true,
            params: P::json_schema,
            answer: SchemaGenerator::subschema_for::<A>,
            call: Box::new(move |snapshot, pairs| match input::params(pairs) {
                Ok(params) => {
                    let answer = call(snapshot, params);
                    Box::pin(async move { serde_json::to_vec(&answer.await?).map_err(|_| Problem::internal()) })
                }
                Err(problem) => Box::pin(std::future::ready(Err(problem))),
            }),
        }
    }

    /// The same, with an answer that also depends on the time.
    pub(super) fn changing(self) -> Self {
        Self { of_the_mirror: false, ..self }
    }

    /// The answer as JSON.
    pub(super) fn answer(&self, snapshot: Snapshot, pairs: &[(String, String)]) -> BoxFuture<'static, Result<Vec<u8>, Problem>> {
        (self.call)(snapshot, pairs)
    }

    /// Answers `GET`.
    pub(super) async fn get(
        self: Arc<Self>,
        api: ApiState,
        path: RawPathParams,
        RawQuery(query): RawQuery,
        headers: HeaderMap,
    ) -> Result<Response, Problem> {
        let (mut chain, mut pairs) = (None, Vec::new());
        for (name, value) in &path {
            if name == "chain" { chain = Some(value.to_owned()) } else { pairs.push((name.to_owned(), value.to_owned())) }
        }
        pairs.extend(form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned());
        let snapshot = Snapshot::take(api.chain(chain.as_deref().unwrap_or_default())?).await?;
        let tag = self.of_the_mirror.then(|| tag(&snapshot));
        let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        // A proxy that compresses answers calls the tag weak.
        let mut known = known.flat_map(|tags| tags.split(',')).map(|known| known.trim().trim_start_matches("W/"));
        let unchanged = tag.as_deref().is_some_and(|tag| known.any(|known| known == tag));
        let body = if unchanged { Vec::new() } else { self.answer(snapshot.clone(), &pairs).await? };
        let mut response = Response::new(Body::from(body));
        if unchanged {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        describe(&mut response, &snapshot, tag);
        Ok(response)
    }
}

/// The same text as long as the same blocks are mirrored, with the same rows.
fn tag(snapshot: &Snapshot) -> String {
    let hash = snapshot.mirror.head.as_ref().map(|head| head.hash).unwrap_or_default();
    let (version, mirror) = (env!("CARGO_PKG_VERSION"), &snapshot.mirror);
    format!("\"{version}-{}-{}-{}-{hash:x}\"", mirror.start_block, mirror.finality_blocks, mirror.revision)
}

/// Says which block the answer is of.
pub(super) fn describe(response: &mut Response, snapshot: &Snapshot, tag: Option<String>) {
    let headers = response.headers_mut();
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let mut add = |name: &'static str, text: String| {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    };
    if let Some(head) = &snapshot.mirror.head {
        add("x-florin-block", head.number.to_string());
        add("x-florin-block-hash", head.hash.to_string());
    }
    if let Some(tag) = tag {
        add("etag", tag);
    }
}
