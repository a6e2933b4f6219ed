use std::future::Future;

use axum::response::Response;
use serde_json::{Value, json};

use super::{PAYMENT, PAYMENT_RESPONSE};
use crate::{
    JsonMap, PaymentRequirements, ResourceInfo,
    call::{call_hash, object_under},
    server::{
        Gate, Offers, Outcome,
        call::{Told, headers, response, worked},
    },
};

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
        let payment = params.get("_meta").and_then(|meta| meta.get(PAYMENT));
        let headers = match headers(payment) {
            Ok(headers) => headers,
            Err(why) => return error_result(&format!("_meta[\"{PAYMENT}\"]: {why}")),
        };
        let name = params.get("name").and_then(Value::as_str).unwrap_or_default();
        let request = call_hash(name, params.get("arguments").unwrap_or(&Value::Null));
        let payment = match self.gate.check(&headers, &Offers { request, ..self.offers.clone() }).await {
            Outcome::Answer(response) => return into_result(*response).await,
            Outcome::Verified(payment) => payment,
        };
        let mut result = worked(&payment, work()).await;
        let failed = result.get("isError").and_then(Value::as_bool).unwrap_or(false);
        if failed {
            if let Some(receipt) = payment.cancel().await {
                object_under(&mut result, "_meta").insert(PAYMENT_RESPONSE.into(), json!(receipt));
            }
            return result;
        }
        into_result(payment.respond(response(result)).await).await
    }
}

/// What the gate answers, as a tool's result.
async fn into_result(response: Response) -> JsonMap {
    let told = Told::by(response).await;
    let mut result = match &told.required {
        Some(required) => {
            let required = json!(required);
            let content = json!([{ "type": "text", "text": required.to_string() }]);
            JsonMap::from_iter([
                ("isError".into(), true.into()),
                ("structuredContent".into(), required),
                ("content".into(), content),
            ])
        }
        None => told.work().unwrap_or_else(|why| error_result(&why)),
    };
    if let Some(receipt) = told.receipt {
        object_under(&mut result, "_meta").insert(PAYMENT_RESPONSE.into(), json!(receipt));
    }
    result
}

fn error_result(text: &str) -> JsonMap {
    let content = json!([{ "type": "text", "text": text }]);
    JsonMap::from_iter([("isError".into(), true.into()), ("content".into(), content)])
}
