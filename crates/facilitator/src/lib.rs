#![doc = include_str!("../README.md")]

mod config;
mod engine;
mod error;
mod exact;
mod journal;
mod lane;
mod lens;
mod metrics;
mod permit2;
mod routes;
mod settlement;
mod token;
mod upto;
mod verify;

use std::{str::FromStr, sync::Arc, time::Duration};

use alloy::{
    primitives::Address,
    providers::{DynProvider, Provider, ProviderBuilder},
};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::{Config, MalformedKey, SignerKey};
pub use error::Error;

/// Connections to the database: one per signer for its lease, the rest for the journal.
const JOURNAL_CONNECTIONS_MAX: u32 = 8;
const SCHEMA: &str = "facilitator";

async fn connect(database_url: &str, connections_max: u32) -> Result<PgPool, Error> {
    let options = PgConnectOptions::from_str(database_url)?.options([("search_path", SCHEMA)]);
    let pool = PgPoolOptions::new().max_connections(connections_max).acquire_timeout(Duration::from_secs(10));
    Ok(pool.connect_with(options).await?)
}

/// Makes or updates the schema `facilitator`. Safe to repeat, and to run from several instances at once.
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
    let lanes = u32::try_from(config.signer_keys.len()).unwrap_or(u32::MAX);
    let journal = journal::Journal(connect(&config.database_url, JOURNAL_CONNECTIONS_MAX.saturating_add(lanes)).await?);
    let provider = ProviderBuilder::new().connect_http(config.rpc_url.clone()).erased();
    let chain_id = check_chain(&provider, config.chain_id).await?;
    let engine = Arc::new(open(&config, provider, chain_id, &journal).await?);
    // However this function ends, nothing of it goes on.
    let _stop = engine.stop.clone().drop_guard();
    engine.recover().await?;
    let app = Arc::new(routes::App::new(engine.clone()));
    axum::serve(listener, routes::router(app)).with_graceful_shutdown(shutdown.cancelled_owned()).await?;
    // What is journalled and not yet mined is taken up by the next start; nobody waits for it any more.
    engine.stop.cancel();
    engine.tasks.close();
    engine.tasks.wait().await;
    Ok(())
}

async fn check_chain(provider: &DynProvider, expected: Option<u64>) -> Result<u64, Error> {
    let found = provider.get_chain_id().await?;
    match expected {
        Some(expected) if expected != found => Err(Error::WrongChain { expected, found }),
        _ => Ok(found),
    }
}

async fn open(
    config: &Config,
    provider: DynProvider,
    chain_id: u64,
    journal: &journal::Journal,
) -> Result<engine::Engine, Error> {
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
    let mut lanes = Vec::new();
    for key in &config.signer_keys {
        lanes.push(lane::Lane::open(key.0.clone(), provider.clone(), chain_id, journal).await?);
    }
    let factories = config.wallet_factories.clone();
    let lens = lens::Lens::new(provider.clone(), sender);
    let verifier = verify::Verifier { provider, lens, chain_id, factories };
    Ok(engine::Engine::new(verifier, journal.clone(), lanes, Duration::from_secs(config.confirm_timeout_seconds)))
}
