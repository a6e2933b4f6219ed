use std::future::Future;

use serde_json::{Value, json};

use super::{ERROR, PAYLOAD, PaymentStatus, RECEIPTS, REQUIRED, STATUS, state};
use crate::{
    JsonMap, PaymentRequirements, ResourceInfo,
    call::{call_hash, object_under},
    server::{
        Gate, Offers, Outcome,
        call::{Told, headers, response, worked},
    },
};

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
        let dialect = Dialect::of(message);
        let headers = match headers(message.get("metadata").and_then(|metadata| metadata.get(PAYLOAD))) {
            Ok(headers) => headers,
            Err(why) => {
                let error = (ERROR, format!("{PAYLOAD}: {why}").into());
                return dialect.with_status(task, "failed", PaymentStatus::PaymentFailed, [error]);
            }
        };
        let request = call_hash("message/send", message.get("parts").unwrap_or(&Value::Null));
        let payment = match self.gate.check(&headers, &Offers { request, ..self.offers.clone() }).await {
            Outcome::Answer(response) => return dialect.task(Told::by(*response).await, task, headers.is_empty()),
            Outcome::Verified(payment) => payment,
        };
        let done = worked(&payment, work()).await;
        if state(&done).as_deref() != Some("completed") {
            return match payment.cancel().await {
                // What was held was given back, or where it is.
                Some(receipt) => dialect.with_metadata(done, PaymentStatus::PaymentFailed, [(RECEIPTS, json!([receipt]))]),
                None => done,
            };
        }
        dialect.task(Told::by(payment.respond(response(done)).await).await, task, false)
    }
}

/// How the peer writes: A2A 1.0 or 0.3.
#[derive(Clone, Copy)]
enum Dialect {
    V1,
    V03,
}

impl Dialect {
    fn of(message: &JsonMap) -> Self {
        let role = message.get("role").and_then(Value::as_str);
        if role.is_some_and(|role| role.starts_with("ROLE_")) { Self::V1 } else { Self::V03 }
    }

    /// What the gate answers, as a task. The `first` time it asks for payment, nothing has failed.
    fn task(self, mut told: Told, task: JsonMap, first: bool) -> JsonMap {
        let receipts = told.receipt.take().map(|receipt| (RECEIPTS, json!([receipt])));
        match told.required.take() {
            Some(mut required) if first => {
                // The gate's words are about HTTP headers.
                required.error = None;
                let required = (REQUIRED, json!(required));
                self.with_status(task, "input-required", PaymentStatus::PaymentRequired, [required])
            }
            Some(required) => {
                let error = (ERROR, json!(required.error));
                self.with_status(task, "failed", PaymentStatus::PaymentFailed, [error].into_iter().chain(receipts))
            }
            None => match told.work() {
                Ok(done) => self.with_status(done, "completed", PaymentStatus::PaymentCompleted, receipts),
                // Served before, or not known yet: the same payment may come again, never a new one.
                Err(why) => {
                    let state = if receipts.is_some() { "failed" } else { "working" };
                    let more = [(ERROR, why.into())].into_iter().chain(receipts);
                    self.with_status(task, state, PaymentStatus::PaymentSubmitted, more)
                }
            },
        }
    }

    /// The task in `state`, its status message telling where the payment stands.
    fn with_status(
        self,
        mut task: JsonMap,
        state: &str,
        payment: PaymentStatus,
        more: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> JsonMap {
        let state = match self {
            Self::V1 => format!("TASK_STATE_{}", state.to_uppercase().replace('-', "_")),
            Self::V03 => {
                task.insert("kind".into(), "task".into());
                state.to_owned()
            }
        };
        object_under(&mut task, "status").insert("state".into(), state.into());
        self.with_metadata(task, payment, more)
    }

    /// The task as it is, its status message telling where the payment stands.
    fn with_metadata(
        self,
        mut task: JsonMap,
        payment: PaymentStatus,
        more: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> JsonMap {
        let id = format!("{:032x}", rand::random::<u128>());
        let message = match self {
            Self::V1 => json!({ "role": "ROLE_AGENT", "parts": [], "messageId": id }),
            Self::V03 => json!({ "kind": "message", "role": "agent", "parts": [], "messageId": id }),
        };
        let status = object_under(&mut task, "status");
        if !status.get("message").is_some_and(Value::is_object) {
            status.insert("message".into(), message);
        }
        let metadata = object_under(object_under(status, "message"), "metadata");
        metadata.insert(STATUS.into(), json!(payment));
        metadata.extend(more.into_iter().map(|(key, value)| (key.to_owned(), value)));
        task
    }
}
