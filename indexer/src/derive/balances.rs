use std::collections::BTreeMap;

use alloy::primitives::Address;
use sqlx::PgConnection;

use crate::{
    Error,
    block::Block,
    store::{Tuples, int},
};

/// What blocks moved, by account and block.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    token: Address,
    accounts: BTreeMap<Address, Vec<Move>>,
}

/// What a block did to an account.
#[derive(Debug)]
struct Move {
    block: u64,
    amount: i128,
    transfers: i64,
}

/// The balance of an account, and how many transfers led to it.
pub(crate) type Held = BTreeMap<Address, (i64, i64)>;

/// Looks each account up by itself: joined, the planner, which does not know yet how many accounts there are, would read them all. No more
/// than one row answers (`balances_current`), and nobody else writes, so it is still where it was found.
const CLOSE: &str = "
    UPDATE chain.balances AS b SET until_block = current.block_number
    FROM (SELECT found.place, first.block_number
          FROM unnest($2::bytea[], $3::bigint[]) AS first (account, block_number),
               LATERAL (SELECT ctid AS place FROM chain.balances
                        WHERE token = $1 AND account = first.account AND until_block IS NULL LIMIT 1) AS found) AS current
    WHERE b.ctid = current.place
    RETURNING b.account, b.balance, b.transfers";

impl Moved {
    /// Adds a block after those added before. A transfer to oneself counts once.
    pub(crate) fn add(&mut self, block: &Block) {
        for transfer in &block.transfers {
            let amount = i128::from(transfer.amount);
            self.token = transfer.token;
            self.side(transfer.sender, block.number, -amount, 1);
            self.side(transfer.recipient, block.number, amount, i64::from(transfer.sender != transfer.recipient));
        }
    }

    /// Nobody owns the zero address: it mints and burns.
    fn side(&mut self, account: Address, block: u64, amount: i128, transfers: i64) {
        if account.is_zero() {
            return;
        }
        let moves = self.accounts.entry(account).or_default();
        match moves.last_mut().filter(|last| last.block == block) {
            Some(last) => {
                last.amount += amount;
                last.transfers += transfers;
            }
            None => moves.push(Move { block, amount, transfers }),
        }
    }

    /// Closes the versions that were current and continues from them.
    pub(crate) async fn apply(self, conn: &mut PgConnection) -> Result<(), Error> {
        if self.accounts.is_empty() {
            return Ok(());
        }
        let held = self.close(conn).await?;
        Ok(self.versions(&held)?.copy(conn, "balances").await?)
    }

    async fn close(&self, conn: &mut PgConnection) -> Result<Held, sqlx::Error> {
        let first = |moves: &Vec<Move>| moves.first().map_or(0, |first| int(first.block));
        let (accounts, blocks): (Vec<&[u8]>, Vec<i64>) =
            self.accounts.iter().map(|(account, moves)| (account.as_slice(), first(moves))).unzip();
        let closed: Vec<(Vec<u8>, i64, i64)> =
            sqlx::query_as(CLOSE).bind(self.token.as_slice()).bind(accounts).bind(blocks).fetch_all(conn).await?;
        Ok(closed.into_iter().map(|(account, balance, count)| (Address::from_slice(&account), (balance, count))).collect())
    }

    /// The versions that follow for accounts that held so much before; nothing when it is not told.
    pub(crate) fn versions(&self, held: &Held) -> Result<Tuples, Error> {
        let mut versions = Tuples::new(6);
        for (account, moves) in &self.accounts {
            let (mut balance, mut transfers) = held.get(account).copied().unwrap_or_default();
            for (at, moved) in moves.iter().enumerate() {
                let new = i64::try_from(i128::from(balance) + moved.amount);
                balance = new.map_err(|_| self.too_large(moved.block))?;
                transfers += moved.transfers;
                versions.row().bytes(self.token.as_slice()).bytes(account.as_slice()).bigint(int(moved.block));
                versions.optional_bigint(moves.get(at + 1).map(|next| int(next.block))).bigint(balance).bigint(transfers);
            }
        }
        Ok(versions)
    }

    pub(crate) fn too_large(&self, block: u64) -> Error {
        Error::AmountTooLarge { token: self.token, block }
    }
}

/// The versions of some accounts, or of all, made of the transfers.
const AGAIN: [&str; 2] = [
    "DELETE FROM chain.balances WHERE $1::bytea[] IS NULL OR account = ANY($1)",
    "INSERT INTO chain.balances (token, account, from_block, until_block, balance, transfers)
     SELECT token, account, block_number, lead(block_number) OVER versions, (sum(amount) OVER versions)::bigint,
            (sum(transfers) OVER versions)::bigint
     FROM (SELECT token, account, block_number, sum(amount) AS amount, sum(transfers) AS transfers
           FROM (SELECT token, sender AS account, block_number, -amount AS amount, 1 AS transfers FROM chain.transfers
                 WHERE $1::bytea[] IS NULL OR sender = ANY($1)
                 UNION ALL
                 SELECT token, recipient, block_number, amount, CASE WHEN sender = recipient THEN 0 ELSE 1 END FROM chain.transfers
                 WHERE $1::bytea[] IS NULL OR recipient = ANY($1)
                ) AS sides
           WHERE account <> decode(repeat('00', 20), 'hex')
           GROUP BY token, account, block_number) AS moves
     WINDOW versions AS (PARTITION BY token, account ORDER BY block_number)",
];

/// In a transaction.
pub(super) async fn again(conn: &mut PgConnection, accounts: Option<Vec<Vec<u8>>>) -> Result<(), sqlx::Error> {
    // Planned for these accounts: whether they are all or a few decides how to find them.
    sqlx::query("SET LOCAL plan_cache_mode = force_custom_plan").execute(&mut *conn).await?;
    for statement in AGAIN {
        sqlx::query(statement).persistent(false).bind(&accounts).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Removes the versions that undone blocks made, then reopens those that they closed. The undone transfers tell the accounts.
const UNDO: [&str; 2] = [
    "DELETE FROM chain.balances AS b USING (
        SELECT token, sender AS account FROM chain.transfers WHERE block_number > $1
        UNION SELECT token, recipient FROM chain.transfers WHERE block_number > $1
     ) AS t WHERE b.token = t.token AND b.account = t.account AND b.from_block > $1",
    "UPDATE chain.balances AS b SET until_block = NULL FROM (
        SELECT token, sender AS account FROM chain.transfers WHERE block_number > $1
        UNION SELECT token, recipient FROM chain.transfers WHERE block_number > $1
     ) AS t WHERE b.token = t.token AND b.account = t.account AND b.until_block > $1",
];

pub(super) async fn undo(conn: &mut PgConnection, ancestor: u64) -> Result<(), sqlx::Error> {
    for statement in UNDO {
        sqlx::query(statement).bind(int(ancestor)).execute(&mut *conn).await?;
    }
    Ok(())
}
