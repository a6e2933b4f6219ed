//! How fast a history of USDC transfers is mirrored: `cargo run --release -p indexer --example backfill -- BLOCKS TRANSFERS_PER_BLOCK`.
//!
//! Every block is proved by its receipts root; balances are kept. Starts its own anvil and Postgres.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement prints, and stops where an assumption fails")]

use std::time::{Duration, Instant};

use alloy::{
    network::TransactionBuilder,
    primitives::{Address, U256},
    providers::{Provider, ProviderBuilder, ext::AnvilApi},
    rpc::types::TransactionRequest,
    sol_types::SolCall,
};
use contracts::{Deployment, dev, usdc::Usdc::transferCall};
use indexer::{Config, read};
use money::Usdc;
use sqlx::PgPool;
use stack::{Anvil, AnvilOptions, Postgres};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

alloy::sol! {
    struct Call3 {
        address target;
        bool allowFailure;
        bytes callData;
    }
    function aggregate3(Call3[] calls);
}

/// Accounts that are paid in turn.
const ACCOUNTS: u64 = 1_000;

#[tokio::main]
async fn main() {
    let mut numbers = std::env::args().skip(1).map(|arg| arg.parse::<u64>().unwrap());
    let (blocks, per_block) = (numbers.next().unwrap_or(2_000), numbers.next().unwrap_or(100));
    let anvil = Anvil::start(&AnvilOptions::default()).await.unwrap();
    let provider = ProviderBuilder::new().disable_recommended_fillers().connect_http(anvil.rpc_url().clone()).erased();
    let start_block = dev::set_up(&provider).await.unwrap().start_block;
    dev::mint(&provider, Deployment::MULTICALL3, Usdc::from_whole(1_000_000).unwrap()).await.unwrap();
    provider.anvil_set_auto_mine(false).await.unwrap();
    let from = provider.get_accounts().await.unwrap()[0];
    for block in 0..blocks {
        let calls = (0..per_block).map(|i| pay((block * per_block + i) % ACCOUNTS)).collect();
        let tx = TransactionRequest::default().with_from(from).with_to(Deployment::MULTICALL3).with_gas_limit(25_000_000);
        let _ = provider.send_transaction(tx.with_input(aggregate3Call { calls }.abi_encode())).await.unwrap();
        provider.evm_mine(None).await.unwrap();
    }
    let head = provider.get_block_number().await.unwrap();

    let postgres = Postgres::start(None).await.unwrap();
    for round in 1..=3 {
        let database = postgres.create(&format!("round_{round}"), None).await.unwrap().url;
        let mut config = Config::new(&database, anvil.rpc_url().clone());
        config.start_block = Some(start_block);
        indexer::migrate(&database).await.unwrap();
        let pool = PgPool::connect(&database).await.unwrap();
        let shutdown = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let started = Instant::now();
        let task = tokio::spawn(indexer::serve(config, listener, shutdown.clone()));
        read::wait_for_block(&pool, head, Duration::from_secs(600)).await.unwrap();
        let elapsed = started.elapsed();
        let transfers: i64 = sqlx::query_scalar("SELECT count(*) FROM chain.transfers").fetch_one(&pool).await.unwrap();
        let rate = u128::try_from(transfers).unwrap() * 1_000 / elapsed.as_millis().max(1);
        println!("round {round}: {transfers} transfers in {elapsed:.2?}: {rate} a second, peak memory {}", peak_memory());
        shutdown.cancel();
        task.await.unwrap().unwrap();
    }
}

fn pay(account: u64) -> Call3 {
    let to = Address::left_padding_from(&(account + 0x10_0000).to_be_bytes());
    let call = transferCall { to, value: U256::from(account + 1) };
    Call3 { target: Deployment::BASE_SEPOLIA_USDC, allowFailure: false, callData: call.abi_encode().into() }
}

/// Of this process since it started, as Linux tells it.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")).map_or_else(|| "unknown".into(), |kb| kb.trim().to_owned())
}
