//! An operator's bigger purchases.

use anyhow::Result;
use contracts::{
    agent_wallet::{AgentWallet, IEscrow as WalletEscrow},
    escrow::IEscrow,
    signing::escrow,
};
use serde_json::json;

use crate::{
    chain::Target,
    commands::escrow::{Terms, find_terms},
    values::reencode,
};

/// Put money into escrow for a seller, as an operator within its limits
///
/// Example: florin wallet open-escrow --seller 0xSELLER --amount 15 --deliver-by 24h
#[derive(clap::Args, Debug)]
pub(super) struct OpenEscrow {
    #[command(flatten)]
    terms: Terms,
}

impl OpenEscrow {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        let (sender, wallet) = target.sender().await?;
        let terms = self.terms.agree(&sender.chain, wallet)?;
        let id = escrow::agreement_id(&terms, sender.chain.deployment.escrow, sender.chain.id());
        eprintln!("agreement {id}");
        let terms = reencode::<IEscrow::Terms, WalletEscrow::Terms>(&terms)?;
        sender.send(wallet, &AgentWallet::openEscrowCall { terms }).await?;
        target.options.answer(&json!({ "agreement": id }), &format!("agreement {id}"));
        Ok(())
    }
}

/// Release an agreement to its seller, by the operator who opened it or the owner
///
/// Example: florin wallet release-escrow 0xID
#[derive(clap::Args, Debug)]
pub(super) struct ReleaseEscrow {
    /// The agreement's id, or the file with its terms
    agreement: String,
}

impl ReleaseEscrow {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        let (sender, wallet) = target.sender().await?;
        let terms = find_terms(&self.agreement, &sender.chain).await?.content;
        let terms = reencode::<IEscrow::Terms, WalletEscrow::Terms>(&terms)?;
        sender.send(wallet, &AgentWallet::releaseEscrowCall { terms }).await.map(drop)
    }
}
