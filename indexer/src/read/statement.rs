use alloy::primitives::{Address, B256};
use money::Usdc;
use sqlx::{Connection, PgConnection};

use super::{Order, Place, Position, SignedUsdc, Span, Transfer, TransferFilter, transfers};
use crate::{schema, store::int};

/// What moved an account's USDC, with the balance after each transfer.
#[derive(Clone, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct Line {
    /// What came (positive) or went (negative); zero if the account paid itself.
    #[schemars(with = "schema::Usdc")]
    pub amount: SignedUsdc,
    /// What the account held after it.
    #[schemars(with = "schema::Usdc")]
    pub balance: SignedUsdc,
    /// The other side; the zero address mints and burns.
    #[schemars(with = "schema::Address")]
    pub counterparty: Address,
    /// Nonce of the EIP-3009 authorization that it executed: an x402 payment, for one.
    #[schemars(with = "Option<schema::Hash>")]
    pub authorization_nonce: Option<B256>,
    /// Where it is.
    #[serde(flatten)]
    pub place: Place,
}

/// A page of an account's transfers, with the balances before and after it.
#[derive(Clone, Debug)]
pub struct Statement {
    /// What the account held before the oldest line.
    pub opening: SignedUsdc,
    /// Transfers in the order asked for.
    pub lines: Vec<Line>,
}

/// Which transfers of the account to read.
#[derive(Clone, Debug, Default)]
pub struct StatementFilter {
    /// In these blocks.
    pub blocks: Span,
    /// Beyond this position in the order of the page.
    pub after: Option<Position>,
    /// Which come first.
    pub order: Order,
    /// Most rows.
    pub limit: u32,
    /// What the account held before the first mirrored block, in base units.
    pub held_before: u64,
}

/// Reads a page of an account's statement. A balance is what was held before the mirror plus what came minus what went, so it is right on any
/// page without reading the ones before it.
///
/// # Errors
/// When the database fails.
pub async fn statement(
    conn: &mut PgConnection,
    token: Address,
    account: Address,
    filter: &StatementFilter,
) -> Result<Statement, sqlx::Error> {
    // Both reads see the same blocks, also when the caller has no transaction open.
    let mut tx = conn.begin().await?;
    let page = TransferFilter {
        account: Some(account),
        blocks: filter.blocks,
        after: filter.after,
        order: filter.order,
        limit: filter.limit,
        ..Default::default()
    };
    let mut page = transfers(&mut tx, &page).await?;
    if filter.order == Order::Desc {
        page.reverse();
    }
    let start = page.first().map_or_else(|| filter.start(), |transfer| transfer.place.position());
    let before = balance_before(&mut tx, token, account, start).await?;
    let opening = before.saturating_add(i64::try_from(filter.held_before).unwrap_or(i64::MAX));
    let mut balance = opening;
    let mut lines: Vec<Line> = page.into_iter().map(|transfer| line(transfer, account, &mut balance)).collect();
    if filter.order == Order::Desc {
        lines.reverse();
    }
    Ok(Statement { opening: SignedUsdc(opening), lines })
}

impl StatementFilter {
    /// Where a page without lines would begin.
    fn start(&self) -> Position {
        match (self.order, self.after, self.blocks) {
            (Order::Asc, Some(after), _) => after,
            (_, _, Span { from: Some(from), .. }) => Position::start_of(from),
            (Order::Asc, ..) | (Order::Desc, Some(_), _) => Position::start_of(0),
            (Order::Desc, None, Span { to, .. }) => to.map_or(Position::end_of(u64::MAX), Position::end_of),
        }
    }
}

fn line(transfer: Transfer, account: Address, balance: &mut i64) -> Line {
    let Transfer { from, to, amount, authorization_nonce, place } = transfer;
    let units = signed(amount);
    let (change, counterparty) = match (from == account, to == account) {
        (true, true) => (0, account),
        (true, false) => (-units, to),
        _ => (units, from),
    };
    *balance = balance.saturating_add(change);
    Line { amount: SignedUsdc(change), balance: SignedUsdc(*balance), counterparty, authorization_nonce, place }
}

fn signed(amount: Usdc) -> i64 {
    i64::try_from(amount.base_units()).unwrap_or(i64::MAX)
}

/// The balance right before a position: that of the block before, and what its own block did until then.
async fn balance_before(
    conn: &mut PgConnection,
    token: Address,
    account: Address,
    position: Position,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT coalesce((SELECT balance FROM chain.balances
                          WHERE token = $1 AND account = $2 AND from_block < $3 ORDER BY from_block DESC LIMIT 1), 0)
              + coalesce((SELECT sum(amount)::bigint FROM chain.transfers
                          WHERE token = $1 AND recipient = $2 AND block_number = $3 AND log_index < $4), 0)
              - coalesce((SELECT sum(amount)::bigint FROM chain.transfers
                          WHERE token = $1 AND sender = $2 AND block_number = $3 AND log_index < $4), 0)",
    )
    .bind(token.as_slice())
    .bind(account.as_slice())
    .bind(int(position.block))
    .bind(super::index(position.log))
    .fetch_one(conn)
    .await
}
