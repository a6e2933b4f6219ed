//! Us, as a process of its own.

use std::{path::PathBuf, process::Stdio};

use stack::Postgres;
use tokio::process::{Child, Command};

use crate::chain::Chain;

pub(crate) struct Mirror {
    process: Child,
    pub(crate) database: String,
}

impl Mirror {
    /// Starts on an empty database.
    pub(crate) async fn start(chain: &Chain, postgres: &Postgres, name: &str, from: u64, scheme: &str, extra: &[&str]) -> Self {
        let database = postgres.create(name, None).await.unwrap().url;
        let mut url = chain.anvil.rpc_url().clone();
        url.set_scheme(scheme).unwrap();
        let process = Command::new(program())
            .args(["--database-url", &database, "--rpc-url", url.as_str(), "--start-block", &from.to_string()])
            .args(["--listen", "127.0.0.1:0", "--reconcile-seconds", "0"])
            .args(extra)
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { process, database }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id().unwrap()
    }

    /// Tells the peak of its memory, in MB.
    pub(crate) async fn stop(mut self) -> u64 {
        let peak = crate::peak_memory(self.pid());
        self.process.kill().await.unwrap();
        peak
    }
}

/// `examples/serve_indexer`, built beside us.
fn program() -> PathBuf {
    std::env::current_exe().unwrap().with_file_name("serve_indexer")
}
