//! Several chains in one process: what is known of well-known ones, and the file that names them.

use std::{collections::BTreeMap, path::PathBuf};

use alloy::primitives::{Address, address};
use serde::Deserialize;
use url::Url;

use crate::{Config, Error, Transfers};

/// What is known of a chain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Preset {
    pub(crate) name: &'static str,
    pub(crate) chain_id: u64,
    pub(crate) usdc: Address,
    /// Confirmations after which no reorganisation is expected any more.
    finality_blocks: u64,
    /// Seconds between blocks, at least one; zero where they are made on demand.
    pub(crate) block_seconds: u64,
    /// Whether the hash of a header is that of its fields, and its receipts root that of its receipts.
    pub(crate) provable: bool,
}

/// A chain whose newest block is so many blocks' time old stands still, or its node does.
const STILL_BLOCKS: u64 = 20;
/// A chain of fast blocks does so only after this long.
const STILL_SECONDS_MIN: u64 = 60;

/// By what a chain is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Confirmations after which a block is final.
    pub(crate) finality_blocks: u64,
    /// A newest block that is older, in seconds, is not of now; none where blocks are made on demand.
    pub(crate) still_seconds: Option<u64>,
}

impl Rules {
    /// What the configuration says, else what is known of the chain. A dev node makes blocks on demand whatever chain it plays.
    pub(crate) fn of(config: &Config, chain_id: u64, is_dev: bool) -> Self {
        let preset = Preset::of(chain_id);
        let known = preset.map(|preset| preset.block_seconds).filter(|_| !is_dev);
        let block_seconds = config.block_seconds.or(known).filter(|seconds| *seconds > 0);
        Self {
            finality_blocks: config
                .finality_blocks
                .or(preset.map(|preset| preset.finality_blocks))
                .unwrap_or(Config::FINALITY_BLOCKS),
            still_seconds: block_seconds.map(|seconds| seconds.saturating_mul(STILL_BLOCKS).max(STILL_SECONDS_MIN)),
        }
    }
}

/// What pays for gas on Arc, as an ERC-20 token (docs.arc.network, contract addresses). Fees and native transfers move it without a log of this
/// contract: balances out of transfers leave them out.
pub(crate) const ARC_USDC: Address = address!("3600000000000000000000000000000000000000");

/// Addresses are Circle's (developers.circle.com, USDC contract addresses), but on Cronos, where Circle issues none: there it is Stargate's bridged
/// USDC.e, which knows EIP-3009 and is what Cronos' own x402 facilitator settles (docs.cronos.org, x402 facilitator); the older bridged USDC
/// (0xc212…) does not. Ids of chains are those of chainlist.org and viem.
///
/// A block of Cronos has the hash of its CometBFT header, which commits to none of the fields that the node tells, and no receipts root: nothing of it
/// can be proved.
///
/// The finality of a rollup is that of the chain it posts to, so about twenty minutes; Arc's and Cronos' consensus is final at once.
const PRESETS: [Preset; 7] = [
    Preset {
        name: "ethereum",
        chain_id: 1,
        usdc: address!("A0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"),
        finality_blocks: 64,
        block_seconds: 12,
        provable: true,
    },
    Preset {
        name: "cronos",
        chain_id: 25,
        usdc: address!("f951eC28187D9E5Ca673Da8FE6757E6f0Be5F77C"),
        finality_blocks: 2,
        block_seconds: 1,
        provable: false,
    },
    Preset { name: "arc", chain_id: 5_042, usdc: ARC_USDC, finality_blocks: 2, block_seconds: 1, provable: true },
    Preset {
        name: "base",
        chain_id: 8_453,
        usdc: address!("833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"),
        finality_blocks: 600,
        block_seconds: 2,
        provable: true,
    },
    Preset {
        name: "base-sepolia",
        chain_id: 84_532,
        usdc: address!("036CbD53842c5426634e7929541eC2318f3dCF7e"),
        finality_blocks: 600,
        block_seconds: 2,
        provable: true,
    },
    Preset { name: "arc-testnet", chain_id: 5_042_002, usdc: ARC_USDC, finality_blocks: 2, block_seconds: 1, provable: true },
    // The dev chain has Base Sepolia's USDC at its address.
    Preset {
        name: "anvil",
        chain_id: 31_337,
        usdc: address!("036CbD53842c5426634e7929541eC2318f3dCF7e"),
        finality_blocks: 64,
        block_seconds: 0,
        provable: true,
    },
];

impl Preset {
    pub(crate) fn of(chain_id: u64) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.chain_id == chain_id)
    }
}

/// What a chain is called in paths and metrics.
pub(crate) fn name(chain_id: u64) -> String {
    Preset::of(chain_id).map_or_else(|| chain_id.to_string(), |preset| preset.name.to_owned())
}

/// A chain of the file, by its name or id. What is left out is as for a preset, or as the command line has it by default.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    database_url: String,
    rpc_url: Vec<Url>,
    rpc_quorum: Option<usize>,
    #[serde(default)]
    trust_node: bool,
    deployment: Option<PathBuf>,
    start_block: Option<u64>,
    transfers: Option<Transfers>,
    finality_blocks: Option<u64>,
    block_seconds: Option<u64>,
}

/// The chain of the command line, then those of its file.
pub(crate) fn all(config: Config) -> Result<Vec<Config>, Error> {
    let Some(path) = &config.more_chains else { return Ok(vec![config]) };
    let file = |why: String| Error::ChainsFile { path: path.clone(), why };
    let text = std::fs::read_to_string(path).map_err(|error| file(error.to_string()))?;
    let sections: BTreeMap<String, Section> = toml::from_str(&text).map_err(|error| file(error.to_string()))?;
    let mut all = vec![config.clone()];
    for (name, section) in sections {
        let preset = PRESETS.iter().find(|preset| preset.name == name || preset.chain_id.to_string() == name);
        let chain_id = preset.map(|preset| preset.chain_id).or_else(|| name.parse().ok());
        let known = || PRESETS.map(|preset| preset.name).join(", ");
        let chain_id = chain_id.ok_or_else(|| file(format!("[{name}] is neither a chain id nor one of {}", known())))?;
        let more = Config {
            database_url: section.database_url,
            rpc_url: section.rpc_url,
            rpc_quorum: section.rpc_quorum.unwrap_or(1),
            trust_node: section.trust_node,
            chain_id: Some(chain_id),
            deployment: section.deployment,
            start_block: section.start_block,
            transfers: section.transfers.unwrap_or_default(),
            finality_blocks: section.finality_blocks,
            block_seconds: section.block_seconds,
            ..config.clone()
        };
        if all.iter().any(|other| other.database_url == more.database_url) {
            return Err(file(format!("[{name}] shares its database with another chain: give each one of its own")));
        }
        if more.finality_blocks.is_some_and(|blocks| !(1..=Config::FINALITY_BLOCKS_MAX).contains(&blocks)) {
            return Err(file(format!("[{name}] finality_blocks must be from 1 to {}", Config::FINALITY_BLOCKS_MAX)));
        }
        all.push(more);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_judged_by_what_is_known_of_it_unless_the_operator_knows_better() {
        let mut config = Config::new("", Url::parse("http://node.example").expect("it is a URL"));
        let of = |config: &Config, chain: u64, is_dev: bool| {
            let Rules { finality_blocks, still_seconds } = Rules::of(config, chain, is_dev);
            (finality_blocks, still_seconds)
        };
        assert_eq!([of(&config, 8_453, false), of(&config, 8_453, true)], [(600, Some(60)), (600, None)]);
        assert_eq!([of(&config, 1, false), of(&config, 77, false)], [(64, Some(240)), (64, None)]);
        (config.finality_blocks, config.block_seconds) = (Some(3), Some(30));
        assert_eq!(of(&config, 8_453, true), (3, Some(600)));
        config.block_seconds = Some(0);
        assert_eq!(of(&config, 8_453, false), (3, None));
    }
}
