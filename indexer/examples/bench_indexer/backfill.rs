//! A history of transfers, from empty tables to the last row visible.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use sqlx::{Connection, PgConnection};
use stack::Postgres;

use crate::{
    chain::Chain,
    cpu::{self, Servers, Used},
    limits, median,
    mirror::Mirror,
    peer, rate,
};

/// Between two looks at what is visible.
const LOOK: Duration = Duration::from_millis(10);

/// One round.
pub(crate) struct Measured {
    pub(crate) elapsed: Duration,
    pub(crate) cpu: Used,
    /// Peak, in MB.
    pub(crate) memory: u64,
}

/// The rounds of one row of the table.
struct Row {
    name: &'static str,
    events: u64,
    rounds: Vec<Measured>,
}

impl Row {
    fn new(name: &'static str, events: u64) -> Self {
        Self { name, events, rounds: Vec::new() }
    }

    fn rate(&self) -> u64 {
        rate(self.events, median(self.rounds.iter().map(|m| m.elapsed).collect()))
    }

    /// How many times another row's rate this one's is.
    fn tell_ratio(&self, other: &Self) {
        let tenths = self.rate() * 10 / other.rate().max(1);
        println!("{} is {}.{} times {}", self.name, tenths / 10, tenths % 10, other.name);
    }

    fn tell(&self) {
        let time = |of: fn(&Measured) -> Duration| median(self.rounds.iter().map(of).collect());
        let elapsed = time(|m| m.elapsed);
        let (indexer, node, database) = (time(|m| m.cpu.indexer), time(|m| m.cpu.node), time(|m| m.cpu.database));
        let memory = median(self.rounds.iter().map(|m| m.memory).collect());
        println!(
            "{:44} {:>9} events/s  {:>6.2} s  {memory:>5} MB   {:>5.2} {:>5.2} {:>5.2}",
            self.name,
            self.rate(),
            elapsed.as_secs_f64(),
            indexer.as_secs_f64(),
            node.as_secs_f64(),
            database.as_secs_f64()
        );
    }
}

pub(crate) async fn measure(chain: &Chain, postgres: &Postgres, rounds: usize, ponder: Option<&Path>) {
    let servers = &Servers::find(chain, postgres).await;
    let events = chain.transfers();
    let mut rows = vec![
        Row::new("limit: fetch receipts, look at nothing", events),
        Row::new("limit: COPY the same rows", events),
        Row::new("florin, every block proved, raw rows", events),
        Row::new("florin, every block proved, with balances", events),
        Row::new("florin, the same, half of the history", events / 2),
    ];
    if ponder.is_some() {
        let events = (chain.blocks - peer::UNFINAL) * chain.per_block;
        rows.extend([Row::new("ponder, raw rows", events), Row::new("ponder, with balances", events)]);
    }
    for round in 0..rounds {
        rows[0].rounds.push(limit(servers, limits::fetch(chain)).await);
        rows[1].rounds.push(limit(servers, limits::copy(chain, postgres, &format!("copy_{round}"))).await);
        let middle = chain.first + chain.blocks / 2;
        rows[2].rounds.push(ours(chain, postgres, servers, &format!("raw_{round}"), chain.first, &["--raw"]).await);
        rows[3].rounds.push(ours(chain, postgres, servers, &format!("full_{round}"), chain.first, &[]).await);
        rows[4].rounds.push(ours(chain, postgres, servers, &format!("half_{round}"), middle, &[]).await);
        if let Some(folder) = ponder {
            rows[5].rounds.push(peer::backfill(chain, postgres, servers, &format!("peer_raw_{round}"), folder, false).await);
            rows[6].rounds.push(peer::backfill(chain, postgres, servers, &format!("peer_full_{round}"), folder, true).await);
        }
    }
    println!("{:44} {:>47}", "", "CPU s: indexer, node, database");
    rows.iter().for_each(Row::tell);
    if let [_, _, raw, full, _, peer_raw, peer_full] = rows.as_slice() {
        println!();
        raw.tell_ratio(peer_raw);
        full.tell_ratio(peer_full);
    }
}

async fn limit(servers: &Servers, work: impl Future<Output = Duration>) -> Measured {
    let before = servers.used();
    Measured { elapsed: work.await, cpu: servers.used().since(before), memory: 0 }
}

/// From its tables being there to the last row of the history.
async fn ours(chain: &Chain, postgres: &Postgres, servers: &Servers, name: &str, from: u64, extra: &[&str]) -> Measured {
    let mirror = Mirror::start(chain, postgres, name, from, "http", extra).await;
    let mut conn = PgConnection::connect(&mirror.database).await.unwrap();
    let until = async |conn: &mut PgConnection, question: &'static str| {
        let last = i64::try_from(chain.last()).unwrap();
        while !sqlx::query_scalar(question).bind(last).fetch_one(&mut *conn).await.unwrap_or(false) {
            tokio::time::sleep(LOOK).await;
        }
    };
    until(&mut conn, "SELECT to_regclass('webhooks.deliveries') IS NOT NULL AND $1 > 0").await;
    let (started, before) = (Instant::now(), servers.used());
    until(&mut conn, "SELECT coalesce(max(number), 0) >= $1 FROM chain.blocks").await;
    let elapsed = started.elapsed();
    let cpu = Used { indexer: cpu::of(mirror.pid()), ..servers.used().since(before) };
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM chain.transfers").fetch_one(&mut conn).await.unwrap();
    let expected = i64::try_from((chain.last() - from + 1) * chain.per_block).unwrap();
    assert_eq!(rows, expected, "every transfer is there");
    Measured { elapsed, cpu, memory: mirror.stop().await }
}
