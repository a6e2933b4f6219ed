//! What operations answer, as results of tools.

use axum::{
    body::to_bytes,
    http::{HeaderMap, HeaderValue, Request, StatusCode, header},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use x402::{
    JsonMap,
    mcp::{PAYMENT, PAYMENT_RESPONSE},
};

use super::rpc::map;
use crate::problem::Problem;

/// Longest JSON answer of an operation.
const ANSWER_LEN_MAX_BYTES: usize = 16 * 1024 * 1024;
/// Longest content that stands in a result. A longer one is named there, to be read over HTTP.
const CONTENT_LEN_MAX_BYTES: usize = 1024 * 1024;

/// The payment of a call, as the operation reads it.
pub(super) fn pay<B>(request: &mut Request<B>, params: &JsonMap) -> Result<(), Problem> {
    let Some(payment) = params.get("_meta").and_then(|meta| meta.get(PAYMENT)) else { return Ok(()) };
    let bad = || Problem::invalid(format!("_meta[\"{PAYMENT}\"] is too long to be a payment"));
    let value = x402::header::encode(payment).map_err(|_| bad())?;
    request.headers_mut().insert(x402::header::PAYMENT_SIGNATURE, HeaderValue::try_from(value).map_err(|_| bad())?);
    Ok(())
}

/// A refusal, for the model to read.
pub(super) fn refusal(Problem(problem): Problem) -> JsonMap {
    result(json!(problem), true)
}

/// This, as an object and as text, which is all that some clients show to their model.
pub(super) fn result(told: Value, failed: bool) -> JsonMap {
    let told = match told {
        Value::Object(told) => told,
        Value::Null => JsonMap::new(),
        Value::Array(data) => map(json!({"data": data})),
        other => map(other),
    };
    let content = json!([{"type": "text", "text": Value::Object(told.clone()).to_string()}]);
    map(json!({"content": content, "structuredContent": told, "isError": failed}))
}

/// A JSON answer, or the refusal that came instead. Asked for money, the result has the offers, as x402 puts them into results.
pub(super) async fn json(response: Response) -> JsonMap {
    let (head, body) = response.into_parts();
    let body = match to_bytes(body, ANSWER_LEN_MAX_BYTES).await {
        Ok(body) => body,
        Err(error) => return refusal(Problem::internal(&error)),
    };
    let offers = said(&head.headers, x402::header::PAYMENT_REQUIRED);
    let told = offers.unwrap_or_else(|| serde_json::from_slice(&body).unwrap_or_default());
    with_receipt(result(told, !head.status.is_success()), &head.headers)
}

/// Content that was bought, and what is to be known of it; or the refusal that came instead. `kept_at` is where it is read over HTTP.
pub(super) async fn content(response: Response, kept_at: impl FnOnce(Option<&str>) -> String) -> JsonMap {
    if response.status() != StatusCode::OK {
        return json(response).await;
    }
    let (head, body) = response.into_parts();
    let told = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let purchase = told(api::header::PURCHASE_ID);
    let (uri, media_type) = (kept_at(purchase), told(header::CONTENT_TYPE.as_str()).unwrap_or_default());
    let block = match to_bytes(body, CONTENT_LEN_MAX_BYTES).await {
        Ok(bytes) => match std::str::from_utf8(&bytes) {
            Ok(text) => json!({"type": "text", "text": text}),
            Err(_) => {
                let blob = BASE64.encode(&bytes);
                json!({"type": "resource", "resource": {"uri": uri, "mimeType": media_type, "blob": blob}})
            }
        },
        Err(_) => json!({"type": "resource_link", "uri": uri, "name": "content", "mimeType": media_type,
            "description": "Too long to stand here: GET it with your credentials"}),
    };
    let known = [
        ("purchase_id", purchase),
        ("balance", told(api::header::BALANCE)),
        ("content_type", Some(media_type)),
        ("content_url", Some(uri.as_str())),
    ];
    let mut known: JsonMap = known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))).collect();
    known.insert("replayed".into(), (told(api::header::IDEMPOTENT_REPLAYED) == Some("true")).into());
    let mut result = result(known.into(), false);
    if let Some(Value::Array(blocks)) = result.get_mut("content") {
        blocks.insert(0, block);
    }
    with_receipt(result, &head.headers)
}

/// What a result says of the payment that settled for it.
fn with_receipt(mut result: JsonMap, headers: &HeaderMap) -> JsonMap {
    if let Some(receipt) = said(headers, x402::header::PAYMENT_RESPONSE) {
        result.insert("_meta".into(), json!({PAYMENT_RESPONSE: receipt}));
    }
    result
}

/// What a header of x402 says.
fn said(headers: &HeaderMap, name: &str) -> Option<Value> {
    x402::header::decode(headers.get(name)?.as_bytes()).ok()
}
