use alloy::primitives::{Address, B256};
use sqlx::{PgConnection, Postgres, QueryBuilder, Row, postgres::PgRow};

use super::{Order, PLACE, PLACE_JOIN, Place, Position, Span, address, index, place};
use crate::{schema, store::int};

/// Something that was paid, told once whichever way it went.
#[derive(Clone, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct Payment {
    /// Which way it went.
    pub kind: PaymentKind,
    /// Who paid: of an escrow payment the buyer.
    #[schemars(with = "schema::Address")]
    pub payer: Address,
    /// Who was paid: of an escrow payment the seller.
    #[schemars(with = "schema::Address")]
    pub payee: Address,
    /// What was paid with.
    #[schemars(with = "schema::Address")]
    pub token: Address,
    /// Base units of the token, before fees that the payee bears.
    #[schemars(with = "schema::Units")]
    pub amount: String,
    /// What the payer calls it: nonce of the authorization, payment id, reference, or id of the agreement or subscription.
    #[schemars(with = "Option<schema::Hash>")]
    pub reference: Option<B256>,
    /// Which of the payees of one log, from 0.
    pub part: u32,
    /// Where it is.
    #[serde(flatten)]
    pub place: Place,
}

impl Payment {
    /// The cursor at which the next page continues.
    pub const fn position(&self) -> Position {
        Position { part: self.part, ..self.place.position() }
    }
}

/// Which way a payment went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PaymentKind {
    /// Signed by the payer and settled by the token (EIP-3009) or by Permit2, as x402 `exact` and `upto` are.
    X402,
    /// By an agent wallet.
    Wallet,
    /// By a treasury.
    Treasury,
    /// Through the payment router, with a record.
    Router,
    /// One payee of a batch of the payment router.
    Batch,
    /// One share of a split of the payment router.
    Split,
    /// A charge of a subscription.
    Subscription,
    /// Released from escrow, or awarded by the arbiter.
    Escrow,
}

impl PaymentKind {
    const ALL: [Self; 8] =
        [Self::X402, Self::Wallet, Self::Treasury, Self::Router, Self::Batch, Self::Split, Self::Subscription, Self::Escrow];

    /// As in JSON and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X402 => "x402",
            Self::Wallet => "wallet",
            Self::Treasury => "treasury",
            Self::Router => "router",
            Self::Batch => "batch",
            Self::Split => "split",
            Self::Subscription => "subscription",
            Self::Escrow => "escrow",
        }
    }

    pub(super) fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        let text: &str = row.try_get("kind")?;
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| sqlx::Error::Decode(format!("payment kind {text}").into()))
    }
}

/// Which payments to read. Every condition given must hold.
#[derive(Clone, Debug, Default)]
pub struct PaymentFilter {
    /// By or to this account.
    pub account: Option<Address>,
    /// By this account.
    pub payer: Option<Address>,
    /// To this account.
    pub payee: Option<Address>,
    /// That went this way.
    pub kind: Option<PaymentKind>,
    /// In this token.
    pub token: Option<Address>,
    /// Called so by the payer.
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

/// Reads a page of payments.
///
/// # Errors
/// When the database fails.
pub async fn payments(conn: &mut PgConnection, filter: &PaymentFilter) -> Result<Vec<Payment>, sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new("WITH t AS (");
    match &filter.account {
        // Two ordered index scans, merged: an OR would read the account's whole history.
        Some(account) => {
            query.push("(");
            side(&mut query, filter, Some(("payer", account)));
            query.push(") UNION (");
            side(&mut query, filter, Some(("payee", account)));
            query.push(")");
        }
        None => side(&mut query, filter, None),
    }
    query.push(") SELECT t.kind, t.payer, t.payee, t.token, t.amount::text AS amount, t.reference, t.part, ");
    query.push(PLACE).push(" FROM t ").push(PLACE_JOIN).push(" WHERE TRUE");
    page(&mut query, "t", None, filter);
    query.build().fetch_all(conn).await?.iter().map(payment).collect()
}

fn side<'a>(query: &mut QueryBuilder<Postgres>, filter: &'a PaymentFilter, account: Option<(&str, &'a Address)>) {
    query.push("SELECT * FROM chain.payments AS s WHERE TRUE");
    let accounts = [account, filter.payer.as_ref().map(|a| ("payer", a)), filter.payee.as_ref().map(|a| ("payee", a))];
    for (column, account) in accounts.into_iter().flatten().chain(filter.token.as_ref().map(|a| ("token", a))) {
        query.push(format!(" AND s.{column} = ")).push_bind(account.to_vec());
    }
    if let Some(kind) = filter.kind {
        query.push(" AND s.kind = ").push_bind(kind.as_str());
    }
    if let Some(reference) = &filter.reference {
        query.push(" AND s.reference = ").push_bind(reference.to_vec());
    }
    if let Some(tx) = &filter.tx {
        query.push(" AND (s.block_number, s.tx_index) IN (SELECT block_number, tx_index FROM chain.transactions WHERE hash = ");
        query.push_bind(tx.to_vec()).push(")");
    }
    filter.blocks.conditions(query, "s");
    page(query, "s", filter.after, filter);
}

fn page(query: &mut QueryBuilder<Postgres>, table: &str, after: Option<Position>, filter: &PaymentFilter) {
    let (beyond, direction) = filter.order.words();
    if let Some(after) = after {
        query
            .push(format!(" AND ({table}.block_number, {table}.log_index, {table}.part) {beyond} ("))
            .push_bind(int(after.block));
        query.push(", ").push_bind(index(after.log)).push(", ").push_bind(index(after.part)).push(")");
    }
    query.push(format!(
        " ORDER BY {table}.block_number {direction}, {table}.log_index {direction}, {table}.part {direction} LIMIT "
    ));
    query.push_bind(i64::from(filter.limit));
}

fn payment(row: &PgRow) -> Result<Payment, sqlx::Error> {
    let reference: Option<&[u8]> = row.try_get("reference")?;
    Ok(Payment {
        kind: PaymentKind::read(row)?,
        payer: address(row, "payer")?,
        payee: address(row, "payee")?,
        token: address(row, "token")?,
        amount: row.try_get("amount")?,
        reference: reference.map(B256::try_from).transpose().map_err(|e| sqlx::Error::Decode(e.into()))?,
        part: row.try_get::<i32, _>("part")?.unsigned_abs(),
        place: place(row)?,
    })
}
