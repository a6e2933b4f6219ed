//! What Postgres did, by its own account.

use std::sync::{Arc, Mutex};

use indexer::read::LOOKED_AT_MAX;
use rand::{SeedableRng, rngs::StdRng};
use sqlx::{Connection, PgConnection};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

use crate::{
    Options,
    ask::{Query, ask},
};

/// What Postgres says, among it the plans; sqlx hands it to `tracing`.
#[derive(Clone, Default)]
pub(crate) struct Notices(Arc<Mutex<String>>);

impl Subscriber for Notices {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::postgres::notice"
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Text(&mut self.0.lock().unwrap()));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, _: &Field, value: &dyn std::fmt::Debug) {
        *self.0 += &format!("{value:?}\n");
    }

    fn record_str(&mut self, _: &Field, value: &str) {
        *self.0 += &format!("{value}\n");
    }
}

impl Notices {
    /// The plans of a query, on a connection of its own.
    pub(crate) async fn plan(&self, url: &str, query: Query, options: &Options) -> String {
        let mut conn = PgConnection::connect(url).await.unwrap();
        let settings = "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_analyze = on;
                        SET auto_explain.log_level = notice; SET auto_explain.log_timing = off";
        sqlx::raw_sql(settings).execute(&mut conn).await.unwrap();
        self.0.lock().unwrap().clear();
        ask(&mut conn, query, options, &mut StdRng::seed_from_u64(7)).await;
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Scans that every list has or that read no table: of the one row of `sync`, the newest block, the page itself.
const UNSAID: [&str; 6] = ["on sync", "blocks_pkey", "WorkTable", "CTE", "Subquery", "Function"];

/// Which scans a plan is made of, each once and by its index; partitions are told as their table.
pub(crate) fn nodes(plan: &str) -> String {
    let mut found: Vec<String> = Vec::new();
    let said =
        |line: &&str| line.contains(" Scan") && !line.contains("never executed") && !UNSAID.iter().any(|it| line.contains(it));
    for line in plan.lines().filter(said) {
        let node = line.trim_start_matches([' ', '-', '>']).split("  (").next().unwrap_or_default();
        let node = match node.split_once(" using ") {
            Some((scan, rest)) => format!("{scan} {}", rest.split(' ').next().unwrap_or_default()),
            None => node.to_owned(),
        };
        let node = node.split(['_', ' ']).filter(|word| word.parse::<u8>().is_err()).collect::<Vec<_>>().join(" ");
        let words = [("_", " "), ("block number log index", "place"), (" idx", "")];
        let node = words.into_iter().fold(node, |node, (from, to)| node.replace(from, to));
        if !found.contains(&node) {
            found.push(node);
        }
    }
    found.join(", ")
}

/// What a plan must not do: read a table that is longer than what a page may look at, or go through many more rows than that.
pub(crate) fn faults(plan: &str) -> Vec<String> {
    let scanned = |line: &str| {
        let rows = line.split("(actual rows=").nth(1)?.split(' ').next()?.parse::<u32>().ok()?;
        (line.contains("Seq Scan on") && rows > LOOKED_AT_MAX).then(|| line.trim().to_owned())
    };
    let removed = |line: &str| {
        let rows = line.trim().strip_prefix("Rows Removed by Filter: ")?.parse::<u32>().ok()?;
        (rows > 2 * LOOKED_AT_MAX).then(|| line.trim().to_owned())
    };
    plan.lines().filter_map(|line| scanned(line).or_else(|| removed(line))).collect()
}
