//! Disputes and what follows; credits.

use alloy::primitives::Address;
use anyhow::Result;
use contracts::escrow::Escrow as Contract;
use money::Usdc;

use super::terms::find_terms;
use crate::{chain::ChainOptions, values};

/// Dispute a delivery as the buyer, before the review ends; the bond is taken
///
/// Example: florin escrow dispute 0xID
#[derive(clap::Args, Debug)]
pub(super) struct Dispute {
    /// The agreement's id, or the file with its terms
    agreement: String,
}

impl Dispute {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let sender = options.sender().await?;
        let terms = find_terms(&self.agreement, &sender.chain).await?.content;
        let escrow = sender.chain.deployment.escrow;
        if sender.allow(escrow, values::usdc(terms.disputeBond)).await? {
            sender.send(escrow, &Contract::disputeCall { terms }).await?;
        }
        Ok(())
    }
}

/// Rule on a dispute as the arbiter: so much to the seller, the rest to the buyer
///
/// Example: florin escrow resolve 0xID --to-seller 20
#[derive(clap::Args, Debug)]
pub(super) struct Resolve {
    /// The agreement's id, or the file with its terms
    agreement: String,

    /// What the seller gets of the rest, fee included, in USDC
    #[arg(long, value_name = "USDC", value_parser = Usdc::parse_price)]
    to_seller: Usdc,
}

impl Resolve {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let sender = options.sender().await?;
        let terms = find_terms(&self.agreement, &sender.chain).await?.content;
        let call = Contract::resolveCall { terms, toSeller: self.to_seller.into() };
        sender.send(sender.chain.deployment.escrow, &call).await.map(drop)
    }
}

/// Apply the default outcome of a dispute, by anybody, once the arbiter was silent too long
///
/// Example: florin escrow default 0xID
#[derive(clap::Args, Debug)]
pub(super) struct ApplyDefault {
    /// The agreement's id, or the file with its terms
    agreement: String,
}

impl ApplyDefault {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let sender = options.sender().await?;
        let terms = find_terms(&self.agreement, &sender.chain).await?.content;
        sender.send(sender.chain.deployment.escrow, &Contract::applyDefaultCall { terms }).await.map(drop)
    }
}

/// Pull what the token refused to pay to you, to an address of your choice
///
/// Example: florin escrow withdraw --to 0xME
#[derive(clap::Args, Debug)]
pub(super) struct Withdraw {
    /// Who gets it
    #[arg(long, value_name = "ADDRESS")]
    to: Address,
}

impl Withdraw {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let sender = options.sender().await?;
        let token = sender.chain.deployment.usdc;
        sender.send(sender.chain.deployment.escrow, &Contract::withdrawCall { token, to: self.to }).await.map(drop)
    }
}
