use alloy::primitives::{Address, B256};
use schemars::JsonSchema;
use serde::Deserialize;
use time::{Date, macros::format_description};

use super::{
    Operation,
    input::{Cursor, Limit, PAGE_ROWS_MAX, Page},
    problem::Problem,
    snapshot::Snapshot,
};
use crate::{
    read::{self, Order, Payment, PaymentFilter, PaymentKind, Span, Stat, StatFilter},
    schema,
};

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("/payments", "payments", "What was paid, whichever way it went", payments),
        Operation::new("/stats", "stats", "Payments by day, kind and token; the newest days first", stats),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Filter {
    /// By or to this account.
    #[schemars(with = "Option<schema::Address>")]
    account: Option<Address>,
    /// By this account.
    #[schemars(with = "Option<schema::Address>")]
    payer: Option<Address>,
    /// To this account.
    #[schemars(with = "Option<schema::Address>")]
    payee: Option<Address>,
    /// That went this way.
    kind: Option<PaymentKind>,
    /// In this token.
    #[schemars(with = "Option<schema::Address>")]
    token: Option<Address>,
    /// Called so by the payer.
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

async fn payments(snapshot: Snapshot, f: Filter) -> Result<Page<Payment>, Problem> {
    let mut filter = PaymentFilter {
        account: f.account,
        payer: f.payer,
        payee: f.payee,
        kind: f.kind,
        token: f.token,
        reference: f.reference,
        tx: f.tx,
        blocks: Span { from: f.from_block, to: f.to_block },
        after: f.cursor.map(|cursor| cursor.position),
        until: None,
        order: f.order,
        limit: f.limit.rows_to_read(),
    };
    filter.until = read::payments_horizon(&mut *snapshot.conn().await, &filter).await?;
    let rows = read::payments(&mut *snapshot.conn().await, &filter).await?;
    snapshot.page(rows, f.limit, f.cursor, filter.until, Payment::position).await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Days {
    /// From this day on, in UTC.
    #[schemars(with = "Option<schema::Date>")]
    from: Option<Day>,
    /// Until this day, itself included.
    #[schemars(with = "Option<schema::Date>")]
    to: Option<Day>,
    /// That went this way.
    kind: Option<PaymentKind>,
    /// In this token.
    #[schemars(with = "Option<schema::Address>")]
    token: Option<Address>,
    /// Most rows.
    #[serde(default = "Limit::max")]
    #[schemars(extend("default" = PAGE_ROWS_MAX))]
    limit: Limit,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Day(Date);

impl TryFrom<String> for Day {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        Date::parse(&text, format_description!("[year]-[month]-[day]")).map(Self).map_err(|_| "write a day as 2026-01-31")
    }
}

async fn stats(snapshot: Snapshot, f: Days) -> Result<Vec<Stat>, Problem> {
    let filter = StatFilter {
        from: f.from.map(|day| day.0),
        to: f.to.map(|day| day.0),
        kind: f.kind,
        token: f.token,
        limit: f.limit.get(),
    };
    Ok(read::stats(&mut *snapshot.conn().await, &filter).await?)
}
