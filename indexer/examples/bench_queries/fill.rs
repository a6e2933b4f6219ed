//! A mirror of many payments, made by SQL as the writer would have left it, with what is hard to find in it.

use std::time::Instant;

use alloy::primitives::{Address, address};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::Options;

/// Payments of a block.
pub(crate) const PER_BLOCK: u64 = 10;
pub(crate) const USDC: Address = address!("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
/// Is paid by every second payment of the first half of the chain, and never again.
pub(crate) const BUSY: Address = address!("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
/// Emits an event for each payment through it; those are in the first half.
pub(crate) const ROUTER: Address = address!("dddddddddddddddddddddddddddddddddddddddd");
/// Pays once in each block, and has a version for each of the first hundred thousand.
pub(crate) const WALLET: Address = address!("eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee");

/// Account `n` is the 20 bytes of the number `n + 1`.
const FUNCTIONS: &str = "
    CREATE FUNCTION pg_temp.address(n BIGINT) RETURNS BYTEA LANGUAGE sql IMMUTABLE RETURN decode(lpad(to_hex(n + 1), 40, '0'), 'hex');
    CREATE FUNCTION pg_temp.hex(b BYTEA) RETURNS TEXT LANGUAGE sql IMMUTABLE RETURN '0x' || encode(b, 'hex');";

/// `$p`: payments, `$a`: accounts, `$usdc`, `$busy`, `$router`, `$wallet`: addresses.
const FILL: [(&str, &str); 16] = [
    ("sync", "INSERT INTO chain.sync (chain_id, start_block, usdc, transfers, finality_blocks, raw) VALUES (1, 0, $usdc, 'all', 64, false)"),
    (
        "partitions",
        "DO $$ DECLARE t TEXT; n INT; BEGIN
           FOREACH t IN ARRAY ARRAY['transactions', 'events', 'event_keys', 'transfers'] LOOP
             FOR n IN 0..9 LOOP
               EXECUTE format('CREATE TABLE chain.%s_%s PARTITION OF chain.%s FOR VALUES FROM (%s) TO (%s)', t, n, t,
                              n * (1 + $p / 100), (n + 1) * (1 + $p / 100));
             END LOOP;
           END LOOP;
         END $$",
    ),
    (
        "blocks",
        "INSERT INTO chain.blocks (number, hash, parent_hash, timestamp, proof)
         SELECT n, sha256(int8send(n)), sha256(int8send(n - 1)), to_timestamp(1750000000 + n * 60), 'r' FROM generate_series(0::bigint, $p / 10 - 1) AS n",
    ),
    (
        "transactions",
        "INSERT INTO chain.transactions (block_number, tx_index, hash, sender, recipient, gas_used, gas_price)
         SELECT n / 10, n % 10, sha256(int8send(-n - 1)), '\\x01', '\\x02', 60000, 1000000 FROM generate_series(0::bigint, $p - 1) AS n",
    ),
    (
        "transfers",
        "INSERT INTO chain.transfers (block_number, log_index, tx_index, token, sender, recipient, amount, authorization_nonce)
         SELECT n / 10, (n % 10) * 2 + 1, n % 10, $usdc, pg_temp.address(n * 7919 % $a),
                CASE WHEN n % 2 = 0 AND n < $p / 2 THEN $busy ELSE pg_temp.address((n * 104729 + n / $a + 1) % $a) END, n % 1000 + 1,
                CASE WHEN n % 4 = 3 AND n < $p / 2 THEN NULL ELSE sha256(int8send(n)) END
         FROM generate_series(0::bigint, $p - 1) AS n",
    ),
    (
        "without indexes",
        "DO $$ DECLARE i RECORD; BEGIN
           CREATE TEMP TABLE dropped AS SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS made FROM pg_index
               WHERE indrelid = 'chain.payments'::regclass AND NOT indisunique;
           FOR i IN SELECT * FROM dropped LOOP EXECUTE 'DROP INDEX ' || i.name; END LOOP;
         END $$",
    ),
    (
        "payments",
        "INSERT INTO chain.payments (block_number, log_index, part, tx_index, kind, payer, payee, token, amount, reference)
         SELECT block_number, log_index, 0, tx_index,
                CASE WHEN authorization_nonce IS NULL THEN 'router' WHEN block_number = 77 THEN 'escrow' ELSE 'x402' END,
                sender, recipient, token, amount, coalesce(authorization_nonce, sha256(sender)) FROM chain.transfers",
    ),
    (
        "payment_hours",
        "INSERT INTO chain.payment_hours (hour, kind, token, payments, amount)
         SELECT date_trunc('hour', timestamp, 'UTC'), kind, token, count(*), sum(amount)
         FROM chain.payments JOIN chain.blocks ON number = block_number GROUP BY 1, 2, 3",
    ),
    (
        "balances",
        "INSERT INTO chain.balances (token, account, from_block, until_block, balance, transfers)
         SELECT token, account, block_number, lead(block_number) OVER w, sum(sum(amount)) OVER w, sum(count(*)) OVER w
         FROM (SELECT token, sender AS account, block_number, -amount AS amount FROM chain.transfers
               UNION ALL SELECT token, recipient, block_number, amount FROM chain.transfers) AS sides
         GROUP BY token, account, block_number WINDOW w AS (PARTITION BY token, account ORDER BY block_number)",
    ),
    (
        "events",
        "INSERT INTO chain.events (block_number, log_index, tx_index, contract, topics, data, name, args)
         SELECT block_number, log_index - 1, tx_index, $router, ARRAY[sha256('r')], ''::bytea, 'PaymentRecorded', '{}' FROM chain.payments WHERE kind = 'router'
         UNION ALL
         SELECT number, 40, 0, $wallet, ARRAY[sha256('w')], ''::bytea, 'PaymentExecuted',
                jsonb_build_object('operator', pg_temp.hex(pg_temp.address(0)), 'token', pg_temp.hex($usdc), 'amount', '5') FROM chain.blocks",
    ),
    (
        "event_keys",
        "INSERT INTO chain.event_keys (key, block_number, log_index)
         SELECT unnest(array_remove(ARRAY[payer, nullif(payee, payer), reference], NULL)), block_number, log_index - 1 FROM chain.payments WHERE kind = 'router'
         UNION ALL SELECT pg_temp.address(0), number, 40 FROM chain.blocks",
    ),
    (
        "agreements",
        "INSERT INTO chain.agreements (key, from_block, until_block, state)
         SELECT sha256(int8send(n)), version.from_block, version.until_block, jsonb_build_object(
             'status', CASE WHEN version.until_block IS NOT NULL THEN 'funded' WHEN n % 50000 = 7 THEN 'disputed' ELSE 'released' END,
             'buyer', pg_temp.hex(CASE WHEN n % 2 = 0 THEN $busy ELSE pg_temp.address(n % $a) END),
             'seller', pg_temp.hex(pg_temp.address((n * 31 + n / $a) % $a)),
             'token', pg_temp.hex($usdc), 'funded', '5', 'released', '5', 'fee', '0', 'refunded', '0', 'bond', '0',
             'content_hash', pg_temp.hex(sha256('x')), 'delivery_hash', NULL, 'window_ends', NULL, 'terms', '{}'::jsonb)
         FROM generate_series(0::bigint, $p / 20 - 1) AS n,
              LATERAL (VALUES (n * 2, n * 2 + 100), (n * 2 + 100, NULL)) AS version (from_block, until_block)",
    ),
    (
        "wallets",
        "INSERT INTO chain.wallets (key, from_block, until_block, state)
         SELECT pg_temp.address(n), n, NULL, jsonb_build_object('owner', pg_temp.hex(pg_temp.address(n / 10))) FROM generate_series(0::bigint, $a - 1) AS n
         UNION ALL
         SELECT $wallet, n, nullif(n + 1, 100000), jsonb_build_object('owner', pg_temp.hex(pg_temp.address(0)),
             'operators', jsonb_build_object(pg_temp.hex(pg_temp.address(0)), jsonb_build_object('since_block', 0,
                 'policies', jsonb_build_object(pg_temp.hex($usdc), jsonb_build_object('dailyLimit', '100000')))))
         FROM generate_series(0::bigint, 99999) AS n",
    ),
    (
        "indexes",
        "CREATE INDEX ON chain.transactions (hash);
         CREATE INDEX ON chain.events (contract, block_number NULLS FIRST, log_index NULLS FIRST);
         CREATE INDEX ON chain.events (name, block_number NULLS FIRST, log_index NULLS FIRST);
         CREATE UNIQUE INDEX ON chain.event_keys (key, block_number NULLS FIRST, log_index NULLS FIRST);
         CREATE INDEX ON chain.transfers (sender, block_number NULLS FIRST, log_index NULLS FIRST);
         CREATE INDEX ON chain.transfers (recipient, block_number NULLS FIRST, log_index NULLS FIRST);
         CREATE INDEX ON chain.transfers (authorization_nonce) WHERE authorization_nonce IS NOT NULL;
         CREATE UNIQUE INDEX ON chain.balances (account, token, from_block)",
    ),
    ("indexes of payments", "DO $$ BEGIN EXECUTE (SELECT string_agg(made, ';') FROM dropped); END $$"),
    ("statistics", "VACUUM ANALYZE"),
];

pub(crate) async fn fill(conn: &mut PgConnection, options: &Options) {
    // The server of tests has little memory for building indexes, and a small log.
    for statement in ["SET maintenance_work_mem = '512MB'", "SET work_mem = '256MB'", FUNCTIONS] {
        sqlx::raw_sql(statement).execute(&mut *conn).await.unwrap();
    }
    let addresses = [("$usdc", USDC), ("$busy", BUSY), ("$router", ROUTER), ("$wallet", WALLET)];
    for (what, statement) in FILL {
        let start = Instant::now();
        let mut statement = statement.replace("$p", &options.payments.to_string());
        for (name, address) in addresses {
            statement = statement.replace(name, &format!("'\\x{}'::bytea", alloy::hex::encode(address)));
        }
        let statement = statement.replace("$a", &options.accounts.to_string());
        // VACUUM runs in no transaction, so what is several statements is sent one by one.
        let parts: Vec<&str> = if statement.starts_with("DO") { vec![&statement] } else { statement.split(';').collect() };
        for part in parts {
            sqlx::raw_sql(AssertSqlSafe(part.to_owned())).execute(&mut *conn).await.unwrap();
        }
        eprintln!("{what}: {:.1?}", start.elapsed());
    }
    sqlx::raw_sql("RESET work_mem").execute(conn).await.unwrap();
}
