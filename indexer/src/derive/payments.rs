use std::sync::LazyLock;

use sqlx::{AssertSqlSafe, PgConnection};

use crate::{block::Block, store::int, watch::PROXIES};

/// Events that tell of payments.
const EVENTS: [&str; 8] = [
    "PaymentExecuted",
    "OrderExecuted",
    "PaymentRecorded",
    "SubscriptionCharged",
    "AgreementReleased",
    "AgreementResolved",
    "BatchPaid",
    "SplitPaid",
];

/// The payments of blocks, and their sums. A proxy that settles for Permit2 logs nothing but that it did, right after the token's transfer: what
/// is proved of the block, unlike whom a transaction called. An authorization whose recipient is a contract of the deployment that tells of it by an event is left
/// to the event, and one that tops a treasury up is none; an order of a treasury that puts money into the escrow, or has the router pay, is left to what is told of
/// there. Others may have logs in the same transaction, and a token of their own says anything: what is left out must be what the event tells of. So places count:
/// a treasury says which token it is topped up with and calls that one, so the top-up is the first transfer to it after that log; it says which order it executes
/// and then calls the escrow or the router, so what is told of there comes before its next order. The first payee of a split gets what rounding down leaves of the
/// others' shares.
const FOUND: &str = "
    WITH e AS MATERIALIZED (
        SELECT block_number, log_index, tx_index, contract, name, args FROM chain.events
        WHERE block_number BETWEEN $1 AND $2 AND name = ANY($4)
    ), found AS (
        SELECT block_number, log_index, 0 AS part, tx_index, 'x402' AS kind, sender AS payer, recipient AS payee, token,
               amount::numeric AS amount, authorization_nonce AS reference
        FROM chain.transfers AS t
        WHERE block_number BETWEEN $1 AND $2
          AND (authorization_nonce IS NOT NULL
               OR (block_number, tx_index, log_index + 1) IN (SELECT block_number, tx_index, log_index FROM chain.events
                                                              WHERE block_number BETWEEN $1 AND $2 AND contract = ANY($3)))
          AND NOT EXISTS (SELECT FROM chain.events AS e
                          WHERE e.block_number BETWEEN $1 AND $2
                            AND e.block_number = t.block_number AND e.tx_index = t.tx_index AND e.contract = t.recipient
                            AND (NOT EXISTS (SELECT FROM chain.contracts WHERE address = t.recipient)
                                 OR e.name = 'ToppedUp' AND chain.state_bytes(e.args, 'token') = t.token AND e.log_index < t.log_index
                                    AND NOT EXISTS (SELECT FROM chain.transfers AS o
                                                    WHERE o.block_number BETWEEN $1 AND $2
                                                      AND o.block_number = t.block_number AND o.recipient = t.recipient
                                                      AND o.log_index > e.log_index AND o.log_index < t.log_index)))
        UNION ALL
        SELECT block_number, log_index, 0, tx_index,
               CASE name WHEN 'PaymentExecuted' THEN 'wallet' WHEN 'OrderExecuted' THEN 'treasury'
                         WHEN 'PaymentRecorded' THEN 'router' ELSE 'subscription' END,
               coalesce(chain.state_bytes(args, 'payer'), contract),
               coalesce(chain.state_bytes(args, 'payee'), chain.state_bytes(args, 'to')),
               chain.state_bytes(args, 'token'), (args ->> 'amount')::numeric,
               CASE name WHEN 'OrderExecuted' THEN chain.state_bytes(args, 'paymentRef')
                         WHEN 'SubscriptionCharged' THEN chain.state_bytes(args, 'id')
                         ELSE chain.state_bytes(args, 'paymentId') END
        FROM e WHERE name IN ('PaymentExecuted', 'OrderExecuted', 'PaymentRecorded', 'SubscriptionCharged')
          AND NOT (name = 'OrderExecuted' AND EXISTS (
              SELECT FROM chain.events AS o
              WHERE o.block_number BETWEEN $1 AND $2 AND o.block_number = e.block_number AND o.tx_index = e.tx_index
                AND o.log_index > e.log_index
                AND NOT EXISTS (SELECT FROM chain.events AS other
                                WHERE other.block_number BETWEEN $1 AND $2 AND other.block_number = e.block_number
                                  AND other.contract = e.contract AND other.name = 'OrderExecuted'
                                  AND other.log_index > e.log_index AND other.log_index < o.log_index)
                AND (o.name IN ('AgreementFunded', 'AgreementDisputed') AND o.args ->> 'id' = e.args ->> 'paymentRef'
                        AND coalesce(o.args ->> 'bond', o.args -> 'terms' ->> 'amount') = e.args ->> 'amount'
                        AND EXISTS (SELECT FROM chain.agreements AS a
                                    WHERE a.key = chain.state_bytes(o.args, 'id') AND a.until_block IS NULL
                                      AND a.buyer = e.contract AND a.seller = chain.state_bytes(e.args, 'to'))
                     OR o.name IN ('PaymentRecorded', 'SubscriptionCharged', 'BatchPaid', 'SplitPaid')
                        AND o.contract = chain.state_bytes(e.args, 'to'))))
        UNION ALL
        SELECT block_number, log_index, 0, tx_index, 'escrow', a.buyer, a.seller, a.token,
               (args ->> CASE name WHEN 'AgreementReleased' THEN 'amount' ELSE 'toSeller' END)::numeric, chain.state_bytes(args, 'id')
        FROM e, LATERAL (SELECT buyer, seller, token FROM chain.agreements
                         WHERE key = chain.state_bytes(e.args, 'id') AND until_block IS NULL LIMIT 1) AS a
        WHERE name = 'AgreementReleased' OR name = 'AgreementResolved' AND args ->> 'toSeller' <> '0'
        UNION ALL
        SELECT block_number, log_index, leg.part::int - 1, tx_index, 'batch', chain.state_bytes(args, 'payer'),
               decode(substr(leg.word, 3, 40), 'hex'), chain.state_bytes(args, 'token'), chain.hex_to_numeric(substr(leg.word, 43)),
               chain.state_bytes(args, 'paymentRef')
        FROM e, jsonb_array_elements_text(args -> 'legs') WITH ORDINALITY AS leg (word, part)
        WHERE name = 'BatchPaid'
        UNION ALL
        SELECT block_number, log_index, part, tx_index, 'split', payer, payee, token,
               CASE part WHEN 0 THEN amount - coalesce(sum(share) FILTER (WHERE part > 0) OVER (PARTITION BY block_number, log_index), 0)
                         ELSE share END,
               reference
        FROM (SELECT block_number, log_index, tx_index, share.part::int - 1 AS part, chain.state_bytes(args, 'payer') AS payer,
                     chain.state_bytes(share.fields, 'payee') AS payee, chain.state_bytes(args, 'token') AS token,
                     (args ->> 'amount')::numeric AS amount,
                     div((args ->> 'amount')::numeric * (share.fields ->> 'bps')::numeric, 10000) AS share,
                     chain.state_bytes(args, 'paymentRef') AS reference
              FROM e, jsonb_array_elements(args -> 'shares') WITH ORDINALITY AS share (fields, part)
              WHERE name = 'SplitPaid') AS shares
    )";

/// Its columns.
const COLUMNS: &str = "block_number, log_index, part, tx_index, kind, payer, payee, token, amount, reference";

static FIND: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{FOUND}, added AS (
            INSERT INTO chain.payments ({COLUMNS}) SELECT {COLUMNS} FROM found RETURNING block_number, kind, token, amount
        )
    INSERT INTO chain.payment_hours (hour, kind, token, payments, amount)
    SELECT date_trunc('hour', b.timestamp, 'UTC'), kind, token, count(*), sum(amount)
    FROM added AS p JOIN chain.blocks AS b ON b.number = p.block_number AND b.number BETWEEN $1 AND $2
    GROUP BY 1, 2, 3
    ON CONFLICT (hour, kind, token) DO UPDATE
    SET payments = payment_hours.payments + excluded.payments, amount = payment_hours.amount + excluded.amount"
    )
});

/// Blocks that are left start before the hour that is counted again, so both ends come from the index on their time.
const RECOUNT: [&str; 2] = [
    "DELETE FROM chain.payment_hours
     WHERE hour >= coalesce((SELECT date_trunc('hour', timestamp, 'UTC') FROM chain.blocks WHERE number = $1), '-infinity')",
    "INSERT INTO chain.payment_hours (hour, kind, token, payments, amount)
     SELECT date_trunc('hour', b.timestamp, 'UTC'), kind, token, count(*), sum(amount)
     FROM chain.blocks AS b JOIN chain.payments AS p ON p.block_number = b.number
     WHERE b.timestamp >= (SELECT date_trunc('hour', timestamp, 'UTC') FROM chain.blocks WHERE number = $1)
     GROUP BY 1, 2, 3",
];

/// Finds the payments of blocks that were just inserted, with everything else that follows from them.
pub(super) async fn apply(conn: &mut PgConnection, blocks: &[Block]) -> Result<(), sqlx::Error> {
    let touching = || blocks.iter().filter(|block| may_pay(block)).map(|block| block.number);
    let (Some(first), Some(last)) = (touching().min(), touching().max()) else { return Ok(()) };
    find(conn, int(first), int(last)).await
}

/// Finds the payments of blocks `first..=last`.
pub(super) async fn find(conn: &mut PgConnection, first: i64, last: i64) -> Result<(), sqlx::Error> {
    let proxies = PROXIES.map(|proxy| proxy.to_vec());
    sqlx::query(AssertSqlSafe(FIND.as_str())).bind(first).bind(last).bind(&proxies[..]).bind(&EVENTS[..]).execute(conn).await?;
    Ok(())
}

/// Forgets the payments of blocks `first..=last`, and leaves their sums.
pub(super) async fn forget(conn: &mut PgConnection, first: i64, last: i64) -> Result<(), sqlx::Error> {
    let delete = "DELETE FROM chain.payments WHERE block_number BETWEEN $1 AND $2";
    sqlx::query(delete).bind(first).bind(last).execute(conn).await?;
    Ok(())
}

pub(super) fn may_pay(block: &Block) -> bool {
    let event = |event: &crate::block::Event| event.decoded.as_ref().is_some_and(|e| EVENTS.contains(&e.name.as_str()));
    block.transfers.iter().any(|transfer| transfer.authorization_nonce.is_some())
        || block.events.iter().any(|e| PROXIES.contains(&e.log.address) || event(e))
}

/// Forgets the payments of blocks after `ancestor`, and counts its hour again.
pub(super) async fn undo(conn: &mut PgConnection, ancestor: u64) -> Result<(), sqlx::Error> {
    let gone = sqlx::query("DELETE FROM chain.payments WHERE block_number > $1").bind(int(ancestor)).execute(&mut *conn).await?;
    if gone.rows_affected() > 0 {
        for statement in RECOUNT {
            sqlx::query(statement).bind(int(ancestor)).execute(&mut *conn).await?;
        }
    }
    Ok(())
}

/// Finds the payments of one block again, of which there are more rows now, and counts its hour again.
pub(super) async fn again(conn: &mut PgConnection, block: u64) -> Result<(), sqlx::Error> {
    const COUNT: [&str; 2] = [
        "DELETE FROM chain.payment_hours WHERE hour = (SELECT date_trunc('hour', timestamp, 'UTC') FROM chain.blocks WHERE number = $1)",
        "INSERT INTO chain.payment_hours (hour, kind, token, payments, amount)
         SELECT h.hour, kind, token, count(*), sum(amount)
         FROM (SELECT date_trunc('hour', timestamp, 'UTC') AS hour FROM chain.blocks WHERE number = $1) AS h
         JOIN chain.blocks AS b ON b.timestamp >= h.hour AND b.timestamp < h.hour + interval '1 hour'
         JOIN chain.payments AS p ON p.block_number = b.number GROUP BY 1, 2, 3",
    ];
    forget(conn, int(block), int(block)).await?;
    find(conn, int(block), int(block)).await?;
    for statement in COUNT {
        sqlx::query(statement).bind(int(block)).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Blocks whose payments are not those that would be found now.
pub(crate) async fn wrong_payments(conn: &mut PgConnection, first: u64, last: u64) -> Result<Vec<i64>, sqlx::Error> {
    let there = format!("SELECT {COLUMNS} FROM chain.payments WHERE block_number BETWEEN $1 AND $2");
    let compare = format!(
        "{FOUND} SELECT DISTINCT block_number FROM (
            (SELECT {COLUMNS} FROM found EXCEPT {there}) UNION ALL ({there} EXCEPT SELECT {COLUMNS} FROM found)
         ) AS wrong ORDER BY 1"
    );
    let proxies = PROXIES.map(|proxy| proxy.to_vec());
    let compare = sqlx::query_scalar(AssertSqlSafe(compare)).bind(int(first)).bind(int(last));
    compare.bind(&proxies[..]).bind(&EVENTS[..]).fetch_all(conn).await
}

/// Hours whose sums are not those of their payments, of those that lie within these blocks entirely.
pub(crate) async fn wrong_sums(conn: &mut PgConnection, first: u64, last: u64) -> Result<Vec<time::OffsetDateTime>, sqlx::Error> {
    sqlx::query_scalar(
        "WITH bounds AS (
             SELECT (SELECT date_trunc('hour', timestamp, 'UTC') FROM chain.blocks WHERE number = $1 - 1) AS before,
                    (SELECT date_trunc('hour', timestamp, 'UTC') FROM chain.blocks WHERE number = $2 + 1) AS after
         ), sums AS (
             SELECT date_trunc('hour', b.timestamp, 'UTC') AS hour, kind, token, count(*) AS payments, sum(amount) AS amount
             FROM chain.payments AS p JOIN chain.blocks AS b ON b.number = p.block_number
             WHERE p.block_number BETWEEN $1 AND $2 GROUP BY 1, 2, 3
         ), kept AS (
             SELECT hour, kind, token, payments, amount FROM chain.payment_hours
             WHERE hour BETWEEN (SELECT date_trunc('hour', timestamp, 'UTC') FROM chain.blocks WHERE number = $1)
                            AND (SELECT timestamp FROM chain.blocks WHERE number = $2)
         )
         SELECT DISTINCT hour FROM ((TABLE sums EXCEPT TABLE kept) UNION ALL (TABLE kept EXCEPT TABLE sums)) AS wrong, bounds
         WHERE hour > coalesce(before, '-infinity') AND hour < coalesce(after, 'infinity') ORDER BY 1",
    )
    .bind(int(first))
    .bind(int(last))
    .fetch_all(conn)
    .await
}
