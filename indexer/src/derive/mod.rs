//! State that follows from the raw rows, kept as versions: each row holds from `from_block` until `until_block`.
//!
//! One version per key and block, so the rows do not depend on how blocks were batched, state at any block can be read, and undoing blocks
//! is deleting the versions they made and reopening those they closed.

mod balances;

use sqlx::PgConnection;

use crate::{block::Block, store::int};

/// Follows blocks that were just inserted.
pub(crate) async fn apply(conn: &mut PgConnection, blocks: &[Block]) -> Result<(), sqlx::Error> {
    balances::apply(conn, blocks).await
}

/// Forgets everything that blocks after `ancestor` made.
pub(crate) async fn undo(conn: &mut PgConnection, ancestor: u64) -> Result<(), sqlx::Error> {
    const TABLES: [[&str; 2]; 1] = [[
        "DELETE FROM chain.balances WHERE from_block > $1",
        "UPDATE chain.balances SET until_block = NULL WHERE until_block > $1",
    ]];
    for statement in TABLES.iter().flatten() {
        sqlx::query(*statement).bind(int(ancestor)).execute(&mut *conn).await?;
    }
    Ok(())
}
