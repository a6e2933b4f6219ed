//! What wallets and treasuries got before they were created, where not all transfers are mirrored.

use alloy::primitives::Address;
use sqlx::{Connection, PgConnection};

use super::{RowTypes, int, revise, watched::add_rows};
use crate::{block::Block, derive};

/// Contracts that are looked at in one go.
const AT_ONCE: i64 = 100;

/// A wallet or treasury that may have got something before it was created.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unchecked {
    pub(crate) address: Address,
    /// Block that created it.
    pub(crate) created: u64,
}

/// Those that come after an address, in the order of addresses.
pub(crate) async fn unchecked(conn: &mut PgConnection, after: Address) -> Result<Vec<Unchecked>, sqlx::Error> {
    let rows: Vec<(Vec<u8>, i64)> = sqlx::query_as(
        "SELECT address, block_number FROM chain.contracts AS c
         WHERE address > $1 AND NOT EXISTS (SELECT FROM chain.checked AS k WHERE k.address = c.address) ORDER BY address LIMIT $2",
    )
    .bind(after.as_slice())
    .bind(AT_ONCE)
    .fetch_all(conn)
    .await?;
    let unchecked = |(address, created): (Vec<u8>, i64)| Unchecked {
        address: Address::from_slice(&address),
        created: created.unsigned_abs(),
    };
    Ok(rows.into_iter().map(unchecked).collect())
}

/// What is mirrored of what an account received up to a block, before it could send anything.
pub(crate) async fn received(conn: &mut PgConnection, account: Address, block: u64) -> Result<i64, sqlx::Error> {
    let balance = "SELECT balance FROM chain.balances WHERE account = $1 AND from_block <= $2 ORDER BY from_block DESC LIMIT 1";
    let balance = sqlx::query_scalar(balance).bind(account.as_slice()).bind(int(block)).fetch_optional(conn).await?;
    Ok(balance.unwrap_or_default())
}

/// Adds what one of them got in a block, and what follows from it. False, with nothing changed, when the block is not the mirror's.
pub(crate) async fn add_earlier(conn: &mut PgConnection, types: &RowTypes, block: &Block) -> Result<bool, sqlx::Error> {
    let mut tx = conn.begin().await?;
    if !add_rows(&mut tx, types, std::slice::from_ref(block)).await? {
        return Ok(false);
    }
    derive::again_in_block(&mut tx, block).await?;
    revise(&mut tx).await?;
    tx.commit().await?;
    Ok(true)
}

/// Notes that nothing of it is missing.
pub(crate) async fn check(conn: &mut PgConnection, contract: &Unchecked) -> Result<(), sqlx::Error> {
    let mut tx = conn.begin().await?;
    sqlx::query("INSERT INTO chain.checked (address, block_number) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(contract.address.as_slice())
        .bind(int(contract.created))
        .execute(&mut *tx)
        .await?;
    revise(&mut tx).await?;
    tx.commit().await
}
