use std::borrow::Cow;

use alloy::primitives::{Address, address};

use crate::{Network, TokenDomain};

/// A token with the name and version its EIP-712 domain has, which differ between chains even for the same token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The chain it lives on.
    pub network: Network,
    /// Its contract.
    pub address: Address,
    /// `name` of its EIP-712 domain.
    pub name: Cow<'static, str>,
    /// `version` of its EIP-712 domain.
    pub version: Cow<'static, str>,
}

/// No USDC is known on this network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no USDC is known on {0}: name the token with its address, domain name and version")]
pub struct UnknownAsset(pub Network);

/// Circle's USDC by chain id, as the official SDKs list it.
const USDC: [(u64, Address, &str); 8] = [
    (1, address!("A0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"), "USD Coin"),
    (137, address!("3c499c542cEF5E3811e1192ce70d8cC03d5c3359"), "USD Coin"),
    (143, address!("754704Bc059F8C67012fEd69BC8A327a5aafb603"), "USDC"),
    (8453, address!("833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"), "USD Coin"),
    (42_161, address!("af88d065e77c8cC2239327C5EDb3A432268e5831"), "USD Coin"),
    (43_114, address!("B97EF9Ef8734C71904D8002F8b6Bc66Dd9c48a6E"), "USD Coin"),
    (84_532, address!("036CbD53842c5426634e7929541eC2318f3dCF7e"), "USDC"),
    (421_614, address!("75faf114eafb1BDbe2F0316DF893fd58CE46AA4d"), "USD Coin"),
];

impl Token {
    /// Circle's USDC on `network`.
    ///
    /// # Errors
    /// [`UnknownAsset`] when no USDC is known there.
    pub fn usdc(network: &Network) -> Result<Self, UnknownAsset> {
        let known = network.chain_id().and_then(|id| USDC.iter().find(|(chain, ..)| *chain == id));
        let (_, address, name) = known.ok_or_else(|| UnknownAsset(network.clone()))?;
        Ok(Self { network: network.clone(), address: *address, name: Cow::Borrowed(name), version: Cow::Borrowed("2") })
    }

    /// The domain its signatures are made for; `None` off EVM chains.
    pub fn domain(&self) -> Option<TokenDomain> {
        Some(TokenDomain {
            name: self.name.to_string(),
            version: self.version.to_string(),
            chain_id: self.network.chain_id()?,
            asset: self.address,
        })
    }
}
