//! Writes to schema `chain`: blocks in, blocks out, always whole and with everything that follows from them.

mod copy;
mod rows;
mod state;

use sqlx::{Connection, PgConnection};

use alloy::primitives::B256;

use crate::{block::Block, derive};

pub(crate) use state::{Identity, Tip, load_children, load_recent, record_progress, register};

/// One atomic step of the mirror.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// Set when blocks of ours are no longer of the chain.
    pub(crate) undo: Option<Undo>,
    /// Blocks to add, each following the one before it; may be empty only when something is undone.
    pub(crate) blocks: Vec<Block>,
}

/// A reorganisation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Undo {
    /// The newest block of ours that is still of the chain.
    pub(crate) ancestor: u64,
    pub(crate) old: Tip,
    /// What the node announced instead.
    pub(crate) new: Tip,
}

/// Commits blocks, everything derived from them and the news of it, or nothing.
pub(crate) async fn commit(conn: &mut PgConnection, step: &Step) -> Result<(), sqlx::Error> {
    let mut tx = conn.begin().await?;
    if let Some(undo) = &step.undo {
        rows::undo(&mut tx, undo).await?;
        derive::undo(&mut tx, undo.ancestor).await?;
    }
    if let (Some(first), Some(last)) = (step.blocks.first(), step.blocks.last()) {
        rows::insert(&mut tx, &step.blocks).await?;
        derive::apply(&mut tx, &step.blocks).await?;
        state::announce(&mut tx, first.number, Tip { number: last.number, hash: last.hash }, step.undo.as_ref()).await?;
    } else if let Some(undo) = &step.undo {
        let hash: Option<Vec<u8>> = sqlx::query_scalar("SELECT hash FROM chain.blocks WHERE number = $1")
            .bind(int(undo.ancestor))
            .fetch_optional(&mut *tx)
            .await?;
        let hash = hash.map(|hash| B256::from_slice(&hash)).unwrap_or_default();
        state::announce(&mut tx, undo.ancestor + 1, Tip { number: undo.ancestor, hash }, Some(undo)).await?;
    }
    tx.commit().await
}

/// Block numbers and gas as Postgres counts. No chain comes near the end of it.
pub(crate) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
