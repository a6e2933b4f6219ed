//! Answers that their asker has already are not sent again.

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

use crate::problem::Problem;

/// Longest JSON answer: a page of listings with the longest descriptions.
const ANSWER_LEN_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Whether `If-None-Match` names this tag. Weak and strong ones are alike here (RFC 9110, section 13.1.2).
pub(crate) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known
        .flat_map(|value| value.split(','))
        .map(|known| known.trim().trim_start_matches("W/"))
        .any(|known| known == tag || known == "*")
}

/// Gives JSON answers a tag, and leaves out the body when the request names it.
pub(crate) async fn tag(request: Request, next: Next) -> Response {
    let asked = (request.method() == Method::GET).then(|| request.headers().clone());
    let response = next.run(request).await;
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    let Some(asked) = asked.filter(|_| response.status() == StatusCode::OK && is_json) else { return response };
    let (mut head, body) = response.into_parts();
    // It is in memory as a whole anyway.
    let bytes = match to_bytes(body, ANSWER_LEN_MAX_BYTES).await {
        Ok(bytes) => bytes,
        Err(error) => return Problem::internal(&error).into_response(),
    };
    let tag = format!("\"{}\"", alloy::hex::encode(&Sha256::digest(&bytes)[..16]));
    if let Ok(value) = HeaderValue::try_from(format!("W/{tag}")) {
        head.headers.insert(header::ETAG, value);
    }
    head.headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("private, no-cache"));
    if !is_known(&asked, &tag) {
        return Response::from_parts(head, Body::from(bytes));
    }
    head.status = StatusCode::NOT_MODIFIED;
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.remove(header::CONTENT_TYPE);
    Response::from_parts(head, Body::empty())
}
