use std::{error::Error, future::Future};

use serde_json::{Value, json};
use url::Url;

use super::{ERROR, PAYLOAD, PaymentStatus, RECEIPTS, REQUIRED, STATUS, state};
use crate::{
    JsonMap, Reason, SettleResponse,
    call::object_under,
    client::{
        Called, PayError, Payer, Purse,
        call::{Reply, call_id},
        offer::Demand,
        outstanding::Proof,
    },
};

/// Sends a message to an agent and pays for the task if asked to, within the purse's policy.
///
/// `message` is that of `SendMessage` (`message/send` in A2A 0.3). `send` sends one message and returns the task, or the message, that is
/// the answer; it is called once without and at most once with a payment. `agent` is the URL of the agent, which the policy judges.
///
/// # Errors
/// [`PayError`]; [`PayError::may_have_paid`] tells whether a signature is out. Sending the same message then shows the same payment.
pub async fn send_message<P, F, Fut, E>(
    purse: &Purse<P>,
    agent: &Url,
    message: JsonMap,
    send: F,
) -> Result<Called<JsonMap>, PayError>
where
    P: Payer,
    F: Fn(JsonMap) -> Fut,
    Fut: Future<Output = Result<JsonMap, E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let id = call_id(agent, "message/send", message.get("parts").unwrap_or(&Value::Null));
    let call = |payment: Option<(Proof, JsonMap)>| {
        let sending = send(payment.map_or_else(|| message.clone(), |(proof, task)| with_payment(&message, proof, &task)));
        async move { sending.await.map(read).map_err(Into::into) }
    };
    purse.call(id, agent, call).await
}

/// A message to `task` that pays for it.
fn with_payment(message: &JsonMap, proof: Proof, task: &JsonMap) -> JsonMap {
    let mut paid = message.clone();
    paid.insert("messageId".into(), format!("{:032x}", rand::random::<u128>()).into());
    for (key, of) in [("taskId", "id"), ("contextId", "contextId")] {
        if let Some(value) = task.get(of) {
            paid.insert(key.into(), value.clone());
        }
    }
    let metadata = object_under(&mut paid, "metadata");
    metadata.insert(STATUS.into(), json!(PaymentStatus::PaymentSubmitted));
    metadata.insert(PAYLOAD.into(), proof.to_json());
    paid
}

fn read(result: JsonMap) -> Reply<JsonMap> {
    // A task carries the metadata in its status message; an answer without a task is a message itself.
    let message = result.get("status").and_then(|status| status.get("message"));
    let holders = [message.and_then(|message| message.get("metadata")), result.get("metadata")];
    let metadata = |key| holders.into_iter().flatten().find_map(|metadata| metadata.get(key)).cloned();
    let status = metadata(STATUS).and_then(|status| serde_json::from_value(status).ok());
    if status == Some(PaymentStatus::PaymentRequired)
        && let Some(demand) = metadata(REQUIRED).and_then(|required| Demand::from_json(required).ok())
    {
        return Reply::Demand(demand, result);
    }
    let receipts = metadata(RECEIPTS).and_then(|receipts| serde_json::from_value::<Vec<SettleResponse>>(receipts).ok());
    let receipt = receipts.and_then(|mut receipts| receipts.pop());
    if status == Some(PaymentStatus::PaymentFailed) && receipt.as_ref().is_none_or(|receipt| !receipt.success) {
        let reason = metadata(ERROR).and_then(|error| error.as_str().map(|text| Reason::from(text.to_owned())));
        return Reply::Demand(Demand::refused(reason), result);
    }
    let failed = state(&result).is_some_and(|state| state != "completed");
    Reply::Done { value: result, receipt, failed }
}
