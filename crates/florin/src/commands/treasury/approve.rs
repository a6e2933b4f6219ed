//! From an order or a change to its execution: signing, approving, executing, cancelling.

use std::path::PathBuf;

use alloy::primitives::{Address, B256, Bytes, U256};
use anyhow::{Result, bail};
use contracts::{
    signing::{Approvals, treasury as signing},
    treasury::Treasury as Contract,
};
use serde_json::json;

use super::document::{Document, change_argument, order_argument};
use crate::{
    chain::{Chain, Sender, Target},
    document, values,
};

/// Sign an order, a change or a cancellation, on a machine without a network; says first what it is
///
/// Example: florin treasury sign order.json --out alice.sig
#[derive(clap::Args, Debug)]
pub(super) struct Sign {
    /// File with the order, change or cancellation
    file: PathBuf,

    /// File to write the signature to [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Sign {
    pub(super) fn run(self, target: &Target) -> Result<()> {
        let document = Document::load(&self.file)?;
        if target.address.is_some_and(|treasury| treasury != document.treasury()) {
            bail!("{} is for the treasury {}, not the one named with --treasury", self.file.display(), document.treasury());
        }
        let signer = target.options.key.signer()?;
        eprint!("{}", document.in_words());
        eprintln!("signed by {}", signer.address());
        document::give(&document.sign(&signer)?, self.out.as_deref())
    }
}

/// Approve an order, a change or a cancellation by a transaction of an owner
///
/// Example: florin treasury approve 0xID
#[derive(clap::Args, Debug)]
pub(super) struct Approve {
    /// Its id if it was announced on chain, or its file
    what: String,
}

impl Approve {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        let (sender, document) = found(&self.what, target).await?;
        eprint!("{}", document.in_words());
        sender.send(document.treasury(), &Contract::approveCall { id: document.id() }).await.map(drop)
    }
}

/// Take an approval by transaction back; a signature is voided by `cancel` instead
///
/// Example: florin treasury unapprove 0xID
#[derive(clap::Args, Debug)]
pub(super) struct Unapprove {
    /// Its id if it was announced on chain, or its file
    what: String,
}

impl Unapprove {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        let (sender, document) = found(&self.what, target).await?;
        sender.send(document.treasury(), &Contract::withdrawApprovalCall { id: document.id() }).await.map(drop)
    }
}

/// The owners' signatures. Approvals by transaction are found on chain.
#[derive(clap::Args, Clone, Debug)]
struct Signatures {
    /// A signature or a file with one; `OWNER:SIGNATURE` for an owner that is a contract; once for each
    #[arg(long = "signature", value_name = "SIGNATURE")]
    signatures: Vec<String>,
}

impl Signatures {
    /// As the treasury takes them; refuses what the treasury would refuse, and names whose it is.
    async fn collect(&self, chain: &Chain, treasury: Address, id: B256) -> Result<Bytes> {
        let contract = Contract::new(treasury, chain.provider());
        let owners = contract.owners().call().await?;
        let mut approvals = Approvals::of(id);
        for &owner in &owners {
            if contract.isApproved(id, owner).call().await? {
                approvals.add_transaction(owner);
            }
        }
        for text in &self.signatures {
            if let Some((owner, signature)) = values::contract_signature(text) {
                approvals.add_contract(owner, signature?)?;
                continue;
            }
            let signer = approvals.add(values::signature(text)?)?;
            if !owners.contains(&signer) {
                bail!("{text} is no owner's signature of {id}: was something else signed, or with another key?");
            }
        }
        let (given, threshold) = (approvals.signers().len(), contract.threshold().call().await?);
        if U256::from(given) < threshold {
            let who = approvals.signers().map(|owner| owner.to_string()).collect::<Vec<_>>().join(", ");
            bail!("{given} of the {threshold} owners who must approve did{}{who}", if given == 0 { "" } else { ": " });
        }
        Ok(approvals.for_treasury())
    }
}

/// Execute an order that enough owners approved, or a change whose timelock has passed
///
/// Example: florin treasury execute order.json --signature alice.sig --signature bob.sig
#[derive(clap::Args, Debug)]
pub(super) struct Execute {
    /// Its id if it was announced on chain, or its file
    what: String,

    #[command(flatten)]
    signatures: Signatures,
}

impl Execute {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        let (sender, document) = found(&self.what, target).await?;
        let treasury = document.treasury();
        match &document {
            Document::Order(message) => {
                let approvals = self.signatures.collect(&sender.chain, treasury, document.id()).await?;
                let order = order_argument(&message.content);
                sender.send(treasury, &Contract::executeCall { order, approvals }).await?;
            }
            Document::Change(message) => {
                sender.send(treasury, &Contract::executeChangeCall { change: change_argument(&message.content) }).await?;
            }
            Document::Cancellation(_) => bail!("a cancellation is carried out by `florin treasury cancel CHANGE`"),
        }
        Ok(())
    }
}

/// Start the timelock of a change that enough owners approved
///
/// Example: florin treasury schedule change.json --signature alice.sig --signature bob.sig
#[derive(clap::Args, Debug)]
pub(super) struct Schedule {
    /// File with the change
    file: PathBuf,

    #[command(flatten)]
    signatures: Signatures,
}

impl Schedule {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        let (sender, document) = found(&self.file.to_string_lossy(), target).await?;
        let Document::Change(message) = &document else { bail!("{} is no change", self.file.display()) };
        let (treasury, id) = (document.treasury(), document.id());
        let approvals = self.signatures.collect(&sender.chain, treasury, id).await?;
        sender.send(treasury, &Contract::scheduleChangeCall { change: change_argument(&message.content), approvals }).await?;
        eprintln!("when the timelock has passed: `florin treasury execute {id}`");
        Ok(())
    }
}

/// Make an order void for ever, or stop a scheduled change
///
/// An order is cancelled by its spender, an owner or a guardian. A change is stopped by a guardian alone, or by the owners, who sign the
/// cancellation that --out writes.
///
/// Example: florin treasury cancel 0xID
#[derive(clap::Args, Debug)]
pub(super) struct Cancel {
    /// Its id if it was announced on chain, or its file
    what: String,

    #[command(flatten)]
    signatures: Signatures,

    /// Write the cancellation of a change to a file for the owners to sign, and send nothing
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Cancel {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        if let Some(file) = &self.out {
            let chain = target.options.connect().await?;
            let document = Document::find(&self.what, &chain, target.address).await?;
            let Document::Change(_) = document else { bail!("only a change takes signatures to cancel; an order does not") };
            let cancellation = Document::Cancellation(signing::cancellation(document.id(), document.treasury(), chain.id()));
            cancellation.write(file)?;
            target.options.answer(&json!({ "cancellation": cancellation.id(), "file": file }), &cancellation.in_words());
            return Ok(());
        }
        let (sender, document) = found(&self.what, target).await?;
        let treasury = document.treasury();
        match &document {
            Document::Order(message) => {
                let (spender, nonce) = (message.content.spender, message.content.nonce);
                sender.send(treasury, &Contract::cancelNonceCall { spender, nonce }).await?;
            }
            Document::Change(message) => {
                let guardian = Contract::new(treasury, sender.chain.provider()).isGuardian(sender.address()).call().await?;
                let cancellation = signing::cancellation(document.id(), treasury, sender.chain.id()).digest();
                let approvals = if guardian && self.signatures.signatures.is_empty() {
                    Bytes::new()
                } else {
                    self.signatures.collect(&sender.chain, treasury, cancellation).await?
                };
                let change = change_argument(&message.content);
                sender.send(treasury, &Contract::cancelChangeCall { change, approvals }).await?;
            }
            Document::Cancellation(_) => bail!("name the change, not its cancellation"),
        }
        Ok(())
    }
}

/// A connection to send with, and what the text means.
async fn found(what: &str, target: &Target) -> Result<(Sender, Document)> {
    let sender = target.options.sender().await?;
    let document = Document::find(what, &sender.chain, target.address).await?;
    sender.chain.expect_contract(document.treasury(), "treasury").await?;
    Ok((sender, document))
}
