use std::future::Future;

use axum::{
    body::{Body, to_bytes},
    response::Response,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::{PAYMENT, PAYMENT_RESPONSE};
use crate::{
    JsonMap, PaymentPayload, PaymentRequired, PaymentRequirements, ResourceInfo, SettleResponse, header,
    server::{Gate, Offers, Outcome},
};

/// Longest result held back until it is paid for.
const RESULT_LEN_MAX_BYTES: usize = 8 * 1024 * 1024;

/// A tool that is paid for. The same gate as for HTTP judges and settles: one payment serves once, a tool that fails costs nothing, and
/// after an unknown outcome the same payment gets the kept result.
#[derive(Clone, Debug)]
pub struct PaidTool {
    gate: Gate,
    offers: Offers,
}

impl PaidTool {
    /// The tool `name`, paid by any one of `accepts`.
    pub fn new(gate: Gate, name: &str, accepts: Vec<PaymentRequirements>) -> Self {
        let resource =
            ResourceInfo { mime_type: Some("application/json".into()), ..ResourceInfo::new(format!("mcp://tool/{name}")) };
        Self { gate, offers: Offers { resource, accepts, ..Offers::default() } }
    }

    /// Describes what is sold.
    pub fn describe(mut self, description: impl Into<String>) -> Self {
        self.offers.resource.description = Some(description.into());
        self
    }

    /// Answers one call: `params` are those of `tools/call`, the answer is its result. `work` is the tool itself, called only when the
    /// payment is good; a result with `isError` is not charged.
    pub async fn call<F, Fut>(&self, params: &JsonMap, work: F) -> JsonMap
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = JsonMap>,
    {
        let headers = match headers(params) {
            Ok(headers) => headers,
            Err(why) => return error_result(why),
        };
        let payment = match self.gate.check(&headers, &self.offers).await {
            Outcome::Answer(response) => return into_result(*response).await,
            Outcome::Verified(payment) => payment,
        };
        let result = work().await;
        let failed = result.get("isError").and_then(Value::as_bool).unwrap_or(false);
        if failed {
            payment.cancel().await;
            return result;
        }
        into_result(payment.respond(Response::new(Body::from(Value::Object(result).to_string()))).await).await
    }
}

/// The payment as the gate knows it.
fn headers(params: &JsonMap) -> Result<HeaderMap, &'static str> {
    let mut headers = HeaderMap::new();
    let Some(payment) = params.get("_meta").and_then(|meta| meta.get(PAYMENT)) else { return Ok(headers) };
    let payment: PaymentPayload =
        serde_json::from_value(payment.clone()).map_err(|_| "_meta[\"x402/payment\"] is not a payment of version 2")?;
    let encoded = header::encode(&payment).map_err(|_| "the payment is too long")?;
    let value = HeaderValue::try_from(encoded).map_err(|_| "the payment is not text")?;
    headers.insert(header::PAYMENT_SIGNATURE, value);
    Ok(headers)
}

/// What the gate answers, as a tool's result.
async fn into_result(response: Response) -> JsonMap {
    let (parts, body) = response.into_parts();
    let decoded = |name| parts.headers.get(name).map(HeaderValue::as_bytes);
    let receipt = decoded(header::PAYMENT_RESPONSE).and_then(|value| header::decode::<SettleResponse>(value).ok());
    let required = decoded(header::PAYMENT_REQUIRED).and_then(|value| header::decode::<PaymentRequired>(value).ok());
    let body = to_bytes(body, RESULT_LEN_MAX_BYTES).await.unwrap_or_default();
    let mut result = match required {
        Some(required) => {
            let required = json!(required);
            let content = json!([{ "type": "text", "text": required.to_string() }]);
            JsonMap::from_iter([
                ("isError".into(), true.into()),
                ("structuredContent".into(), required),
                ("content".into(), content),
            ])
        }
        None if parts.status == StatusCode::OK => serde_json::from_slice(&body).unwrap_or_default(),
        None => error_result(&String::from_utf8_lossy(&body)),
    };
    if let Some(receipt) = receipt {
        let meta = result.entry("_meta").or_insert_with(|| JsonMap::new().into());
        if let Some(meta) = meta.as_object_mut() {
            meta.insert(PAYMENT_RESPONSE.into(), json!(receipt));
        }
    }
    result
}

fn error_result(text: &str) -> JsonMap {
    let content = json!([{ "type": "text", "text": text }]);
    JsonMap::from_iter([("isError".into(), true.into()), ("content".into(), content)])
}
