//! How a log of our contracts reads.

use std::{collections::HashMap, sync::LazyLock};

use alloy::{
    dyn_abi::{DynSolValue, EventExt},
    json_abi::{Event, Param},
    primitives::{Address, B256, LogData, hex},
    sol_types::SolEvent,
};
use contracts::{Contract, agent_wallet_factory::AgentWalletFactory::WalletCreated};
use serde_json::{Map, Value};

use crate::{
    bindings::{self, ITreasuryFactory::TreasuryCreated},
    node::Log,
    watch::Kind,
};

const NUL_REPLACEMENT: &str = "\u{fffd}";

/// Known events by their first topic. Two contracts may index different arguments of one signature.
static EVENTS: LazyLock<HashMap<B256, Vec<Event>>> = LazyLock::new(|| {
    let mut events: HashMap<B256, Vec<Event>> = HashMap::new();
    for event in bindings::events() {
        let same = events.entry(event.selector()).or_default();
        if !same.contains(&event) {
            same.push(event);
        }
    }
    events
});

/// An event with its arguments.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) name: String,
    pub(crate) args: Value,
}

/// Reads a log of one of our contracts; none when it is of no known event.
pub(crate) fn event(log: &Log) -> Option<Decoded> {
    let known = contracts::Event::decode(&primitive(log)).filter(|event| event.contract() != Contract::Usdc);
    let Some(event) = known else { return declared(log) };
    Some(Decoded { name: event.name().to_owned(), args: storable(event.to_json()) })
}

fn primitive(log: &Log) -> alloy::primitives::Log {
    alloy::primitives::Log::new_unchecked(log.address, log.topics.clone(), log.data.clone())
}

/// Postgres cannot store U+0000, which anybody can put into a string argument.
fn storable(value: Value) -> Value {
    match value {
        Value::String(text) if text.contains('\0') => Value::String(text.replace('\0', NUL_REPLACEMENT)),
        Value::Array(items) => items.into_iter().map(storable).collect(),
        Value::Object(fields) => Value::Object(fields.into_iter().map(|(name, value)| (name, storable(value))).collect()),
        value => value,
    }
}

fn declared(log: &Log) -> Option<Decoded> {
    let candidates = EVENTS.get(log.topics.first()?)?;
    let data = LogData::new_unchecked(log.topics.clone(), log.data.clone());
    candidates.iter().find_map(|event| {
        let decoded = event.decode_log(&data).ok()?;
        let (mut indexed, mut body) = (decoded.indexed.into_iter(), decoded.body.into_iter());
        let mut args = Map::new();
        for input in &event.inputs {
            let value = if input.indexed { indexed.next()? } else { body.next()? };
            args.insert(input.name.clone(), json(value, &input.components));
        }
        Some(Decoded { name: event.name.clone(), args: storable(Value::Object(args)) })
    })
}

fn json(value: DynSolValue, components: &[Param]) -> Value {
    match value {
        DynSolValue::Bool(value) => Value::Bool(value),
        DynSolValue::Int(value, _) => Value::String(value.to_string()),
        DynSolValue::Uint(value, _) => Value::String(value.to_string()),
        DynSolValue::Address(value) => Value::String(value.to_checksum(None)),
        DynSolValue::FixedBytes(value, bytes) => Value::String(hex::encode_prefixed(&value[..bytes.min(32)])),
        DynSolValue::Bytes(value) => Value::String(hex::encode_prefixed(value)),
        DynSolValue::String(value) => Value::String(value),
        DynSolValue::Array(values) | DynSolValue::FixedArray(values) => {
            values.into_iter().map(|value| json(value, components)).collect()
        }
        DynSolValue::Tuple(values) => {
            let named = components.iter().zip(values).map(|(field, value)| (field.name.clone(), json(value, &field.components)));
            Value::Object(named.collect())
        }
        other => Value::String(format!("{other:?}")),
    }
}

/// The contract that a log of a factory announces.
pub(crate) fn child(log: &Log) -> Option<(Address, Kind)> {
    let wallet = read::<WalletCreated>(log).map(|created| (created.wallet, Kind::AgentWallet));
    wallet.or_else(|| read::<TreasuryCreated>(log).map(|created| (created.treasury, Kind::Treasury)))
}

/// Reads a log as one particular event.
pub(crate) fn read<E: SolEvent>(log: &Log) -> Option<E> {
    E::decode_raw_log(log.topics.iter().copied(), &log.data).ok()
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
    use alloy::primitives::aliases::U56;
    use serde_json::json;

    use super::*;
    use crate::bindings::ITreasury;

    #[test]
    fn an_event_is_found_by_the_addresses_and_references_it_mentions_at_any_depth() {
        let a = Address::repeat_byte(1);
        let r = B256::repeat_byte(2);
        let args = json!({"id": r, "list": [a, a], "terms": {"seller": a, "amount": "5", "arbiter": Address::ZERO}});
        assert_eq!(keys(&args), [a.to_vec(), r.to_vec()]);
    }

    #[test]
    fn structs_and_lists_in_an_event_read_by_name() {
        let policy =
            ITreasury::Policy { dailyLimit: U56::from(7), orderMax: U56::ZERO, approvalAbove: U56::ZERO, onlyAllowed: true };
        let event = ITreasury::PolicySet { spender: Address::ZERO, token: Address::ZERO, policy, epoch: 3, by: Address::ZERO };
        let data = event.encode_log_data();
        let log = Log { address: Address::ZERO, topics: data.topics().to_vec(), data: data.data.clone() };
        let decoded = super::event(&log).expect("it is known");
        assert_eq!(decoded.name, "PolicySet");
        assert_eq!(
            decoded.args["policy"],
            json!({"dailyLimit": "7", "orderMax": "0", "approvalAbove": "0", "onlyAllowed": true})
        );
        assert_eq!(decoded.args["epoch"], "3");
    }

    #[test]
    fn a_string_with_nul_does_not_stop_the_mirror() {
        assert_eq!(storable(json!({"uri": ["a\0b"]})), json!({"uri": ["a\u{fffd}b"]}));
    }
}
