//! Measures how late readers of the live feed are told, and how fast webhooks are delivered to a receiver that fails at random. `scripts/bench feed`
//! builds and runs it.

#![allow(clippy::float_arithmetic)]

use std::{
    collections::HashSet,
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use api::{Client, EventType, RegisterWebhook};
use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use clap::{Args, Parser, Subcommand};
use futures::StreamExt;
use market::{
    Config,
    feed::{self, Audience, Event},
};
use rand::Rng;
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use stack::{AnvilOptions, Chain};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    task::JoinSet,
};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest},
};
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

/// As in `florin`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Connections and webhooks of one agent.
const OF_ONE: usize = 10;
/// Connections that are made at the same time.
const CONNECTING: usize = 100;

#[derive(Parser)]
#[command(name = "scripts/bench feed")]
struct Cli {
    #[command(subcommand)]
    inner: Option<Inner>,
    #[command(flatten)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Inner {
    /// The market, in a process that is measured
    #[command(hide = true)]
    Serve { rpc_url: Url, content: PathBuf },
}

/// One market, readers over WebSocket, and webhooks, on one Postgres with synchronous_commit on.
#[derive(Args)]
struct Bench {
    /// A database to write into (schemas market and chain)
    #[arg(long, env, hide_env_values = true)]
    database_url: Option<String>,

    /// Connections that read the feed
    #[arg(long, default_value_t = 5_000)]
    subscribers: usize,

    /// Events for everybody in a second
    #[arg(long, default_value_t = 10)]
    rate: u32,

    /// How long they are told
    #[arg(long, default_value_t = 20)]
    seconds: u32,

    /// How long one more reader hangs up each second, and goes on after what it read last
    #[arg(long, default_value_t = 60)]
    reconnecting: u32,

    /// Webhooks
    #[arg(long, default_value_t = 100)]
    webhooks: usize,

    /// Deliveries, of all webhooks together
    #[arg(long, default_value_t = 100_000)]
    deliveries: usize,

    /// Of a hundred attempts, so many fail. What failed is due again after a second, in place of up to a day
    #[arg(long, default_value_t = 10)]
    failing: u32,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    let database_url = cli.bench.database_url.clone().context("set DATABASE_URL to a database that may be written into")?;
    match cli.inner {
        Some(Inner::Serve { rpc_url, content }) => runtime.block_on(serve(database_url, rpc_url, content)),
        None => runtime.block_on(bench(&cli.bench, &database_url)),
    }
}

/// The market with what an operator gets who sets nothing else, but for webhooks to this machine.
async fn serve(database_url: String, rpc_url: Url, content: PathBuf) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    say(&listener.local_addr()?.to_string());
    let mut config = Config::new(database_url, rpc_url, Url::parse("http://127.0.0.1:9/")?, content);
    config.webhook_loopback = true;
    config.requests_per_minute = 0;
    config.requests_per_minute_unknown = 0;
    Ok(market::serve(config, listener, CancellationToken::new()).await?)
}

#[allow(clippy::print_stdout)]
fn say(text: &str) {
    println!("{text}");
}

async fn bench(bench: &Bench, database_url: &str) -> Result<()> {
    indexer::migrate(database_url).await?;
    market::migrate(database_url).await?;
    let pool = market::pool(database_url).await?;
    let directory = tempfile::tempdir()?;
    let chain = Chain::start(&AnvilOptions::default()).await?;
    let (_market, address) = start(database_url, chain.rpc_url(), &directory.path().join("store")).await?;
    let keys = agents(&pool, bench.subscribers.div_ceil(OF_ONE).max(bench.webhooks.div_ceil(OF_ONE))).await?;
    if bench.subscribers > 0 {
        readers(bench, &pool, address, &keys).await?;
    }
    if bench.reconnecting > 0 {
        reconnect(bench, &pool, address, &keys[0]).await?;
    }
    if bench.deliveries > 0 {
        webhooks(bench, &pool, address, &keys).await?;
    }
    Ok(())
}

async fn start(database_url: &str, rpc_url: &Url, store: &std::path::Path) -> Result<(Child, SocketAddr)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--database-url", database_url, "serve", rpc_url.as_str()]).arg(store);
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let stdout = child.stdout.take().context("its output is piped")?;
    let line = BufReader::new(stdout).lines().next_line().await?.context("the market did not start")?;
    Ok((child, line.parse()?))
}

/// Keys of so many new agents.
async fn agents(pool: &PgPool, count: usize) -> Result<Vec<String>> {
    let run = Uuid::now_v7();
    let secret = |number: usize| Sha256::new_with_prefix(run).chain_update(number.to_be_bytes()).finalize();
    let ids: Vec<Uuid> = (0..count).map(|_| Uuid::now_v7()).collect();
    let hashes: Vec<Vec<u8>> = (0..count).map(|number| Sha256::digest(secret(number)).to_vec()).collect();
    sqlx::query(
        "WITH who AS (SELECT * FROM unnest($1::uuid[], $2::bytea[]) AS who (id, hash)), agents AS (
             INSERT INTO agents (id, name, description, agent_type, wallet, welcomed)
             SELECT id, id::text, '', 'both', substr(hash, 1, 20), TRUE FROM who
         ) INSERT INTO api_keys (id, agent_id, name, key_hash, scopes) SELECT id, id, '', hash, '{read,buy,sell,transfer,manage}' FROM who",
    )
    .bind(&ids)
    .bind(hashes)
    .execute(pool)
    .await?;
    let key = |(number, id): (usize, &Uuid)| format!("florin_{}_{}", id.simple(), alloy::hex::encode(secret(number)));
    Ok(ids.iter().enumerate().map(key).collect())
}

fn micros() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// Tells of something that everybody is told, at this moment.
async fn tell(pool: &PgPool) -> Result<()> {
    let data = json!({"sent_us": micros(), "title": "Prices of electricity", "category": "computation", "price": "0.05"});
    let mut conn = pool.acquire().await?;
    Ok(feed::emit(&mut conn, Event::public(EventType::CatalogUpdate, Audience::Market, data)).await?)
}

/// Reads until the market is gone; how late each event was.
async fn read(address: SocketAddr, key: &str, connected: &AtomicUsize, late: &Mutex<Vec<u64>>) -> Result<()> {
    let mut request = format!("ws://{address}/ws/feed?event_types=catalog_update").into_client_request()?;
    request.headers_mut().insert("authorization", format!("Bearer {key}").parse()?);
    let (mut socket, _) = client_async(request, TcpStream::connect(address).await?).await?;
    connected.fetch_add(1, Ordering::Relaxed);
    while let Some(message) = socket.next().await {
        match message? {
            Message::Text(text) => {
                if let Some((_, rest)) = text.split_once("\"sent_us\":") {
                    let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
                    let waited = micros().saturating_sub(digits.parse()?);
                    late.lock().expect("nobody panics").push(waited);
                }
            }
            Message::Close(frame) => anyhow::bail!("closed: {frame:?}"),
            _ => {}
        }
    }
    Ok(())
}

async fn readers(bench: &Bench, pool: &PgPool, address: SocketAddr, keys: &[String]) -> Result<()> {
    let (connected, late) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let mut tasks = JoinSet::new();
    for number in 0..bench.subscribers {
        let reads = (keys[number / OF_ONE].clone(), connected.clone(), late.clone());
        tasks.spawn(async move { read(address, &reads.0, &reads.1, &reads.2).await });
        if number % CONNECTING == CONNECTING - 1 {
            until(&mut tasks, || connected.load(Ordering::Relaxed) > number).await?;
        }
    }
    until(&mut tasks, || connected.load(Ordering::Relaxed) == bench.subscribers).await?;
    let (events, begun) = (bench.rate * bench.seconds, Instant::now());
    for number in 0..events {
        tokio::time::sleep_until((begun + Duration::from_secs(1) * number / bench.rate).into()).await;
        tell(pool).await?;
    }
    let expected = events as usize * bench.subscribers;
    let came = || late.lock().map_or(0, |late| late.len());
    until(&mut tasks, || came() >= expected).await?;
    let mut late = std::mem::take(&mut *late.lock().expect("nobody panics"));
    ensure!(late.len() == expected, "{} of {expected} came", late.len());
    late.sort_unstable();
    let at = |share: usize| late[(late.len() - 1) * share / 1_000] as f64 / 1_000.0;
    say(&format!(
        "{} readers, {} events a second, {expected} told: p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, max {:.1} ms",
        bench.subscribers,
        bench.rate,
        at(500),
        at(990),
        at(999),
        at(1_000),
    ));
    Ok(())
}

/// Reads for a second after event `after`, and hangs up without a word: the numbers of what came.
async fn second(address: SocketAddr, key: &str, after: u64) -> Result<Vec<u64>> {
    let mut request = format!("ws://{address}/ws/feed?event_types=catalog_update&after={after}").into_client_request()?;
    request.headers_mut().insert("authorization", format!("Bearer {key}").parse()?);
    let (mut socket, _) = client_async(request, TcpStream::connect(address).await?).await?;
    let (end, mut came) = (tokio::time::Instant::now() + Duration::from_secs(1), Vec::new());
    while let Ok(message) = tokio::time::timeout_at(end, socket.next()).await {
        if let Message::Text(text) = message.context("the market hung up")?? {
            came.extend(serde_json::from_str::<serde_json::Value>(&text)?["seq"].as_u64());
        }
    }
    Ok(came)
}

async fn reconnect(bench: &Bench, pool: &PgPool, address: SocketAddr, key: &str) -> Result<()> {
    let number = async || {
        Ok::<_, anyhow::Error>(sqlx::query_scalar::<_, i64>("SELECT last_seq FROM feed").fetch_one(pool).await?.unsigned_abs())
    };
    let (events, begun, first) = (bench.rate * bench.reconnecting, Instant::now(), number().await?);
    let telling = async {
        for event in 0..events {
            tokio::time::sleep_until((begun + Duration::from_secs(1) * event / bench.rate).into()).await;
            tell(pool).await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    let reading = async {
        let (mut came, mut last, mut times) = (Vec::new(), first, 0);
        while came.len() < events as usize {
            ensure!(begun.elapsed() < Duration::from_secs(u64::from(bench.reconnecting) + 60), "{} of {events} came", came.len());
            came.extend(second(address, key, last).await?);
            (last, times) = (came.last().copied().unwrap_or(last), times + 1);
        }
        Ok::<_, anyhow::Error>((came, times))
    };
    let ((), (came, times)) = tokio::try_join!(telling, reading)?;
    ensure!(came.is_sorted_by(|a, b| a < b) && came.len() == events as usize, "missed or twice: {came:?}");
    say(&format!(
        "a reader that hung up {times} times in {} seconds: {events} of {events} events, each once",
        bench.reconnecting
    ));
    Ok(())
}

/// Waits until something is so, as long as no reader is dropped.
async fn until(tasks: &mut JoinSet<Result<()>>, is_so: impl Fn() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !is_so() {
        if let Some(ended) = tasks.try_join_next() {
            ended??;
            anyhow::bail!("a reader was hung up on");
        }
        ensure!(begun.elapsed() < Duration::from_secs(120), "nothing more comes");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// What a receiver took: the webhook and the id of the message.
#[derive(Clone, Default)]
struct Receiver {
    failing: u32,
    attempts: Arc<AtomicUsize>,
    taken: Arc<Mutex<HashSet<(usize, String)>>>,
}

async fn take(State(receiver): State<Receiver>, Path(webhook): Path<usize>, headers: HeaderMap) -> StatusCode {
    receiver.attempts.fetch_add(1, Ordering::Relaxed);
    if rand::rng().random_range(0..100) < receiver.failing {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    receiver.taken.lock().expect("nobody panics").insert((webhook, id.to_owned()));
    StatusCode::NO_CONTENT
}

async fn webhooks(bench: &Bench, pool: &PgPool, address: SocketAddr, keys: &[String]) -> Result<()> {
    let receiver = Receiver { failing: bench.failing, ..Receiver::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let at = listener.local_addr()?;
    let router = Router::new().route("/{webhook}", post(take)).with_state(receiver.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let market = Client::new(Url::parse(&format!("http://{address}/"))?);
    for number in 0..bench.webhooks {
        let register = RegisterWebhook {
            url: Url::parse(&format!("http://{at}/{number}"))?,
            topics: None,
            event_types: Some(vec![EventType::CatalogUpdate]),
            categories: None,
            min_urgency_bps: None,
            bearer_token: None,
        };
        market.with_api_key(&keys[number / OF_ONE]).register_webhook(&register).await?;
    }
    let (events, begun) = (bench.deliveries.div_ceil(bench.webhooks), Instant::now());
    for _ in 0..events {
        tell(pool).await?;
    }
    let left = "SELECT (SELECT count(*) FROM webhook_deliveries WHERE due_at IS NOT NULL) + (SELECT last_seq FROM feed) - (SELECT seq FROM webhook_cursor)";
    let again = "UPDATE webhook_deliveries SET due_at = now() WHERE due_at > now() AND last_error IS NOT NULL";
    while sqlx::query_scalar::<_, i64>(left).fetch_one(pool).await? > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        sqlx::query(again).execute(pool).await?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let dead = "SELECT count(*) FROM webhook_deliveries WHERE due_at IS NULL AND delivered_at IS NULL";
    let dead: i64 = sqlx::query_scalar(dead).fetch_one(pool).await?;
    let taken = receiver.taken.lock().map_or(0, |taken| taken.len());
    let (deliveries, attempts) = (events * bench.webhooks, receiver.attempts.load(Ordering::Relaxed));
    ensure!(taken as i64 + dead == deliveries as i64, "{taken} taken and {dead} given up, of {deliveries}");
    say(&format!(
        "{deliveries} deliveries to {} webhooks, {} of 100 attempts fail: {taken} taken, {dead} dead letters, {attempts} attempts, {seconds:.0} s, \
         {:.0} a second",
        bench.webhooks,
        bench.failing,
        deliveries as f64 / seconds,
    ));
    Ok(())
}
