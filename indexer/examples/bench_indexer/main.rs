//! How fast a chain is mirrored, and how soon a new block is: `scripts/bench indexer`.
//!
//! One anvil and one Postgres serve us, Ponder and the raw limits in the same run, because only ratios within a run mean anything on a
//! machine that does other things too.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::float_arithmetic,
    reason = "a measurement prints, and stops where an assumption fails"
)]

mod backfill;
mod chain;
mod cpu;
mod limits;
mod live;
mod mirror;
mod peer;

use std::{path::PathBuf, time::Duration};

use clap::Parser;
use sqlx::{Connection, PgConnection};
use stack::Postgres;

use chain::Chain;

/// Measures the indexer beside Ponder and beside the raw limits of node and database.
#[derive(Parser)]
struct Arguments {
    /// Blocks of the chain
    #[arg(long, default_value_t = 2_000)]
    blocks: u64,
    /// USDC transfers of a block
    #[arg(long, default_value_t = 105)]
    transfers: u64,
    /// Rounds of which the median is told
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Blocks that are timed from being mined to being visible
    #[arg(long, default_value_t = 200)]
    live: usize,
    /// Folder of an installed Ponder project; without it, no peer
    #[arg(long)]
    ponder: Option<PathBuf>,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let chain = Chain::build(arguments.blocks, arguments.transfers).await;
    let postgres = Postgres::start(None).await.unwrap();
    outside_tests(&postgres).await;
    let peer = arguments.ponder.map(|folder| folder.canonicalize().unwrap());
    let peer = peer.as_deref();
    println!("{} transfers in {} blocks; median of {}\n", chain.transfers(), chain.blocks, arguments.rounds);
    backfill::measure(&chain, &postgres, arguments.rounds, peer).await;
    live::measure(&chain, &postgres, arguments.live, peer).await;
}

/// The server of tests has a small log of small files, so that it starts quickly, and pauses whenever it is full. Here it is as large as that
/// of a server that nobody configured.
async fn outside_tests(postgres: &Postgres) {
    let mut conn = PgConnection::connect(&postgres.create("settings", None).await.unwrap().url).await.unwrap();
    for statement in ["ALTER SYSTEM SET max_wal_size = '1GB'", "SELECT pg_reload_conf()"] {
        sqlx::query(statement).execute(&mut conn).await.unwrap();
    }
}

/// The middle of a few measurements.
fn median<T: Ord + Copy>(mut measured: Vec<T>) -> T {
    measured.sort_unstable();
    measured[measured.len() / 2]
}

/// So many in a second.
fn rate(count: u64, elapsed: Duration) -> u64 {
    u64::try_from(u128::from(count) * 1_000_000 / elapsed.as_micros().max(1)).unwrap()
}

/// Peak resident memory of a process, in MB, as Linux tells it.
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() / 1024
}
