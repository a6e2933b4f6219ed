//! Writes to schema `chain`: blocks in, blocks out, always whole and with everything that follows from them.

mod append;
mod checked;
mod partitions;
mod rows;
mod state;
mod tuples;
mod watched;

use sqlx::{Connection, PgConnection, Postgres, Transaction};

use alloy::primitives::B256;

use crate::{Error, block::Block, derive};
use rows::Rows;

pub(crate) use append::append;
pub(crate) use checked::{Unchecked, add_earlier, check, received, unchecked};
pub(crate) use partitions::Partitions;
pub(crate) use rows::RowTypes;
pub(crate) use state::{
    Identity, Tip, hash_of, load_children, load_recent, record_progress, record_upgrade, record_upgraded, register, revise,
};
pub(crate) use tuples::Tuples;
pub(crate) use watched::{Missing, fill, load_children_of, load_watched, missing, watch};

/// A reorganisation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Undo {
    /// The newest block of ours that is still of the chain.
    pub(crate) ancestor: u64,
    pub(crate) old: Tip,
    /// What the node announced instead.
    pub(crate) new: Tip,
}

/// One atomic step of the mirror: blocks out, blocks in, everything that follows from them, and the news of it. Nothing happens before
/// [`Step::commit`].
pub(crate) struct Step<'c> {
    tx: Transaction<'c, Postgres>,
    raw: bool,
    undo: Option<Undo>,
    moved: derive::Moved,
    /// The first and the newest block added.
    added: Option<(u64, Tip)>,
}

impl<'c> Step<'c> {
    /// `raw`: nothing is derived. `undo`: blocks of ours that are no longer of the chain.
    pub(crate) async fn begin(conn: &'c mut PgConnection, raw: bool, undo: Option<Undo>) -> Result<Self, sqlx::Error> {
        let mut tx = conn.begin().await?;
        if let Some(undo) = &undo {
            derive::undo(&mut tx, undo.ancestor).await?;
            rows::undo(&mut tx, undo).await?;
        }
        Ok(Self { tx, raw, undo, moved: derive::Moved::default(), added: None })
    }

    /// Adds blocks, each following the one before it.
    pub(crate) async fn add(&mut self, blocks: &[Block], partitions: &mut Partitions) -> Result<(), sqlx::Error> {
        let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else { return Ok(()) };
        partitions.cover(&mut self.tx, first.number, last.number).await?;
        Rows::of(blocks).copy(&mut self.tx).await?;
        if !self.raw {
            blocks.iter().for_each(|block| self.moved.add(block));
            derive::apply_objects(&mut self.tx, blocks).await?;
        }
        let first = self.added.map_or(first.number, |(first, _)| first);
        self.added = Some((first, last.into()));
        Ok(())
    }

    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        if let Some((first, tip)) = self.added {
            self.moved.apply(&mut self.tx).await?;
            state::announce(&mut self.tx, first, tip, self.undo.as_ref()).await?;
        } else if let Some(undo) = &self.undo {
            let hash: Option<Vec<u8>> = sqlx::query_scalar("SELECT hash FROM chain.blocks WHERE number = $1")
                .bind(int(undo.ancestor))
                .fetch_optional(&mut *self.tx)
                .await?;
            let hash = hash.map(|hash| B256::from_slice(&hash)).unwrap_or_default();
            state::announce(&mut self.tx, undo.ancestor + 1, Tip { number: undo.ancestor, hash }, Some(undo)).await?;
        }
        Ok(self.tx.commit().await?)
    }
}

/// Block numbers and gas as Postgres counts. No chain comes near the end of it.
pub(crate) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
