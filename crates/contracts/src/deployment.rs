use std::{
    fs, io,
    path::{Path, PathBuf},
};

use alloy::primitives::{Address, address};
use serde::{Deserialize, Serialize};

/// The deployments that ship with this crate, by chain id.
const KNOWN: [(u64, &str); 1] = [(84532, include_str!("../deployments/84532.json"))];

/// Where everything lives on one chain. Our contracts have the same address on every chain with the same USDC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// EIP-155 id.
    pub chain_id: u64,
    /// No event of our contracts is older than this block.
    pub start_block: u64,
    /// Circle's USDC.
    pub usdc: Address,
    /// Uniswap's Permit2.
    pub permit2: Address,
    /// Multicall3.
    pub multicall3: Address,
    /// Escrow of agreements between buyer and seller.
    pub escrow: Address,
    /// Batches, splits, x402 batch settlement, subscriptions.
    pub payment_router: Address,
    /// Services, stakes, reputation.
    pub service_registry: Address,
    /// Anchors of the off-chain ledger.
    pub ledger_anchor: Address,
    /// Creates agent wallets.
    pub agent_wallet_factory: Address,
    /// Creates treasuries.
    pub treasury_factory: Address,
    /// The proxy that settles x402 `exact` payments signed for Permit2.
    pub x402_exact_permit2_proxy: Address,
    /// The proxy that settles x402 `upto` payments.
    pub x402_upto_permit2_proxy: Address,
}

/// Why there is no deployment to work with.
#[derive(Debug, thiserror::Error)]
pub enum DeploymentError {
    /// Neither shipped nor given.
    #[error("nothing is known about chain {0}: deploy with `florin deploy` and pass the file it writes")]
    UnknownChain(u64),
    /// The file cannot be read or written.
    #[error("deployment file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not a deployment.
    #[error("deployment file {path}: {source}; compare it with crates/contracts/deployments/84532.json")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Deployment {
    /// USDC on Base Sepolia, and on the dev chain that stands in for it.
    pub const BASE_SEPOLIA_USDC: Address = address!("036CbD53842c5426634e7929541eC2318f3dCF7e");
    /// Permit2, on every chain.
    pub const PERMIT2: Address = address!("000000000022D473030F116dDEE9F6B43aC78BA3");
    /// Multicall3, on every chain.
    pub const MULTICALL3: Address = address!("cA11bde05977b3631167028862bE2a173976CA11");
    /// The `exact` proxy of x402, on every chain.
    pub const X402_EXACT_PERMIT2_PROXY: Address = address!("402085c248EeA27D92E8b30b2C58ed07f9E20001");
    /// The `upto` proxy of x402, on every chain.
    pub const X402_UPTO_PERMIT2_PROXY: Address = address!("4020A4f3b7b90ccA423B9fabCc0CE57C6C240002");

    /// The deployment on a chain this crate knows.
    ///
    /// # Errors
    /// [`DeploymentError::UnknownChain`] with what to do about it.
    pub fn for_chain(chain_id: u64) -> Result<Self, DeploymentError> {
        let (_, json) = KNOWN.iter().find(|(id, _)| *id == chain_id).ok_or(DeploymentError::UnknownChain(chain_id))?;
        Ok(serde_json::from_str(json).expect("a test reads every shipped deployment"))
    }

    /// The same deployment seen from another block on: a dev chain has its own history every time.
    #[must_use]
    pub const fn starting_at(mut self, start_block: u64) -> Self {
        self.start_block = start_block;
        self
    }

    /// Every address by the name of its field, as in the file; what is not deployed is left out.
    pub fn addresses(&self) -> Vec<(&'static str, Address)> {
        let all = [
            ("usdc", self.usdc),
            ("permit2", self.permit2),
            ("multicall3", self.multicall3),
            ("escrow", self.escrow),
            ("payment_router", self.payment_router),
            ("service_registry", self.service_registry),
            ("ledger_anchor", self.ledger_anchor),
            ("agent_wallet_factory", self.agent_wallet_factory),
            ("treasury_factory", self.treasury_factory),
            ("x402_exact_permit2_proxy", self.x402_exact_permit2_proxy),
            ("x402_upto_permit2_proxy", self.x402_upto_permit2_proxy),
        ];
        all.into_iter().filter(|(_, address)| !address.is_zero()).collect()
    }

    /// Reads a deployment file.
    ///
    /// # Errors
    /// When the file cannot be read or is not a deployment.
    pub fn load(path: &Path) -> Result<Self, DeploymentError> {
        let text = fs::read_to_string(path).map_err(|source| DeploymentError::File { path: path.into(), source })?;
        serde_json::from_str(&text).map_err(|source| DeploymentError::Malformed { path: path.into(), source })
    }

    /// Writes a deployment file; a reader sees the old one or the new one, never half of it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), DeploymentError> {
        let json = serde_json::to_string_pretty(self).expect("a struct of numbers and addresses is always JSON") + "\n";
        let partial = path.with_extension("json.partial");
        let written = fs::write(&partial, json).and_then(|()| fs::rename(&partial, path));
        written.map_err(|source| DeploymentError::File { path: path.into(), source })
    }
}
