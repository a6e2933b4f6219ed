use sqlx::PgConnection;

use crate::{block::Block, store::int};

/// Sums the transfers of the new blocks per account and block, closes the versions that were current and continues from them.
const APPLY: &str = "
    WITH moved AS (
        SELECT token, account, block_number, sum(amount) AS amount, count(DISTINCT log_index) AS transfers
        FROM (
            SELECT token, sender AS account, block_number, log_index, -amount AS amount
            FROM chain.transfers WHERE block_number BETWEEN $1 AND $2
            UNION ALL
            SELECT token, recipient, block_number, log_index, amount
            FROM chain.transfers WHERE block_number BETWEEN $1 AND $2
        ) AS sides
        WHERE account <> decode('0000000000000000000000000000000000000000', 'hex')
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

pub(super) async fn apply(conn: &mut PgConnection, blocks: &[Block]) -> Result<(), sqlx::Error> {
    let touching = || blocks.iter().filter(|block| !block.transfers.is_empty()).map(|block| block.number);
    let (Some(first), Some(last)) = (touching().min(), touching().max()) else { return Ok(()) };
    sqlx::query(APPLY).bind(int(first)).bind(int(last)).execute(conn).await?;
    Ok(())
}
