use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::amount::clip;

/// A chain by its CAIP-2 name: `eip155:84532`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(String);

/// Not a CAIP-2 name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a CAIP-2 network: write it like eip155:84532")]
pub struct ParseNetworkError(String);

/// Longer names than this are refused.
const NAME_LEN_MAX: usize = 64;

/// The names version 1 of the protocol used, with the chain ids they stand for.
const V1_NAMES: [(&str, u64); 23] = [
    ("ethereum", 1),
    ("sepolia", 11_155_111),
    ("abstract", 2741),
    ("abstract-testnet", 11_124),
    ("base-sepolia", 84_532),
    ("base", 8453),
    ("avalanche-fuji", 43_113),
    ("avalanche", 43_114),
    ("iotex", 4689),
    ("sei", 1329),
    ("sei-testnet", 1328),
    ("polygon", 137),
    ("polygon-amoy", 80_002),
    ("peaq", 3338),
    ("story", 1514),
    ("educhain", 41_923),
    ("skale-base-sepolia", 324_705_682),
    ("megaeth", 4326),
    ("monad", 143),
    ("stable", 988),
    ("stable-testnet", 2201),
    ("celo", 42_220),
    ("flare", 14),
];

impl Network {
    /// The EVM chain with this id.
    pub fn evm(chain_id: u64) -> Self {
        Self(format!("eip155:{chain_id}"))
    }

    /// The chain a version 1 name stands for.
    pub fn from_v1_name(name: &str) -> Option<Self> {
        V1_NAMES.iter().find(|(known, _)| *known == name).map(|(_, id)| Self::evm(*id))
    }

    /// The name version 1 had for this chain, if it had one.
    pub fn v1_name(&self) -> Option<&'static str> {
        let id = self.chain_id()?;
        V1_NAMES.iter().find(|(_, known)| *known == id).map(|(name, _)| *name)
    }

    /// The id of an EVM chain; `None` for other families and for ids that are not written canonically.
    pub fn chain_id(&self) -> Option<u64> {
        let id: u64 = self.0.strip_prefix("eip155:")?.parse().ok()?;
        (Self::evm(id) == *self).then_some(id)
    }

    /// The CAIP-2 text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, ParseNetworkError> {
        let part = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'*'));
        match text.split_once(':') {
            Some((namespace, reference)) if text.len() <= NAME_LEN_MAX && part(namespace) && part(reference) => {
                Ok(Self(text.into()))
            }
            _ => Err(ParseNetworkError(clip(text))),
        }
    }
}

impl TryFrom<String> for Network {
    type Error = ParseNetworkError;

    fn try_from(text: String) -> Result<Self, ParseNetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.0
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
