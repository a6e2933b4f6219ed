//! The tables that grow with the chain are partitioned by block.
//!
//! While the mirror catches up, a partition has no index but its primary key; it gets the others when the mirror has reached the chain, or
//! the next partition is begun. From then on they are kept with every row. Which of them exist is all that there is to know, so building them
//! goes on where it was interrupted.
//!
//! At the tip a partition is made, with all of its indexes, before its first block is there: no block waits for it.

use std::collections::{BTreeSet, HashSet};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tracing::info;

/// Blocks of a partition.
const BLOCKS: u64 = 1_000_000;
/// A partition is made when so few blocks are missing to its first, so that none has to wait for it.
const AHEAD_BLOCKS: u64 = 10_000;
const TABLES: [&str; 4] = ["transactions", "events", "event_keys", "transfers"];
/// Indexes by which rows are found, but not written: table, name, unique, what. Where nulls would be is explained in `read/page.rs`.
const INDEXES: [(&str, &str, &str, &str); 8] = [
    ("transactions", "hash", "", "(hash)"),
    ("events", "contract", "", "(contract, block_number NULLS FIRST, log_index NULLS FIRST)"),
    ("events", "name", "", "(name, block_number NULLS FIRST, log_index NULLS FIRST)"),
    ("event_keys", "key", "UNIQUE", "(key, block_number NULLS FIRST, log_index NULLS FIRST)"),
    ("event_keys", "block", "", "(block_number)"),
    ("transfers", "sender", "", "(sender, block_number NULLS FIRST, log_index NULLS FIRST)"),
    ("transfers", "recipient", "", "(recipient, block_number NULLS FIRST, log_index NULLS FIRST)"),
    ("transfers", "authorization", "", "(authorization_nonce) WHERE authorization_nonce IS NOT NULL"),
];

/// The same of a table without partitions, built once the mirror has reached the chain.
const HISTORY: (&str, &str) =
    ("balances_history", "CREATE UNIQUE INDEX balances_history ON chain.balances (account, token, from_block)");

/// The partitions that exist.
#[derive(Debug, Default)]
pub(crate) struct Partitions {
    numbers: BTreeSet<u64>,
    indexed: bool,
}

impl Partitions {
    pub(crate) async fn load(conn: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT relname::text FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
             WHERE inhparent = 'chain.transfers'::regclass",
        )
        .fetch_all(conn)
        .await?;
        let number = |name: &String| name.strip_prefix("transfers_")?.parse().ok();
        Ok(Self { numbers: names.iter().filter_map(number).collect(), indexed: false })
    }

    /// Whether there is room for blocks `first..=last`.
    pub(crate) fn cover_already(&self, first: u64, last: u64) -> bool {
        (first / BLOCKS..=last / BLOCKS).all(|number| self.numbers.contains(&number))
    }

    /// Makes room for blocks `first..=last`. What there is already is indexed before another partition is begun.
    pub(crate) async fn cover(&mut self, conn: &mut PgConnection, first: u64, last: u64) -> Result<(), sqlx::Error> {
        for number in first / BLOCKS..=last / BLOCKS {
            if self.numbers.contains(&number) {
                continue;
            }
            self.index(conn, None).await?;
            // Attaching does not wait for readers, unlike creating it in place. Several statements at once are one transaction.
            let (from, to) = (number * BLOCKS, (number + 1) * BLOCKS);
            let make = TABLES.map(|table| {
                format!(
                    "CREATE TABLE chain.{table}_{number} (LIKE chain.{table} INCLUDING ALL);
                     ALTER TABLE chain.{table} ATTACH PARTITION chain.{table}_{number} FOR VALUES FROM ({from}) TO ({to});"
                )
            });
            sqlx::raw_sql(AssertSqlSafe(make.concat())).execute(&mut *conn).await?;
            self.numbers.insert(number);
            self.indexed = false;
        }
        Ok(())
    }

    /// Once the mirror has reached the chain, where block `next` is awaited: builds the indexes that are missing, and makes room ahead.
    pub(crate) async fn tend(&mut self, conn: &mut PgConnection, next: u64) -> Result<(), sqlx::Error> {
        let last = next.saturating_add(AHEAD_BLOCKS);
        if !self.cover_already(next, last) {
            let mut tx = conn.begin().await?;
            self.cover(&mut tx, next, last).await?;
            tx.commit().await?;
        }
        self.index(conn, Some(HISTORY)).await
    }

    /// Builds the indexes that are missing, `more` too.
    async fn index(&mut self, conn: &mut PgConnection, more: Option<(&str, &str)>) -> Result<(), sqlx::Error> {
        if self.indexed {
            return Ok(());
        }
        let existing: Vec<String> =
            sqlx::query_scalar("SELECT relname::text FROM pg_class WHERE relkind = 'i' AND relnamespace = 'chain'::regnamespace")
                .fetch_all(&mut *conn)
                .await?;
        let existing: HashSet<String> = existing.into_iter().collect();
        let of_partitions = self.numbers.iter().flat_map(|number| {
            INDEXES.map(|(table, name, unique, what)| {
                let index = format!("{table}_{number}_{name}");
                let create = format!("CREATE {unique} INDEX {index} ON chain.{table}_{number} {what}");
                (index, create)
            })
        });
        let more = more.map(|(index, create)| (index.to_owned(), create.to_owned()));
        for (index, create) in of_partitions.chain(more) {
            if !existing.contains(&index) {
                info!(index, "indexing");
                sqlx::query(AssertSqlSafe(create)).persistent(false).execute(&mut *conn).await?;
            }
        }
        self.indexed = true;
        Ok(())
    }
}
