//! `florin anchor`: off-chain ledgers, fixed on chain batch by batch.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use alloy::{
    primitives::{Address, B256},
    rpc::types::Filter,
    sol_types::SolEvent,
};
use anyhow::{Context, Result, bail};
use api::ledger::merkle;
use contracts::{
    Contract as Kind, Event,
    ledger_anchor::LedgerAnchor::{self as Contract, BatchAnchored, LedgerAnchorEvents},
};
use serde_json::json;

use crate::chain::{Chain, ChainOptions, readable};

/// Fix an off-chain ledger on chain, batch by batch, so that no entry can be altered, added or left out afterwards
///
/// A batch is a text file with an entry per line. Its Merkle root (RFC 9162, SHA-256) and its number of entries are anchored.
#[derive(clap::Args, Debug)]
pub(crate) struct Anchor {
    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    chain: ChainOptions,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Anchor the next batch of your ledger
    ///
    /// Example: florin anchor append batch-17.jsonl
    Append {
        /// File with an entry per line
        file: PathBuf,
        /// Number of the batch, which makes a repeated call harmless [default: the next]
        #[arg(long, value_name = "NUMBER")]
        sequence: Option<u64>,
    },
    /// Prove that a batch contains a line: asks the contract, and prints the proof
    ///
    /// Example: florin anchor verify batch-17.jsonl --line 3 --operator 0xOPERATOR --sequence 17
    Verify {
        /// File with the whole batch
        file: PathBuf,
        /// Which line, counted from 1
        #[arg(long, value_name = "NUMBER")]
        line: usize,
        /// Whose ledger
        #[arg(long, value_name = "ADDRESS")]
        operator: Address,
        /// Number of the batch
        #[arg(long, value_name = "NUMBER")]
        sequence: u64,
    },
    /// Show how far a ledger is anchored
    ///
    /// Example: florin anchor show 0xOPERATOR
    Show {
        /// Whose ledger
        operator: Address,
    },
}

impl Anchor {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        match &self.action {
            Action::Append { file, sequence } => self.append(file, *sequence).await,
            Action::Verify { file, line, operator, sequence } => self.verify(file, *line, *operator, *sequence).await,
            Action::Show { operator } => self.show(*operator).await,
        }?;
        Ok(ExitCode::SUCCESS)
    }

    async fn append(&self, file: &Path, sequence: Option<u64>) -> Result<()> {
        let text = read(file)?;
        let entries = entries(&text);
        let root = merkle::root(&leaves(&entries)).with_context(|| format!("{} has no entry", file.display()))?;
        let sender = self.chain.sender().await?;
        let anchor = address(&sender.chain)?;
        let head = Contract::new(anchor, sender.chain.provider()).headOf(sender.address()).call().await.map_err(readable)?;
        let call = Contract::appendCall {
            sequence: sequence.unwrap_or(head.sequence + 1),
            root,
            entryCount: u64::try_from(entries.len())?,
        };
        sender.send(anchor, &call).await.map(drop)
    }

    async fn verify(&self, file: &Path, line: usize, operator: Address, sequence: u64) -> Result<()> {
        let text = read(file)?;
        let entries = entries(&text);
        let index = line.checked_sub(1).context("lines are counted from 1")?;
        let path = merkle::path(&leaves(&entries), index)
            .with_context(|| format!("{} has {} lines and not {line}", file.display(), entries.len()))?;
        let (entry, count) = (entries[index].to_vec(), u64::try_from(entries.len())?);
        let chain = self.chain.connect().await?;
        let contract = Contract::new(address(&chain)?, chain.provider());
        let asked = contract.verify(operator, sequence, count, entry.clone().into(), u64::try_from(index)?, path.clone());
        if !asked.call().await.map_err(readable)? {
            bail!(
                "batch {sequence} of {operator} is not this file: something was altered, added or left out, or it is another batch"
            );
        }
        let facts = json!({ "anchored": true, "entryCount": count, "index": index, "path": path });
        let proof = path.iter().map(|hash| format!("  {hash}\n")).collect::<String>();
        self.chain.answer(&facts, &format!("line {line} is anchored in batch {sequence} of {operator}; its proof:\n{proof}"));
        Ok(())
    }

    async fn show(&self, operator: Address) -> Result<()> {
        let chain = self.chain.connect().await?;
        let anchor = address(&chain)?;
        let head = Contract::new(anchor, chain.provider()).headOf(operator).call().await.map_err(readable)?;
        let filter = Filter::new().address(anchor).event_signature(BatchAnchored::SIGNATURE_HASH).topic1(operator.into_word());
        let (mut lines, mut batches) = (String::new(), Vec::new());
        for event in chain.events(Kind::LedgerAnchor, filter).await? {
            if let Event::LedgerAnchor(LedgerAnchorEvents::BatchAnchored(told)) = event {
                lines += &format!("  {} with {} entries, root {}\n", told.sequence, told.entryCount, told.root);
                batches.push(json!({ "sequence": told.sequence, "entryCount": told.entryCount, "root": told.root }));
            }
        }
        let facts = json!({ "operator": operator, "sequence": head.sequence, "entries": head.entries, "batches": batches });
        let text = format!("{operator} anchored {} batches with {} entries in all\n{lines}", head.sequence, head.entries);
        self.chain.answer(&facts, &text);
        Ok(())
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The lines, each without its newline.
fn entries(text: &[u8]) -> Vec<&[u8]> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    if text.is_empty() { Vec::new() } else { text.split(|byte| *byte == b'\n').collect() }
}

fn leaves(entries: &[&[u8]]) -> Vec<B256> {
    entries.iter().map(|entry| merkle::leaf(entry)).collect()
}

fn address(chain: &Chain) -> Result<Address> {
    let anchor = chain.deployment.ledger_anchor;
    if anchor.is_zero() {
        bail!("there is no ledger anchor on chain {}", chain.id());
    }
    Ok(anchor)
}
