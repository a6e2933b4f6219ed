//! How a log of our contracts reads.

use alloy::{
    primitives::{Address, B256},
    sol_types::SolEvent,
};
use contracts::{
    Contract, agent_wallet_factory::AgentWalletFactory::WalletCreated, treasury_factory::TreasuryFactory::TreasuryCreated,
};
use serde_json::Value;

use crate::{node::Log, watch::Kind};

const NUL_REPLACEMENT: &str = "\u{fffd}";

/// An event with its arguments.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) name: String,
    pub(crate) args: Value,
}

alloy::sol! {
    /// What the proxies say that settle x402 payments for Permit2.
    event Settled();
    event SettledWithPermit();
}

/// Reads a log that is kept.
pub(crate) fn stored(log: &Log, usdc: Address) -> Option<Decoded> {
    if log.address == usdc { usdc_event(log) } else { event(log) }
}

/// Reads a log of one of our contracts, or of a proxy of x402; none when it is of no known event.
pub(crate) fn event(log: &Log) -> Option<Decoded> {
    let settled = || {
        let name = match *log.topics.first()? {
            Settled::SIGNATURE_HASH => "Settled",
            SettledWithPermit::SIGNATURE_HASH => "SettledWithPermit",
            _ => return None,
        };
        Some(Decoded { name: name.to_owned(), args: Value::Object(Default::default()) })
    };
    decoded(log, |contract| contract != Contract::Usdc).or_else(settled)
}

/// Reads a log of USDC.
pub(crate) fn usdc_event(log: &Log) -> Option<Decoded> {
    decoded(log, |contract| contract == Contract::Usdc)
}

fn decoded(log: &Log, of: impl Fn(Contract) -> bool) -> Option<Decoded> {
    let event = contracts::Event::decode(&primitive(log)).filter(|event| of(event.contract()))?;
    Some(Decoded { name: event.name().to_owned(), args: storable(event.to_json()) })
}

fn primitive(log: &Log) -> alloy::primitives::Log {
    alloy::primitives::Log::new_unchecked(log.address, log.topics.to_vec(), log.data.clone())
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
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_found_by_the_addresses_and_references_it_mentions_at_any_depth() {
        let a = Address::repeat_byte(1);
        let r = B256::repeat_byte(2);
        let args = json!({"id": r, "list": [a, a], "terms": {"seller": a, "amount": "5", "arbiter": Address::ZERO}});
        assert_eq!(keys(&args), [a.to_vec(), r.to_vec()]);
    }

    #[test]
    fn a_string_with_nul_does_not_stop_the_mirror() {
        assert_eq!(storable(json!({"uri": ["a\0b"]})), json!({"uri": ["a\u{fffd}b"]}));
    }
}
