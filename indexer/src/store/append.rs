use sqlx::{Connection, PgConnection};

use super::{RowTypes, int, rows::Rows, state};
use crate::{Error, block::Block, derive, read::HEAD_CHANNEL};

/// Everything that blocks leave but objects and payments, as one statement: near the tip, a block waits for the database once. Balances come as
/// what was added to them since the block before (see [`derive::Moved`]); each account's versions continue from the one that was current. With
/// it goes the note that the mirror is complete, and the news.
const APPEND: &str = "
    WITH blocks AS (INSERT INTO chain.blocks SELECT * FROM unnest($1)),
         transactions AS (INSERT INTO chain.transactions SELECT * FROM unnest($2)),
         contracts AS (INSERT INTO chain.contracts SELECT * FROM unnest($3)),
         events AS (INSERT INTO chain.events SELECT * FROM unnest($4)),
         event_keys AS (INSERT INTO chain.event_keys SELECT * FROM unnest($5)),
         transfers AS (INSERT INTO chain.transfers SELECT * FROM unnest($6)),
         moves AS MATERIALIZED (SELECT * FROM unnest($7)),
         closed AS (
             UPDATE chain.balances AS b SET until_block = current.from_block
             FROM (SELECT found.place, first.from_block
                   FROM (SELECT token, account, min(from_block) AS from_block FROM moves GROUP BY token, account) AS first,
                        LATERAL (SELECT ctid AS place FROM chain.balances
                                 WHERE token = first.token AND account = first.account AND until_block IS NULL LIMIT 1) AS found
                  ) AS current
             WHERE b.ctid = current.place
             RETURNING b.account, b.balance, b.transfers),
         versions AS (
             INSERT INTO chain.balances (token, account, from_block, until_block, balance, transfers)
             SELECT m.token, account, m.from_block, m.until_block, m.balance + coalesce(closed.balance, 0),
                    m.transfers + coalesce(closed.transfers, 0)
             FROM moves AS m LEFT JOIN closed USING (account)),
         sync AS (UPDATE chain.sync SET head_number = $8, last_error = NULL, checked_at = now())
    SELECT pg_notify($9, $10)";

/// What Postgres answers when a sum does not fit its type.
const OUT_OF_RANGE: &str = "22003";

/// Adds blocks that follow the tip, the last of which is the newest of the chain, and whose partitions exist. All or nothing, like a
/// [`super::Step`].
pub(crate) async fn append(conn: &mut PgConnection, raw: bool, types: &RowTypes, blocks: &[Block]) -> Result<(), Error> {
    if raw || !derive::touches_objects(blocks) {
        return insert(conn, raw, types, blocks).await;
    }
    let mut tx = conn.begin().await?;
    insert(&mut tx, raw, types, blocks).await?;
    derive::apply_objects(&mut tx, blocks).await?;
    Ok(tx.commit().await?)
}

async fn insert(conn: &mut PgConnection, raw: bool, types: &RowTypes, blocks: &[Block]) -> Result<(), Error> {
    let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else { return Ok(()) };
    let mut moved = derive::Moved::default();
    if !raw {
        blocks.iter().for_each(|block| moved.add(block));
    }
    let mut append = sqlx::query(APPEND);
    for rows in Rows::of(blocks).arrays(types) {
        append = append.bind(rows);
    }
    append = append.bind(moved.versions(&derive::Held::new())?.array(types.balances)).bind(int(last.number));
    append = append.bind(HEAD_CHANNEL).bind(state::news(first.number, last.into(), None));
    match append.execute(conn).await {
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(OUT_OF_RANGE) => Err(moved.too_large(last.number)),
        outcome => Ok(outcome.map(drop)?),
    }
}
