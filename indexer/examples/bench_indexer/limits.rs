//! What node and database can do at best: the same answers fetched, the same rows copied.

use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, U64};
use futures::{StreamExt, stream};
use sqlx::{Connection, PgConnection};
use stack::Postgres;

use crate::chain::Chain;

/// As many blocks in a request and as many requests under way as ours has at most.
const BLOCKS: u64 = 64;
const PARALLEL: usize = 4;

/// Receives every block's receipts without a look at them.
pub(crate) async fn fetch(chain: &Chain) -> Duration {
    let client = reqwest::Client::new();
    let started = Instant::now();
    let ranges = (chain.first..=chain.last()).step_by(usize::try_from(BLOCKS).unwrap());
    let received: usize = stream::iter(ranges)
        .map(|from| {
            let calls: Vec<_> = (from..=chain.last().min(from + BLOCKS - 1))
                .map(|block| serde_json::json!({"jsonrpc": "2.0", "id": block, "method": "eth_getBlockReceipts", "params": [U64::from(block)]}))
                .collect();
            let request = client.post(chain.anvil.rpc_url().clone()).json(&calls);
            async move { request.send().await.unwrap().bytes().await.unwrap().len() }
        })
        .buffer_unordered(PARALLEL)
        .fold(0, async |sum, bytes| sum + bytes)
        .await;
    assert!(received > 0);
    started.elapsed()
}

/// Copies as many transfers, in the same format, into a table with the same primary key.
pub(crate) async fn copy(chain: &Chain, postgres: &Postgres, name: &str) -> Duration {
    let mut conn = PgConnection::connect(&postgres.create(name, None).await.unwrap().url).await.unwrap();
    let table = "CREATE TABLE transfers (block_number BIGINT, log_index INTEGER, tx_index INTEGER, token BYTEA, sender BYTEA,
        recipient BYTEA, amount BIGINT, authorization_nonce BYTEA, PRIMARY KEY (block_number, log_index))";
    sqlx::query(table).execute(&mut conn).await.unwrap();
    let mut rows = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for block in 0..chain.blocks {
        for log in 0..u32::try_from(chain.per_block).unwrap() {
            rows.extend(8_i16.to_be_bytes());
            let mut column = |bytes: &[u8]| {
                rows.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
                rows.extend(bytes);
            };
            column(&block.to_be_bytes());
            column(&log.to_be_bytes());
            column(&0_i32.to_be_bytes());
            (0..3).for_each(|i| column(Address::repeat_byte(i).as_slice()));
            column(&1_i64.to_be_bytes());
            column(&B256::ZERO[..]);
        }
    }
    rows.extend((-1_i16).to_be_bytes());
    let started = Instant::now();
    let mut copy = conn.copy_in_raw("COPY transfers FROM STDIN BINARY").await.unwrap();
    for chunk in rows.chunks(1 << 20) {
        copy.send(chunk).await.unwrap();
    }
    assert_eq!(copy.finish().await.unwrap(), chain.transfers());
    started.elapsed()
}
