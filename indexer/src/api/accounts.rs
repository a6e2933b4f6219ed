use alloy::primitives::{Address, B256};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Operation,
    input::{Cursor, Limit, Page},
    problem::Problem,
    snapshot::Snapshot,
    statement,
};
use crate::{
    read::{self, Account, Order, Span, Transfer, TransferFilter},
    schema,
};

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("/transfers", "transfers", "USDC transfers", all_transfers),
        Operation::new("/accounts/{address}", "account", "What the mirror knows of an account's USDC", show),
        Operation::new("/accounts/{address}/transfers", "account_transfers", "USDC transfers from or to an account", transfers),
        Operation::new(
            "/accounts/{address}/statement",
            "statement",
            "An account's USDC transfers with the balance after each; as a file: statement.csv",
            statement::page,
        ),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AccountAt {
    /// The account.
    #[schemars(with = "schema::Address")]
    address: Address,
    /// As of the end of this block.
    at_block: Option<u64>,
}

async fn show(snapshot: Snapshot, f: AccountAt) -> Result<Account, Problem> {
    let at = snapshot.at(f.at_block)?;
    snapshot.knows_balance_of(f.address).await?;
    Ok(read::account(&mut *snapshot.conn().await, snapshot.chain.usdc, f.address, at).await?)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Filter {
    /// Executing the EIP-3009 authorization of this nonce.
    #[schemars(with = "Option<schema::Hash>")]
    authorization_nonce: Option<B256>,
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

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OfAccount {
    /// From or to this account.
    #[schemars(with = "schema::Address")]
    address: Address,
    /// Executing the EIP-3009 authorization of this nonce.
    #[schemars(with = "Option<schema::Hash>")]
    authorization_nonce: Option<B256>,
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

async fn transfers(snapshot: Snapshot, f: OfAccount) -> Result<Page<Transfer>, Problem> {
    let OfAccount { address, authorization_nonce, tx, from_block, to_block, cursor, order, limit } = f;
    list(snapshot, Some(address), Filter { authorization_nonce, tx, from_block, to_block, cursor, order, limit }).await
}

async fn all_transfers(snapshot: Snapshot, f: Filter) -> Result<Page<Transfer>, Problem> {
    list(snapshot, None, f).await
}

async fn list(snapshot: Snapshot, account: Option<Address>, f: Filter) -> Result<Page<Transfer>, Problem> {
    let filter = TransferFilter {
        account,
        authorization_nonce: f.authorization_nonce,
        tx: f.tx,
        blocks: Span { from: f.from_block, to: f.to_block },
        after: f.cursor.map(|cursor| cursor.position),
        order: f.order,
        limit: f.limit.rows_to_read(),
        ..Default::default()
    };
    let rows = read::transfers(&mut *snapshot.conn().await, &filter).await?;
    snapshot.page(rows, f.limit, f.cursor, None, |transfer| transfer.place.position()).await
}
