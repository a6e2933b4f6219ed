use alloy::primitives::{Address, B256};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Operation,
    input::{Cursor, Limit, Page},
    problem::Problem,
    snapshot::Snapshot,
};
use crate::{
    read::{self, Event, EventFilter, Order, Span},
    schema,
};

pub(super) fn operations() -> Vec<Operation> {
    vec![Operation::new("/events", "events", "Events of our contracts, and authorizations of USDC that were canceled", list)]
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Filter {
    /// Emitted by this contract.
    #[schemars(with = "Option<schema::Address>")]
    contract: Option<Address>,
    /// Of this name, as PaymentExecuted.
    name: Option<String>,
    /// With this address among the arguments.
    #[schemars(with = "Option<schema::Address>")]
    account: Option<Address>,
    /// With this bytes32 among the arguments: an agreement, payment or order.
    #[schemars(with = "Option<schema::Hash>")]
    reference: Option<B256>,
    /// Of this transaction.
    #[schemars(with = "Option<schema::Hash>")]
    tx: Option<B256>,
    /// In this block or later.
    from_block: Option<u64>,
    /// In this block or earlier.
    to_block: Option<u64>,
    /// The `next_cursor` of the page before.
    cursor: Option<Cursor>,
    /// Newest first (desc) or oldest first (asc).
    #[serde(default)]
    order: Order,
    /// Most rows of the page.
    #[serde(default)]
    limit: Limit,
}

async fn list(snapshot: Snapshot, f: Filter) -> Result<Page<Event>, Problem> {
    let mut filter = EventFilter {
        contract: f.contract,
        name: f.name,
        account: f.account,
        reference: f.reference,
        tx: f.tx,
        blocks: Span { from: f.from_block, to: f.to_block },
        after: f.cursor.map(|cursor| cursor.position),
        until: None,
        order: f.order,
        limit: f.limit.rows_to_read(),
    };
    filter.until = read::events_horizon(&mut *snapshot.conn().await, &filter).await?;
    let rows = read::events(&mut *snapshot.conn().await, &filter).await?;
    snapshot.page(rows, f.limit, f.cursor, filter.until, |event| event.place.position()).await
}
