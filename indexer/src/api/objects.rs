use alloy::primitives::{Address, B256};
use axum::{Json, extract};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{
    ApiState,
    input::{Params, Part},
    problem::Problem,
};
use crate::read::{self, Agreement, Limit, Service, SignedUsdc, State, Subscription};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct At {
    at_block: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// A contract with the USDC that it holds.
#[derive(Debug, Serialize)]
pub(super) struct Holder {
    address: Address,
    balance: SignedUsdc,
    #[serde(flatten)]
    state: State,
    /// What operators may still pay; only of wallets, only now.
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Vec<Limit>>,
}

/// `GET /api/v1/chain/wallets/{address}`
pub(super) async fn wallet(
    extract::State(api): extract::State<ApiState>,
    Part(address): Part<Address>,
    Params(at): Params<At>,
) -> Result<Json<Holder>, Problem> {
    let mut conn = api.conn().await?;
    let state = read::wallet(&mut conn, address, at.at_block).await?;
    let state = state.ok_or_else(|| Problem::not_found(format!("{address} is no agent wallet of this deployment")))?;
    let limits = match at.at_block {
        Some(_) => None,
        None => Some(read::limits(&mut conn, address, &state, OffsetDateTime::now_utc()).await?),
    };
    let balance = read::account(&mut conn, api.usdc, address, at.at_block).await?.balance;
    Ok(Json(Holder { address, balance, state, limits }))
}

/// `GET /api/v1/chain/treasuries/{address}`
pub(super) async fn treasury(
    extract::State(api): extract::State<ApiState>,
    Part(address): Part<Address>,
    Params(at): Params<At>,
) -> Result<Json<Holder>, Problem> {
    let mut conn = api.conn().await?;
    let state = read::treasury(&mut conn, address, at.at_block).await?;
    let state = state.ok_or_else(|| Problem::not_found(format!("{address} is no treasury of this deployment")))?;
    let balance = read::account(&mut conn, api.usdc, address, at.at_block).await?.balance;
    Ok(Json(Holder { address, balance, state, limits: None }))
}

/// `GET /api/v1/chain/treasuries/{address}/proposals/{id}`
pub(super) async fn proposal(
    extract::State(api): extract::State<ApiState>,
    Part((treasury, id)): Part<(Address, B256)>,
    Params(Nothing {}): Params<Nothing>,
) -> Result<Json<State>, Problem> {
    let state = read::proposal(&mut *api.conn().await?, treasury, id).await?;
    state.map(Json).ok_or_else(|| Problem::not_found(format!("{treasury} was never asked about {id}")))
}

/// What has an id of 32 bytes.
#[derive(Debug, Serialize)]
pub(super) struct Identified<T> {
    id: B256,
    #[serde(flatten)]
    state: State<T>,
}

impl<T> Identified<T> {
    fn found(id: B256, state: Option<State<T>>, what: &str) -> Result<Json<Self>, Problem> {
        let state = state.ok_or_else(|| Problem::not_found(format!("There is no {what} {id}")))?;
        Ok(Json(Self { id, state }))
    }
}

/// `GET /api/v1/chain/agreements/{id}`
pub(super) async fn agreement(
    extract::State(api): extract::State<ApiState>,
    Part(id): Part<B256>,
    Params(at): Params<At>,
) -> Result<Json<Identified<Agreement>>, Problem> {
    Identified::found(id, read::agreement(&mut *api.conn().await?, id, at.at_block).await?, "funded agreement")
}

/// `GET /api/v1/chain/subscriptions/{id}`
pub(super) async fn subscription(
    extract::State(api): extract::State<ApiState>,
    Part(id): Part<B256>,
    Params(at): Params<At>,
) -> Result<Json<Identified<Subscription>>, Problem> {
    Identified::found(id, read::subscription(&mut *api.conn().await?, id, at.at_block).await?, "subscription")
}

/// `GET /api/v1/chain/services/{id}`
pub(super) async fn service(
    extract::State(api): extract::State<ApiState>,
    Part(id): Part<B256>,
    Params(at): Params<At>,
) -> Result<Json<Identified<Service>>, Problem> {
    Identified::found(id, read::service(&mut *api.conn().await?, id, at.at_block).await?, "service")
}
