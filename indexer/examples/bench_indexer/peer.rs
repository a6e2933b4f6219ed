//! Ponder, on the same node and the same database.

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use sqlx::{Connection, PgConnection};
use stack::Postgres;
use tokio::process::{Child, Command};

use crate::{
    backfill::Measured,
    chain::Chain,
    cpu::{self, Servers, Used},
};

/// Where it keeps its rows.
pub(crate) const SCHEMA: &str = "peer";
const LOOK: Duration = Duration::from_millis(10);
/// It counts a block as history when so many follow; the others it takes when a new one comes.
pub(crate) const UNFINAL: u64 = 30;

pub(crate) struct Peer {
    process: Child,
    pub(crate) database: String,
}

impl Peer {
    async fn start(chain: &Chain, postgres: &Postgres, name: &str, folder: &Path, from: u64, balances: bool) -> Self {
        let database = postgres.create(name, None).await.unwrap().url;
        let mut push = chain.anvil.rpc_url().clone();
        push.set_scheme("ws").unwrap();
        let process = Command::new(folder.join("node_modules/.bin/node"))
            .args([
                "node_modules/ponder/dist/esm/bin/ponder.js",
                "start",
                "--schema",
                SCHEMA,
                "--port",
                "0",
                "--log-level",
                "error",
            ])
            .current_dir(folder)
            .env("DATABASE_URL", &database)
            .env("RPC_URL", chain.anvil.rpc_url().as_str())
            .env("WS_URL", push.as_str())
            .env("TOKEN", chain.deployment.usdc.to_string())
            .env("START_BLOCK", from.to_string())
            .env("BALANCES", if balances { "1" } else { "0" })
            .env("PONDER_TELEMETRY_DISABLED", "true")
            .stdout(Stdio::inherit())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { process, database }
    }

    async fn stop(mut self) -> u64 {
        let peak = crate::peak_memory(self.process.id().unwrap());
        self.process.kill().await.unwrap();
        peak
    }
}

/// From its first row's table being there, which leaves out the start of Node and the compilation, to the last row of its
/// history.
pub(crate) async fn backfill(
    chain: &Chain,
    postgres: &Postgres,
    servers: &Servers,
    name: &str,
    folder: &Path,
    balances: bool,
) -> Measured {
    let mut peer = Peer::start(chain, postgres, name, folder, chain.first, balances).await;
    let mut conn = PgConnection::connect(&peer.database).await.unwrap();
    while !sqlx::query_scalar("SELECT to_regclass('peer.transfer') IS NOT NULL").fetch_one(&mut conn).await.unwrap_or(false) {
        assert!(peer.process.try_wait().unwrap().is_none(), "Ponder ended");
        tokio::time::sleep(LOOK).await;
    }
    let pid = peer.process.id().unwrap();
    let (started, before, used) = (Instant::now(), servers.used(), cpu::of(pid));
    let last = i64::try_from(chain.last() - UNFINAL).unwrap();
    let reached = "SELECT coalesce(max(block), 0) >= $1 FROM peer.transfer";
    while !sqlx::query_scalar(reached).bind(last).fetch_one(&mut conn).await.unwrap_or(false) {
        tokio::time::sleep(LOOK * 10).await;
    }
    let elapsed = started.elapsed();
    let cpu = Used { indexer: cpu::of(pid) - used, ..servers.used().since(before) };
    Measured { elapsed, cpu, memory: peer.stop().await }
}

/// Follows the newest blocks.
pub(crate) async fn follow(chain: &Chain, postgres: &Postgres, folder: &Path) -> Peer {
    Peer::start(chain, postgres, "peer_live", folder, chain.last() - 100, true).await
}
