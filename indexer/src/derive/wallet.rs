use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    number,
    objects::{At, Key, Object, read},
};
use crate::{block::Event, watch::Kind};

/// Recipients of one operator, or of one budget of a treasury, that a state lists.
pub(super) const RECIPIENTS_MAX: usize = 1_000;

/// An agent's wallet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wallet {
    owner: Address,
    pending_owner: Option<Address>,
    guardian: Option<Address>,
    recovery: Option<Recovery>,
    approvers: Vec<Address>,
    approvals_required: u8,
    approval_epoch: u32,
    operators: BTreeMap<Address, Operator>,
}

/// A guardian's replacement of a lost owner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Recovery {
    new_owner: Address,
    /// Unix seconds.
    ready_at: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Operator {
    lane: u32,
    epoch: u32,
    frozen: bool,
    /// Payments before it are of an earlier registration.
    since_block: u64,
    /// By token.
    policies: BTreeMap<Address, Value>,
    /// Of many the first that were allowed; every version holds them all.
    recipients: BTreeSet<Address>,
    /// Whether the contract has more of them, which only its events tell.
    #[serde(default)]
    more_recipients: bool,
    /// By the token's domain separator.
    lanes: BTreeMap<B256, Value>,
}

#[derive(Deserialize)]
#[serde(tag = "name", content = "args", rename_all_fields = "camelCase")]
pub(super) enum Change {
    WalletInitialized {
        owner: Address,
        guardian: Address,
    },
    OwnershipTransferStarted {
        new_owner: Address,
    },
    OwnershipTransferred {
        new_owner: Address,
    },
    GuardianChanged {
        new_guardian: Address,
    },
    RecoveryStarted {
        new_owner: Address,
        #[serde(with = "number")]
        ready_at: u64,
    },
    RecoveryCancelled {},
    ApproversChanged {
        #[serde(with = "number")]
        approval_epoch: u32,
        approvers: Vec<Address>,
        #[serde(with = "number")]
        approvals_required: u8,
    },
    OperatorAdded {
        operator: Address,
        #[serde(with = "number")]
        lane: u32,
        #[serde(with = "number")]
        epoch: u32,
    },
    OperatorRemoved {
        operator: Address,
    },
    OperatorFrozen {
        operator: Address,
    },
    OperatorUnfrozen {
        operator: Address,
    },
    EpochChanged {
        operator: Address,
        #[serde(with = "number")]
        epoch: u32,
    },
    PolicyChanged {
        operator: Address,
        token: Address,
        policy: Value,
    },
    RecipientChanged {
        operator: Address,
        recipient: Address,
        allowed: bool,
    },
    LaneOpened {
        operator: Address,
        domain_separator: B256,
        lane: Value,
    },
    LaneClosed {
        operator: Address,
        domain_separator: B256,
    },
}

impl Object for Wallet {
    const TABLE: &'static str = "wallets";
    type Change = Change;

    fn change(event: &Event) -> Option<(Key, Change)> {
        (event.kind == Kind::AgentWallet).then_some(())?;
        Some((event.log.address.to_vec(), read(event)?))
    }

    fn apply(&mut self, change: Change, at: At) {
        match change {
            Change::WalletInitialized { owner, guardian } => {
                self.owner = owner;
                self.guardian = some(guardian);
            }
            Change::OwnershipTransferStarted { new_owner } => self.pending_owner = some(new_owner),
            Change::OwnershipTransferred { new_owner } => {
                self.owner = new_owner;
                self.pending_owner = None;
                self.recovery = None;
                // What was approved for the previous owner is not approved for this one.
                self.approval_epoch = self.approval_epoch.saturating_add(1);
            }
            Change::GuardianChanged { new_guardian } => self.guardian = some(new_guardian),
            Change::RecoveryStarted { new_owner, ready_at } => self.recovery = Some(Recovery { new_owner, ready_at }),
            Change::RecoveryCancelled {} => self.recovery = None,
            Change::ApproversChanged { approval_epoch, approvers, approvals_required } => {
                self.approval_epoch = approval_epoch;
                self.approvers = approvers;
                self.approvals_required = approvals_required;
            }
            Change::OperatorRemoved { operator } => {
                self.operators.remove(&operator);
            }
            change => self.apply_to_operator(change, at),
        }
    }
}

impl Wallet {
    fn apply_to_operator(&mut self, change: Change, at: At) {
        match change {
            // Adding again starts from nothing.
            Change::OperatorAdded { operator, lane, epoch } => {
                self.operators.insert(operator, Operator { lane, epoch, since_block: at.block, ..Default::default() });
            }
            Change::OperatorFrozen { operator } => self.operator(operator, |state| state.frozen = true),
            Change::OperatorUnfrozen { operator } => self.operator(operator, |state| state.frozen = false),
            Change::EpochChanged { operator, epoch } => self.operator(operator, |state| state.epoch = epoch),
            Change::PolicyChanged { operator, token, policy } => {
                self.operator(operator, |state| {
                    state.policies.insert(token, policy);
                });
            }
            Change::RecipientChanged { operator, recipient, allowed: true } => {
                self.operator(operator, |state| {
                    if state.recipients.len() < RECIPIENTS_MAX {
                        state.recipients.insert(recipient);
                    } else if !state.recipients.contains(&recipient) {
                        state.more_recipients = true;
                    }
                });
            }
            Change::RecipientChanged { operator, recipient, allowed: false } => {
                self.operator(operator, |state| {
                    state.recipients.remove(&recipient);
                });
            }
            Change::LaneOpened { operator, domain_separator, lane } => {
                self.operator(operator, |state| {
                    state.lanes.insert(domain_separator, lane);
                });
            }
            Change::LaneClosed { operator, domain_separator } => {
                self.operator(operator, |state| {
                    state.lanes.remove(&domain_separator);
                });
            }
            _ => {}
        }
    }

    /// Nothing is left to change of an operator that was removed.
    fn operator(&mut self, operator: Address, change: impl FnOnce(&mut Operator)) {
        if let Some(state) = self.operators.get_mut(&operator) {
            change(state);
        }
    }
}

/// The zero address stands for nobody.
pub(super) fn some(address: Address) -> Option<Address> {
    Some(address).filter(|address| !address.is_zero())
}
