//! Wallets as their own contracts tell them.

use std::collections::BTreeMap;

use alloy::{primitives::Address, sol_types::SolCall};
use contracts::agent_wallet::AgentWallet::{
    approvalRuleCall, guardianCall, operatorOfCall, operatorsCall, ownerCall, pendingOwnerCall,
};
use serde::Deserialize;
use sqlx::{PgConnection, types::Json};

use super::{At, Difference, Error, Head, Node, ask};

/// Wallets that are compared at a time: five calls each, and one for every operator.
const WALLETS_AT_ONCE: i64 = 40;

/// What views can tell of a wallet. Policies follow from events only, and are compared by what remains of them.
#[derive(Debug, Default, PartialEq, Deserialize)]
struct Wallet {
    owner: Address,
    pending_owner: Option<Address>,
    guardian: Option<Address>,
    approvals_required: u8,
    approval_epoch: u32,
    operators: BTreeMap<Address, Operator>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
struct Operator {
    lane: u32,
    epoch: u32,
    frozen: bool,
}

/// Compares every wallet with what its contract answers at the mirrored block.
pub(super) async fn reconcile(conn: &mut PgConnection, node: &Node, head: &Head) -> Result<Vec<Difference>, Error> {
    let (mut found, mut after) = (Vec::new(), Vec::new());
    loop {
        let page: Vec<(Vec<u8>, Json<Wallet>)> =
            sqlx::query_as("SELECT key, state FROM chain.wallets WHERE until_block IS NULL AND key > $1 ORDER BY key LIMIT $2")
                .bind(&after)
                .bind(WALLETS_AT_ONCE)
                .fetch_all(&mut *conn)
                .await?;
        let Some((last, _)) = page.last() else { return Ok(found) };
        after.clone_from(last);
        let addresses: Vec<Address> = page.iter().map(|(key, _)| Address::from_slice(key)).collect();
        let actual = read(node, At::Hash(head.hash), &addresses).await?;
        for ((address, (_, Json(mirrored))), actual) in addresses.iter().zip(page).zip(actual) {
            if actual.as_ref() != Some(&mirrored) {
                let what = format!("wallet {address}: the mirror says {mirrored:?}, the chain {actual:?}");
                found.push(Difference { block: head.number, what });
            }
        }
    }
}

/// The wallets; none where a view does not answer.
async fn read(node: &Node, at: At, addresses: &[Address]) -> Result<Vec<Option<Wallet>>, Error> {
    let calls = addresses.iter().flat_map(|wallet| {
        let views = [
            ownerCall {}.abi_encode(),
            pendingOwnerCall {}.abi_encode(),
            guardianCall {}.abi_encode(),
            approvalRuleCall {}.abi_encode(),
        ];
        views.into_iter().chain([operatorsCall {}.abi_encode()]).map(|view| (*wallet, view))
    });
    let answers = ask(node, at, calls.collect()).await?;
    let mut wallets: Vec<Option<Wallet>> = answers
        .chunks(5)
        .map(|answers| {
            let rule = approvalRuleCall::abi_decode_returns(&answers[3]).ok()?;
            let operators = operatorsCall::abi_decode_returns(&answers[4]).ok()?;
            Some(Wallet {
                owner: ownerCall::abi_decode_returns(&answers[0]).ok()?,
                pending_owner: somebody(pendingOwnerCall::abi_decode_returns(&answers[1]).ok()?),
                guardian: somebody(guardianCall::abi_decode_returns(&answers[2]).ok()?),
                approvals_required: rule.approvalsRequired,
                approval_epoch: rule.approvalEpoch,
                operators: operators.into_iter().map(|operator| (operator, Operator::default())).collect(),
            })
        })
        .collect();
    let mut operators: Vec<(Address, Address, &mut Operator)> = Vec::new();
    for (wallet, state) in addresses.iter().zip(&mut wallets) {
        operators
            .extend(state.iter_mut().flat_map(|state| &mut state.operators).map(|(key, operator)| (*wallet, *key, operator)));
    }
    let calls = operators.iter().map(|(wallet, account, _)| (*wallet, operatorOfCall { account: *account }.abi_encode()));
    let answers = ask(node, at, calls.collect()).await?;
    for ((.., operator), answer) in operators.into_iter().zip(answers) {
        if let Ok(actual) = operatorOfCall::abi_decode_returns(&answer) {
            *operator = Operator { lane: actual.lane, epoch: actual.epoch, frozen: actual.frozen };
        }
    }
    Ok(wallets)
}

/// The zero address stands for nobody.
fn somebody(address: Address) -> Option<Address> {
    Some(address).filter(|address| !address.is_zero())
}
