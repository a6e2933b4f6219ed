//! How long queries take on a mirror of many payments, and by which plan: `scripts/bench queries`.
//!
//! The rows are made by SQL in a scratch database, as the mirror would have them; the queries are those of the API.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::float_arithmetic,
    reason = "a measurement prints, and stops where an assumption fails"
)]

mod ask;
mod fill;
mod plan;

use std::{
    fmt::Write as _,
    fs::OpenOptions,
    io::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Parser;
use rand::{SeedableRng, rngs::StdRng};
use sqlx::{Connection, PgConnection};
use stack::Postgres;

use ask::{QUERIES, ask};
use plan::Notices;

/// Measures the queries of the API on many payments.
#[derive(Parser)]
struct Options {
    /// Payments in the mirror
    #[arg(long, default_value_t = 10_000_000)]
    payments: u64,
    /// Accounts that pay and are paid
    #[arg(long, default_value_t = 20_000)]
    accounts: u64,
    /// Times that each query is asked, each time of another account or place
    #[arg(long, default_value_t = 1_000)]
    asked: u32,
    /// Print the whole plans
    #[arg(long)]
    plans: bool,
    /// A database to use, filled by an earlier call with it and as many payments, or empty; without it, one that is gone afterwards
    #[arg(long, env = "BENCH_DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Append the table to a file
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let notices = Notices::default();
    tracing::subscriber::set_global_default(notices.clone()).unwrap();
    let server = Postgres::start(options.database_url.as_deref()).await.unwrap();
    let url = match &options.database_url {
        Some(url) => url.clone(),
        None => server.create("queries", None).await.unwrap().url,
    };
    indexer::migrate(&url).await.unwrap();
    let mut conn = PgConnection::connect(&url).await.unwrap();
    if sqlx::query("SELECT FROM chain.sync").fetch_optional(&mut conn).await.unwrap().is_none() {
        fill::fill(&mut conn, &options).await;
    }
    // As on the connections of the API.
    sqlx::raw_sql("SET plan_cache_mode = force_custom_plan").execute(&mut conn).await.unwrap();
    let size: String =
        sqlx::query_scalar("SELECT pg_size_pretty(pg_database_size(current_database()))").fetch_one(&mut conn).await.unwrap();
    let mut table = format!(
        "{} payments of {} accounts ({size}), each query {} times on one connection, in milliseconds:\n\n\
         | query | p50 | p99 | rows | indexes |\n|---|---|---|---|---|\n",
        options.payments, options.accounts, options.asked
    );
    let mut faults = Vec::new();
    for query in QUERIES {
        let mut rng = StdRng::seed_from_u64(7);
        let mut took: Vec<Duration> = Vec::new();
        let mut rows = 0;
        for _ in 0..options.asked {
            let start = Instant::now();
            rows = rows.max(ask(&mut conn, *query, &options, &mut rng).await);
            took.push(start.elapsed());
        }
        took.sort_unstable();
        let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1_000.0;
        let plan = notices.plan(&url, *query, &options).await;
        faults.extend(plan::faults(&plan).into_iter().map(|fault| format!("{}: {fault}", query.0)));
        let line = format!("| {} | {:.2} | {:.2} | {rows} | {} |", query.0, at(50), at(99), plan::nodes(&plan));
        eprintln!("{line}");
        writeln!(table, "{line}").unwrap();
        if options.plans {
            println!("{}\n{plan}", query.0);
        }
    }
    println!("{table}");
    if let Some(record) = &options.record {
        writeln!(OpenOptions::new().create(true).append(true).open(record).unwrap(), "{table}").unwrap();
    }
    println!(
        "scans of whole tables, and longer walks than a page may take: {}",
        if faults.is_empty() { "none".into() } else { faults.join("\n") }
    );
    std::process::exit(i32::from(!faults.is_empty()));
}
