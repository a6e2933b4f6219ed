use alloy::primitives::{Address, B256};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{Chain, Operation, problem::Problem, snapshot::Snapshot};
use crate::{
    read::{self, Agreement, Limit, Service, SignedUsdc, State, Subscription},
    schema,
};

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "/wallets/{address}",
            "wallet",
            "An agent wallet: its balance, operators and what remains of each spending limit",
            wallet,
        )
        .changing(),
        Operation::new("/treasuries/{address}", "treasury", "A treasury: its balance, owners and policies", treasury),
        Operation::new("/treasuries/{address}/proposals/{id}", "proposal", "An order or change of a treasury", proposal),
        Operation::new("/agreements/{id}", "agreement", "An agreement in escrow", agreement),
        Operation::new("/subscriptions/{id}", "subscription", "A subscription", subscription),
        Operation::new("/services/{id}", "service", "A service of the registry", service),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Contract {
    /// Its address.
    #[schemars(with = "schema::Address")]
    address: Address,
    /// As of the end of this block.
    at_block: Option<u64>,
}

/// A contract with the USDC that it holds.
#[derive(Debug, Serialize, JsonSchema)]
struct Holder {
    /// Its address.
    #[schemars(with = "schema::Address")]
    address: Address,
    /// What it holds; null while not all of its transfers are mirrored.
    #[schemars(with = "Option<schema::Usdc>")]
    balance: Option<SignedUsdc>,
    #[serde(flatten)]
    state: State,
    /// What operators may still pay; only of wallets, only now.
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Vec<Limit>>,
}

async fn wallet(snapshot: Snapshot, Contract { address, at_block }: Contract) -> Result<Holder, Problem> {
    let at = snapshot.at(at_block)?;
    let mut conn = snapshot.conn().await;
    let state = read::wallet(&mut conn, address, at).await?;
    let state = state.ok_or_else(|| Problem::not_found(format!("{address} is no agent wallet of this deployment")))?;
    let limits = match at {
        Some(_) => None,
        None => Some(read::limits(&mut conn, address, &state, OffsetDateTime::now_utc()).await?),
    };
    let balance = balance(&snapshot.chain, &mut conn, address, at).await?;
    Ok(Holder { address, balance, state, limits })
}

async fn balance(
    chain: &Chain,
    conn: &mut PgConnection,
    account: Address,
    at: Option<u64>,
) -> Result<Option<SignedUsdc>, Problem> {
    if !chain.has_all_of(conn, account).await? {
        return Ok(None);
    }
    Ok(Some(read::account(conn, chain.usdc, account, at).await?.balance))
}

async fn treasury(snapshot: Snapshot, Contract { address, at_block }: Contract) -> Result<Holder, Problem> {
    let at = snapshot.at(at_block)?;
    let mut conn = snapshot.conn().await;
    let state = read::treasury(&mut conn, address, at).await?;
    let state = state.ok_or_else(|| Problem::not_found(format!("{address} is no treasury of this deployment")))?;
    let balance = balance(&snapshot.chain, &mut conn, address, at).await?;
    Ok(Holder { address, balance, state, limits: None })
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Proposal {
    /// Address of the treasury.
    #[schemars(with = "schema::Address")]
    address: Address,
    /// EIP-712 digest of the order or change.
    #[schemars(with = "schema::Hash")]
    id: B256,
    /// As of the end of this block.
    at_block: Option<u64>,
}

async fn proposal(snapshot: Snapshot, Proposal { address, id, at_block }: Proposal) -> Result<Identified, Problem> {
    let at = snapshot.at(at_block)?;
    let state = read::proposal(&mut *snapshot.conn().await, address, id, at).await?;
    let state = state.ok_or_else(|| Problem::not_found(format!("{address} was never asked about {id}")))?;
    Ok(Identified { id, state })
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Object {
    /// Its id.
    #[schemars(with = "schema::Hash")]
    id: B256,
    /// As of the end of this block.
    at_block: Option<u64>,
}

/// What has an id of 32 bytes.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Identified{T}")]
struct Identified<T = serde_json::Value> {
    /// Its id.
    #[schemars(with = "schema::Hash")]
    id: B256,
    #[serde(flatten)]
    state: State<T>,
}

impl<T> Identified<T> {
    fn found(id: B256, state: Option<State<T>>, what: &str) -> Result<Self, Problem> {
        let state = state.ok_or_else(|| Problem::not_found(format!("There is no {what} {id}")))?;
        Ok(Self { id, state })
    }
}

async fn agreement(snapshot: Snapshot, Object { id, at_block }: Object) -> Result<Identified<Agreement>, Problem> {
    let at = snapshot.at(at_block)?;
    Identified::found(id, read::agreement(&mut *snapshot.conn().await, id, at).await?, "funded agreement")
}

async fn subscription(snapshot: Snapshot, Object { id, at_block }: Object) -> Result<Identified<Subscription>, Problem> {
    let at = snapshot.at(at_block)?;
    Identified::found(id, read::subscription(&mut *snapshot.conn().await, id, at).await?, "subscription")
}

async fn service(snapshot: Snapshot, Object { id, at_block }: Object) -> Result<Identified<Service>, Problem> {
    let at = snapshot.at(at_block)?;
    Identified::found(id, read::service(&mut *snapshot.conn().await, snapshot.chain.registry, id, at).await?, "service")
}
