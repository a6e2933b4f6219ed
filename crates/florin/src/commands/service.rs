//! Runs one service until Ctrl-C or SIGTERM.

use std::{net::SocketAddr, process::ExitCode};

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) async fn facilitator(config: facilitator::Config) -> Result<ExitCode> {
    if let (Some(url), None) = (&config.database_url, &config.journal) {
        facilitator::migrate(url).await?;
    }
    let listener = listen("facilitator", config.listen).await?;
    facilitator::serve(config, listener, until_signal()).await?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn indexer(config: indexer::Config) -> Result<ExitCode> {
    indexer::migrate(&config.database_url).await?;
    let listener = listen("indexer", config.listen).await?;
    indexer::serve(config, listener, until_signal()).await?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn market(config: market::Config) -> Result<ExitCode> {
    market::migrate(&config.database_url).await?;
    let listener = listen("market", config.listen).await?;
    market::serve(config, listener, until_signal()).await?;
    Ok(ExitCode::SUCCESS)
}

/// Binds `address` and says so.
pub(crate) async fn listen(role: &str, address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("{role} cannot listen on {address}: choose another with --listen, port 0 takes a free one"))?;
    eprintln!("{role} on http://{}", listener.local_addr()?);
    Ok(listener)
}

/// Cancelled by Ctrl-C or SIGTERM. A second signal ends the process at once.
pub(crate) fn until_signal() -> CancellationToken {
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        signal().await;
        stop.cancel();
        signal().await;
        std::process::exit(130);
    });
    token
}

async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
