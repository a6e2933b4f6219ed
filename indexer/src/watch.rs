//! What is mirrored, and which blocks can contain it.

use std::collections::HashMap;

use alloy::{
    primitives::{Address, B256, Bloom, keccak256},
    sol_types::SolEvent,
};

use contracts::Deployment;

use crate::Transfers;

alloy::sol! {
    event Transfer(address indexed from, address indexed to, uint256 value);
    event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
    event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);
}

/// The contracts that settle x402 payments signed for Permit2. Of what they log only that is kept.
pub(crate) const PROXIES: [Address; 2] = [Deployment::X402_EXACT_PERMIT2_PROXY, Deployment::X402_UPTO_PERMIT2_PROXY];

/// What a contract of ours is, as in `chain.contracts.kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One of the deployment.
    Deployed,
    AgentWallet,
    Treasury,
}

impl Kind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Deployed => "deployed",
            Self::AgentWallet => "agent_wallet",
            Self::Treasury => "treasury",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Deployed, Self::AgentWallet, Self::Treasury].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// The addresses that a deployment consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Targets {
    pub(crate) usdc: Address,
    pub(crate) registry: Address,
    pub(crate) contracts: Vec<Address>,
    pub(crate) start_block: u64,
}

/// The contracts whose logs are kept, growing as factories create more.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pub(crate) usdc: Address,
    pub(crate) transfers: Transfers,
    contracts: HashMap<Address, Kind>,
    bits: Vec<BloomBits>,
    usdc_bits: BloomBits,
    /// Of what is mirrored of USDC.
    topic_bits: [BloomBits; 2],
}

impl Watch {
    pub(crate) fn new(usdc: Address, deployed: &[Address], transfers: Transfers) -> Self {
        let topic_bits =
            [Transfer::SIGNATURE_HASH, AuthorizationCanceled::SIGNATURE_HASH].map(|topic| BloomBits::of(topic.as_slice()));
        let usdc_bits = BloomBits::of(usdc.as_slice());
        let (contracts, bits) = (HashMap::new(), Vec::new());
        let mut watch = Self { usdc, transfers, contracts, bits, usdc_bits, topic_bits };
        for address in deployed {
            watch.add(*address, Kind::Deployed);
        }
        watch
    }

    pub(crate) fn add(&mut self, address: Address, kind: Kind) {
        if self.contracts.insert(address, kind).is_none() {
            self.bits.push(BloomBits::of(address.as_slice()));
        }
    }

    pub(crate) fn contains(&self, address: &Address) -> bool {
        self.contracts.contains_key(address)
    }

    pub(crate) fn kind(&self, address: &Address) -> Option<Kind> {
        self.contracts.get(address).copied()
    }

    /// Whether a transfer between these accounts is mirrored.
    pub(crate) fn wants_transfer(&self, from: &Address, to: &Address) -> bool {
        self.transfers == Transfers::All || self.contains(from) || self.contains(to)
    }

    /// False proves that the block holds nothing to mirror.
    pub(crate) fn may_touch(&self, bloom: &Bloom) -> bool {
        if bloom.is_zero() {
            return false;
        }
        let of_usdc = self.transfers == Transfers::All && self.may_be_of_usdc(bloom);
        of_usdc || self.bits.iter().any(|bits| bits.in_bloom(bloom)) || self.may_move_ours(bloom)
    }

    fn may_be_of_usdc(&self, bloom: &Bloom) -> bool {
        self.usdc_bits.in_bloom(bloom) && self.topic_bits.iter().any(|bits| bits.in_bloom(bloom))
    }

    /// Topics are hashed as 32 bytes, addresses as 20: a party to a transfer sets other bits than an emitter.
    fn may_move_ours(&self, bloom: &Bloom) -> bool {
        self.transfers == Transfers::Ours
            && self.may_be_of_usdc(bloom)
            && self
                .contracts
                .keys()
                .any(|address| BloomBits::of(B256::left_padding_from(address.as_slice()).as_slice()).in_bloom(bloom))
    }
}

/// The three bits that a value sets in a block's bloom.
#[derive(Clone, Copy, Debug)]
struct BloomBits([u16; 3]);

impl BloomBits {
    fn of(value: &[u8]) -> Self {
        let hash = keccak256(value);
        Self([0, 2, 4].map(|at| u16::from_be_bytes([hash[at], hash[at + 1]]) & 0x07ff))
    }

    fn in_bloom(self, bloom: &Bloom) -> bool {
        self.0.iter().all(|bit| {
            let byte = bloom.0[255 - usize::from(bit / 8)];
            byte & (1 << (bit % 8)) != 0
        })
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{BloomInput, address};

    use super::*;

    #[test]
    fn bloom_bits_are_those_of_the_protocol() {
        let account = address!("0x036CbD53842c5426634e7929541eC2318f3dCF7e");
        let bloom = Bloom::from(BloomInput::Raw(account.as_slice()));
        assert!(BloomBits::of(account.as_slice()).in_bloom(&bloom));
        assert!(!BloomBits::of(Address::ZERO.as_slice()).in_bloom(&bloom));
    }
}
