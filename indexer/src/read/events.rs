use alloy::primitives::{Address, B256};
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};

use super::{Order, PLACE, PLACE_JOIN, Place, Position, Span, address, index, place};
use crate::{schema, store::int};

/// An event of one of our contracts.
#[derive(Clone, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct Event {
    /// Name of the event, if this version knows it.
    pub name: Option<String>,
    /// The contract that emitted it.
    #[schemars(with = "schema::Address")]
    pub contract: Address,
    /// Arguments by name: integers as decimal strings, addresses and bytes as hex.
    pub args: Option<serde_json::Value>,
    /// Where it is.
    #[serde(flatten)]
    pub place: Place,
}

/// Which events to read. Every condition given must hold.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Emitted by this contract.
    pub contract: Option<Address>,
    /// Of this name.
    pub name: Option<String>,
    /// With this address among the arguments.
    pub account: Option<Address>,
    /// With this bytes32 among the arguments: an agreement, payment or order.
    pub reference: Option<B256>,
    /// Of this transaction.
    pub tx: Option<B256>,
    /// In these blocks.
    pub blocks: Span,
    /// Beyond this position in the order of the page.
    pub after: Option<Position>,
    /// Which come first.
    pub order: Order,
    /// Most rows.
    pub limit: u32,
}

/// Reads a page of events.
///
/// # Errors
/// When the database fails.
pub async fn events(conn: &mut PgConnection, filter: &EventFilter) -> Result<Vec<Event>, sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new("SELECT t.name, t.contract, t.args, ");
    query.push(PLACE).push(" FROM ");
    let keys: Vec<&[u8]> = [filter.account.as_ref().map(|a| a.as_slice()), filter.reference.as_ref().map(|r| r.as_slice())]
        .into_iter()
        .flatten()
        .collect();
    // The index of the first key gives the order of the page.
    let (ordered, first) = if keys.is_empty() { ("t", "chain.events AS t ") } else { ("k0", "chain.event_keys AS k0 ") };
    query.push(first);
    for i in 1..keys.len() {
        query.push(format!(
            "JOIN chain.event_keys AS k{i} ON (k{i}.block_number, k{i}.log_index) = (k0.block_number, k0.log_index) "
        ));
    }
    if !keys.is_empty() {
        query.push("JOIN chain.events AS t ON (t.block_number, t.log_index) = (k0.block_number, k0.log_index) ");
    }
    query.push(PLACE_JOIN).push(" WHERE TRUE");
    for (i, key) in keys.into_iter().enumerate() {
        query.push(format!(" AND k{i}.key = ")).push_bind(key);
    }
    if let Some(contract) = &filter.contract {
        query.push(" AND t.contract = ").push_bind(contract.as_slice());
    }
    if let Some(name) = &filter.name {
        query.push(" AND t.name = ").push_bind(name);
    }
    if let Some(tx) = &filter.tx {
        query.push(" AND (t.block_number, t.tx_index) IN (SELECT block_number, tx_index FROM chain.transactions WHERE hash = ");
        query.push_bind(tx.as_slice()).push(")");
    }
    page(&mut query, ordered, filter.blocks, filter.after, filter.order, filter.limit);
    let rows = query.build().fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            Ok(Event {
                name: row.try_get("name")?,
                contract: address(row, "contract")?,
                args: row.try_get("args")?,
                place: place(row)?,
            })
        })
        .collect()
}

/// Bounds and order of a page, by the position of the table aliased `ordered`.
pub(super) fn page(
    query: &mut QueryBuilder<Postgres>,
    ordered: &str,
    blocks: Span,
    after: Option<Position>,
    order: Order,
    limit: u32,
) {
    let (beyond, direction) = order.words();
    blocks.conditions(query, ordered);
    if let Some(after) = after {
        query.push(format!(" AND ({ordered}.block_number, {ordered}.log_index) {beyond} ("));
        query.push_bind(int(after.block)).push(", ").push_bind(index(after.log)).push(")");
    }
    query.push(format!(" ORDER BY {ordered}.block_number {direction}, {ordered}.log_index {direction} LIMIT "));
    query.push_bind(i64::from(limit));
}
