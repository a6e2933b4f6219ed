use std::collections::BTreeSet;

use alloy::primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    number,
    objects::{At, Key, Object, read},
};
use crate::{block::Event, watch::Kind};

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
