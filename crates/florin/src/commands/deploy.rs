use std::{path::PathBuf, process::ExitCode};

use alloy::{
    primitives::Address,
    providers::{Provider, ProviderBuilder},
};
use anyhow::{Context, Result, bail};
use contracts::{Deployment, Plan};
use url::Url;
use x402::{Network, Token};

use crate::key::KeyOptions;

/// Deploy our contracts to a chain, at the addresses they have on every chain.
///
/// What is there already is left alone, so an interrupted deployment is finished by running it again. The key pays gas and gets no power over
/// anything it deploys. The deployment file it writes is what the services take as --deployment.
#[derive(clap::Args, Debug)]
pub(crate) struct Deploy {
    /// Node of the chain
    #[arg(long, env = "FLORIN_RPC_URL", value_name = "URL")]
    rpc_url: Url,

    /// Chain id the node must have, so that nothing is deployed to the wrong chain
    #[arg(long, env = "FLORIN_CHAIN_ID", value_name = "ID")]
    chain_id: u64,

    /// USDC of the chain; without it, Circle's where it is known
    #[arg(long, env = "FLORIN_USDC", value_name = "ADDRESS")]
    usdc: Option<Address>,

    /// File to write the deployment to
    #[arg(long, env = "FLORIN_DEPLOYMENT", value_name = "FILE")]
    deployment: PathBuf,

    #[command(flatten)]
    key: KeyOptions,
}

impl Deploy {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let signer = self.key.signer()?;
        let from = signer.address();
        let provider = ProviderBuilder::new().with_simple_nonce_management().wallet(signer).connect_http(self.rpc_url.clone());
        let found = provider.get_chain_id().await.with_context(|| format!("the node {} does not answer", self.rpc_url))?;
        if found != self.chain_id {
            bail!("the node is on chain {found} and --chain-id says {}: correct one of them", self.chain_id);
        }
        let usdc = match self.usdc {
            Some(usdc) => usdc,
            None => Token::usdc(&Network::evm(found)).context("name the chain's USDC with --usdc")?.address,
        };
        // A second run must not move the start: events of the first one would be left out of the mirror.
        let earlier = Deployment::load(&self.deployment).ok().filter(|earlier| earlier.chain_id == found);
        let start_block = match earlier {
            Some(earlier) => earlier.start_block,
            None => provider.get_block_number().await?,
        };
        let plan = Plan::new(found, usdc);
        for deployed in contracts::deploy(&provider, from, &plan).await? {
            let how = deployed.transaction.map_or("was there".to_owned(), |hash| format!("transaction {hash}"));
            eprintln!("{:<24} {} ({how})", deployed.name, deployed.address);
        }
        plan.deployment.starting_at(start_block).save(&self.deployment)?;
        eprintln!("written to {}", self.deployment.display());
        Ok(ExitCode::SUCCESS)
    }
}
