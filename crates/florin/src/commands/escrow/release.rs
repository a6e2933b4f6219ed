//! Delivering, and the money's way to one side or the other without a dispute.

use std::{fs, path::PathBuf};

use alloy::primitives::{B256, U256};
use anyhow::{Context, Result, bail};
use contracts::{
    escrow::Escrow as Contract,
    signing::escrow::{self as signing, Release as Signed},
};
use money::Usdc;
use sha2::{Digest, Sha256};

use super::terms::find_terms;
use crate::{
    chain::ChainOptions,
    document,
    values::{self, When},
};

/// Say that you delivered, as the seller, before the deadline; the buyer's time to dispute begins
///
/// Example: florin escrow deliver 0xID --file report.pdf
#[derive(clap::Args, Debug)]
pub(super) struct Deliver {
    /// The agreement's id, or the file with its terms
    agreement: String,

    /// What is delivered: its SHA-256 goes on chain
    #[arg(long, value_name = "FILE", conflicts_with = "hash")]
    file: Option<PathBuf>,

    /// Hash of what is delivered [default: the hash in the terms]
    #[arg(long, value_name = "HASH")]
    hash: Option<B256>,
}

impl Deliver {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let sender = options.sender().await?;
        let terms = find_terms(&self.agreement, &sender.chain).await?.content;
        let delivered = match &self.file {
            Some(file) => {
                let content = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
                B256::from_slice(&Sha256::digest(content))
            }
            None => self.hash.unwrap_or(terms.contentHash),
        };
        if !terms.contentHash.is_zero() && delivered != terms.contentHash {
            bail!("the terms ask for the content {} and this is {delivered}", terms.contentHash);
        }
        let call = Contract::markDeliveredCall { terms, deliveryHash: delivered };
        sender.send(sender.chain.deployment.escrow, &call).await.map(drop)
    }
}

/// Sign a release as the buyer: writes it to a file, prints the signature, sends nothing
///
/// It lets the seller take out up to --total over the life of the agreement. A later one for more replaces it: so metered work is paid.
///
/// Example: florin escrow sign-release 0xID --total 12.50 --out release.json > buyer.sig
#[derive(clap::Args, Debug)]
pub(super) struct SignRelease {
    /// The agreement's id, or the file with its terms
    agreement: String,

    /// How much may have been released in all, in USDC
    #[arg(long, value_name = "USDC", value_parser = Usdc::parse_price)]
    total: Usdc,

    /// Until when it can be used: a duration or a time
    #[arg(long, value_name = "WHEN", default_value = "7d")]
    valid: When,

    /// File to write the release to
    #[arg(long, value_name = "FILE", default_value = "release.json")]
    out: PathBuf,
}

impl SignRelease {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let signer = options.key.signer()?;
        let chain = options.connect().await?;
        let agreement = find_terms(&self.agreement, &chain).await?;
        if agreement.content.buyer != signer.address() {
            bail!("the buyer {} has to sign, and the key is {}'s", agreement.content.buyer, signer.address());
        }
        let deadline = self.valid.from(chain.now);
        let release = Signed { agreement: agreement.digest(), total: self.total.into(), deadline: U256::from(deadline) };
        let message = signing::release(release, chain.deployment.escrow, chain.id());
        document::write(&message, &self.out)?;
        eprintln!("release of up to {} USDC until {}, written to {}", self.total, values::utc(deadline), self.out.display());
        document::give(&message.sign(&signer)?, None)
    }
}

/// Release money to the seller: by the buyer, by the buyer's signature, or by anybody once the buyer let the review pass
///
/// Example: florin escrow release 0xID --up-to 20
#[derive(clap::Args, Debug)]
pub(super) struct Release {
    /// The agreement's id, or the file with its terms
    agreement: String,

    /// As the buyer: release until this much has left in all, in USDC [default: everything]
    #[arg(long, value_name = "USDC", value_parser = Usdc::parse_price)]
    up_to: Option<Usdc>,

    /// With the buyer's signature of this file
    #[arg(long, value_name = "FILE", requires = "signature", conflicts_with = "up_to")]
    signed: Option<PathBuf>,

    /// The buyer's signature, or a file with it
    #[arg(long, value_name = "SIGNATURE", requires = "signed")]
    signature: Option<String>,
}

impl Release {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let sender = options.sender().await?;
        let (chain, escrow) = (&sender.chain, sender.chain.deployment.escrow);
        let agreement = find_terms(&self.agreement, chain).await?;
        let (id, terms) = (agreement.digest(), agreement.content);
        if let (Some(file), Some(signature)) = (&self.signed, &self.signature) {
            let signed = document::read::<Signed>(&document::load(file)?, signing::domain(escrow, chain.id()))?.content;
            if signed.agreement != id {
                bail!("{} releases the agreement {}, not {id}", file.display(), signed.agreement);
            }
            let signature = values::signature(signature)?.as_bytes().into();
            let (total, deadline) = (signed.total, signed.deadline);
            return sender
                .send(escrow, &Contract::releaseWithSignatureCall { terms, total, deadline, signature })
                .await
                .map(drop);
        }
        match self.up_to {
            Some(total) => sender.send(escrow, &Contract::releaseUpToCall { terms, total: total.into() }).await,
            None if sender.address() == terms.buyer => sender.send(escrow, &Contract::releaseCall { terms }).await,
            None => sender.send(escrow, &Contract::releaseUndisputedCall { terms }).await,
        }
        .map(drop)
    }
}

/// Give the rest back to the buyer: by the seller, or by anybody once the delivery is overdue
///
/// Example: florin escrow refund 0xID
#[derive(clap::Args, Debug)]
pub(super) struct Refund {
    /// The agreement's id, or the file with its terms
    agreement: String,
}

impl Refund {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let sender = options.sender().await?;
        let terms = find_terms(&self.agreement, &sender.chain).await?.content;
        sender.send(sender.chain.deployment.escrow, &Contract::refundCall { terms }).await.map(drop)
    }
}
