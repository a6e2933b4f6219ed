//! Payments that wait together go out together: one call of the PaymentRouter's `settleBatch`.
//!
//! Only plain EIP-3009 calls of one token by payers without code: nothing in the batch can use more gas than the token itself does. The router
//! submits each to the token; one that the token refuses stops no other.

use std::collections::HashMap;

use alloy::{
    primitives::{Address, U256},
    sol,
    sol_types::SolCall,
};

use crate::{
    settlement::{Call, Settlement},
    token::IByKey,
};

/// Payments in one transaction: the router takes 256, and a transaction's gas must stay below the 2^24 of EIP-7825 with payees who never
/// held the token.
const PAYMENTS_MAX: usize = 200;
/// More than one payment uses in Circle's token: 47,000 when each has a payer of its own, 40,300 when all have the same.
const PAYMENT_GAS: u64 = 52_000;
/// And once more for every payee, who may hold nothing yet.
const PAYEE_GAS: u64 = 22_000;
/// The transaction, and what the router insists on having before the last payment (`SETTLEMENT_GAS`), most of which is left over.
const BASE_GAS: u64 = 360_000;

/// A token that needs more than this for a payment alone is not like Circle's: its payments go alone.
const ALONE_GAS_MAX: u64 = 125_000;

sol! {
    interface IRouter {
        function settleBatch(bytes packed) external returns (uint256 settled);
    }
}

/// A transaction to be made: one call for all of these.
pub(crate) struct Group {
    pub(crate) call: Call,
    pub(crate) settlements: Vec<Settlement>,
}

/// Puts together what may be; everything else, and what would be alone, goes by its own call.
pub(crate) fn group(settlements: Vec<Settlement>, router: Option<Address>) -> Vec<Group> {
    let alone = |settlement: Settlement| Group { call: settlement.call.clone(), settlements: vec![settlement] };
    let Some(router) = router else { return settlements.into_iter().map(alone).collect() };
    let mut groups = Vec::new();
    let mut by_token: HashMap<Address, Vec<(Settlement, Packed)>> = HashMap::new();
    for settlement in settlements {
        match Packed::of(&settlement) {
            Some(packed) => by_token.entry(settlement.key.token).or_default().push((settlement, packed)),
            None => groups.push(alone(settlement)),
        }
    }
    for (token, mut waiting) in by_token {
        while !waiting.is_empty() {
            let rest = waiting.split_off(waiting.len().min(PAYMENTS_MAX));
            let (mut settlements, packed): (Vec<_>, Vec<_>) = std::mem::replace(&mut waiting, rest).into_iter().unzip();
            match settlements.pop() {
                Some(one) if settlements.is_empty() => groups.push(alone(one)),
                last => {
                    settlements.extend(last);
                    groups.push(Group { call: call(router, token, &packed), settlements });
                }
            }
        }
    }
    groups
}

/// A payment as the router reads it.
struct Packed {
    from: Address,
    to: Address,
    /// Value, times, nonce, compact signature.
    rest: Vec<u8>,
}

impl Packed {
    /// `None` for what must go alone.
    fn of(settlement: &Settlement) -> Option<Self> {
        let Call { to, gas, .. } = settlement.call;
        if !settlement.batchable || to != settlement.key.token || gas > ALONE_GAS_MAX {
            return None;
        }
        let call = IByKey::transferWithAuthorizationCall::abi_decode_validate(&settlement.call.input).ok()?;
        // EIP-2098: the parity of the signature's point is the highest bit of `s`, which is free in the half that tokens accept.
        let parity = U256::from(call.v.checked_sub(27).filter(|parity| *parity <= 1)?);
        let s = U256::from_be_bytes(call.s.0);
        if s.bit(255) {
            return None;
        }
        let mut rest = Vec::with_capacity(116);
        rest.extend_from_slice(&u64::try_from(call.value).ok()?.to_be_bytes());
        for time in [call.validAfter, call.validBefore] {
            let time = u64::try_from(time).ok().filter(|time| *time < 1 << 40)?;
            rest.extend_from_slice(&time.to_be_bytes()[3..]);
        }
        rest.extend_from_slice(call.nonce.as_slice());
        rest.extend_from_slice(&[0, 0]);
        rest.extend_from_slice(call.r.as_slice());
        let s: U256 = s | (parity << 255);
        rest.extend_from_slice(&s.to_be_bytes::<32>());
        Some(Self { from: call.from, to: call.to, rest })
    }
}

/// See `IPaymentRouter.settleBatch` for the layout.
fn call(router: Address, token: Address, payments: &[Packed]) -> Call {
    let (mut payers, mut payees) = (Table::default(), Table::default());
    let mut tail = Vec::new();
    for payment in payments {
        tail.extend([payers.index(payment.from), payees.index(payment.to)]);
        tail.extend_from_slice(&payment.rest);
    }
    let mut packed = token.to_vec();
    for table in [&payers, &payees] {
        packed.push((table.addresses.len() - 1) as u8);
        table.addresses.iter().for_each(|address| packed.extend_from_slice(address.as_slice()));
    }
    packed.extend(tail);
    let gas = BASE_GAS + PAYMENT_GAS * payments.len() as u64 + PAYEE_GAS * payees.addresses.len() as u64;
    Call::new(router, IRouter::settleBatchCall { packed: packed.into() }.abi_encode(), gas)
}

/// Addresses by the order in which they came; never more than [`PAYMENTS_MAX`].
#[derive(Default)]
struct Table {
    addresses: Vec<Address>,
    indices: HashMap<Address, u8>,
}

impl Table {
    fn index(&mut self, address: Address) -> u8 {
        *self.indices.entry(address).or_insert_with(|| {
            self.addresses.push(address);
            (self.addresses.len() - 1) as u8
        })
    }
}
