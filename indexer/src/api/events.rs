use alloy::primitives::{Address, B256};
use axum::{Json, extract};
use serde::Deserialize;

use super::{
    ApiState,
    input::{Cursor, Limit, Page, Params},
    problem::Problem,
};
use crate::read::{self, Event, EventFilter, Order};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    contract: Option<Address>,
    name: Option<String>,
    account: Option<Address>,
    reference: Option<B256>,
    tx: Option<B256>,
    from_block: Option<u64>,
    cursor: Option<Cursor>,
    #[serde(default)]
    order: Order,
    #[serde(default)]
    limit: Limit,
}

/// `GET /api/v1/chain/events`
pub(super) async fn list(
    extract::State(state): extract::State<ApiState>,
    Params(f): Params<Filter>,
) -> Result<Json<Page<Event>>, Problem> {
    let filter = EventFilter {
        contract: f.contract,
        name: f.name,
        account: f.account,
        reference: f.reference,
        tx: f.tx,
        from_block: f.from_block,
        after: f.cursor.map(|cursor| cursor.0),
        order: f.order,
        limit: Page::<Event>::rows_to_read(f.limit),
    };
    let rows = read::events(&mut *state.conn().await?, &filter).await?;
    Ok(Json(Page::new(rows, f.limit, |event| &event.place)))
}
