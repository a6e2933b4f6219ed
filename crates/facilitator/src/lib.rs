#![doc = include_str!("../README.md")]

mod admission;
mod answer;
mod approval;
mod batch;
mod catalogue;
mod channels;
mod config;
mod declared;
mod elsewhere;
mod engine;
mod error;
mod escrow;
mod exact;
mod fees;
mod journal;
mod judge;
mod lane;
mod lens;
mod limits;
mod metrics;
mod node;
mod owed;
mod permit2;
mod resend;
mod routes;
mod rpc;
mod settlement;
mod status;
mod token;
mod upto;
mod verify;
mod watch;

use std::{net::SocketAddr, str::FromStr, sync::Arc, time::Duration};

use alloy::{
    primitives::{Address, U256},
    providers::{DynProvider, Provider},
};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use x402::auth_capture::Deployment;

pub use config::{AdmissionConfig, ApiKey, Config, MalformedApiKey, MalformedKey, SettlementConfig, SignerKey};
pub use error::Error;
pub use journal::{JournalFile, MalformedJournal};

use journal::{FileJournal, Journal, PostgresJournal};

/// Connections to the database: one per signer for its lease, the rest for the journal.
const JOURNAL_CONNECTIONS_MAX: u32 = 8;
/// Those of the catalogue, which never wait in the journal's way, and how long one of its queries may take.
const CATALOGUE_CONNECTIONS_MAX: u32 = 3;
const CATALOGUE_QUERY_MAX: &str = "5s";
const SCHEMA: &str = "facilitator";
/// Defaults of [`SettlementConfig`].
const REPLACE_SECONDS: u64 = 30;
const GIVE_UP_SECONDS: u64 = 60;
const POLL_LOCAL_MILLISECONDS: u64 = 10;
const POLL_REMOTE_MILLISECONDS: u64 = 250;

async fn connect(database_url: &str, connections_max: u32) -> Result<PgPool, Error> {
    Ok(pool(connections_max).connect_with(options(database_url)?).await?)
}

fn options(database_url: &str) -> Result<PgConnectOptions, Error> {
    Ok(PgConnectOptions::from_str(database_url)?.options([("search_path", SCHEMA)]))
}

fn pool(connections_max: u32) -> PgPoolOptions {
    PgPoolOptions::new().max_connections(connections_max).acquire_timeout(Duration::from_secs(10))
}

/// Makes or updates the schema `facilitator`. Safe to repeat, and to run from several instances at once. A journal in a file needs none.
///
/// # Errors
/// When the database cannot be reached or its user may not create a schema.
pub async fn migrate(database_url: &str) -> Result<(), Error> {
    let pool = connect(database_url, 1).await?;
    sqlx::query("CREATE SCHEMA IF NOT EXISTS facilitator").execute(&pool).await?;
    sqlx::migrate!().run(&pool).await?;
    pool.close().await;
    Ok(())
}

/// Runs the facilitator until `shutdown` is cancelled and the settlements that were under way have been answered.
///
/// # Errors
/// At the start, when the database, the node, its chain or the signers are not as they must be; [`Error`] says what to do.
pub async fn serve(config: Config, listener: TcpListener, shutdown: CancellationToken) -> Result<(), Error> {
    let journal = open_journal(&config).await?;
    let node = node::connect(&config.rpc_urls, config.chain_id).await?;
    let metrics = Arc::new(metrics::Metrics::default());
    let catalogue = match (&journal, &config.database_url) {
        (Journal::Postgres(_), Some(url)) => {
            let options = options(url)?.options([("statement_timeout", CATALOGUE_QUERY_MAX)]);
            Some(pool(CATALOGUE_CONNECTIONS_MAX).connect_lazy_with(options))
        }
        _ => None,
    };
    let (engine, queues) = open(&config, &node, journal, &metrics).await?;
    let engine = Arc::new(engine);
    // However this function ends, nothing of it goes on.
    let _stop = engine.stop.clone().drop_guard();
    engine.start(queues).await?;
    let admission = admission::Admission::new(&config.admission);
    let recent = status::Recent::new();
    let app = routes::App {
        engine: engine.clone(),
        metrics,
        admission,
        node,
        catalogue,
        recent,
        listing: Semaphore::new(routes::LISTING_MAX),
    };
    let app = routes::router(Arc::new(app)).into_make_service_with_connect_info::<SocketAddr>();
    let stop = engine.stop.clone();
    let ended = async move {
        tokio::select! { () = shutdown.cancelled() => {}, () = stop.cancelled() => {} }
    };
    axum::serve(listener, app).with_graceful_shutdown(ended).await?;
    // What is journalled and not yet mined is taken up by the next start; nobody waits for it any more.
    engine.stop.cancel();
    engine.tasks.close();
    engine.tasks.wait().await;
    engine.failure().map_or(Ok(()), Err)
}

async fn open_journal(config: &Config) -> Result<Journal, Error> {
    match (&config.journal, &config.database_url) {
        (Some(JournalFile(path)), _) => Ok(Journal::File(FileJournal::open_at(path)?)),
        (None, Some(url)) => {
            let lanes = u32::try_from(config.signer_keys.len()).unwrap_or(u32::MAX);
            Ok(Journal::Postgres(PostgresJournal(connect(url, JOURNAL_CONNECTIONS_MAX.saturating_add(lanes)).await?)))
        }
        (None, None) => Err(Error::NoJournal),
    }
}

async fn open(
    config: &Config,
    node: &node::Connection,
    journal: Journal,
    metrics: &Arc<metrics::Metrics>,
) -> Result<(engine::Engine, Vec<lane::Queue>), Error> {
    let (provider, chain_id) = (node.provider.clone(), node.chain_id);
    let signers: Vec<Address> = config.signer_keys.iter().map(|key| key.0.address()).collect();
    let mut unfunded = Vec::new();
    for signer in &signers {
        if provider.get_balance(*signer).await?.is_zero() {
            unfunded.push(*signer);
        }
    }
    // Payments go to the signers in turn: one that cannot pay would hold up its share of them.
    let (Some(sender), true) = (signers.first().copied(), unfunded.is_empty()) else {
        return Err(Error::NoGas { chain_id, signers: unfunded });
    };
    let (mut lanes, mut queues) = (Vec::new(), Vec::new());
    for key in &config.signer_keys {
        let (lane, queue) = lane::Lane::new(key.0.clone(), chain_id, &journal).await?;
        lanes.push(lane);
        queues.push(queue);
    }
    let settings = &config.settlement;
    let router = find_router(settings, &provider, chain_id).await?;
    let fees = fees::FeeOracle::new(provider.clone(), settings.gas_price_max.unwrap_or_else(|| fees::cap(chain_id)));
    let limits = engine::Limits {
        confirm_timeout: Duration::from_secs(config.confirm_timeout_seconds),
        confirmations: settings.confirmations.unwrap_or_else(|| engine::confirmations(chain_id)),
        give_up_after: Duration::from_secs(settings.give_up_seconds.unwrap_or(GIVE_UP_SECONDS)),
        replace_after: Duration::from_secs(settings.replace_seconds.unwrap_or(REPLACE_SECONDS)),
        poll: Duration::from_millis(settings.poll_milliseconds.unwrap_or_else(|| {
            if config.rpc_urls.iter().all(is_local) { POLL_LOCAL_MILLISECONDS } else { POLL_REMOTE_MILLISECONDS }
        })),
    };
    let factories = config.wallet_factories.clone();
    let lens = lens::Lens::new(provider.clone(), sender, metrics.clone());
    let authorizer = config.channel_authorizer_key.clone().map(|key| key.0);
    let channels = channels::Channels::new(chain_id, authorizer);
    let escrow = find_escrow(config, &provider, chain_id).await?;
    let min_payment = U256::from(settings.min_payment.unwrap_or(0));
    let sponsor = settings.approval_gas_max.map(|max| approval::Sponsor::new(max, settings.approval_gas_daily));
    let verifier = verify::Verifier {
        provider,
        lens,
        chain_id,
        factories,
        channels,
        escrow,
        min_payment,
        sponsor,
        owed: owed::Owed::default(),
    };
    Ok((engine::Engine::new(verifier, journal, lanes, fees, router, limits, metrics.clone()), queues))
}

/// The PaymentRouter, if there is one.
async fn find_router(settings: &SettlementConfig, provider: &DynProvider, chain_id: u64) -> Result<Option<Address>, Error> {
    let known = || contracts::Deployment::for_chain(chain_id).ok().map(|deployment| deployment.payment_router);
    let router = settings.payment_router.or_else(known).filter(|_| !settings.no_batches);
    let Some(router) = router else { return Ok(None) };
    let is_there = !provider.get_code_at(router).await?.is_empty();
    match (is_there, settings.payment_router) {
        (false, Some(given)) => Err(Error::NoRouter(given, chain_id)),
        (is_there, _) => Ok(is_there.then_some(router)),
    }
}

/// The escrow of the scheme `auth-capture`, if there is to be one.
async fn find_escrow(config: &Config, provider: &DynProvider, chain_id: u64) -> Result<Option<Deployment>, Error> {
    let Some(deployment) = config.auth_capture else { return Ok(None) };
    for contract in [deployment.escrow, deployment.collector] {
        if provider.get_code_at(contract).await?.is_empty() {
            return Err(Error::NoEscrow(contract, chain_id));
        }
    }
    Ok(Some(deployment))
}

/// Whether asking costs nothing.
fn is_local(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}
