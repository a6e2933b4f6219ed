use sqlx::PgConnection;

use crate::store::int;

/// Sums the transfers of the new blocks per account and block, closes the versions that were current and continues from them. A transfer to
/// oneself counts once.
const APPLY: &str = "
    WITH moved AS MATERIALIZED (
        SELECT token, account, block_number, sum(amount)::bigint AS amount, sum(counted) AS transfers
        FROM (
            SELECT token, sender AS account, block_number, -amount AS amount, 1 AS counted
            FROM chain.transfers WHERE block_number BETWEEN $1 AND $2
            UNION ALL
            SELECT token, recipient, block_number, amount, (sender <> recipient)::int
            FROM chain.transfers WHERE block_number BETWEEN $1 AND $2
        ) AS sides
        WHERE account <> '\\x0000000000000000000000000000000000000000'
        GROUP BY token, account, block_number
    ), closed AS (
        UPDATE chain.balances AS b SET until_block = first.block_number
        FROM (SELECT token, account, min(block_number) AS block_number FROM moved GROUP BY token, account) AS first
        WHERE b.token = first.token AND b.account = first.account AND b.until_block IS NULL
        RETURNING b.token, b.account, b.balance, b.transfers
    )
    INSERT INTO chain.balances (token, account, from_block, until_block, balance, transfers)
    SELECT token, account, block_number, lead(block_number) OVER by_block,
           coalesce(closed.balance, 0) + sum(moved.amount) OVER by_block,
           coalesce(closed.transfers, 0) + sum(moved.transfers) OVER by_block
    FROM moved LEFT JOIN closed USING (token, account)
    WINDOW by_block AS (PARTITION BY token, account ORDER BY block_number)";

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

/// Follows the transfers of blocks `first..=last`, which were just inserted.
pub(crate) async fn apply(conn: &mut PgConnection, first: u64, last: u64) -> Result<(), sqlx::Error> {
    sqlx::query(APPLY).bind(int(first)).bind(int(last)).execute(conn).await?;
    Ok(())
}

pub(super) async fn undo(conn: &mut PgConnection, ancestor: u64) -> Result<(), sqlx::Error> {
    for statement in UNDO {
        sqlx::query(statement).bind(int(ancestor)).execute(&mut *conn).await?;
    }
    Ok(())
}
