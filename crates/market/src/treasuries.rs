//! Treasuries as the mirror of the chain has them: what an organisation's agents may look at before they ask for money.

use alloy::primitives::{Address, B256};
use api::{Page, PageQuery};
use axum::{Json, extract::State};
use indexer::read::{self, Named, ProposalFilter};
use serde_json::{Value, json};

use crate::{
    input::{self, Name, Params},
    problem::Problem,
    service::Market,
};

/// `GET /api/v1/treasuries/{address}`
pub(crate) async fn show(State(market): State<Market>, Name(address): Name) -> Result<Json<Value>, Problem> {
    let treasury = self::address(&address)?;
    let found = read::treasury(&mut *market.pool.acquire().await?, treasury, None).await?;
    Ok(Json(json!(found.ok_or_else(|| Problem::not_found("treasury of this deployment"))?)))
}

/// `GET /api/v1/treasuries/{address}/proposals`
pub(crate) async fn proposals(
    State(market): State<Market>,
    Name(address): Name,
    Params(query): Params<PageQuery>,
) -> Result<Json<Page<Value>>, Problem> {
    let bad = |_| Problem::invalid("cursor must be the next_cursor of another page");
    let after: Option<B256> = query.cursor.map(|text| text.parse().map_err(bad)).transpose()?;
    let limit = input::limit(query.limit)?;
    let filter = ProposalFilter {
        treasury: self::address(&address)?,
        after,
        limit: u32::try_from(limit).unwrap_or(u32::MAX).saturating_add(1),
        ..ProposalFilter::default()
    };
    let found = read::proposals(&mut *market.pool.acquire().await?, &filter).await?;
    let id = |key: &[u8]| B256::try_from(read::id(key)).unwrap_or_default().to_string();
    let page = input::page(found.rows, limit, |row| id(&row.key));
    let next_cursor = page.next_cursor.or_else(|| found.looked_to.as_deref().map(id));
    let shown = |Named { key, state }: &Named<Value>| {
        let mut shown = json!(state);
        shown["id"] = id(key).into();
        shown
    };
    Ok(Json(Page { data: page.data.iter().map(shown).collect(), next_cursor }))
}

fn address(text: &str) -> Result<Address, Problem> {
    text.parse().map_err(|_| Problem::invalid("address must be 0x and 40 hex digits"))
}
