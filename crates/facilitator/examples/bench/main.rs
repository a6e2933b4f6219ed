//! Measures this facilitator beside others, with the same load on the same chain. `scripts/bench x402` builds and runs it.

mod buying;
mod load;
mod payments;
mod peers;
mod report;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use alloy::{
    primitives::{Address, B256},
    providers::{Provider, ext::AnvilApi},
};
use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use futures::future::try_join_all;
use stack::{Account, AnvilOptions, Chain, Postgres};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    buying::Buyer,
    load::Poster,
    payments::Payments,
    peers::{Peer, Service},
    report::Report,
};

/// Each run ends after this even if payments are left.
const RUN_SECONDS_MAX: u64 = 120;

#[derive(Parser)]
#[command(name = "scripts/bench x402")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// How many payments a second are verified: closed loop, every payment a different one
    Verify(Load),
    /// How many payments a second are settled, by one signer
    Settle(Load),
    /// How long a purchase takes: 402, payment, 200. x402-rs settles for our seller; with TypeScript both are theirs
    E2e(Load),
    /// Whether what nobody honest sends makes ours grow: the most memory it has held after each round of `--payments` requests
    Hostile(Load),
    /// Sell with our own layer, in a process that is measured
    #[command(hide = true)]
    Seller { facilitator: String, payee: Address },
    /// Serve as our own facilitator, in a process that is measured
    #[command(hide = true)]
    Florin(Box<facilitator::Config>),
}

/// What is asked of each.
#[derive(Args, Clone)]
struct Load {
    /// Connections, each of which waits for an answer before it asks again
    #[arg(long, default_value_t = 64)]
    connections: usize,

    /// Payments in each run
    #[arg(long, default_value_t = 500)]
    payments: usize,

    /// Runs of each, in turn
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// At most this long, in seconds
    #[arg(long, default_value_t = RUN_SECONDS_MAX)]
    seconds: u64,

    /// Seconds between blocks; without it each transaction makes its own at once
    #[arg(long)]
    block_seconds: Option<u64>,

    /// Who is measured, comma separated
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Peer::Florin, Peer::X402Rs, Peer::Typescript])]
    peers: Vec<Peer>,

    /// Append the table to this file
    #[arg(long)]
    record: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    match Cli::parse().what {
        What::Florin(config) => serve(*config).await,
        What::Seller { facilitator, payee } => buying::sell(&facilitator, payee).await,
        What::Verify(load) => measure("verify", load).await,
        What::Settle(load) => measure("settle", load).await,
        What::E2e(load) => measure("e2e", load).await,
        What::Hostile(load) => hostile(load).await,
    }
}

async fn serve(config: facilitator::Config) -> Result<()> {
    if let Some(url) = &config.database_url {
        facilitator::migrate(url).await?;
    }
    let listener = TcpListener::bind(config.listen).await?;
    #[allow(clippy::print_stdout)]
    {
        println!("http://{}", listener.local_addr()?);
    }
    Ok(facilitator::serve(config, listener, CancellationToken::new()).await?)
}

/// Gas of all transactions after a block; nobody but the facilitator sends any.
async fn gas_since(chain: &Chain, block: u64) -> Result<u64> {
    let newest = chain.provider().get_block_number().await?;
    let blocks = (block + 1..=newest).map(|number| chain.provider().get_block_by_number(number.into()).into_future());
    let blocks = futures::future::try_join_all(blocks).await?;
    Ok(blocks.iter().flatten().map(|block| block.header.gas_used).sum())
}

/// Each in turn, on a chain of its own, `rounds` times.
async fn measure(what: &'static str, load: Load) -> Result<()> {
    let postgres = Postgres::start(None).await?;
    let mut report = Report::new(what, &load.peers);
    for round in 0..load.rounds {
        for (index, peer) in load.peers.iter().enumerate() {
            let chain = Chain::start(&AnvilOptions::default()).await?;
            let payments = Arc::new(Payments::prepare(&chain, load.connections).await?);
            if let Some(seconds) = load.block_seconds {
                chain.provider().anvil_set_auto_mine(false).await?;
                chain.provider().anvil_set_interval_mining(seconds).await?;
            }
            let database = postgres.create(&format!("bench_{round}_{index}"), None).await?;
            let signer = Account::at(Account::FACILITATOR);
            let facilitator = Service::start(*peer, chain.rpc_url(), &database, &signer).await?;
            let seller = match payments.payee().filter(|_| what == "e2e") {
                Some(payee) => Some(Service::sell(*peer, facilitator.address, payee).await?),
                None => None,
            };
            // What runs for hours has been warm for long.
            for (count, counts) in [(load.connections, false), (load.payments, true)] {
                let before = chain.provider().get_block_number().await?;
                let run = run(what, &load, count, &payments, facilitator.address, seller.as_ref().map(|seller| seller.address));
                let run = run.await.with_context(|| format!("{} broke off", peer.name()))?;
                let gas = gas_since(&chain, before).await? / u64::try_from(load.payments)?.max(1);
                if counts {
                    report.add(*peer, run, facilitator.memory_kib(), gas);
                }
            }
            for service in seller.into_iter().chain([facilitator]) {
                service.stop().await?;
            }
            chain.stop().await;
        }
    }
    let heading = format!(
        "{what}: {} payments, {} connections, {}, {} rounds, medians",
        load.payments,
        load.connections,
        load.block_seconds.map_or("automine".to_owned(), |seconds| format!("blocks of {seconds} s")),
        load.rounds
    );
    report.print(&heading, load.record.as_deref())
}

async fn run(
    what: &str,
    load: &Load,
    count: usize,
    payments: &Arc<Payments>,
    facilitator: SocketAddr,
    seller: Option<SocketAddr>,
) -> Result<load::Run> {
    let limit = Duration::from_secs(load.seconds);
    if let Some(seller) = seller {
        let buyers = (0..load.connections).map(|index| Buyer::connect(seller, payments, index));
        return load::run(try_join_all(buyers).await?, count, limit, "HTTP/1.1 200").await;
    }
    let (bodies, path) = (Arc::new(payments.sign(count)?), format!("/{what}"));
    let posters = (0..load.connections).map(|_| Poster::connect(facilitator, &path, &bodies));
    let yes = if what == "verify" { "\"isValid\":true" } else { "\"success\":true" };
    load::run(try_join_all(posters).await?, count, limit, yes).await
}

/// Broken, forged, unknown, long and deep requests, all different.
async fn hostile(load: Load) -> Result<()> {
    let postgres = Postgres::start(None).await?;
    let chain = Chain::start(&AnvilOptions::default()).await?;
    let payments = Payments::prepare(&chain, load.connections).await?;
    let database = postgres.create("bench_hostile", None).await?;
    let facilitator = Service::start(Peer::Florin, chain.rpc_url(), &database, &Account::at(Account::FACILITATOR)).await?;
    let mut refused = 0;
    for round in 1..=load.rounds {
        let bodies: Vec<_> =
            payments.sign(load.payments)?.into_iter().enumerate().map(|(n, body)| altered(n, body, payments.nonce())).collect();
        let bodies = Arc::new(bodies);
        let path = if round % 2 == 1 { "/verify" } else { "/settle" };
        let posters = (0..load.connections).map(|_| Poster::connect(facilitator.address, path, &bodies));
        let run = load::run(try_join_all(posters).await?, load.payments, Duration::from_secs(load.seconds), " 500 ").await?;
        anyhow::ensure!(run.latencies.is_empty(), "something was answered with 500");
        refused += run.failures;
        #[allow(clippy::print_stdout)]
        {
            println!("{refused} hostile requests: {} MB", facilitator.memory_kib().unwrap_or_default() / 1_024);
        }
    }
    facilitator.stop().await?;
    chain.stop().await;
    Ok(())
}

fn altered(n: usize, mut body: Vec<u8>, random: B256) -> Vec<u8> {
    let stranger = Address::from_word(random).to_string();
    let replace = |body: &[u8], what: &str| {
        let text = String::from_utf8_lossy(body);
        let at = text.find(what).map_or(0, |at| at + what.len());
        format!("{}{stranger}{}", &text[..at], text.get(at + stranger.len()..).unwrap_or_default()).into_bytes()
    };
    match n % 5 {
        0 => body.truncate(body.len() / 2),
        1 => body = replace(&body, "\"from\":\""),
        2 => body = replace(&body, "\"asset\":\""),
        3 => body.resize(60_000, b' '),
        _ => body = format!("{}{}", "[".repeat(10_000), String::from_utf8_lossy(&body)).into_bytes(),
    }
    body
}
