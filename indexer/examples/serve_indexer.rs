//! The indexer as a process of its own, for what measures and kills one: `cargo run -p indexer --example serve_indexer -- --help`.

use clap::Parser;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Mirrors until it is killed.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    config: indexer::Config,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { config } = Arguments::parse();
    let listener = TcpListener::bind(config.listen).await?;
    Ok(indexer::serve(config, listener, CancellationToken::new()).await?)
}
