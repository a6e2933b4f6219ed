use alloy::primitives::{Address, B256};
use money::Usdc;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};

use super::{
    Order, PLACE, PLACE_JOIN, Place, Position, Span, address,
    page::{Condition, LOG, Range},
    place,
};
use crate::{schema, store::int};

/// What the mirror knows of an account's USDC.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Account {
    /// The account.
    #[schemars(with = "schema::Address")]
    pub address: Address,
    /// Received minus sent since the start block. Below zero only if the account held USDC before the start block.
    #[schemars(with = "schema::Usdc")]
    pub balance: SignedUsdc,
    /// Transfers it took part in.
    pub transfers: u64,
    /// The block that last changed it; none when no transfer ever touched it.
    pub changed_in_block: Option<u64>,
}

/// USDC that may be below zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignedUsdc(pub(super) i64);

impl SignedUsdc {
    /// The amount in base units.
    pub const fn base_units(self) -> i64 {
        self.0
    }

    /// The amount, unless it is below zero.
    pub fn to_usdc(self) -> Option<Usdc> {
        u64::try_from(self.0).ok().map(Usdc::from_base_units)
    }
}

impl std::fmt::Display for SignedUsdc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}", Usdc::from_base_units(self.0.unsigned_abs()))
    }
}

impl serde::Serialize for SignedUsdc {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads an account, as of the end of block `at_block` or now.
///
/// # Errors
/// When the database fails.
pub async fn account(
    conn: &mut PgConnection,
    token: Address,
    account: Address,
    at_block: Option<u64>,
) -> Result<Account, sqlx::Error> {
    const NOW: &str = "SELECT from_block, balance, transfers FROM chain.balances
        WHERE token = $1 AND account = $2 AND until_block IS NULL AND from_block <= $3";
    const THEN: &str = "SELECT from_block, balance, transfers FROM chain.balances
        WHERE token = $1 AND account = $2 AND from_block <= $3 ORDER BY from_block DESC LIMIT 1";
    let found: Option<(i64, i64, i64)> = sqlx::query_as(if at_block.is_some() { THEN } else { NOW })
        .bind(token.as_slice())
        .bind(account.as_slice())
        .bind(int(at_block.unwrap_or(u64::MAX)))
        .fetch_optional(conn)
        .await?;
    let (changed, balance, transfers) = found.map_or((None, 0, 0), |(block, balance, count)| (Some(block), balance, count));
    Ok(Account {
        address: account,
        balance: SignedUsdc(balance),
        transfers: transfers.unsigned_abs(),
        changed_in_block: changed.map(i64::unsigned_abs),
    })
}

/// A USDC transfer. The zero address mints and burns.
#[derive(Clone, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct Transfer {
    /// Who paid.
    #[schemars(with = "schema::Address")]
    pub from: Address,
    /// Who was paid.
    #[schemars(with = "schema::Address")]
    pub to: Address,
    /// How much.
    #[schemars(with = "schema::Usdc")]
    pub amount: Usdc,
    /// Nonce of the EIP-3009 authorization that it executed: an x402 payment, for one.
    #[schemars(with = "Option<schema::Hash>")]
    pub authorization_nonce: Option<B256>,
    /// Where it is.
    #[serde(flatten)]
    pub place: Place,
}

/// Which transfers to read. Every condition given must hold.
#[derive(Clone, Debug, Default)]
pub struct TransferFilter {
    /// From or to this account.
    pub account: Option<Address>,
    /// From this account. Not together with `account`.
    pub sender: Option<Address>,
    /// Executing the authorization of this nonce.
    pub authorization_nonce: Option<B256>,
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

impl TransferFilter {
    const fn range(&self) -> Range {
        Range { blocks: self.blocks, after: self.after, until: None, order: self.order }
    }
}

/// Reads a page of transfers. A nonce and a transaction name few, so nothing that is asked for together with an account makes it long to find.
///
/// # Errors
/// When the database fails.
pub async fn transfers(conn: &mut PgConnection, filter: &TransferFilter) -> Result<Vec<Transfer>, sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new("WITH t AS (");
    match &filter.account {
        // Two ordered index scans, merged: an OR would read the account's whole history.
        Some(account) => {
            query.push("(");
            side(&mut query, filter, Some(Condition::Bytes("sender", account.as_slice())));
            query.push(") UNION (");
            side(&mut query, filter, Some(Condition::Bytes("recipient", account.as_slice())));
            query.push(")");
        }
        None => side(&mut query, filter, filter.sender.as_ref().map(|sender| Condition::Bytes("sender", sender.as_slice()))),
    }
    query.push(") SELECT t.sender, t.recipient, t.amount, t.authorization_nonce, ").push(PLACE).push(" FROM t ").push(PLACE_JOIN);
    filter.range().order(&mut query, "t", LOG, false);
    query.push(" LIMIT ").push_bind(i64::from(filter.limit));
    let rows = query.build().fetch_all(conn).await?;
    rows.iter().map(transfer).collect()
}

fn side(query: &mut QueryBuilder<Postgres>, filter: &TransferFilter, account: Option<Condition<'_>>) {
    query.push("SELECT * FROM chain.transfers AS s WHERE TRUE");
    if let Some(nonce) = &filter.authorization_nonce {
        Condition::Bytes("authorization_nonce", nonce.as_slice()).push(query, "s");
    }
    if let Some(account) = account {
        account.push(query, "s");
    }
    if let Some(tx) = &filter.tx {
        query.push(" AND (s.block_number, s.tx_index) IN (SELECT block_number, tx_index FROM chain.transactions WHERE hash = ");
        query.push_bind(tx.as_slice()).push(")");
    }
    let found = account.is_some() || filter.authorization_nonce.is_some() || filter.tx.is_some();
    filter.range().conditions(query, "s", LOG);
    filter.range().order(query, "s", LOG, found);
    query.push(" LIMIT ").push_bind(i64::from(filter.limit));
}

fn transfer(row: &sqlx::postgres::PgRow) -> Result<Transfer, sqlx::Error> {
    let nonce: Option<&[u8]> = row.try_get("authorization_nonce")?;
    Ok(Transfer {
        from: address(row, "sender")?,
        to: address(row, "recipient")?,
        amount: Usdc::from_base_units(row.try_get::<i64, _>("amount")?.unsigned_abs()),
        authorization_nonce: nonce.map(B256::try_from).transpose().map_err(|e| sqlx::Error::Decode(e.into()))?,
        place: place(row)?,
    })
}
