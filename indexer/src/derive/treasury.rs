use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::Address;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    number,
    objects::{At, Key, Object, read},
    wallet::RECIPIENTS_MAX,
};
use crate::{block::Event, watch::Kind};

/// An organisation's treasury.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Treasury {
    owners: BTreeSet<Address>,
    threshold: u64,
    owner_epoch: u32,
    guardians: BTreeSet<Address>,
    /// Seconds.
    change_delay: u64,
    /// Seconds.
    recipient_cooldown: u64,
    paused: bool,
    /// By spender, then token. The zero address is the owners' own budget.
    policies: BTreeMap<Address, BTreeMap<Address, Policy>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Policy {
    limits: Value,
    epoch: u32,
    /// When each recipient can be paid, Unix seconds. Of many the first that were allowed; every version holds them all.
    recipients: BTreeMap<Address, u64>,
    /// Whether the contract has more of them, which only its events tell.
    #[serde(default)]
    more_recipients: bool,
}

#[derive(Deserialize)]
#[serde(tag = "name", content = "args", rename_all_fields = "camelCase")]
pub(super) enum Change {
    OwnerAdded {
        owner: Address,
    },
    OwnerRemoved {
        owner: Address,
    },
    ThresholdSet {
        #[serde(with = "number")]
        threshold: u64,
        #[serde(with = "number")]
        owner_epoch: u32,
    },
    GuardianSet {
        guardian: Address,
        active: bool,
    },
    DelaysSet {
        #[serde(with = "number")]
        change_delay: u64,
        #[serde(with = "number")]
        recipient_cooldown: u64,
    },
    Paused {},
    Unpaused {},
    PolicySet {
        spender: Address,
        token: Address,
        policy: Value,
        #[serde(with = "number")]
        epoch: u32,
    },
    PolicyRemoved {
        spender: Address,
        token: Address,
    },
    RecipientAllowed {
        spender: Address,
        token: Address,
        recipient: Address,
        #[serde(with = "number")]
        from: u64,
    },
    RecipientRemoved {
        spender: Address,
        token: Address,
        recipient: Address,
    },
}

impl Object for Treasury {
    const TABLE: &'static str = "treasuries";
    type Change = Change;

    fn change(event: &Event) -> Option<(Key, Change)> {
        (event.kind == Kind::Treasury).then_some(())?;
        Some((event.log.address.to_vec(), read(event)?))
    }

    fn apply(&mut self, change: Change, _: At) {
        match change {
            Change::OwnerAdded { owner } => {
                self.owners.insert(owner);
            }
            Change::OwnerRemoved { owner } => {
                self.owners.remove(&owner);
            }
            Change::ThresholdSet { threshold, owner_epoch } => {
                self.threshold = threshold;
                self.owner_epoch = owner_epoch;
            }
            Change::GuardianSet { guardian, active } => {
                if active {
                    self.guardians.insert(guardian)
                } else {
                    self.guardians.remove(&guardian)
                };
            }
            Change::DelaysSet { change_delay, recipient_cooldown } => {
                self.change_delay = change_delay;
                self.recipient_cooldown = recipient_cooldown;
            }
            Change::Paused {} => self.paused = true,
            Change::Unpaused {} => self.paused = false,
            Change::PolicySet { spender, token, policy, epoch } => {
                let entry = self.policy(spender, token);
                entry.limits = policy;
                entry.epoch = epoch;
            }
            Change::PolicyRemoved { spender, token } => self.remove_policy(spender, token),
            Change::RecipientAllowed { spender, token, recipient, from } => {
                let policy = self.policy(spender, token);
                if policy.recipients.len() < RECIPIENTS_MAX || policy.recipients.contains_key(&recipient) {
                    policy.recipients.insert(recipient, from);
                } else {
                    policy.more_recipients = true;
                }
            }
            Change::RecipientRemoved { spender, token, recipient } => {
                self.policy(spender, token).recipients.remove(&recipient);
            }
        }
    }
}

impl Treasury {
    fn policy(&mut self, spender: Address, token: Address) -> &mut Policy {
        self.policies.entry(spender).or_default().entry(token).or_default()
    }

    /// With it go the allowlist and the history.
    fn remove_policy(&mut self, spender: Address, token: Address) {
        let Some(tokens) = self.policies.get_mut(&spender) else { return };
        tokens.remove(&token);
        if tokens.is_empty() {
            self.policies.remove(&spender);
        }
    }
}
