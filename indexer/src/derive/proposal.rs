use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::{
    number,
    objects::{self, At, Key, Object, read},
};
use crate::{
    block::{Block, Event},
    watch::Kind,
};

/// An order or a change of a treasury, by its EIP-712 digest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Proposal {
    treasury: Address,
    status: Status,
    /// `order` or `change`; none while only approvals of the id are known.
    kind: Option<Kinds>,
    proposer: Option<Address>,
    spender: Option<Address>,
    /// The order or change as it was proposed.
    content: Option<Value>,
    /// When a change can execute, Unix seconds.
    ready_at: Option<u64>,
    /// Owners who approved by transaction.
    approvals: BTreeSet<Address>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kinds {
    Order,
    Change,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    #[default]
    Proposed,
    Scheduled,
    Executed,
    Cancelled,
    /// An order whose nonce another one used, or which was taken back by its nonce.
    Void,
}

#[derive(Deserialize)]
#[serde(tag = "name", content = "args", rename_all_fields = "camelCase")]
pub(super) enum Change {
    OrderProposed {
        id: B256,
        spender: Address,
        proposer: Address,
        order: Value,
    },
    OrderExecuted {
        id: B256,
        spender: Address,
        to: Address,
        token: Address,
        amount: Value,
        payment_ref: B256,
        category: B256,
    },
    /// Not of the order, but of its nonce.
    #[serde(skip)]
    NonceUsed {
        id: B256,
    },
    Approved {
        id: B256,
        owner: Address,
    },
    ApprovalWithdrawn {
        id: B256,
        owner: Address,
    },
    #[serde(rename = "ChangeScheduled")]
    Scheduled {
        id: B256,
        #[serde(with = "number")]
        ready_at: u64,
        change: Value,
    },
    #[serde(rename = "ChangeExecuted")]
    Executed {
        id: B256,
    },
    #[serde(rename = "ChangeCancelled")]
    Cancelled {
        id: B256,
    },
}

impl Change {
    const fn id(&self) -> B256 {
        match self {
            Self::OrderProposed { id, .. }
            | Self::OrderExecuted { id, .. }
            | Self::Approved { id, .. }
            | Self::ApprovalWithdrawn { id, .. }
            | Self::Scheduled { id, .. }
            | Self::Executed { id }
            | Self::NonceUsed { id }
            | Self::Cancelled { id } => *id,
        }
    }
}

impl Object for Proposal {
    const TABLE: &'static str = "proposals";
    type Change = Change;

    fn change(event: &Event) -> Option<(Key, Change)> {
        (event.kind == Kind::Treasury).then_some(())?;
        let change: Change = read(event)?;
        // Two treasuries may be asked to approve one id; only for one of them it means something.
        Some(([event.log.address.as_slice(), change.id().as_slice()].concat(), change))
    }

    /// Anybody may withdraw an approval that was never given, of an id that nobody asked about.
    fn begins(change: &Change) -> bool {
        !matches!(change, Change::ApprovalWithdrawn { .. } | Change::NonceUsed { .. })
    }

    fn apply(&mut self, change: Change, at: At) {
        self.treasury = at.contract;
        match change {
            Change::OrderProposed { spender, proposer, order, .. } => {
                self.kind = Some(Kinds::Order);
                self.spender = Some(spender);
                self.proposer = Some(proposer);
                self.content = Some(order);
            }
            Change::OrderExecuted { spender, to, token, amount, payment_ref, category, .. } => {
                // Within the tier an order is executed without having been proposed: then its content is the sum of these events, one for
                // each payment. A proposed order has all of it already, and its details besides.
                let content = self.content.get_or_insert_with(|| json!({"token": token, "category": category, "payments": []}));
                if content.get("details").is_none()
                    && let Some(payments) = content["payments"].as_array_mut()
                {
                    payments.push(json!({"to": to, "amount": amount, "paymentRef": payment_ref}));
                }
                self.kind = Some(Kinds::Order);
                self.spender = Some(spender);
                self.status = Status::Executed;
            }
            Change::NonceUsed { .. } if self.status == Status::Proposed => self.status = Status::Void,
            Change::NonceUsed { .. } => {}
            Change::Approved { owner, .. } => {
                self.approvals.insert(owner);
            }
            Change::ApprovalWithdrawn { owner, .. } => {
                self.approvals.remove(&owner);
            }
            Change::Scheduled { ready_at, change, .. } => {
                self.kind = Some(Kinds::Change);
                self.status = Status::Scheduled;
                self.ready_at = Some(ready_at);
                self.content = Some(change);
            }
            Change::Executed { .. } => self.status = Status::Executed,
            Change::Cancelled { .. } => self.status = Status::Cancelled,
        }
    }
}

/// A nonce of a spender of a treasury, as events write them.
type Nonce = (Address, Address, String);

/// What uses a nonce up, besides executing the order that is named.
#[derive(Deserialize)]
struct NonceCancelled {
    spender: Address,
    nonce: Value,
}

/// Follows the events of blocks. One that uses a nonce ends every other order that waits with it.
pub(super) async fn apply(conn: &mut PgConnection, blocks: &[Block]) -> Result<(), sqlx::Error> {
    let events = || blocks.iter().flat_map(|block| block.events.iter().map(move |event| (block, event)));
    let nonces: Vec<Nonce> = events().filter_map(|(_, event)| used(event)).collect();
    let mut waiting = if nonces.is_empty() { BTreeMap::new() } else { waiting(conn, &nonces).await? };
    let mut changes = Vec::new();
    for (block, event) in events() {
        let at = At { block: block.number, time: block.timestamp, contract: event.log.address };
        let change = Proposal::change(event);
        if let Some((key, Change::OrderProposed { spender, order, .. })) = &change {
            waiting.entry((at.contract, *spender, text(&order["nonce"]))).or_default().push(key.clone());
        }
        let named = change.as_ref().map(|(key, _)| key.clone());
        changes.extend(change.map(|(key, change)| (key, at, change)));
        for key in used(event).and_then(|nonce| waiting.remove(&nonce)).unwrap_or_default() {
            if named.as_ref() != Some(&key) {
                let id = B256::from_slice(&key[Address::ZERO.len()..]);
                changes.push((key, at, Change::NonceUsed { id }));
            }
        }
    }
    objects::fold::<Proposal>(conn, changes).await
}

fn used(event: &Event) -> Option<Nonce> {
    let decoded = event.decoded.as_ref().filter(|_| event.kind == Kind::Treasury)?;
    if !["OrderExecuted", "NonceCancelled"].contains(&decoded.name.as_str()) {
        return None;
    }
    let NonceCancelled { spender, nonce } = serde_json::from_value(decoded.args.clone()).ok()?;
    Some((event.log.address, spender, text(&nonce)))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Treasury, spender, nonce and the key of the order.
type Waiting = (Vec<u8>, Vec<u8>, String, Key);

/// The orders that wait with these nonces.
async fn waiting(conn: &mut PgConnection, nonces: &[Nonce]) -> Result<BTreeMap<Nonce, Vec<Key>>, sqlx::Error> {
    let (mut treasuries, mut spenders, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    for (treasury, spender, nonce) in nonces {
        treasuries.push(treasury.to_vec());
        spenders.push(spender.to_vec());
        numbers.push(nonce.as_str());
    }
    let found: Vec<Waiting> = sqlx::query_as(
        "SELECT DISTINCT p.treasury, n.spender, n.nonce, p.key FROM unnest($1::bytea[], $2::bytea[], $3::text[]) AS n (treasury, spender, nonce)
         JOIN chain.proposals AS p ON p.treasury = n.treasury AND chain.state_bytes(p.state, 'spender') = n.spender
          AND p.state -> 'content' ->> 'nonce' = n.nonce AND p.status = 'proposed' AND p.until_block IS NULL
         ORDER BY p.key",
    )
    .bind(treasuries)
    .bind(spenders)
    .bind(numbers)
    .fetch_all(conn)
    .await?;
    let mut waiting: BTreeMap<Nonce, Vec<Key>> = BTreeMap::new();
    for (treasury, spender, nonce, key) in found {
        waiting.entry((Address::from_slice(&treasury), Address::from_slice(&spender), nonce)).or_default().push(key);
    }
    Ok(waiting)
}
