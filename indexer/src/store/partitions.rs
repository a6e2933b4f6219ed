//! The tables that grow with the chain are partitioned by block.
//!
//! While the mirror catches up, a partition has no index but its primary key; it gets the others when the mirror has reached the chain, or
//! the next partition is begun. From then on they are kept with every row. Which of them exist is all that there is to know, so building them
//! goes on where it was interrupted.

use std::collections::{BTreeSet, HashSet};

use sqlx::{AssertSqlSafe, PgConnection};
use tracing::info;

/// Blocks of a partition.
const BLOCKS: u64 = 1_000_000;
const TABLES: [&str; 4] = ["transactions", "events", "event_keys", "transfers"];
/// Indexes by which rows are found, but not written: table, name, unique, what.
const INDEXES: [(&str, &str, &str, &str); 8] = [
    ("transactions", "hash", "", "(hash)"),
    ("events", "contract", "", "(contract, block_number, log_index)"),
    ("events", "name", "", "(name, block_number, log_index)"),
    ("event_keys", "key", "UNIQUE", "(key, block_number, log_index)"),
    ("event_keys", "block", "", "(block_number)"),
    ("transfers", "sender", "", "(sender, block_number, log_index)"),
    ("transfers", "recipient", "", "(recipient, block_number, log_index)"),
    ("transfers", "authorization", "", "(authorization_nonce) WHERE authorization_nonce IS NOT NULL"),
];

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

    /// Makes room for blocks `first..=last`. What there is already is indexed before another partition is begun.
    pub(crate) async fn cover(&mut self, conn: &mut PgConnection, first: u64, last: u64) -> Result<(), sqlx::Error> {
        for number in first / BLOCKS..=last / BLOCKS {
            if self.numbers.contains(&number) {
                continue;
            }
            self.index(conn).await?;
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

    /// Builds the indexes that are missing.
    pub(crate) async fn index(&mut self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        if self.indexed {
            return Ok(());
        }
        let existing: Vec<String> =
            sqlx::query_scalar("SELECT relname::text FROM pg_class WHERE relkind = 'i' AND relnamespace = 'chain'::regnamespace")
                .fetch_all(&mut *conn)
                .await?;
        let existing: HashSet<String> = existing.into_iter().collect();
        for number in &self.numbers {
            for (table, name, unique, what) in INDEXES {
                let (partition, index) = (format!("{table}_{number}"), format!("{table}_{number}_{name}"));
                if !existing.contains(&index) {
                    info!(index, "indexing");
                    let create = format!("CREATE {unique} INDEX {index} ON chain.{partition} {what}");
                    sqlx::query(AssertSqlSafe(create)).persistent(false).execute(&mut *conn).await?;
                }
            }
        }
        self.indexed = true;
        Ok(())
    }
}
