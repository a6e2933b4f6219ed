//! Treasuries as their own contracts tell them.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, U256};
use contracts::treasury::Treasury::{
    allowedFromCall, delaysCall, isGuardianCall, ownerEpochCall, ownersCall, pausedCall, policyOfCall, thresholdCall,
};
use serde::Deserialize;
use sqlx::{PgConnection, types::Json};

use super::{
    Error, Found, Head, Node,
    facts::{Fact, check},
};

/// Treasuries that are read at a time.
const TREASURIES_AT_ONCE: i64 = 40;

/// What views can tell of a treasury. Guardians and recipients that the contract has and the mirror has not are not seen: it lists neither.
#[derive(Debug, Deserialize)]
struct Treasury {
    owners: BTreeSet<Address>,
    threshold: u64,
    owner_epoch: u32,
    guardians: BTreeSet<Address>,
    change_delay: u32,
    recipient_cooldown: u32,
    paused: bool,
    policies: BTreeMap<Address, BTreeMap<Address, Policy>>,
}

#[derive(Debug, Deserialize)]
struct Policy {
    limits: Limits,
    epoch: u32,
    recipients: BTreeMap<Address, u64>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Limits {
    daily_limit: String,
    order_max: String,
    approval_above: String,
    only_allowed: bool,
}

/// Compares every treasury with what its contract answers at the mirrored block.
pub(super) async fn reconcile(conn: &mut PgConnection, node: &Node, head: &Head) -> Result<Found, Error> {
    let (mut found, mut after) = (Found::default(), Vec::new());
    loop {
        let page: Vec<(Vec<u8>, Json<Treasury>)> = sqlx::query_as(
            "SELECT key, state FROM chain.treasuries WHERE until_block IS NULL AND key > $1 ORDER BY key LIMIT $2",
        )
        .bind(&after)
        .bind(TREASURIES_AT_ONCE)
        .fetch_all(&mut *conn)
        .await?;
        let Some((last, _)) = page.last() else { return Ok(found) };
        after.clone_from(last);
        let facts: Vec<Fact> = page.into_iter().flat_map(|(key, Json(said))| said.facts(Address::from_slice(&key))).collect();
        check(node, head, &facts, &mut found).await?;
    }
}

impl Treasury {
    fn facts(self, treasury: Address) -> Vec<Fact> {
        let Self { owners, threshold, owner_epoch, guardians, change_delay, recipient_cooldown, paused, policies } = self;
        let mut facts = vec![
            Fact::new(treasury, format!("threshold {threshold}"), thresholdCall {}, move |actual| {
                actual == U256::from(threshold)
            }),
            Fact::new(treasury, format!("owner epoch {owner_epoch}"), ownerEpochCall {}, move |actual| actual == owner_epoch),
            Fact::new(treasury, format!("delays {change_delay} and {recipient_cooldown}"), delaysCall {}, move |actual| {
                (actual.changeDelay, actual.recipientCooldown) == (change_delay, recipient_cooldown)
            }),
            Fact::new(treasury, format!("paused {paused}"), pausedCall {}, move |actual| actual == paused),
            Fact::new(treasury, format!("owners {owners:?}"), ownersCall {}, move |actual| BTreeSet::from_iter(actual) == owners),
        ];
        facts.extend(guardians.into_iter().map(|account| {
            Fact::new(treasury, format!("guardian {account}"), isGuardianCall { account }, |is_guardian| is_guardian)
        }));
        let policies = policies
            .into_iter()
            .flat_map(|(spender, tokens)| tokens.into_iter().map(move |(token, policy)| (spender, token, policy)));
        for (spender, token, Policy { limits, epoch, recipients }) in policies {
            let what = format!("for {spender} and {token} {limits:?} of epoch {epoch}");
            facts.push(Fact::new(treasury, what, policyOfCall { spender, token }, move |actual| {
                let actual_limits = Limits {
                    daily_limit: actual.policy.dailyLimit.to_string(),
                    order_max: actual.policy.orderMax.to_string(),
                    approval_above: actual.policy.approvalAbove.to_string(),
                    only_allowed: actual.policy.onlyAllowed,
                };
                actual.active && actual.epoch == epoch && actual_limits == limits
            }));
            facts.extend(recipients.into_iter().map(|(recipient, from)| {
                let what = format!("{spender} may pay {recipient} in {token} from {from} on");
                Fact::new(treasury, what, allowedFromCall { spender, token, recipient }, move |actual| actual == from)
            }));
        }
        facts
    }
}
