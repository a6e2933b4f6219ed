//! A history of transfers, from nothing to the last row visible.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use sqlx::{Connection, PgConnection};
use stack::Postgres;

use crate::{chain::Chain, limits, median, mirror::Mirror, peer, rate};

/// Between two looks at what is visible.
const LOOK: Duration = Duration::from_millis(10);

/// What one round took, and the peak of memory in MB.
type Measured = (Duration, u64);

pub(crate) async fn measure(chain: &Chain, postgres: &Postgres, rounds: usize, ponder: Option<&Path>) {
    let events = chain.transfers();
    let tell = |name: &str, events: u64, measured: Vec<Measured>| {
        let (elapsed, memory) = (median(measured.iter().map(|m| m.0).collect()), median(measured.iter().map(|m| m.1).collect()));
        println!("{name:44} {:>9} events/s  {:>6.2} s  {memory:>5} MB", rate(events, elapsed), elapsed.as_secs_f64());
    };
    let (mut fetch, mut copy, mut raw, mut full, mut half) = (vec![], vec![], vec![], vec![], vec![]);
    let (mut peer_raw, mut peer_full) = (vec![], vec![]);
    for round in 0..rounds {
        fetch.push((limits::fetch(chain).await, 0));
        copy.push((limits::copy(chain, postgres, &format!("copy_{round}")).await, 0));
        raw.push(ours(chain, postgres, &format!("raw_{round}"), chain.first, &["--raw"]).await);
        full.push(ours(chain, postgres, &format!("full_{round}"), chain.first, &[]).await);
        half.push(ours(chain, postgres, &format!("half_{round}"), chain.first + chain.blocks / 2, &[]).await);
        if let Some(folder) = ponder {
            peer_raw.push(peer::backfill(chain, postgres, &format!("peer_raw_{round}"), folder, false).await);
            peer_full.push(peer::backfill(chain, postgres, &format!("peer_full_{round}"), folder, true).await);
        }
    }
    tell("limit: fetch receipts, look at nothing", events, fetch);
    tell("limit: COPY the same rows", events, copy);
    tell("florin, every block proved, raw rows", events, raw);
    tell("florin, every block proved, with balances", events, full);
    tell("florin, the same, half of the history", events / 2, half);
    if ponder.is_some() {
        let events = (chain.blocks - peer::UNFINAL) * chain.per_block;
        tell("ponder, raw rows", events, peer_raw);
        tell("ponder, with balances", events, peer_full);
    }
}

async fn ours(chain: &Chain, postgres: &Postgres, name: &str, from: u64, extra: &[&str]) -> Measured {
    let started = Instant::now();
    let mirror = Mirror::start(chain, postgres, name, from, "http", extra).await;
    let mut conn = PgConnection::connect(&mirror.database).await.unwrap();
    let last = i64::try_from(chain.last()).unwrap();
    let reached = "SELECT coalesce(max(number), 0) >= $1 FROM chain.blocks";
    while !sqlx::query_scalar(reached).bind(last).fetch_one(&mut conn).await.unwrap_or(false) {
        tokio::time::sleep(LOOK).await;
    }
    let elapsed = started.elapsed();
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM chain.transfers").fetch_one(&mut conn).await.unwrap();
    let expected = i64::try_from((chain.last() - from + 1) * chain.per_block).unwrap();
    assert_eq!(rows, expected, "every transfer is there");
    (elapsed, mirror.stop().await)
}
