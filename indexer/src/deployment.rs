use alloy::primitives::Address;
use contracts::{Deployment, Plan};

use crate::{Config, Error, chains::Preset, watch::Targets};

/// What to mirror on a chain: from the file of the configuration, else the deployment known for the chain.
pub(crate) fn resolve(config: &Config, chain_id: u64) -> Result<Targets, Error> {
    if let Some(preset) = Preset::of(chain_id).filter(|preset| !preset.provable && !config.trust_node) {
        return Err(Error::Unprovable(preset.name));
    }
    let deployment = match &config.deployment {
        Some(path) => Deployment::load(path)?,
        None => match (Deployment::for_chain(chain_id), Preset::of(chain_id)) {
            // The addresses of our contracts follow from that of USDC.
            (Err(_), Some(preset)) if config.start_block.is_some() => Plan::new(chain_id, preset.usdc).deployment,
            (Err(_), Some(_)) => return Err(Error::NoStart(chain_id)),
            (known, _) => known?,
        },
    };
    if deployment.chain_id != chain_id {
        return Err(Error::OtherDeployment { deployment: deployment.chain_id, chain: chain_id });
    }
    Ok(targets(&deployment, config.start_block))
}

fn targets(deployment: &Deployment, start_block: Option<u64>) -> Targets {
    let ours = [
        deployment.escrow,
        deployment.payment_router,
        deployment.service_registry,
        deployment.ledger_anchor,
        deployment.agent_wallet_factory,
        deployment.treasury_factory,
        deployment.x402_exact_permit2_proxy,
        deployment.x402_upto_permit2_proxy,
    ];
    Targets {
        usdc: deployment.usdc,
        registry: deployment.service_registry,
        // Zero stands for what is not deployed.
        contracts: ours.into_iter().filter(|address| *address != Address::ZERO).collect(),
        start_block: start_block.unwrap_or(deployment.start_block),
    }
}
