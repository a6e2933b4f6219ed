//! What is rare in a long list: it is found, page after page, and no page reads more than it may.

use alloy::primitives::{Address, address};
use indexer::read::{
    self, KEYS_LOOKED_AT_MAX, LOOKED_AT_MAX, Order, PaymentFilter, PaymentKind, StatFilter, TransferFilter, WalletFilter,
};
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::harness::{Chain, Indexer, database, pool, synced};

/// Was paid by every second of the older payments and by none of the newer.
const BUSY: Address = address!("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");

/// 40,000 payments, each a block's only one, and a wallet of 4,000 versions.
const FILL: &str = "
    INSERT INTO chain.sync (chain_id, start_block, usdc, transfers, finality_blocks, raw) VALUES (1, 0, '\\xaa', 'all', 64, false);
    CREATE TABLE chain.transactions_0 PARTITION OF chain.transactions FOR VALUES FROM (0) TO (1000000);
    CREATE TABLE chain.transfers_0 PARTITION OF chain.transfers FOR VALUES FROM (0) TO (1000000);
    INSERT INTO chain.blocks (number, hash, parent_hash, timestamp, proof)
    SELECT n, sha256(int8send(n)), sha256(int8send(n - 1)), to_timestamp(1750000000 + n * 600), 'r' FROM generate_series(0, 39999) AS n;
    INSERT INTO chain.transactions (block_number, tx_index, hash, sender, recipient, gas_used, gas_price)
    SELECT n, 0, sha256(int8send(n)), '\\x01', '\\x02', 1, 1 FROM generate_series(0, 39999) AS n;
    INSERT INTO chain.payments (block_number, log_index, part, tx_index, kind, payer, payee, token, amount)
    SELECT n, 0, 0, 0, CASE n % 5000 WHEN 77 THEN 'escrow' ELSE 'x402' END, decode(repeat('ab', 20), 'hex'),
           CASE WHEN n < 30000 AND n % 2 = 1 THEN decode(repeat('bb', 20), 'hex') ELSE decode(lpad(to_hex(n), 40, '0'), 'hex') END,
           decode(repeat('aa', 20), 'hex'), 5 FROM generate_series(0, 39999) AS n;
    INSERT INTO chain.transfers (block_number, log_index, tx_index, token, sender, recipient, amount)
    SELECT block_number, log_index, tx_index, token, payer, payee, amount::bigint FROM chain.payments;
    CREATE INDEX ON chain.transfers (sender, block_number NULLS FIRST, log_index NULLS FIRST);
    CREATE INDEX ON chain.transfers (recipient, block_number NULLS FIRST, log_index NULLS FIRST);
    INSERT INTO chain.payment_hours (hour, kind, token, payments, amount)
    SELECT date_trunc('hour', timestamp, 'UTC'), kind, token, count(*), sum(amount)
    FROM chain.payments JOIN chain.blocks ON number = block_number GROUP BY 1, 2, 3;
    INSERT INTO chain.wallets (key, from_block, until_block, state)
    SELECT decode(repeat('ee', 20), 'hex'), n, nullif(n + 1, 4000), jsonb_build_object('owner', '0x' || repeat('bb', 20))
    FROM generate_series(0, 3999) AS n
    UNION ALL SELECT decode(lpad(to_hex(n), 40, '0'), 'hex'), 20000 + n, NULL, jsonb_build_object('owner', '0x' || repeat('bb', 20))
    FROM generate_series(0, 1499) AS n;
    ANALYZE";

async fn filled() -> PgConnection {
    let database = database().await;
    indexer::migrate(&database).await.unwrap();
    let pool = pool(&database).await;
    sqlx::raw_sql(FILL).execute(&pool).await.unwrap();
    pool.acquire().await.unwrap().detach()
}

/// Every payment that a filter fits, and how many pages it took.
async fn read_all(conn: &mut PgConnection, filter: &PaymentFilter) -> (Vec<u64>, usize) {
    let (mut blocks, mut pages, mut filter) = (Vec::new(), 0, filter.clone());
    loop {
        filter.until = read::payments_horizon(conn, &filter).await.unwrap();
        let page = read::payments(conn, &filter).await.unwrap();
        pages += 1;
        blocks.extend(page.iter().map(|payment| payment.place.block_number));
        let full = page.len() == usize::try_from(filter.limit).unwrap();
        filter.after = page.last().filter(|_| full).map(read::Payment::position).or(filter.until);
        if filter.after.is_none() {
            return (blocks, pages);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_end_early_add_up_to_everything_once() {
    let mut conn = filled().await;
    let all = PaymentFilter { limit: 3, ..Default::default() };
    for order in [Order::Desc, Order::Asc] {
        for (filter, found) in [
            (PaymentFilter { account: Some(BUSY), kind: Some(PaymentKind::Escrow), ..all.clone() }, 6),
            (PaymentFilter { payer: Some(Address::repeat_byte(0xab)), payee: Some(Address::ZERO), ..all.clone() }, 1),
            (PaymentFilter { token: Some(Address::ZERO), ..all.clone() }, 0),
            (PaymentFilter { kind: Some(PaymentKind::Escrow), token: Some(Address::repeat_byte(0xaa)), ..all.clone() }, 8),
        ] {
            let filter = PaymentFilter { order, ..filter };
            let (blocks, pages) = read_all(&mut conn, &filter).await;
            let unbounded = read::payments(&mut conn, &PaymentFilter { limit: 500, ..filter.clone() }).await.unwrap();
            let unbounded: Vec<u64> = unbounded.iter().map(|payment| payment.place.block_number).collect();
            assert_eq!((&blocks, blocks.len()), (&unbounded, found), "{filter:?}");
            assert!(pages <= 10, "{pages} pages for {filter:?}");
        }
    }
}

/// Rows of the tables that were fetched since `before`.
async fn fetched(conn: &mut PgConnection) -> i64 {
    let fetched = "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_xact_user_tables
                   WHERE relname NOT IN ('sync', 'reorgs')";
    sqlx::query_scalar(fetched).fetch_one(conn).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_reads_more_rows_than_it_may_look_at_wherever_they_are() {
    let mut conn = filled().await;
    let account = TransferFilter { account: Some(BUSY), limit: 51, ..Default::default() };
    let payments = PaymentFilter { limit: 51, ..Default::default() };
    // What is found by an index alone costs a page; otherwise a page looks at rows twice, first to see how far it may look.
    let (page, window) = (400, i64::from(2 * LOOKED_AT_MAX) + 400);
    for (filter, most) in [
        (PaymentFilter { payee: Some(BUSY), ..payments.clone() }, page),
        (PaymentFilter { kind: Some(PaymentKind::Escrow), ..payments.clone() }, page),
        (PaymentFilter { payer: Some(Address::ZERO), order: Order::Asc, ..payments.clone() }, page),
        (PaymentFilter { account: Some(BUSY), kind: Some(PaymentKind::Escrow), ..payments.clone() }, window),
        (PaymentFilter { payee: Some(BUSY), token: Some(Address::ZERO), ..payments.clone() }, window),
        (PaymentFilter { token: Some(Address::ZERO), ..payments.clone() }, window),
    ] {
        cost(&mut conn, &format!("{filter:?}"), most, async |conn| {
            let until = read::payments_horizon(conn, &filter).await.unwrap();
            read::payments(conn, &PaymentFilter { until, ..filter.clone() }).await.unwrap();
        })
        .await;
    }
    cost(&mut conn, "transfers", page, async |conn| drop(read::transfers(conn, &account).await.unwrap())).await;
    for at_block in [Some(2_000), None] {
        let owned = WalletFilter { owner: Some(BUSY), at_block, limit: 51, ..Default::default() };
        cost(&mut conn, "wallets", i64::from(4 * KEYS_LOOKED_AT_MAX), async |conn| {
            let found = read::wallets(conn, &owned).await.unwrap();
            // At block 2,000 there is one, behind more keys than a page looks at.
            assert_eq!((found.rows.len(), found.looked_to.is_some()), if at_block.is_some() { (0, true) } else { (51, false) });
        })
        .await;
    }
    cost(&mut conn, "limits", page, async |conn| {
        let wallet = Address::repeat_byte(0xee);
        let state = read::wallet(conn, wallet, None).await.unwrap().unwrap();
        read::limits(conn, wallet, &state, OffsetDateTime::UNIX_EPOCH).await.unwrap();
    })
    .await;
    let of_token = StatFilter { token: Some(Address::ZERO), limit: 5, ..Default::default() };
    cost(&mut conn, "sums", page, async |conn| assert!(read::stats(conn, &of_token).await.unwrap().is_empty())).await;
    let newest = StatFilter { limit: 5, ..Default::default() };
    cost(&mut conn, "sums", page, async |conn| assert_eq!(read::stats(conn, &newest).await.unwrap().len(), 5)).await;
}

/// Fails if a query fetches more than `most` rows.
async fn cost(conn: &mut PgConnection, what: &str, most: i64, ask: impl AsyncFnOnce(&mut PgConnection)) {
    sqlx::query("BEGIN").execute(&mut *conn).await.unwrap();
    let before = fetched(conn).await;
    ask(conn).await;
    let rows = fetched(conn).await - before;
    sqlx::query("COMMIT").execute(&mut *conn).await.unwrap();
    assert!(rows <= most, "{rows} rows for {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_and_a_reader_of_the_stream_find_a_payment_behind_thousands_of_others() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    chain.pay(1, 2, 5).await;
    let paid = i64::try_from(chain.height().await).unwrap();
    chain.pay(1, 2, 5).await;
    synced(&chain, &pool).await;
    let fill = "INSERT INTO chain.payments (block_number, log_index, part, tx_index, kind, payer, payee, token, amount)
        SELECT $1, 100 + n, 0, 0, CASE n WHEN 7 THEN 'escrow' ELSE 'x402' END, $2, $2, $2, 5 FROM generate_series(0, 7000) AS n";
    sqlx::query(fill).bind(paid).bind(BUSY.as_slice()).execute(&pool).await.unwrap();

    let (mut found, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let (status, page) = indexer.get(&format!("/api/v1/chain/payments?account={BUSY}&kind=escrow{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        found.extend(page["data"].as_array().unwrap().iter().map(|row| row["log_index"].as_u64().unwrap()));
        pages += 1;
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!((found, pages), (vec![107], 2));

    let url = format!("{}/api/v1/chain/stream?account={BUSY}&kind=escrow&from_block=1", indexer.url);
    let mut stream = reqwest::get(url).await.unwrap();
    let first = stream.chunk().await.unwrap().unwrap();
    let first = String::from_utf8_lossy(&first);
    assert!(first.contains("event: payment") && first.contains("\"log_index\":107"), "{first}");
    indexer.stop().await;
}
