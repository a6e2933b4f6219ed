use std::{error::Error, future::Future};

use serde_json::Value;
use url::Url;

use super::{OFFERS_LEN_MAX_BYTES, PAYMENT, PAYMENT_RESPONSE};
use crate::{
    JsonMap, SettleResponse,
    call::object_under,
    client::{
        Called, PayError, Payer, Purse,
        call::{Reply, call_id},
        offer::Demand,
        outstanding::Proof,
    },
};

/// Calls a tool and pays for it if asked to, within the purse's policy.
///
/// `params` are those of `tools/call`: `name`, `arguments`. `send` makes one call with the params it is given and returns the result; it is
/// called once without and at most once with a payment. `server` is who the policy judges as the seller: the URL of an HTTP server,
/// `mcp://name/` for a local one.
///
/// # Errors
/// [`PayError`]; [`PayError::may_have_paid`] tells whether a signature is out. Repeating the same call then shows the same payment.
pub async fn call_tool<P, F, Fut, E>(
    purse: &Purse<P>,
    server: &Url,
    params: JsonMap,
    send: F,
) -> Result<Called<JsonMap>, PayError>
where
    P: Payer,
    F: Fn(JsonMap) -> Fut,
    Fut: Future<Output = Result<JsonMap, E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let name = params.get("name").and_then(Value::as_str).unwrap_or_default();
    let id = call_id(server, name, params.get("arguments").unwrap_or(&Value::Null));
    let call = |payment: Option<(Proof, JsonMap)>| {
        let mut params = params.clone();
        if let Some((proof, _)) = payment {
            object_under(&mut params, "_meta").insert(PAYMENT.into(), proof.to_json());
        }
        let sending = send(params);
        async move { sending.await.map(read).map_err(Into::into) }
    };
    purse.call(id, server, call).await
}

fn read(result: JsonMap) -> Reply<JsonMap> {
    let failed = result.get("isError").and_then(Value::as_bool).unwrap_or(false);
    if failed && let Some(demand) = demand(&result) {
        return Reply::Demand(demand, result);
    }
    let receipt = result.get("_meta").and_then(|meta| meta.get(PAYMENT_RESPONSE));
    let receipt = receipt.and_then(|receipt| serde_json::from_value::<SettleResponse>(receipt.clone()).ok());
    Reply::Done { value: result, receipt, failed }
}

/// The offers of an error result: structured, or as the text of its first content.
fn demand(result: &JsonMap) -> Option<Demand> {
    let structured = result.get("structuredContent").filter(|content| content.get("accepts").is_some());
    if let Some(demand) = structured.and_then(|content| Demand::from_json(content.clone()).ok()) {
        return Some(demand);
    }
    let text = result.get("content")?.get(0)?.get("text")?.as_str().filter(|text| text.len() <= OFFERS_LEN_MAX_BYTES)?;
    Demand::from_json(serde_json::from_str(text).ok()?).ok()
}
