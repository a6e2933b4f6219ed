//! Events and errors as JSON and as text, by the ABIs of the artifacts.

use std::{collections::HashMap, sync::LazyLock};

use alloy::{
    dyn_abi::{DynSolValue, ErrorExt, EventExt},
    json_abi::{Error, Event, JsonAbi, Param},
    primitives::{Address, LogData, Selector, hex},
};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct Artifact {
    abi: JsonAbi,
}

/// The ABI in the text of an artifact.
pub(crate) fn abi(artifact: &str) -> JsonAbi {
    serde_json::from_str::<Artifact>(artifact).expect("sol! read the same file when this was built").abi
}

/// The arguments of an event by name, and the accounts among them.
pub(crate) fn event(event: &Event, log: &LogData) -> Option<(Value, Vec<Address>)> {
    let decoded = event.decode_log(log).ok()?;
    let (mut indexed, mut body) = (decoded.indexed.into_iter(), decoded.body.into_iter());
    let (mut arguments, mut accounts) = (Map::new(), Vec::new());
    for input in &event.inputs {
        let value = if input.indexed { indexed.next()? } else { body.next()? };
        collect_addresses(&value, &mut accounts);
        arguments.insert(input.name.clone(), json(value, &input.components));
    }
    Some((Value::Object(arguments), accounts))
}

/// Every error that a call to our contracts can end with: their own, and those of the contracts that take part in x402. An error that several
/// have comes several times, ours first.
pub(crate) fn errors() -> impl Iterator<Item = Error> {
    const OTHERS: [&str; 3] = [
        include_str!("../vendor/Permit2.json"),
        include_str!("../dev/X402ExactPermit2Proxy.json"),
        include_str!("../dev/X402UptoPermit2Proxy.json"),
    ];
    let ours = crate::event::artifacts().map(|(_, text)| text);
    ours.chain(OTHERS).flat_map(|text| abi(text).errors.into_values().flatten())
}

/// Name and arguments in the data of a revert.
pub(crate) fn error(data: &[u8]) -> Option<(String, Vec<(String, Value)>)> {
    static ERRORS: LazyLock<HashMap<Selector, Error>> = LazyLock::new(|| {
        let mut found = HashMap::new();
        for error in errors() {
            found.entry(error.selector()).or_insert(error);
        }
        found
    });
    let error = ERRORS.get(data.get(..4)?)?;
    let values = error.decode_error(data).ok()?.body;
    let named = error.inputs.iter().zip(values).map(|(input, value)| (input.name.clone(), json(value, &input.components)));
    Some((error.name.clone(), named.collect()))
}

/// Addresses with checksum, integers as decimal strings, bytes as hex, structs as objects. Tuples have the names of `components`.
pub(crate) fn json(value: DynSolValue, components: &[Param]) -> Value {
    match value {
        DynSolValue::Bool(value) => Value::Bool(value),
        DynSolValue::Int(value, _) => Value::String(value.to_string()),
        DynSolValue::Uint(value, _) => Value::String(value.to_string()),
        DynSolValue::Address(value) => Value::String(value.to_checksum(None)),
        DynSolValue::FixedBytes(value, bytes) => Value::String(hex::encode_prefixed(&value[..bytes.min(32)])),
        DynSolValue::Bytes(value) => Value::String(hex::encode_prefixed(value)),
        DynSolValue::Function(value) => Value::String(hex::encode_prefixed(value)),
        DynSolValue::String(value) => Value::String(value),
        DynSolValue::Array(values) | DynSolValue::FixedArray(values) => {
            values.into_iter().map(|value| json(value, components)).collect()
        }
        DynSolValue::CustomStruct { prop_names, tuple, .. } => {
            Value::Object(prop_names.into_iter().zip(tuple.into_iter().map(|value| json(value, &[]))).collect())
        }
        DynSolValue::Tuple(values) => {
            let named = components.iter().zip(values).map(|(field, value)| (field.name.clone(), json(value, &field.components)));
            Value::Object(named.collect())
        }
    }
}

fn collect_addresses(value: &DynSolValue, accounts: &mut Vec<Address>) {
    match value {
        DynSolValue::Address(account) if !account.is_zero() && !accounts.contains(account) => accounts.push(*account),
        DynSolValue::Array(values)
        | DynSolValue::FixedArray(values)
        | DynSolValue::Tuple(values)
        | DynSolValue::CustomStruct { tuple: values, .. } => {
            values.iter().for_each(|value| collect_addresses(value, accounts));
        }
        _ => {}
    }
}
