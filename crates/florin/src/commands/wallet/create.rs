use alloy::primitives::Address;
use anyhow::Result;
use contracts::agent_wallet_factory::AgentWalletFactory;
use serde_json::json;

use super::{Configuration, config_in_words};
use crate::chain::Target;

/// Create a wallet; its address commits to its whole configuration, and `--dry-run` tells it beforehand
///
/// Example: florin wallet create --operator 0xAGENT --daily 20 --payment-max 5 --lane-payment-max 0.10
#[derive(clap::Args, Debug)]
pub(super) struct Create {
    /// Who owns it: a person's address, a treasury [default: the key's]
    #[arg(long, value_name = "ADDRESS")]
    owner: Option<Address>,

    #[command(flatten)]
    configuration: Configuration,
}

impl Create {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        let sender = target.options.sender().await?;
        let owner = self.owner.unwrap_or(sender.address());
        let (config, wallet) = self.configuration.for_owner(&sender.chain, owner).await?;
        eprint!("{}", config_in_words(&config, sender.chain.deployment.usdc));
        let factory = sender.chain.deployment.agent_wallet_factory;
        sender.send(factory, &AgentWalletFactory::createWalletCall { config }).await?;
        target.options.answer(&json!({ "wallet": wallet }), &format!("wallet {wallet}"));
        Ok(())
    }
}
