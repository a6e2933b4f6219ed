//! What is signed for the ServiceRegistry: feedback by whoever paid, and a stake by funding it.

use alloy::{
    primitives::{Address, B256, U256, keccak256},
    sol_types::{Eip712Domain, SolValue},
};

use super::{Message, usdc};

mod typed {
    #![allow(missing_docs)]
    alloy::sol! {
        /// A payer's feedback on one payment: an agreement, or a recorded payment of the router by its [`payment_key`](super::payment_key).
        ///
        /// `Feedback(bytes32 service,bytes32 payment,uint8 score,string uri,bytes32 contentHash,uint64 deadline)`
        #[derive(Debug, PartialEq, Eq)]
        struct Feedback {
            bytes32 service;
            bytes32 payment;
            uint8 score;
            string uri;
            bytes32 contentHash;
            uint64 deadline;
        }
    }
}

pub use typed::Feedback;

/// An addition to the stake of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stake {
    /// Whose stake.
    pub service: B256,
    /// Who pays.
    pub from: Address,
    /// Base units of USDC.
    pub amount: U256,
    /// Tells two equal additions apart.
    pub salt: B256,
    /// Unix seconds; valid strictly after.
    pub valid_after: u64,
    /// Unix seconds; valid strictly before.
    pub valid_before: u64,
}

/// The domain of a registry.
pub fn domain(registry: Address, chain_id: u64) -> Eip712Domain {
    super::domain("Florin ServiceRegistry", registry, chain_id)
}

/// What the payer signs to have its feedback relayed.
pub fn feedback(feedback: Feedback, registry: Address, chain_id: u64) -> Message<Feedback> {
    Message { domain: domain(registry, chain_id), content: feedback }
}

/// What a recorded payment of the router is called in feedback.
pub fn payment_key(payer: Address, payment_id: B256) -> B256 {
    keccak256((payer, payment_id).abi_encode())
}

/// The id of the service that `owner` registers with `salt`.
pub fn service_id(owner: Address, salt: B256) -> B256 {
    keccak256((owner, salt).abi_encode())
}

/// What somebody signs to have a stake added: USDC goes to the registry, and to this service's stake.
pub fn staking(stake: &Stake, usdc: Address, registry: Address, chain_id: u64) -> Message<usdc::ReceiveWithAuthorization> {
    let authorization = usdc::ReceiveWithAuthorization {
        from: stake.from,
        to: registry,
        value: stake.amount,
        validAfter: U256::from(stake.valid_after),
        validBefore: U256::from(stake.valid_before),
        nonce: keccak256((stake.service, stake.salt).abi_encode()),
    };
    usdc::receive(authorization, usdc, chain_id)
}
