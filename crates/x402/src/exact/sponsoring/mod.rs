//! Extensions by which the facilitator lets Permit2 take a payment from a payer who has no gas: a permit of the token (EIP-2612), or, where the
//! token knows none, a transaction of the payer's that approves.

mod approval;
mod permit;

pub use approval::{Approve, ERC20_APPROVAL_GAS_SPONSORING, Erc20Approval};
pub use permit::{EIP2612_GAS_SPONSORING, Eip2612Permit};

use serde::Serialize;
use serde_json::{Value, json};

use crate::JsonMap;

pub(super) mod typed {
    pub use super::permit::typed::*;
}

/// Patterns of the texts in both extensions.
const ADDRESS: &str = "^0x[a-fA-F0-9]{40}$";
const NUMBER: &str = "^[0-9]+$";
const BYTES: &str = "^0x[a-fA-F0-9]+$";
const VERSION: &str = "^[0-9]+(\\.[0-9]+)*$";

/// A field and the pattern it must have.
type Field = (&'static str, &'static str);

/// What the client added to an extension. Without any one of the fields it is only an echo of the server's words.
fn added<'a>(extensions: Option<&'a JsonMap>, key: &str, fields: &[Field]) -> Option<&'a Value> {
    let info = extensions?.get(key)?.get("info")?;
    fields.iter().all(|(field, _)| !info[*field].is_null()).then_some(info)
}

/// Adds to what the server said in the extension.
fn add(extensions: &mut JsonMap, key: &str, info: &impl Serialize) {
    let Ok(Value::Object(added)) = serde_json::to_value(info) else { unreachable!("a struct of texts") };
    let extension = extensions.entry(key).or_insert_with(|| json!({}));
    match extension.get_mut("info").and_then(Value::as_object_mut) {
        Some(info) => info.extend(added),
        None => *extension = json!({ "info": added }),
    }
}

/// What a server declares.
fn declaration(description: &str, fields: &[Field]) -> Value {
    let required: Vec<&str> = fields.iter().map(|(field, _)| *field).collect();
    let properties: JsonMap =
        fields.iter().map(|(field, pattern)| ((*field).to_owned(), json!({ "type": "string", "pattern": pattern }))).collect();
    json!({
        "info": { "description": description, "version": "1" },
        "schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": properties,
            "required": required,
        },
    })
}
