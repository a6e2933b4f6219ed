use std::future::Future;

use axum::{
    body::{Body, to_bytes},
    response::Response,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::{ERROR, PAYLOAD, PaymentStatus, RECEIPTS, REQUIRED, STATUS};
use crate::{
    JsonMap, PaymentPayload, PaymentRequired, PaymentRequirements, ResourceInfo, SettleResponse, header,
    server::{Gate, Offers, Outcome},
};

/// Longest task held back until it is paid for.
const TASK_LEN_MAX_BYTES: usize = 8 * 1024 * 1024;

/// Work of an agent that is paid for. The same gate as for HTTP judges and settles: one payment serves once, a task that fails costs
/// nothing, and after an unknown outcome the same payment gets the kept task.
#[derive(Clone, Debug)]
pub struct PaidSkill {
    gate: Gate,
    offers: Offers,
}

impl PaidSkill {
    /// The skill at `url`, paid by any one of `accepts`.
    pub fn new(gate: Gate, url: impl Into<String>, accepts: Vec<PaymentRequirements>) -> Self {
        Self { gate, offers: Offers { resource: ResourceInfo::new(url), accepts, ..Offers::default() } }
    }

    /// Describes what is sold.
    pub fn describe(mut self, description: impl Into<String>) -> Self {
        self.offers.resource.description = Some(description.into());
        self
    }

    /// Answers one message with a task. `task` is the task so far, with its `id` and `contextId`. `work` returns it finished, with its
    /// `status`, and is called only when the payment is good; a task that did not complete is not charged.
    pub async fn answer<F, Fut>(&self, message: &JsonMap, task: JsonMap, work: F) -> JsonMap
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = JsonMap>,
    {
        let headers = match headers(message) {
            Ok(headers) => headers,
            Err(why) => return with_status(task, "failed", PaymentStatus::PaymentFailed, [(ERROR, why.into())]),
        };
        let payment = match self.gate.check(&headers, &self.offers).await {
            Outcome::Answer(response) => return into_task(*response, task, headers.is_empty()).await,
            Outcome::Verified(payment) => payment,
        };
        let done = work().await;
        let state = done.get("status").and_then(|status| status.get("state")).and_then(Value::as_str);
        if state != Some("completed") {
            payment.cancel().await;
            return done;
        }
        into_task(payment.respond(Response::new(Body::from(Value::Object(done).to_string()))).await, task, false).await
    }
}

/// The payment as the gate knows it.
fn headers(message: &JsonMap) -> Result<HeaderMap, &'static str> {
    let mut headers = HeaderMap::new();
    let Some(payment) = message.get("metadata").and_then(|metadata| metadata.get(PAYLOAD)) else { return Ok(headers) };
    let payment: PaymentPayload =
        serde_json::from_value(payment.clone()).map_err(|_| "x402.payment.payload is not a payment of version 2")?;
    let encoded = header::encode(&payment).map_err(|_| "the payment is too long")?;
    let value = HeaderValue::try_from(encoded).map_err(|_| "the payment is not text")?;
    headers.insert(header::PAYMENT_SIGNATURE, value);
    Ok(headers)
}

/// What the gate answers, as a task. The `first` time it asks for payment, nothing has failed.
async fn into_task(response: Response, task: JsonMap, first: bool) -> JsonMap {
    let (parts, body) = response.into_parts();
    let decoded = |name| parts.headers.get(name).map(HeaderValue::as_bytes);
    let receipt = decoded(header::PAYMENT_RESPONSE).and_then(|value| header::decode::<SettleResponse>(value).ok());
    let required = decoded(header::PAYMENT_REQUIRED).and_then(|value| header::decode::<PaymentRequired>(value).ok());
    let body = to_bytes(body, TASK_LEN_MAX_BYTES).await.unwrap_or_default();
    let receipts = receipt.map(|receipt| (RECEIPTS, json!([receipt])));
    match required {
        Some(mut required) if first => {
            // The gate's words are about HTTP headers.
            required.error = None;
            with_status(task, "input-required", PaymentStatus::PaymentRequired, [(REQUIRED, json!(required))])
        }
        Some(required) => {
            let error = (ERROR, json!(required.error));
            with_status(task, "failed", PaymentStatus::PaymentFailed, [error].into_iter().chain(receipts))
        }
        None if parts.status == StatusCode::OK => {
            let done: JsonMap = serde_json::from_slice(&body).unwrap_or(task);
            with_status(done, "completed", PaymentStatus::PaymentCompleted, receipts)
        }
        // Served before, or not known yet: the same payment may come again, never a new one.
        None => {
            let text = String::from_utf8_lossy(&body).into_owned();
            let state = if receipts.is_some() { "failed" } else { "working" };
            with_status(task, state, PaymentStatus::PaymentSubmitted, [(ERROR, text.into())].into_iter().chain(receipts))
        }
    }
}

/// The task in `state`, its status message telling where the payment stands.
fn with_status(
    mut task: JsonMap,
    state: &str,
    payment: PaymentStatus,
    more: impl IntoIterator<Item = (&'static str, Value)>,
) -> JsonMap {
    let mut status = task.get("status").cloned().filter(Value::is_object).unwrap_or_else(|| json!({}));
    status["state"] = state.into();
    if !status["message"].is_object() {
        status["message"] =
            json!({ "kind": "message", "role": "agent", "parts": [], "messageId": format!("{:032x}", rand::random::<u128>()) });
    }
    let metadata = &mut status["message"]["metadata"];
    if !metadata.is_object() {
        *metadata = json!({});
    }
    metadata[STATUS] = json!(payment);
    for (key, value) in more {
        metadata[key] = value;
    }
    task.insert("kind".into(), "task".into());
    task.insert("status".into(), status);
    task
}
