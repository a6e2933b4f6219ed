//! The tables that grow with the chain are partitioned by block.
//!
//! While the mirror catches up, a partition has no index but its primary key; it gets the others when the next partition is begun, or the mirror
//! has reached the chain: then they are built on another connection, beside the blocks that come. Which of them exist is all that there is to
//! know, so building them goes on where it was interrupted.
//!
//! At the tip a partition is made, with all of its indexes, before its first block is there: no block waits for it.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::{Error, db};

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
const HISTORY: Index =
    Index { table: "balances", name: "balances_history", unique: "UNIQUE", what: "(account, token, from_block)" };
/// How long to wait after an index could not be built.
const BUILD_RETRY: Duration = Duration::from_secs(5);

/// An index of one table.
struct Index<T = &'static str> {
    table: T,
    name: T,
    unique: &'static str,
    what: &'static str,
}

impl<T: std::fmt::Display> Index<T> {
    fn create(&self, how: &str) -> String {
        let Self { table, name, unique, what } = self;
        format!("CREATE {unique} INDEX {how} {name} ON chain.{table} {what};")
    }
}

/// Those of a partition.
fn indexes(number: u64) -> impl Iterator<Item = Index<String>> {
    INDEXES.into_iter().map(move |(table, name, unique, what)| Index {
        table: format!("{table}_{number}"),
        name: format!("{table}_{number}_{name}"),
        unique,
        what,
    })
}

/// The partitions that exist.
#[derive(Debug, Default)]
pub(crate) struct Partitions {
    numbers: BTreeSet<u64>,
    /// Whether every index is there; then a new partition has its own from the start.
    indexed: bool,
    building: Option<AbortOnDropHandle<()>>,
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
        Ok(Self { numbers: names.iter().filter_map(number).collect(), ..Self::default() })
    }

    /// Whether there is room for blocks `first..=last`.
    pub(crate) fn cover_already(&self, first: u64, last: u64) -> bool {
        (first / BLOCKS..=last / BLOCKS).all(|number| self.numbers.contains(&number))
    }

    /// Makes room for blocks `first..=last`. While catching up, what there is already is indexed before another partition is begun.
    pub(crate) async fn cover(&mut self, conn: &mut PgConnection, first: u64, last: u64) -> Result<(), sqlx::Error> {
        for number in first / BLOCKS..=last / BLOCKS {
            if self.numbers.contains(&number) {
                continue;
            }
            let mut statements: Vec<String> = Vec::new();
            if !self.indexed && self.building.is_none() {
                let existing = existing(&mut *conn).await?;
                let missing = self.numbers.iter().copied().flat_map(indexes).filter(|index| !existing.contains_key(&index.name));
                statements.extend(missing.inspect(|index| info!(index.name, "indexing")).map(|index| index.create("")));
            }
            // Attaching does not wait for readers, unlike creating it in place. Several statements at once are one transaction.
            let (from, to) = (number * BLOCKS, (number + 1) * BLOCKS);
            statements.extend(TABLES.map(|table| {
                format!(
                    "CREATE TABLE chain.{table}_{number} (LIKE chain.{table} INCLUDING ALL);
                     ALTER TABLE chain.{table} ATTACH PARTITION chain.{table}_{number} FOR VALUES FROM ({from}) TO ({to});"
                )
            }));
            if self.indexed {
                statements.extend(indexes(number).map(|index| index.create("")));
            }
            sqlx::raw_sql(AssertSqlSafe(statements.concat())).execute(&mut *conn).await?;
            self.numbers.insert(number);
        }
        Ok(())
    }

    /// Once the mirror has reached the chain, where block `next` is awaited: makes room ahead, and has the indexes built that are missing.
    pub(crate) async fn tend(&mut self, conn: &mut PgConnection, database_url: &str, next: u64) -> Result<(), sqlx::Error> {
        let last = next.saturating_add(AHEAD_BLOCKS);
        if !self.cover_already(next, last) {
            let mut tx = conn.begin().await?;
            self.cover(&mut tx, next, last).await?;
            tx.commit().await?;
        }
        if self.indexed || self.building.as_ref().is_some_and(|building| !building.is_finished()) {
            return Ok(());
        }
        let missing = self.missing(conn).await?;
        self.indexed = missing.is_empty();
        self.building = (!self.indexed).then(|| AbortOnDropHandle::new(tokio::spawn(build(database_url.to_owned(), missing))));
        Ok(())
    }

    /// What builds the indexes that are missing.
    async fn missing(&self, conn: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
        let existing = existing(conn).await?;
        let mut statements = Vec::new();
        let mut add = |name: &str, create: String| match existing.get(name) {
            Some(true) => {}
            valid => {
                // Building it was interrupted.
                statements.extend(valid.map(|_| format!("DROP INDEX CONCURRENTLY IF EXISTS chain.{name}")));
                statements.push(create);
            }
        };
        for index in self.numbers.iter().copied().flat_map(indexes) {
            add(&index.name, index.create("CONCURRENTLY"));
        }
        add(HISTORY.name, HISTORY.create("CONCURRENTLY"));
        Ok(statements)
    }
}

/// The indexes there are, and whether each is whole.
async fn existing(conn: &mut PgConnection) -> Result<HashMap<String, bool>, sqlx::Error> {
    let rows: Vec<(String, bool)> = sqlx::query_as(
        "SELECT relname::text, indisvalid FROM pg_class JOIN pg_index ON indexrelid = pg_class.oid
         WHERE relnamespace = 'chain'::regnamespace",
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().collect())
}

/// Builds indexes on a connection of its own, so that no block waits for them.
async fn build(database_url: String, statements: Vec<String>) {
    let build = async {
        let mut conn = db::connect_to(&database_url).await?;
        for statement in statements {
            info!(statement, "indexing");
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut conn).await?;
        }
        Ok::<_, Error>(())
    };
    if let Err(error) = build.await {
        warn!(%error, "an index could not be built, trying again");
        tokio::time::sleep(BUILD_RETRY).await;
    }
}
