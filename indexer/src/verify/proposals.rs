//! Orders and changes as their treasuries tell them.

use std::collections::BTreeSet;

use alloy::primitives::{Address, B256, U256};
use contracts::treasury::Treasury::{isApprovedCall, isNonceUsedCall, readyAtCall};
use serde::Deserialize;
use serde_json::Value;
use sqlx::{PgConnection, types::Json};

use super::{
    CALLS_AT_ONCE, Error, Found, Head, Node,
    facts::{Fact, check},
};

/// What views can tell of a proposal.
#[derive(Deserialize)]
struct Proposal {
    treasury: Address,
    status: String,
    spender: Option<Address>,
    content: Option<Value>,
    ready_at: Option<u64>,
    approvals: BTreeSet<Address>,
}

/// Compares every proposal with what its treasury answers at the mirrored block.
pub(super) async fn reconcile(conn: &mut PgConnection, node: &Node, head: &Head) -> Result<Found, Error> {
    let (mut found, mut after) = (Found::default(), Vec::new());
    loop {
        let page: Vec<(Vec<u8>, Json<Proposal>)> =
            sqlx::query_as("SELECT key, state FROM chain.proposals WHERE until_block IS NULL AND key > $1 ORDER BY key LIMIT $2")
                .bind(&after)
                .bind(CALLS_AT_ONCE)
                .fetch_all(&mut *conn)
                .await?;
        let Some((last, _)) = page.last() else { return Ok(found) };
        after.clone_from(last);
        let facts = page.into_iter().flat_map(|(key, Json(said))| said.facts(B256::from_slice(crate::read::id(&key))));
        check(node, head, &facts.collect::<Vec<_>>(), &mut found).await?;
    }
}

impl Proposal {
    fn facts(self, id: B256) -> Vec<Fact> {
        let Self { treasury, status, spender, content, ready_at, approvals } = self;
        let mut facts = Vec::new();
        facts.extend(approvals.into_iter().map(|owner| {
            Fact::new(treasury, format!("{owner} approved {id}"), isApprovedCall { id, owner }, |is_approved| is_approved)
        }));
        let nonce = content.as_ref().and_then(|content| content["nonce"].as_str()?.parse::<U256>().ok());
        // An order that its spender executed without asking names no nonce here.
        if let (Some(spender), Some(nonce), None) = (spender, nonce, ready_at) {
            let waits = status == "proposed";
            let what = format!("order {id} with the nonce {nonce} is {status}");
            facts.push(Fact::new(treasury, what, isNonceUsedCall { spender, nonce }, move |is_used| is_used != waits));
        }
        if let Some(ready_at) = ready_at {
            let waits = status == "scheduled";
            let what = format!("change {id}, ready at {ready_at}, is {status}");
            facts.push(Fact::new(treasury, what, readyAtCall { id }, move |actual| (actual == ready_at) == waits));
        }
        facts
    }
}
