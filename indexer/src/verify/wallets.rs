//! Wallets as their own contracts tell them.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, B256, U256};
use contracts::agent_wallet::AgentWallet::{
    approvalRuleCall, guardianCall, isApproverCall, isRecipientCall, laneOfCall, operatorOfCall, operatorsCall, ownerCall,
    pendingOwnerCall, policyOfCall, recoveryCall, remainingCall,
};
use serde::Deserialize;
use sqlx::PgConnection;

use super::{
    Error, Found, Head, Node,
    facts::{Fact, check},
};
use crate::read::{self, Limit, Named, WalletFilter};

/// Wallets that are read at a time.
const WALLETS_AT_ONCE: u32 = 40;

/// What views can tell of a wallet. Approvers and recipients that the contract has and the mirror has not are not seen: it lists neither.
#[derive(Debug, Deserialize)]
struct Wallet {
    owner: Address,
    pending_owner: Option<Address>,
    guardian: Option<Address>,
    recovery: Option<Recovery>,
    approvers: Vec<Address>,
    approvals_required: u8,
    approval_epoch: u32,
    operators: BTreeMap<Address, Operator>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
struct Recovery {
    new_owner: Address,
    ready_at: u64,
}

#[derive(Debug, Deserialize)]
struct Operator {
    lane: u32,
    epoch: u32,
    frozen: bool,
    policies: BTreeMap<Address, Policy>,
    recipients: BTreeSet<Address>,
    lanes: BTreeMap<B256, Lane>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Policy {
    payment_max: String,
    daily_limit: String,
    approval_above: String,
    expires_at: String,
    only_allowed: bool,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lane {
    token: Address,
    payment_max: String,
    payments_per_period: String,
    period_seconds: String,
    expires_at: String,
    only_allowed: bool,
}

/// Compares every wallet, and what remains of its limits, with what its contract answers at the mirrored block.
pub(super) async fn reconcile(conn: &mut PgConnection, node: &Node, head: &Head) -> Result<Found, Error> {
    let (mut found, mut after) = (Found::default(), None);
    loop {
        let filter = WalletFilter { after, limit: WALLETS_AT_ONCE, ..Default::default() };
        let page = read::wallets(conn, &filter).await?.rows;
        let Some(last) = page.last() else { return Ok(found) };
        after = Some(Address::from_slice(&last.key));
        let mut facts = Vec::new();
        for Named { key, state } in page {
            let wallet = Address::from_slice(&key);
            let limits = read::limits(conn, wallet, &state, head.timestamp).await?;
            match serde_json::from_value::<Wallet>(state.state) {
                Ok(said) => facts.extend(said.facts(wallet, limits)),
                Err(error) => found.add(head, || format!("{wallet}: what the mirror says is no wallet: {error}")),
            }
        }
        check(node, head, &facts, &mut found).await?;
    }
}

impl Wallet {
    fn facts(self, wallet: Address, limits: Vec<Limit>) -> Vec<Fact> {
        let Self { owner, pending_owner, guardian, recovery, approvers, approvals_required, approval_epoch, operators } = self;
        let known: BTreeSet<Address> = operators.keys().copied().collect();
        let mut facts = vec![
            Fact::new(wallet, format!("owner {owner}"), ownerCall {}, move |actual| actual == owner),
            Fact::new(wallet, format!("pending owner {pending_owner:?}"), pendingOwnerCall {}, move |actual| {
                somebody(actual) == pending_owner
            }),
            Fact::new(wallet, format!("guardian {guardian:?}"), guardianCall {}, move |actual| somebody(actual) == guardian),
            Fact::new(wallet, format!("{recovery:?}"), recoveryCall {}, move |actual| {
                let actual = Recovery { new_owner: actual.newOwner, ready_at: actual.readyAt.to::<u64>() };
                actual == recovery.unwrap_or_default()
            }),
            Fact::new(
                wallet,
                format!("{approvals_required} approvals of epoch {approval_epoch}"),
                approvalRuleCall {},
                move |actual| (actual.approvalsRequired, actual.approvalEpoch) == (approvals_required, approval_epoch),
            ),
            Fact::new(wallet, format!("operators {known:?}"), operatorsCall {}, move |actual| {
                BTreeSet::from_iter(actual) == known
            }),
        ];
        facts.extend(approvers.into_iter().map(|account| {
            Fact::new(wallet, format!("approver {account}"), isApproverCall { account }, |is_approver| is_approver)
        }));
        facts.extend(operators.into_iter().flat_map(|(account, operator)| operator.facts(wallet, account)));
        facts.extend(limits.into_iter().map(|Limit { operator, token, remaining, .. }| {
            let what = format!("{operator} may still pay {remaining} of {token}");
            Fact::new(wallet, what, remainingCall { operator, token }, move |actual| actual == U256::from(remaining))
        }));
        facts
    }
}

impl Operator {
    fn facts(self, wallet: Address, account: Address) -> Vec<Fact> {
        let Self { lane, epoch, frozen, policies, recipients, lanes } = self;
        let what = format!("operator {account} of lane {lane}, epoch {epoch}, frozen {frozen}");
        let mut facts = vec![Fact::new(wallet, what, operatorOfCall { account }, move |actual| {
            (actual.lane, actual.epoch, actual.frozen) == (lane, epoch, frozen)
        })];
        facts.extend(policies.into_iter().map(|(token, policy)| {
            let what = format!("for {account} and {token} {policy:?}");
            Fact::new(wallet, what, policyOfCall { operator: account, token }, move |actual| {
                policy
                    == Policy {
                        payment_max: actual.paymentMax.to_string(),
                        daily_limit: actual.dailyLimit.to_string(),
                        approval_above: actual.approvalAbove.to_string(),
                        expires_at: actual.expiresAt.to_string(),
                        only_allowed: actual.onlyAllowed,
                    }
            })
        }));
        facts.extend(recipients.into_iter().map(|recipient| {
            let what = format!("{account} may pay {recipient}");
            Fact::new(wallet, what, isRecipientCall { operator: account, recipient }, |is_recipient| is_recipient)
        }));
        facts.extend(lanes.into_values().map(|lane| {
            let what = format!("for {account} {lane:?}");
            Fact::new(wallet, what, laneOfCall { operator: account }, move |actual| {
                lane == Lane {
                    token: actual.token,
                    payment_max: actual.paymentMax.to_string(),
                    payments_per_period: actual.paymentsPerPeriod.to_string(),
                    period_seconds: actual.periodSeconds.to_string(),
                    expires_at: actual.expiresAt.to_string(),
                    only_allowed: actual.onlyAllowed,
                }
            })
        }));
        facts
    }
}

/// The zero address stands for nobody.
fn somebody(address: Address) -> Option<Address> {
    Some(address).filter(|address| !address.is_zero())
}
