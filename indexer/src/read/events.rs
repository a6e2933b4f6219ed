use alloy::primitives::{Address, B256};
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};

use super::{
    Order, PLACE, PLACE_JOIN, Place, Position, Span, address,
    page::{Condition, LOG, Range},
    place,
};
use crate::schema;

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
    /// Up to this position in the order of the page, itself included.
    pub until: Option<Position>,
    /// Which come first.
    pub order: Order,
    /// Most rows.
    pub limit: u32,
}

impl EventFilter {
    const fn range(&self) -> Range {
        Range { blocks: self.blocks, after: self.after, until: self.until, order: self.order }
    }

    /// What must be among the arguments, what is in the fewest first.
    fn keys(&self) -> impl Iterator<Item = Condition<'_>> {
        let reference = self.reference.as_ref().map(|reference| reference.as_slice());
        let account = self.account.as_ref().map(|account| account.as_slice());
        reference.into_iter().chain(account).map(|key| Condition::Bytes("key", key))
    }

    fn columns(&self) -> impl Iterator<Item = Condition<'_>> {
        let contract = self.contract.as_ref().map(|contract| Condition::Bytes("contract", contract.as_slice()));
        let name = self.name.as_ref().map(|name| Condition::Text("name", name));
        contract.into_iter().chain(name)
    }
}

/// Where a page has to end so that it looks at no more than [`super::LOOKED_AT_MAX`] events, whatever it is asked for; none where it needs no
/// end. To be given as [`EventFilter::until`].
///
/// # Errors
/// When the database fails.
pub async fn events_horizon(conn: &mut PgConnection, filter: &EventFilter) -> Result<Option<Position>, sqlx::Error> {
    if filter.tx.is_some() || filter.keys().chain(filter.columns()).count() < 2 {
        return Ok(None);
    }
    match filter.keys().next() {
        Some(key) => filter.range().horizon(conn, "event_keys", Some(key), LOG).await,
        None => filter.range().horizon(conn, "events", filter.columns().next(), LOG).await,
    }
}

/// Reads a page of events.
///
/// # Errors
/// When the database fails.
pub async fn events(conn: &mut PgConnection, filter: &EventFilter) -> Result<Vec<Event>, sqlx::Error> {
    // The index of the first key gives the order of the page.
    let keyed = filter.keys().next().is_some();
    let (first, ordered) = if keyed { ("chain.event_keys AS k0", "k0") } else { ("chain.events AS e", "e") };
    let mut query = QueryBuilder::<Postgres>::new(format!("WITH t AS (SELECT e.* FROM {first}"));
    for i in 1..filter.keys().count() {
        query.push(format!(
            " JOIN chain.event_keys AS k{i} ON (k{i}.block_number, k{i}.log_index) = (k0.block_number, k0.log_index)"
        ));
    }
    if keyed {
        query.push(" JOIN chain.events AS e ON (e.block_number, e.log_index) = (k0.block_number, k0.log_index)");
    }
    query.push(" WHERE TRUE");
    filter.keys().enumerate().for_each(|(i, key)| key.push(&mut query, &format!("k{i}")));
    filter.columns().for_each(|column| column.push(&mut query, "e"));
    if let Some(tx) = &filter.tx {
        query.push(" AND (e.block_number, e.tx_index) IN (SELECT block_number, tx_index FROM chain.transactions WHERE hash = ");
        query.push_bind(tx.as_slice()).push(")");
    }
    let (range, found) = (filter.range(), keyed || filter.tx.is_some() || filter.columns().next().is_some());
    range.conditions(&mut query, ordered, LOG);
    range.order(&mut query, ordered, LOG, found);
    query.push(" LIMIT ").push_bind(i64::from(filter.limit));
    query.push(") SELECT t.name, t.contract, t.args, ").push(PLACE).push(" FROM t ").push(PLACE_JOIN);
    range.order(&mut query, "t", LOG, false);
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
