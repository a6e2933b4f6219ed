use alloy::primitives::{Address, B256};
use sqlx::{PgConnection, Postgres, QueryBuilder, Row, postgres::PgRow};

use super::{
    Order, PLACE, PLACE_JOIN, Place, Position, Span, address,
    page::{Condition, PART, Range},
    place,
};
use crate::schema;

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
    /// Up to this position in the order of the page, itself included.
    pub until: Option<Position>,
    /// Which come first.
    pub order: Order,
    /// Most rows.
    pub limit: u32,
}

impl PaymentFilter {
    const fn range(&self) -> Range {
        Range { blocks: self.blocks, after: self.after, until: self.until, order: self.order }
    }

    /// What rows are found by, what fits the fewest first. There is an index for each but the token.
    fn conditions(&self) -> Vec<Condition<'_>> {
        let conditions = [
            self.reference.as_ref().map(|reference| Condition::Bytes("reference", reference.as_slice())),
            self.payer.as_ref().map(|payer| Condition::Bytes("payer", payer.as_slice())),
            self.payee.as_ref().map(|payee| Condition::Bytes("payee", payee.as_slice())),
            self.kind.map(|kind| Condition::Text("kind", kind.as_str())),
            self.token.as_ref().map(|token| Condition::Bytes("token", token.as_slice())),
        ];
        conditions.into_iter().flatten().collect()
    }

    /// The condition with an index, if there is one.
    fn along(&self) -> Option<Condition<'_>> {
        self.conditions().into_iter().find(|condition| !matches!(condition, Condition::Bytes("token", _)))
    }
}

/// By or to the account.
fn sides(account: &Address) -> [Condition<'_>; 2] {
    [Condition::Bytes("payer", account.as_slice()), Condition::Bytes("payee", account.as_slice())]
}

/// Where a page has to end so that it looks at no more than [`super::LOOKED_AT_MAX`] payments, whatever it is asked for; none where it needs no
/// end. To be given as [`PaymentFilter::until`].
///
/// # Errors
/// When the database fails.
pub async fn payments_horizon(conn: &mut PgConnection, filter: &PaymentFilter) -> Result<Option<Position>, sqlx::Error> {
    let (range, conditions, along) = (filter.range(), filter.conditions(), filter.along());
    match &filter.account {
        _ if filter.tx.is_some() => Ok(None),
        Some(account) if !conditions.is_empty() => {
            let [payer, payee] = sides(account);
            let one = range.horizon(conn, "payments", Some(payer), PART).await?;
            let other = range.horizon(conn, "payments", Some(payee), PART).await?;
            Ok(range.nearer(one, other))
        }
        None if conditions.len() > usize::from(along.is_some()) => range.horizon(conn, "payments", along, PART).await,
        _ => Ok(None),
    }
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
            let [payer, payee] = sides(account);
            query.push("(");
            side(&mut query, filter, Some(payer));
            query.push(") UNION (");
            side(&mut query, filter, Some(payee));
            query.push(")");
        }
        None => side(&mut query, filter, None),
    }
    query.push(") SELECT t.kind, t.payer, t.payee, t.token, t.amount::text AS amount, t.reference, t.part, ");
    query.push(PLACE).push(" FROM t ").push(PLACE_JOIN);
    filter.range().order(&mut query, "t", PART, false);
    query.push(" LIMIT ").push_bind(i64::from(filter.limit));
    query.build().fetch_all(conn).await?.iter().map(payment).collect()
}

fn side(query: &mut QueryBuilder<Postgres>, filter: &PaymentFilter, account: Option<Condition<'_>>) {
    query.push("SELECT * FROM chain.payments AS s WHERE TRUE");
    let found = account.is_some() || filter.tx.is_some() || filter.along().is_some();
    account.into_iter().chain(filter.conditions()).for_each(|condition| condition.push(query, "s"));
    if let Some(tx) = &filter.tx {
        query.push(" AND (s.block_number, s.tx_index) IN (SELECT block_number, tx_index FROM chain.transactions WHERE hash = ");
        query.push_bind(tx.as_slice()).push(")");
    }
    filter.range().conditions(query, "s", PART);
    filter.range().order(query, "s", PART, found);
    query.push(" LIMIT ").push_bind(i64::from(filter.limit));
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
