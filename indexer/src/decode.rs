//! How a log of our contracts reads.

use alloy::primitives::{Address, B256};
use serde_json::Value;

use crate::{node::Log, watch::Kind};

/// An event with its arguments.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) name: String,
    pub(crate) args: Value,
}

/// Reads a log of one of our contracts; none when it is of no known event.
pub(crate) fn event(_log: &Log) -> Option<Decoded> {
    None
}

/// The contract that a log of a factory announces.
pub(crate) fn child(log: &Log) -> Option<(Address, Kind)> {
    let Decoded { name, args } = event(log)?;
    let (kind, arg) = match name.as_str() {
        "WalletCreated" => (Kind::AgentWallet, "wallet"),
        "TreasuryCreated" => (Kind::Treasury, "treasury"),
        _ => return None,
    };
    Some((args.get(arg)?.as_str()?.parse().ok()?, kind))
}

/// Every address and every bytes32 among the arguments, each once, in a fixed order: what the event can be found by.
pub(crate) fn keys(args: &Value) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    collect(args, &mut keys);
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn collect(value: &Value, keys: &mut Vec<Vec<u8>>) {
    match value {
        Value::String(text) if text.starts_with("0x") => {
            let address = text.parse::<Address>().map(|a| a.to_vec());
            let key = address.or_else(|_| text.parse::<B256>().map(|b| b.to_vec()));
            keys.extend(key.ok().filter(|key| key.iter().any(|byte| *byte != 0)));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, keys)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, keys)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_found_by_the_addresses_and_references_it_mentions_at_any_depth() {
        let a = Address::repeat_byte(1);
        let r = B256::repeat_byte(2);
        let args = json!({"id": r, "list": [a, a], "terms": {"seller": a, "amount": "5", "arbiter": Address::ZERO}});
        assert_eq!(keys(&args), [a.to_vec(), r.to_vec()]);
    }
}
