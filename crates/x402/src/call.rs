//! Calls of transports that carry JSON: what both sides do alike.

use alloy::primitives::{B256, keccak256};
use serde_json::{Value, json};

use crate::JsonMap;

/// Tells calls apart: two with one hash ask for the same. The order of an object's members says nothing.
pub(crate) fn call_hash(name: &str, arguments: &Value) -> B256 {
    let mut call = json!([name, arguments]);
    call.sort_all_objects();
    keccak256(call.to_string())
}

/// The object under `key`, which takes the place of what is not one.
pub(crate) fn object_under<'a>(map: &'a mut JsonMap, key: &str) -> &'a mut JsonMap {
    let value = map.entry(key).or_insert_with(|| JsonMap::new().into());
    if !value.is_object() {
        *value = JsonMap::new().into();
    }
    value.as_object_mut().expect("made one above")
}
