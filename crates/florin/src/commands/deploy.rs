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
    #[arg(long, env = "FLORIN_RPC_URL", hide_env_values = true, value_name = "URL")]
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

    /// Block from which on the contracts are looked for, when they were deployed before and the file is lost
    #[arg(long, value_name = "BLOCK")]
    start_block: Option<u64>,

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
        let plan = Plan::new(found, usdc);
        let start_block = self.start_block(&provider, &plan.deployment).await?;
        let deployment = plan.deployment.clone().starting_at(start_block);
        // Before anything is deployed: a run that is broken off must not move the start of the next one. A file that services work with stays as it
        // is until what replaces it is there.
        if !self.deployment.exists() {
            deployment.save(&self.deployment)?;
        }
        for deployed in contracts::deploy(&provider, from, &plan).await? {
            let how = deployed.transaction.map_or("was there".to_owned(), |hash| format!("transaction {hash}"));
            eprintln!("{:<24} {} ({how})", deployed.name, deployed.address);
        }
        deployment.save(&self.deployment)?;
        eprintln!("written to {}", self.deployment.display());
        Ok(ExitCode::SUCCESS)
    }

    /// The block before which there is none of our contracts. A second run must not move it: events would be left out of the mirror.
    async fn start_block(&self, provider: &impl Provider, plan: &Deployment) -> Result<u64> {
        let file = self.deployment.display();
        if self.deployment.try_exists().with_context(|| format!("cannot look for {file}"))? {
            let earlier = Deployment::load(&self.deployment).context("mend the file, or name another with --deployment")?;
            if earlier.chain_id != plan.chain_id {
                bail!("{file} is about chain {}: name another file with --deployment", earlier.chain_id);
            }
            return Ok(self.start_block.map_or(earlier.start_block, |named| named.min(earlier.start_block)));
        }
        if let Some(named) = self.start_block {
            return Ok(named);
        }
        if !provider.get_code_at(plan.escrow).await?.is_empty() {
            bail!("the contracts are on chain {} already: say from which block on, with --start-block", plan.chain_id);
        }
        Ok(provider.get_block_number().await?)
    }
}
