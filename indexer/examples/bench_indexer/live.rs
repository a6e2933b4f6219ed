//! From a block being mined to its rows being visible.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use alloy::providers::{Provider, ProviderBuilder};
use sqlx::{Connection, PgConnection};
use stack::Postgres;

use crate::{chain::Chain, mirror::Mirror, peer};

/// Transfers of a block that is timed.
const TRANSFERS: u64 = 10;
/// Between blocks, so that each is alone.
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) async fn measure(chain: &Chain, postgres: &Postgres, blocks: usize, ponder: Option<&Path>) {
    println!();
    tell("limit: the node tells of a block", pushed(chain, blocks).await);
    let mirror = Mirror::start(chain, postgres, "live", chain.last() - 100, "ws", &[]).await;
    let ours = follow(chain, &mirror.database, "SELECT coalesce(max(block_number), 0) >= $1 FROM chain.transfers", blocks).await;
    tell("florin by WebSocket", ours);
    mirror.stop().await;
    if let Some(folder) = ponder {
        let peer = peer::follow(chain, postgres, folder).await;
        let seen = "SELECT coalesce(max(block), 0) >= $1 FROM peer.transfer";
        tell("ponder by WebSocket", follow(chain, &peer.database, seen, blocks).await);
    }
}

/// How soon the node tells of a block that it has mined: nobody who waits for that can be sooner.
async fn pushed(chain: &Chain, blocks: usize) -> Vec<Duration> {
    let mut url = chain.anvil.rpc_url().clone();
    url.set_scheme("ws").unwrap();
    let node = ProviderBuilder::new().connect(url.as_str()).await.unwrap();
    let mut heads = node.subscribe_blocks().await.unwrap();
    let mut delays = Vec::with_capacity(blocks);
    for round in 0..blocks {
        chain.mine(u64::try_from(round).unwrap(), TRANSFERS).await;
        let mined = Instant::now();
        heads.recv().await.unwrap();
        delays.push(mined.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    delays
}

/// Times blocks once the mirror has caught up. `seen` asks whether rows of a block are visible.
async fn follow(chain: &Chain, database: &str, seen: &'static str, blocks: usize) -> Vec<Duration> {
    let mut conn = PgConnection::connect(database).await.unwrap();
    let mut delays = Vec::with_capacity(blocks);
    let height = i64::try_from(chain.provider.get_block_number().await.unwrap()).unwrap();
    for round in 0..blocks + 10 {
        chain.mine(u64::try_from(round).unwrap(), TRANSFERS).await;
        let mined = Instant::now();
        let block = height + i64::try_from(round).unwrap() + 1;
        while !sqlx::query_scalar(seen).bind(block).fetch_one(&mut conn).await.unwrap_or(false) {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        delays.push(mined.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    // The first ones wait for the history.
    delays.split_off(10)
}

fn tell(name: &str, mut delays: Vec<Duration>) {
    delays.sort_unstable();
    let at = |percent: usize| delays[(delays.len() * percent / 100).min(delays.len() - 1)].as_secs_f64() * 1_000.0;
    println!("{name:44} p50 {:.1} ms  p95 {:.1} ms  p99 {:.1} ms", at(50), at(95), at(99));
}
