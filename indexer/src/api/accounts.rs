use alloy::primitives::{Address, B256};
use axum::{Json, extract};
use serde::Deserialize;

use super::{
    ApiState,
    input::{Cursor, Limit, Page, Params, Part},
    problem::Problem,
};
use crate::read::{self, Account, Order, Transfer, TransferFilter};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct At {
    at_block: Option<u64>,
}

/// `GET /api/v1/chain/accounts/{address}`
pub(super) async fn show(
    extract::State(state): extract::State<ApiState>,
    Part(address): Part<Address>,
    Params(at): Params<At>,
) -> Result<Json<Account>, Problem> {
    Ok(Json(read::account(&mut *state.conn().await?, state.usdc, address, at.at_block).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    authorization_nonce: Option<B256>,
    tx: Option<B256>,
    from_block: Option<u64>,
    cursor: Option<Cursor>,
    #[serde(default)]
    order: Order,
    #[serde(default)]
    limit: Limit,
}

/// `GET /api/v1/chain/accounts/{address}/transfers`
pub(super) async fn transfers(
    extract::State(state): extract::State<ApiState>,
    Part(address): Part<Address>,
    Params(filter): Params<Filter>,
) -> Result<Json<Page<Transfer>>, Problem> {
    list(state, Some(address), filter).await
}

/// `GET /api/v1/chain/transfers`
pub(super) async fn all_transfers(
    extract::State(state): extract::State<ApiState>,
    Params(filter): Params<Filter>,
) -> Result<Json<Page<Transfer>>, Problem> {
    list(state, None, filter).await
}

async fn list(state: ApiState, account: Option<Address>, f: Filter) -> Result<Json<Page<Transfer>>, Problem> {
    let filter = TransferFilter {
        account,
        authorization_nonce: f.authorization_nonce,
        tx: f.tx,
        from_block: f.from_block,
        after: f.cursor.map(|cursor| cursor.0),
        order: f.order,
        limit: Page::<Transfer>::rows_to_read(f.limit),
    };
    let rows = read::transfers(&mut *state.conn().await?, &filter).await?;
    Ok(Json(Page::new(rows, f.limit, |transfer| &transfer.place)))
}
