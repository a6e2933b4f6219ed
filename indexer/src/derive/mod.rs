//! State that follows from the raw rows, kept as versions: each row holds from `from_block` until `until_block`.
//!
//! One version per key and block, so the rows do not depend on how blocks were batched, state at any block can be read, and undoing blocks
//! is deleting the versions they made and reopening those they closed.

mod again;
mod agreement;
mod balances;
mod number;
mod objects;
mod payments;
mod proposal;
mod service;
mod subscription;
#[cfg(test)]
mod tests;
mod treasury;
mod wallet;

use sqlx::{AssertSqlSafe, PgConnection};

use crate::{block::Block, store::int};
pub use agreement::{Agreement, AgreementStatus};
pub use service::{Announced, Offer, Service};
pub use subscription::{Subscription, SubscriptionStatus};

/// Every table of versions but that of balances.
const TABLES: [&str; 6] = ["wallets", "treasuries", "proposals", "agreements", "subscriptions", "services"];

pub(crate) use again::{VERSION, again, again_in_block, is_due};
pub(crate) use balances::{Held, Moved};
pub(crate) use payments::{wrong_payments, wrong_sums};

/// Whether blocks hold anything that [`apply_objects`] follows.
pub(crate) fn touches_objects(blocks: &[Block]) -> bool {
    blocks.iter().any(|block| !block.events.is_empty() || payments::may_pay(block))
}

/// Follows the events of blocks that were just inserted.
pub(crate) async fn apply_objects(conn: &mut PgConnection, blocks: &[Block]) -> Result<(), sqlx::Error> {
    apply_events(conn, blocks).await?;
    payments::apply(conn, blocks).await
}

async fn apply_events(conn: &mut PgConnection, blocks: &[Block]) -> Result<(), sqlx::Error> {
    objects::apply::<wallet::Wallet>(conn, blocks).await?;
    objects::apply::<treasury::Treasury>(conn, blocks).await?;
    proposal::apply(conn, blocks).await?;
    objects::apply::<Agreement>(conn, blocks).await?;
    objects::apply::<Subscription>(conn, blocks).await?;
    objects::apply::<Service>(conn, blocks).await
}

/// Forgets everything that blocks after `ancestor` made, while their transfers are still there.
pub(crate) async fn undo(conn: &mut PgConnection, ancestor: u64) -> Result<(), sqlx::Error> {
    balances::undo(conn, ancestor).await?;
    for table in TABLES {
        let delete = format!("DELETE FROM chain.{table} WHERE from_block > $1");
        let reopen = format!("UPDATE chain.{table} SET until_block = NULL WHERE until_block > $1");
        for statement in [delete, reopen] {
            sqlx::query(AssertSqlSafe(statement)).bind(int(ancestor)).execute(&mut *conn).await?;
        }
    }
    payments::undo(conn, ancestor).await
}
