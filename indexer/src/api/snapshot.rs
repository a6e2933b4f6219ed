use std::sync::Arc;

use alloy::primitives::Address;
use sqlx::{Executor, Postgres, Transaction};
use tokio::sync::{Mutex, MutexGuard};

use super::{
    Chain,
    input::{Cursor, Limit, Page},
    problem::Problem,
};
use crate::read::{self, Mirror, Position};

/// One state of the mirror. Everything that answers a request is read from it, so all of an answer is of the same block.
#[derive(Clone)]
pub(super) struct Snapshot {
    pub(super) chain: Arc<Chain>,
    pub(super) mirror: Arc<Mirror>,
    transaction: Arc<Mutex<Transaction<'static, Postgres>>>,
    turn: Arc<Mutex<()>>,
}

impl Snapshot {
    pub(super) async fn take(chain: &Arc<Chain>) -> Result<Self, Problem> {
        let mut transaction = pg::begin_with(&chain.pool, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
        let mirror = read::mirror(&mut transaction).await?.ok_or_else(|| Problem::unavailable("Nothing is mirrored yet"))?;
        Ok(Self {
            chain: chain.clone(),
            mirror: Arc::new(mirror),
            transaction: Arc::new(Mutex::new(transaction)),
            turn: Arc::default(),
        })
    }

    /// One query runs at a time.
    pub(super) async fn conn(&self) -> MutexGuard<'_, Transaction<'static, Postgres>> {
        self.transaction.lock().await
    }

    /// One of several answers from this snapshot. If a query of it fails, Postgres refuses the transaction's next ones: it is rolled back to before
    /// the query, with the same blocks.
    pub(super) async fn one_of_several<T>(&self, answer: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
        let _turn = self.turn.lock().await;
        self.conn().await.execute("SAVEPOINT before_answer").await?;
        let answer = answer.await;
        if answer.is_err() {
            self.conn().await.execute("ROLLBACK TO SAVEPOINT before_answer").await?;
        }
        answer
    }

    /// Number of the newest block; the one before the first while there is none.
    pub(super) fn newest(&self) -> u64 {
        self.mirror.head.as_ref().map_or_else(|| self.mirror.start_block.saturating_sub(1), |head| head.number)
    }

    /// `at_block`, if the mirror can tell what was then.
    pub(super) fn at(&self, block: Option<u64>) -> Result<Option<u64>, Problem> {
        let (first, newest) = (self.mirror.start_block.saturating_sub(1), self.newest());
        match block {
            Some(block) if !(first..=newest).contains(&block) => {
                Err(Problem::not_mirrored(format!("Block {block} is not mirrored; those from {first} to {newest} are")))
            }
            block => Ok(block),
        }
    }

    /// Fails unless the balance of the account is known: every transfer of it is mirrored, and balances are kept.
    pub(super) async fn knows_balance_of(&self, account: Address) -> Result<(), Problem> {
        if !self.chain.has_balances() {
            return Err(Problem::not_mirrored("No balances are mirrored here (--raw)"));
        }
        self.has_all_of(account).await
    }

    /// Fails unless every transfer of the account is mirrored.
    pub(super) async fn has_all_of(&self, account: Address) -> Result<(), Problem> {
        if self.chain.has_all_of(&mut *self.conn().await, account).await? {
            return Ok(());
        }
        Err(Problem::not_mirrored(format!(
            "Not all transfers of {account} are mirrored here: with --transfers ours only those of our contracts are, of a wallet that was paid \
             before it was created once its creation is final"
        )))
    }

    /// A page out of rows that were read with [`Limit::rows_to_read`], up to `horizon` if that is given.
    pub(super) async fn page<T>(
        &self,
        rows: Vec<T>,
        limit: Limit,
        cursor: Option<Cursor>,
        horizon: Option<Position>,
        position: impl Fn(&T) -> Position,
    ) -> Result<Page<T>, Problem> {
        let seen = cursor.map_or(self.mirror.reorgs, |cursor| cursor.reorg);
        let undone_from = match seen.cmp(&self.mirror.reorgs) {
            std::cmp::Ordering::Less => read::undone_since(&mut *self.conn().await, seen).await?,
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => return Err(Problem::invalid_parameter("cursor is of another mirror: begin again")),
        };
        let next = |position: Position| Cursor { position, reorg: self.mirror.reorgs }.to_string();
        let Page { data, next_cursor, .. } = Page::new(rows, limit, |row| next(position(row)));
        Ok(Page { data, next_cursor: next_cursor.or(horizon.map(next)), undone_from })
    }
}
