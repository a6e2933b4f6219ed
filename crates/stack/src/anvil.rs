//! A local chain.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use url::Url;

use crate::{
    Error,
    guarded::{self, Guarded, Output},
    tools,
};

/// The chain id whose USDC the official x402 clients know (Base Sepolia).
pub const CHAIN_ID: u64 = 84_532;
const START_TIMEOUT_SECONDS: u64 = 20;
/// How much of what anvil said is kept for an error.
const SAID_BYTES_MAX: u64 = 4_096;

/// How to start anvil.
#[derive(Clone, Debug, Default)]
pub struct AnvilOptions {
    /// Zero takes a free port.
    pub port: u16,
    /// Seconds between blocks; without it every transaction makes a block at once.
    pub block_seconds: Option<u64>,
    /// State written by `anvil_dumpState` (`--dump-state`) to begin with.
    pub load_state: Option<PathBuf>,
}

/// A running anvil. Dropping it stops it.
#[derive(Debug)]
pub struct Anvil {
    process: Guarded,
    rpc_url: Url,
}

impl Anvil {
    /// Starts a chain and waits until it listens.
    ///
    /// # Errors
    /// [`Error::NoAnvil`], [`Error::PortInUse`], or what anvil said.
    pub async fn start(options: &AnvilOptions) -> Result<Self, Error> {
        guarded::clean_up_after_the_dead();
        let program = tools::anvil()?;
        let directory = guarded::directory("anvil", None)?;
        let mut arguments = vec!["--host".to_owned(), "127.0.0.1".into(), "--chain-id".into(), CHAIN_ID.to_string()];
        arguments.extend(["--port".into(), options.port.to_string()]);
        // Names the directory on the command line, by which an orphan is known; also keeps anvil's cache out of the home directory.
        arguments.extend(["--cache-path".into(), directory.path().display().to_string()]);
        if let Some(seconds) = options.block_seconds {
            arguments.extend(["--block-time".into(), seconds.to_string()]);
        }
        if let Some(state) = &options.load_state {
            arguments.extend(["--load-state".into(), state.display().to_string()]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (process, output) = Guarded::start(&program, &arguments, directory, None, Signal::SIGTERM)?;
        let ready = tokio::time::timeout(Duration::from_secs(START_TIMEOUT_SECONDS), listening(output, options.port));
        let address = ready.await.unwrap_or_else(|_| Err(Error::Anvil { said: "it is silent".into() }))?;
        let rpc_url = format!("http://{address}").parse().map_err(|_| Error::Anvil { said: address })?;
        Ok(Self { process, rpc_url })
    }

    /// Where it answers JSON-RPC, by HTTP and (with `ws://`) by WebSocket.
    pub fn rpc_url(&self) -> &Url {
        &self.rpc_url
    }

    /// Stops it and waits until it has ended.
    pub async fn stop(self) {
        self.process.stop().await;
    }

    /// Its private directory.
    pub fn directory(&self) -> &Path {
        self.process.directory()
    }
}

/// Reads until anvil says where it listens; then keeps draining what it prints.
async fn listening(output: Output, port: u16) -> Result<String, Error> {
    let mut lines = BufReader::new(output.stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(address) = line.strip_prefix("Listening on ") {
            let address = address.trim().to_owned();
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok(address);
        }
    }
    let mut said = String::new();
    let _ = output.stderr.take(SAID_BYTES_MAX).read_to_string(&mut said).await;
    if said.to_lowercase().contains("in use") {
        Err(Error::PortInUse { port })
    } else {
        Err(Error::Anvil { said: said.trim().into() })
    }
}
