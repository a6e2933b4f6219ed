use serde_json::Value;

use super::{JsonMap, PaymentPayload, PaymentRequired, PaymentRequirements};
use crate::{BUILDER_CODE, Scheme, extensions::SERVICES_MAX};

/// The client changed what the server said in an extension.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("extension {key:?} does not repeat what the server advertised")]
pub struct ExtensionEchoMismatch {
    /// Key of the extension.
    pub key: String,
}

/// The offer of `available` that `payload` takes: same scheme, network, amount, asset, payee and timeout, and everything the offer says in
/// `extra` repeated. The client may add to `extra`; fields a scheme updates between requests are not compared.
pub fn find_matching<'a>(available: &'a [PaymentRequirements], payload: &PaymentPayload) -> Option<&'a PaymentRequirements> {
    available.iter().find(|offer| matches_accepted(offer, &payload.accepted))
}

fn matches_accepted(offer: &PaymentRequirements, accepted: &PaymentRequirements) -> bool {
    let same_core = offer.scheme == accepted.scheme
        && offer.network == accepted.network
        && offer.amount == accepted.amount
        && offer.asset == accepted.asset
        && offer.pay_to == accepted.pay_to
        && offer.max_timeout_seconds == accepted.max_timeout_seconds;
    same_core && offer.extra.as_ref().is_none_or(|wanted| extra_repeated(&offer.scheme, wanted, accepted.extra.as_ref()))
}

fn extra_repeated(scheme: &str, wanted: &JsonMap, given: Option<&JsonMap>) -> bool {
    let dynamic = Scheme::from_name(scheme).map_or(&[][..], Scheme::dynamic_extra);
    wanted
        .iter()
        .filter(|(key, _)| !dynamic.contains(&key.as_str()))
        .all(|(key, value)| given.and_then(|given| given.get(key)).is_some_and(|found| contains(value, found)))
}

/// True when everything in `wanted` is in `found`: objects may have more fields, all else is equal.
fn contains(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            wanted.iter().all(|(key, value)| found.get(key).is_some_and(|f| contains(value, f)))
        }
        (wanted, found) => wanted == found,
    }
}

/// Checks that what the server advertised in `extensions[key].info` came back unchanged, where the client used the extension. A client may
/// add services to a `builder-code`, and nobody but the server names the application.
///
/// # Errors
/// [`ExtensionEchoMismatch`] names the first extension that did not.
pub fn check_extension_echo(required: &PaymentRequired, payload: &PaymentPayload) -> Result<(), ExtensionEchoMismatch> {
    let Some(echoed) = &payload.extensions else { return Ok(()) };
    let info = |value: &'_ Value| -> Value { value.get("info").unwrap_or(value).clone() };
    for (key, value) in echoed {
        let wanted = required.extensions.as_ref().and_then(|advertised| advertised.get(key)).map(info);
        let same = match (&wanted, info(value)) {
            (wanted, found) if key == BUILDER_CODE => builder_code_repeated(wanted.as_ref(), &found),
            (Some(wanted), found) => contains(wanted, &found),
            (None, _) => true,
        };
        if !same {
            return Err(ExtensionEchoMismatch { key: key.chars().take(64).collect() });
        }
    }
    Ok(())
}

fn builder_code_repeated(wanted: Option<&Value>, found: &Value) -> bool {
    let wanted = wanted.unwrap_or(&Value::Null);
    let services = |info: &Value| match &info["s"] {
        Value::Array(services) => services.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    };
    let found_services = services(found);
    let all_there = services(wanted).iter().all(|service| found_services.contains(service));
    found["a"] == wanted["a"] && all_there && found_services.len() <= SERVICES_MAX
}
