use alloy::primitives::{Address, B256};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Operation, problem::Problem, snapshot::Snapshot};
use crate::{
    read::{self, Authorization},
    schema,
};

pub(super) fn operations() -> Vec<Operation> {
    let summary = "What became of an EIP-3009 authorization of USDC: unused, used or canceled";
    vec![Operation::new("/accounts/{address}/authorizations/{nonce}", "authorization", summary, show)]
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Which {
    /// Who signed it.
    #[schemars(with = "schema::Address")]
    address: Address,
    /// Its nonce.
    #[schemars(with = "schema::Hash")]
    nonce: B256,
}

async fn show(snapshot: Snapshot, Which { address, nonce }: Which) -> Result<Authorization, Problem> {
    snapshot.has_all_of(address).await?;
    Ok(read::authorization(&mut *snapshot.conn().await, address, nonce).await?)
}
