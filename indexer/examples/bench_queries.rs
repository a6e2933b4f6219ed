//! How long queries take on a mirror of many payments, and by which plan: `scripts/bench queries`.
//!
//! The rows are made by SQL in a scratch database, as the mirror would have them; the queries are those of the API.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::float_arithmetic,
    reason = "a measurement prints, and stops where an assumption fails"
)]

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use alloy::primitives::{Address, U256};
use clap::Parser;
use indexer::read::{self, Order, PaymentFilter, PaymentKind, Position, Span, StatFilter, StatementFilter};
use rand::{Rng, SeedableRng, rngs::StdRng};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use stack::Postgres;
use time::OffsetDateTime;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

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
}

const PER_BLOCK: u64 = 10;
const LIMIT: u32 = 51;

/// `$p`: payments, `$a`: accounts. Account `n` is the 20 bytes of the number `n + 1`.
const FILL: [(&str, &str); 10] = [
    ("sync", "INSERT INTO chain.sync (chain_id, start_block, usdc, transfers, finality_blocks, raw) VALUES (1, 0, '\\xaa', 'all', 64, false)"),
    (
        "partitions",
        "DO $$ DECLARE t TEXT; n INT; BEGIN
           FOREACH t IN ARRAY ARRAY['transactions', 'events', 'event_keys', 'transfers'] LOOP
             FOR n IN 0..($p / 10) / 1000000 LOOP
               EXECUTE format('CREATE TABLE chain.%s_%s PARTITION OF chain.%s FOR VALUES FROM (%s) TO (%s)', t, n, t, n * 1000000, (n + 1) * 1000000);
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
         SELECT n / 10, (n % 10) * 2 + 1, n % 10, '\\xaa', decode(lpad(to_hex(n * 7919 % $a + 1), 40, '0'), 'hex'),
                decode(lpad(to_hex((n * 104729 + n / $a + 1) % $a + 1), 40, '0'), 'hex'), n % 1000 + 1,
                CASE n % 4 WHEN 3 THEN NULL ELSE sha256(int8send(n)) END
         FROM generate_series(0::bigint, $p - 1) AS n",
    ),
    (
        "payments",
        "INSERT INTO chain.payments (block_number, log_index, part, tx_index, kind, payer, payee, token, amount, reference)
         SELECT block_number, log_index, 0, tx_index, CASE WHEN authorization_nonce IS NULL THEN 'router' ELSE 'x402' END,
                sender, recipient, token, amount, authorization_nonce FROM chain.transfers",
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
        "indexes",
        "CREATE INDEX ON chain.transactions (hash);
         CREATE INDEX ON chain.transfers (sender, block_number, log_index);
         CREATE INDEX ON chain.transfers (recipient, block_number, log_index);
         CREATE INDEX ON chain.transfers (authorization_nonce) WHERE authorization_nonce IS NOT NULL;
         CREATE UNIQUE INDEX ON chain.balances (account, token, from_block)",
    ),
    ("statistics", "VACUUM ANALYZE chain.blocks; VACUUM ANALYZE chain.transactions; VACUUM ANALYZE chain.transfers;
                    VACUUM ANALYZE chain.payments; VACUUM ANALYZE chain.payment_hours; VACUUM ANALYZE chain.balances"),
];

/// What Postgres says, among it the plans; sqlx hands it to `tracing`.
#[derive(Clone, Default)]
struct Notices(Arc<Mutex<String>>);

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

#[derive(Clone, Copy)]
enum Query {
    FirstPage,
    FirstPageOfAccount,
    FirstPageOfKind,
    DeepPage,
    DeepPageOfAccount,
    Statement,
    DeepStatement,
    Aggregate,
}

const QUERIES: [(&str, Query); 8] = [
    ("payments, first page", Query::FirstPage),
    ("payments of an account, first page", Query::FirstPageOfAccount),
    ("payments of a kind, first page", Query::FirstPageOfKind),
    ("payments, page deep inside", Query::DeepPage),
    ("payments of an account, deep page", Query::DeepPageOfAccount),
    ("statement, first page", Query::Statement),
    ("statement, deep page", Query::DeepStatement),
    ("sums of 7 days by day and kind", Query::Aggregate),
];

fn account(number: u64) -> Address {
    Address::from_word(U256::from(number + 1).into())
}

async fn ask(conn: &mut PgConnection, query: Query, options: &Options, rng: &mut StdRng) -> usize {
    let who = account(rng.random_range(0..options.accounts));
    let blocks = options.payments / PER_BLOCK;
    let deep = Some(Position::end_of(rng.random_range(blocks / 10..blocks * 9 / 10)));
    let token = Address::from([0xaa; 20]);
    let all = PaymentFilter { limit: LIMIT, ..Default::default() };
    let filter = match query {
        Query::FirstPage => all,
        Query::FirstPageOfAccount => PaymentFilter { account: Some(who), ..all },
        Query::FirstPageOfKind => PaymentFilter { kind: Some(PaymentKind::Router), ..all },
        Query::DeepPage => PaymentFilter { after: deep, ..all },
        Query::DeepPageOfAccount => PaymentFilter { account: Some(who), after: deep, ..all },
        Query::Statement | Query::DeepStatement => {
            let after = deep.filter(|_| matches!(query, Query::DeepStatement));
            let filter = StatementFilter { blocks: Span::default(), after, order: Order::Desc, limit: LIMIT, held_before: 0 };
            return read::statement(conn, token, who, &filter).await.unwrap().lines.len();
        }
        Query::Aggregate => {
            let newest = 1_750_000_000 + i64::try_from(blocks).unwrap() * 60;
            let from = (OffsetDateTime::from_unix_timestamp(newest).unwrap() - time::Duration::days(6)).date();
            let filter = StatFilter { from: Some(from), limit: 500, ..Default::default() };
            return read::stats(conn, &filter).await.unwrap().len();
        }
    };
    read::payments(conn, &filter).await.unwrap().len()
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let notices = Notices::default();
    tracing::subscriber::set_global_default(notices.clone()).unwrap();
    let server = Postgres::start(None).await.unwrap();
    let url = server.create("queries", None).await.unwrap().url;
    indexer::migrate(&url).await.unwrap();
    let mut conn = PgConnection::connect(&url).await.unwrap();
    for (what, statement) in FILL {
        let start = Instant::now();
        let statement = statement.replace("$p", &options.payments.to_string()).replace("$a", &options.accounts.to_string());
        let statement = statement.replace("'\\xaa'", &format!("'\\x{}'", "aa".repeat(20)));
        // VACUUM runs in no transaction, so each statement is sent alone.
        let parts: Vec<&str> = if what == "partitions" { vec![&statement] } else { statement.split(';').collect() };
        for part in parts {
            sqlx::raw_sql(AssertSqlSafe(part.to_owned())).execute(&mut conn).await.unwrap();
        }
        eprintln!("{what}: {:.1?}", start.elapsed());
    }
    println!("{} payments, {} accounts, {} times each\n", options.payments, options.accounts, options.asked);
    println!("| query | p50 | p99 | rows | plan |\n|---|---|---|---|---|");
    let mut scans = Vec::new();
    for (name, query) in QUERIES {
        let mut rng = StdRng::seed_from_u64(7);
        let mut took: Vec<Duration> = Vec::new();
        let mut rows = 0;
        for _ in 0..options.asked {
            let start = Instant::now();
            rows = rows.max(ask(&mut conn, query, &options, &mut rng).await);
            took.push(start.elapsed());
        }
        took.sort_unstable();
        let at = |percent: usize| took[(took.len() - 1) * percent / 100];
        let plan = plan(&url, &notices, query, &options).await;
        let nodes = nodes(&plan);
        scans.extend(plan.lines().filter(|line| line.contains("Seq Scan on")).map(|line| format!("{name}: {}", line.trim())));
        println!("| {name} | {:.2?} | {:.2?} | {rows} | {nodes} |", at(50), at(99));
        if options.plans {
            println!("\n{plan}");
        }
    }
    // The one row of `sync` is read as a whole.
    scans.retain(|scan| !scan.contains("Seq Scan on sync"));
    println!("\ntables that are scanned: {}", if scans.is_empty() { "none".into() } else { scans.join("; ") });
    std::process::exit(i32::from(!scans.is_empty()));
}

/// What Postgres did, by its own account.
async fn plan(url: &str, notices: &Notices, query: Query, options: &Options) -> String {
    let mut conn = PgConnection::connect(url).await.unwrap();
    let settings = "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_analyze = on;
                    SET auto_explain.log_level = notice; SET auto_explain.log_timing = off";
    sqlx::raw_sql(settings).execute(&mut conn).await.unwrap();
    notices.0.lock().unwrap().clear();
    ask(&mut conn, query, options, &mut StdRng::seed_from_u64(7)).await;
    std::mem::take(&mut *notices.0.lock().unwrap())
}

/// Which scans a plan is made of, each once.
fn nodes(plan: &str) -> String {
    let mut found: Vec<&str> = Vec::new();
    for line in plan.lines().filter(|line| line.contains(" Scan") && !line.contains("never executed")) {
        let node = line.trim_start_matches([' ', '-', '>']).split("  (").next().unwrap_or_default();
        if !found.contains(&node) {
            found.push(node);
        }
    }
    found.join(", ")
}
