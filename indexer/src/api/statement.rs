use std::{fmt::Write, sync::Arc};

use alloy::primitives::{Address, B256};
use axum::{
    body::Body,
    extract::{RawPathParams, RawQuery, State},
    http::{HeaderValue, header},
    response::Response,
};
use futures::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use super::{
    ApiState, Chain,
    input::{self, Cursor, Limit, Page},
    operation::describe,
    problem::Problem,
    snapshot::Snapshot,
};
use crate::{
    read::{self, Line, Order, SignedUsdc, Span, StatementFilter},
    schema,
};

const CSV_HEADER: &str = "timestamp,block,transaction,log_index,counterparty,amount,balance,authorization_nonce,finality\n";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// The account.
    #[schemars(with = "schema::Address")]
    address: Address,
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

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct StatementPage {
    /// The account.
    #[schemars(with = "schema::Address")]
    address: Address,
    /// What it held before the oldest line of this page.
    #[schemars(with = "schema::Usdc")]
    opening_balance: SignedUsdc,
    /// What it held after the newest line of this page.
    #[schemars(with = "schema::Usdc")]
    closing_balance: SignedUsdc,
    #[serde(flatten)]
    lines: Page<Line>,
}

/// The balances are right from the first line on, also on a chain that lived before the mirror begins.
pub(super) async fn page(snapshot: Snapshot, f: Filter) -> Result<StatementPage, Problem> {
    let filter = StatementFilter {
        blocks: Span { from: f.from_block, to: f.to_block },
        after: f.cursor.map(|cursor| cursor.position),
        order: f.order,
        limit: f.limit.rows_to_read(),
        held_before: held_before(&snapshot, f.address).await?,
    };
    let read = read::statement(&mut *snapshot.conn().await, snapshot.chain.usdc, f.address, &filter).await?;
    let (mut opening_balance, mut lines) = (read.opening, read.lines);
    let wanted = usize::try_from(f.limit.get()).unwrap_or(usize::MAX);
    // The line that only tells of a next page is older than the page, or newer.
    if let (Order::Desc, Some(beyond)) = (f.order, lines.get(wanted)) {
        opening_balance = beyond.balance;
    }
    let shown = &lines[..lines.len().min(wanted)];
    let newest = if f.order == Order::Desc { shown.first() } else { shown.last() };
    let closing_balance = newest.map_or(opening_balance, |line| line.balance);
    lines.truncate(wanted + 1);
    let lines = snapshot.page(lines, f.limit, f.cursor, None, |line| line.place.position()).await?;
    Ok(StatementPage { address: f.address, opening_balance, closing_balance, lines })
}

async fn held_before(snapshot: &Snapshot, account: Address) -> Result<u64, Problem> {
    snapshot.knows_balance_of(account).await?;
    snapshot.chain.held_before(snapshot.mirror.start_block, account).await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CsvFilter {
    /// The account.
    #[schemars(with = "schema::Address")]
    address: Address,
    /// In this block or later.
    from_block: Option<u64>,
    /// In this block or earlier.
    to_block: Option<u64>,
}

/// `GET .../accounts/{address}/statement.csv`: all of it, oldest line first, read and sent page after page.
pub(super) async fn csv(
    State(api): State<ApiState>,
    path: RawPathParams,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let part = |name: &str| path.iter().find(|(found, _)| *found == name).map_or("", |(_, value)| value);
    let mut pairs: Vec<(String, String)> = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect();
    pairs.push(("address".into(), part("address").into()));
    let filter: CsvFilter = input::params(&pairs)?;
    let chain = api.chain(part("chain"))?.clone();
    let snapshot = Snapshot::take(&chain).await?;
    let file = File {
        filter: StatementFilter {
            blocks: Span { from: filter.from_block, to: Some(filter.to_block.unwrap_or(u64::MAX).min(snapshot.newest())) },
            after: None,
            order: Order::Asc,
            limit: Limit::max().get(),
            held_before: held_before(&snapshot, filter.address).await?,
        },
        account: filter.address,
        newest: snapshot.mirror.head.as_ref().map(|head| (head.number, head.hash)),
        chain,
        done: false,
    };
    let mut response = Response::new(Body::from_stream(stream::try_unfold((file, true), |(mut file, first)| async move {
        let Some(lines) = file.next().await? else { return Ok::<_, std::io::Error>(None) };
        Ok(Some((if first { CSV_HEADER.to_owned() + &lines } else { lines }, (file, false))))
    })));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    describe(&mut response, &snapshot, None);
    Ok(response)
}

/// A statement that is being sent. Between its pages nothing of the database is held.
struct File {
    chain: Arc<Chain>,
    account: Address,
    filter: StatementFilter,
    /// The newest block when it began.
    newest: Option<(u64, B256)>,
    done: bool,
}

impl File {
    /// The next lines. If blocks were undone meanwhile the transfer is broken off, so that nobody takes a mixture of two chains for a statement.
    async fn next(&mut self) -> Result<Option<String>, std::io::Error> {
        if self.done {
            return Ok(None);
        }
        let failed = |problem: Problem| std::io::Error::other(problem.detail().to_owned());
        let snapshot = Snapshot::take(&self.chain).await.map_err(failed)?;
        let mut conn = snapshot.conn().await;
        if let Some((number, hash)) = self.newest {
            let now = read::block(&mut conn, number).await.map_err(|error| failed(error.into()))?;
            if now.is_none_or(|block| block.hash != hash) {
                return Err(std::io::Error::other("the chain reorganised"));
            }
        }
        let page = read::statement(&mut conn, self.chain.usdc, self.account, &self.filter);
        let lines = page.await.map_err(|error| failed(error.into()))?.lines;
        self.done = lines.len() < usize::try_from(self.filter.limit).unwrap_or(usize::MAX);
        self.filter.after = lines.last().map(|line| line.place.position());
        Ok(Some(lines.iter().map(text).collect()))
    }
}

fn text(line: &Line) -> String {
    let place = &line.place;
    let mut text = String::new();
    let time = place.timestamp.format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = write!(text, "{time},{},{},{},", place.block_number, place.transaction_hash, place.log_index);
    let _ = write!(text, "{},{},{},", line.counterparty, line.amount, line.balance);
    if let Some(nonce) = line.authorization_nonce {
        let _ = write!(text, "{nonce}");
    }
    let _ = writeln!(text, ",{}", if place.finality == read::Finality::Final { "final" } else { "pending" });
    text
}
