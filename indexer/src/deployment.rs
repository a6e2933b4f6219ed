use std::path::Path;

use alloy::primitives::Address;
use serde_json::{Map, Value};

use crate::{Config, Error, watch::Targets};

/// Addresses in a deployment file that are not contracts of ours.
const FOREIGN: [&str; 3] = ["usdc", "permit2", "multicall3"];

/// What to mirror on a chain: from the file of the configuration, else the deployment known for the chain.
pub(crate) fn resolve(config: &Config, chain_id: u64) -> Result<Targets, Error> {
    let path = config.deployment.as_deref().ok_or(Error::NoDeployment(chain_id))?;
    let mut targets = parse(path)?;
    if let Some(start_block) = config.start_block {
        targets.start_block = start_block;
    }
    Ok(targets)
}

fn parse(path: &Path) -> Result<Targets, Error> {
    let refuse = |reason: String| Error::Deployment { path: path.display().to_string(), reason };
    let text = std::fs::read_to_string(path).map_err(|e| refuse(e.to_string()))?;
    let fields: Map<String, Value> = serde_json::from_str(&text).map_err(|e| refuse(e.to_string()))?;
    let address = |value: &Value| value.as_str().and_then(|text| text.parse::<Address>().ok());
    let usdc = fields.get("usdc").and_then(address).ok_or_else(|| refuse("it has no address `usdc`".into()))?;
    let contracts =
        fields.iter().filter(|(name, _)| !FOREIGN.contains(&name.as_str())).filter_map(|(_, value)| address(value)).collect();
    Ok(Targets { usdc, contracts, start_block: fields.get("start_block").and_then(Value::as_u64).unwrap_or(0) })
}
