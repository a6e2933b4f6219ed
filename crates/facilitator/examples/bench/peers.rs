//! The facilitators that are measured, each a process of its own.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use alloy::primitives::Address;
use anyhow::{Context, Result};
use clap::ValueEnum;
use stack::{Account, Database};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use url::Url;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// This repository's
    Florin,
    /// The published crates x402-facilitator-local and x402-chain-eip155
    X402Rs,
    /// The official TypeScript packages as their README builds a facilitator
    Typescript,
    /// The same with viem's nonce manager
    TypescriptNonces,
}

impl Peer {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// One that runs. Dropping it ends it.
pub(crate) struct Service {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Service {
    /// Starts one on the chain of `rpc_url`; `database` is for ours.
    pub(crate) async fn start(peer: Peer, rpc_url: &Url, database: &Database, signer: &Account) -> Result<Self> {
        let command = match peer {
            Peer::Florin => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["florin", "--rpc-url", rpc_url.as_str(), "--listen", "127.0.0.1:0"]);
                command.env("DATABASE_URL", &database.url).env("FLORIN_FACILITATOR_KEYS", signer.key());
                command
            }
            Peer::X402Rs => {
                let mut command = Command::new(root().join("target/peers/release/x402-rs-facilitator"));
                command.arg(rpc_url.as_str()).env("FLORIN_KEY", signer.key());
                command
            }
            Peer::Typescript | Peer::TypescriptNonces => {
                let mut command = Command::new("node");
                command.arg(root().join("tests/interop/facilitate.mjs")).arg(rpc_url.as_str()).env("FLORIN_KEY", signer.key());
                if peer == Peer::TypescriptNonces {
                    command.arg("--nonce-manager");
                }
                command.env("NODE_ENV", "production");
                command
            }
        };
        Self::spawn(command, peer).await
    }

    /// Starts a seller whose payments `facilitator` settles.
    pub(crate) async fn sell(peer: Peer, facilitator: SocketAddr, payee: Address) -> Result<Self> {
        let mut command = match peer {
            Peer::Florin | Peer::X402Rs => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("seller");
                command
            }
            Peer::Typescript | Peer::TypescriptNonces => {
                let mut command = Command::new("node");
                command.arg(root().join("tests/interop/sell.mjs")).env("NODE_ENV", "production");
                command
            }
        };
        command.args([format!("http://{facilitator}"), payee.to_string()]);
        Self::spawn(command, peer).await
    }

    /// A program that prints its URL when it is ready.
    async fn spawn(mut command: Command, peer: Peer) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let stdout = child.stdout.take().context("its output is piped")?;
        let line = BufReader::new(stdout).lines().next_line().await?;
        let url = line.with_context(|| format!("{} did not start; scripts/bench builds what it needs", peer.name()))?;
        let address = url.strip_prefix("http://").context("it prints its URL")?;
        Ok(Self { child, address: address.split('/').next().unwrap_or(address).parse()? })
    }

    /// The most memory it has held, in KiB.
    pub(crate) fn memory_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// Ends it and waits.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.child.kill().await?;
        Ok(())
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
