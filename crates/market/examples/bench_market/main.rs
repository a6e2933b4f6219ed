//! Measures the marketplace's money core, each part beside what it has to be compared with. `scripts/bench market` builds and runs it.

#![allow(clippy::float_arithmetic)]

mod demand;
mod load;
mod peers;
mod people;
mod report;
mod writer;

use std::{
    ffi::OsStr,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use api::Client;
use clap::{Args, Parser, Subcommand, ValueEnum};
use market::Config;
use sqlx::{PgPool, Row};
use stack::{AnvilOptions, Chain};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
};
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use crate::{
    load::{Plan, Seen, What},
    peers::Peer,
    people::People,
    report::{Beside, Report},
};

/// As in `florin`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes of what is sold.
const CONTENT_LEN_BYTES: usize = 10_240;
/// Before each run: what runs for hours has been warm for long.
const WARM: Duration = Duration::from_secs(1);
/// Purchases that are read again, at most: so few that all have been read before it counts.
const READ_MAX: i64 = 1_000;

#[derive(Parser)]
#[command(name = "scripts/bench market")]
struct Cli {
    #[command(subcommand)]
    inner: Option<Inner>,
    #[command(flatten)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Inner {
    /// The process of the load
    #[command(hide = true)]
    Load { plan: PathBuf },
    /// The market, in a process that is measured
    #[command(hide = true)]
    Serve { rpc_url: Url, content: PathBuf },
    /// hyper and nothing else, answering with the content of a file
    #[command(hide = true)]
    Bare { file: PathBuf },
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The ledger's writer alone, beside pgbench with one sale a transaction
    Writer,
    /// Express purchases over HTTP: of 100 sellers, and of one
    Express,
    /// Reading again what was bought, beside nginx with a file, nginx with proxy_cache, and a bare hyper
    Read,
    /// Logging searches, alone and beside express purchases, and counting them; not unless asked for
    Demand,
}

/// How fast the money core is, on one Postgres with synchronous_commit on. Each part runs in turn with the others; the table shows medians.
#[derive(Args)]
struct Bench {
    /// A database to write into (schemas market, chain and bench)
    #[arg(long, env, hide_env_values = true)]
    database_url: Option<String>,

    /// Of each run, after a second that does not count
    #[arg(long, default_value_t = 8)]
    seconds: u64,

    /// Runs of each, in turn
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// Connections, each of which waits for an answer before it asks again
    #[arg(long, default_value_t = 64)]
    connections: usize,

    /// Purchases that come in a second where they do not wait for those before
    #[arg(long, default_value_t = 3_000)]
    paced: u32,

    /// Searches that are logged before demand is measured, within the last 23 hours
    #[arg(long, default_value_t = 1_000_000)]
    searches: usize,

    /// Searches that come in a second beside express purchases; 0 for as many as can be
    #[arg(long, default_value_t = 21_000)]
    searches_paced: u32,

    /// What is measured, comma separated
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Part::Writer, Part::Express, Part::Read])]
    only: Vec<Part>,

    /// Measure once more when the ledger has at least so many entries
    #[arg(long, default_value_t = 0)]
    entries: u64,

    /// Measure once more when the market has at least so many listings
    #[arg(long, default_value_t = 0)]
    listings: u64,

    /// Append the table to this file
    #[arg(long)]
    record: Option<PathBuf>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    if let Some(Inner::Load { plan }) = cli.inner {
        return load::main(plan);
    }
    let runtime = tokio::runtime::Runtime::new()?;
    if let Some(Inner::Bare { file }) = cli.inner {
        return runtime.block_on(peers::bare(std::fs::read(file)?));
    }
    let database_url = cli.bench.database_url.clone().context("set DATABASE_URL to a database that may be written into")?;
    match cli.inner {
        Some(Inner::Serve { rpc_url, content }) => runtime.block_on(serve(database_url, rpc_url, content)),
        _ => runtime.block_on(bench(&cli.bench, &database_url)),
    }
}

/// The market with what an operator gets who sets nothing else.
async fn serve(database_url: String, rpc_url: Url, content: PathBuf) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    #[allow(clippy::print_stdout)]
    {
        println!("{address}");
    }
    // Nothing is settled here.
    let facilitator = Url::parse("http://127.0.0.1:9/")?;
    Ok(market::serve(Config::new(database_url, rpc_url, facilitator, content), listener, CancellationToken::new()).await?)
}

async fn bench(bench: &Bench, database_url: &str) -> Result<()> {
    indexer::migrate(database_url).await?;
    market::migrate(database_url).await?;
    let pool = market::pool(database_url).await?;
    let people = People::make(&pool).await?;
    let directory = tempfile::tempdir()?;
    if bench.only.contains(&Part::Demand) {
        let mut report = Report::default();
        demand::run(bench, database_url, &pool, &people, directory.path(), &mut report).await?;
        report.print(&heading(bench, &pool).await?, None, bench.record.as_deref())?;
    }
    if bench.only.iter().all(|part| *part == Part::Demand) {
        return Ok(());
    }
    let mut shop = if bench.only.iter().any(|part| matches!(part, Part::Express | Part::Read)) {
        Some(Shop::open(bench, database_url, &pool, &people, directory.path()).await?)
    } else {
        None
    };
    let first = rounds(bench, database_url, &pool, &people, shop.as_mut()).await?;
    first.print(&heading(bench, &pool).await?, None, bench.record.as_deref())?;
    if bench.entries + bench.listings > 0 {
        people.past(&pool, database_url, bench.entries, bench.listings).await?;
        let grown = rounds(bench, database_url, &pool, &people, shop.as_mut()).await?;
        grown.print(&heading(bench, &pool).await?, Some(&first), bench.record.as_deref())?;
    }
    Ok(())
}

async fn rounds(
    bench: &Bench,
    database_url: &str,
    pool: &PgPool,
    people: &People,
    mut shop: Option<&mut Shop<'_>>,
) -> Result<Report> {
    let mut report = Report::default();
    for _ in 0..bench.rounds {
        if bench.only.contains(&Part::Writer) {
            writer(bench, database_url, pool, people, &mut report).await?;
        }
        if let Some(shop) = &mut shop {
            if bench.only.contains(&Part::Express) {
                shop.express(&mut report).await?;
            }
            if bench.only.contains(&Part::Read) {
                shop.read(&mut report).await?;
            }
        }
    }
    Ok(report)
}

async fn heading(bench: &Bench, pool: &PgPool) -> Result<String> {
    let there = "SELECT (SELECT reltuples FROM pg_class WHERE oid = 'entries'::regclass)::bigint AS entries,
         (SELECT reltuples FROM pg_class WHERE oid = 'listings'::regclass)::bigint AS listings";
    let there = sqlx::query(there).fetch_one(pool).await?;
    let (entries, listings): (i64, i64) = (there.try_get("entries")?, there.try_get("listings")?);
    Ok(format!(
        "{} connections, {} rounds of {} s, medians; about {} entries and {} listings there; synchronous_commit {}, fsync {}",
        bench.connections,
        bench.rounds,
        bench.seconds,
        entries.max(0),
        listings.max(0),
        sqlx::query_scalar::<_, String>("SHOW synchronous_commit").fetch_one(pool).await?,
        sqlx::query_scalar::<_, String>("SHOW fsync").fetch_one(pool).await?,
    ))
}

async fn writer(bench: &Bench, database_url: &str, pool: &PgPool, people: &People, report: &mut Report) -> Result<()> {
    for clients in [16, 48] {
        let seen = peers::pgbench(database_url, clients, bench.seconds).await?;
        report.add(&format!("pgbench, {clients} connections"), Beside::Pgbench, seen);
    }
    for (waiting, sellers, name) in
        [(64, 100, "writer, 64 waiting"), (512, 100, "writer, 512 waiting"), (512, 1, "writer, 512 waiting, one seller")]
    {
        let seen = writer::run(pool, people, waiting, sellers, Duration::from_secs(bench.seconds)).await?;
        report.add(name, Beside::Pgbench, seen);
    }
    Ok(())
}

/// A market with something to sell.
struct Shop<'a> {
    bench: &'a Bench,
    pool: &'a PgPool,
    people: &'a People,
    directory: &'a Path,
    address: SocketAddr,
    body: Vec<u8>,
    many: Vec<String>,
    one: Vec<String>,
    /// Purchases so far, of many and of one.
    bought: [usize; 2],
    peers: Vec<Peer>,
    _market: Child,
    _chain: Chain,
}

impl<'a> Shop<'a> {
    async fn open(
        bench: &'a Bench,
        database_url: &str,
        pool: &'a PgPool,
        people: &'a People,
        directory: &'a Path,
    ) -> Result<Self> {
        let chain = Chain::start(&AnvilOptions::default()).await?;
        let store = directory.join("store");
        let arguments = [
            "--database-url".as_ref(),
            database_url.as_ref(),
            "serve".as_ref(),
            chain.rpc_url().as_str().as_ref(),
            store.as_os_str(),
        ];
        let (market, address) = start(&arguments).await?;
        let body = content();
        let client = Client::new(Url::parse(&format!("http://{address}/"))?);
        let (many, one) = (people.publish(pool, &client, &body, false).await?, people.publish(pool, &client, &body, true).await?);
        let peers = if bench.only.contains(&Part::Read) { Peer::start(directory, &body).await? } else { Vec::new() };
        Ok(Self {
            bench,
            pool,
            people,
            directory,
            address,
            body,
            many,
            one,
            bought: [0; 2],
            peers,
            _market: market,
            _chain: chain,
        })
    }

    async fn express(&mut self, report: &mut Report) -> Result<()> {
        let tokens = self.people.tokens(&format!("http://{}", self.address)).await?;
        let paced = self.bench.paced;
        let at_a_pace = format!("express buy, 100 sellers, when {paced} come in a second");
        let rows = [("express buy, 100 sellers", 0, None), ("express buy, one seller", 1, None), (&*at_a_pace, 0, Some(paced))];
        for (name, turn, paced) in rows {
            let seen = self.buy(turn, paced, &tokens).await?;
            report.add(name, Beside::Nothing, seen);
        }
        Ok(())
    }

    /// Of many sellers, or of one.
    async fn buy(&mut self, turn: usize, paced: Option<u32>, tokens: &[String]) -> Result<Seen> {
        let listings = [&self.many, &self.one][turn].clone();
        let mut seen = Seen::default();
        for duration in [WARM, Duration::from_secs(self.bench.seconds)] {
            let what = What::Buy { tokens: tokens.to_vec(), listings: listings.clone(), first: self.bought[turn] };
            let before = self.sales().await?;
            seen = self.load(self.address, duration, paced, what).await?;
            let (after, count) = (self.sales().await?, i64::try_from(seen.count)?);
            ensure!(after - before == count, "{count} purchases left {} sales", after - before);
            self.bought[turn] += seen.count;
        }
        Ok(seen)
    }

    /// How many there are: no charge without content is left out, and no content without charge.
    async fn sales(&self) -> Result<i64> {
        // The ledger's ids have no gap, and nothing else is appended meanwhile.
        Ok(sqlx::query_scalar("SELECT last_id FROM ledger").fetch_one(self.pool).await?)
    }

    async fn read(&mut self, report: &mut Report) -> Result<()> {
        let mut tokens = self.people.tokens(&format!("http://{}", self.address)).await?;
        let buyers: Vec<Uuid> = self.people.buyers.iter().map(|buyer| buyer.id).collect();
        if self.bought == [0; 2] {
            let what = What::Buy { tokens: tokens.clone(), listings: self.many.clone(), first: 0 };
            self.bought[0] = self.load(self.address, WARM, None, what).await?.count;
        }
        let rows = sqlx::query("SELECT id, buyer_id FROM sales WHERE listing_id = ANY($1) LIMIT $2");
        let listings = self.many.iter().map(|id| id.parse()).collect::<Result<Vec<Uuid>, _>>()?;
        let rows = rows.bind(listings).bind(READ_MAX).fetch_all(self.pool).await?;
        let path = |row: &sqlx::postgres::PgRow| {
            let (id, buyer): (Uuid, Uuid) = (row.try_get("id")?, row.try_get("buyer_id")?);
            let token = buyers.iter().position(|known| *known == buyer).context("a buyer of ours")?;
            Ok((format!("/api/v1/purchases/{id}/content"), tokens[token].clone()))
        };
        let ours: Vec<_> = rows.iter().map(path).collect::<Result<_>>()?;
        // Peers get the same bytes to read and leave them unread.
        let theirs = vec![(format!("/{}", peers::FILE), tokens.swap_remove(0))];
        let theirs = self.peers.iter().map(|peer| (peer.name, peer.address, theirs.clone()));
        for (name, address, paths) in theirs.chain([("reading what is owned", self.address, ours)]) {
            let mut seen = Seen::default();
            for duration in [WARM, Duration::from_secs(self.bench.seconds)] {
                seen = self.load(address, duration, None, What::Read(paths.clone())).await?;
            }
            report.add(name, Beside::Nginx, seen);
        }
        Ok(())
    }

    async fn load(&self, address: SocketAddr, duration: Duration, paced: Option<u32>, what: What) -> Result<Seen> {
        let plan = Plan { address, connections: self.bench.connections, duration, paced, what, body: self.body.clone() };
        plan.run(self.directory).await
    }
}

/// Starts this program in one of its inner roles, which says its address first.
async fn start(arguments: &[&OsStr]) -> Result<(Child, SocketAddr)> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut child = command.args(arguments).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let stdout = child.stdout.take().context("its output is piped")?;
    let line = BufReader::new(stdout).lines().next_line().await?.context("what is measured did not start")?;
    Ok((child, line.parse()?))
}

fn content() -> Vec<u8> {
    let row = br#"{"hour":"2026-03-01T12:00:00Z","price":"61.20"},"#;
    row.iter().copied().cycle().take(CONTENT_LEN_BYTES).collect()
}
