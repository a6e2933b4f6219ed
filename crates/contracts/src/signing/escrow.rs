//! What is signed for the Escrow: the terms, by funding them, and releases.

use alloy::{
    primitives::{Address, B256, U256},
    sol_types::{Eip712Domain, SolStruct},
};

use super::{Message, usdc};
use crate::escrow::IEscrow;

mod typed {
    #![allow(missing_docs)]
    alloy::sol! {
        /// The buyer's word that of an agreement `total` may have been released, by whoever relays this.
        ///
        /// `Release(bytes32 agreement,uint256 total,uint256 deadline)`
        #[derive(Debug, PartialEq, Eq)]
        struct Release {
            bytes32 agreement;
            uint256 total;
            uint256 deadline;
        }
    }
}

/// What buyer and seller agree on.
///
/// `Terms(address buyer,address seller,address arbiter,address token,uint256 amount,uint16 feeBps,address feeRecipient,uint64
/// deliverBy,uint32 reviewPeriod,uint32 arbitrationPeriod,uint256 disputeBond,uint8 defaultOutcome,bytes32 contentHash,uint256
/// agentId,bytes32 salt)`
pub use IEscrow::Terms;
pub use typed::Release;

/// The domain of an escrow.
pub fn domain(escrow: Address, chain_id: u64) -> Eip712Domain {
    super::domain("Florin Escrow", escrow, chain_id)
}

/// The terms of an agreement, whose digest is its id.
pub fn terms(terms: Terms, escrow: Address, chain_id: u64) -> Message<Terms> {
    Message { domain: domain(escrow, chain_id), content: terms }
}

/// The id of the agreement on `terms`.
pub fn agreement_id(terms: &Terms, escrow: Address, chain_id: u64) -> B256 {
    terms.eip712_signing_hash(&domain(escrow, chain_id))
}

/// What the buyer signs for `fundWithAuthorization`: USDC goes to the escrow and nowhere else, under these terms and no others.
/// Unix seconds; valid strictly between the two.
pub fn funding(
    terms: &Terms,
    valid_after: u64,
    valid_before: u64,
    escrow: Address,
    chain_id: u64,
) -> Message<usdc::ReceiveWithAuthorization> {
    let authorization = usdc::ReceiveWithAuthorization {
        from: terms.buyer,
        to: escrow,
        value: terms.amount,
        validAfter: U256::from(valid_after),
        validBefore: U256::from(valid_before),
        nonce: agreement_id(terms, escrow, chain_id),
    };
    usdc::receive(authorization, terms.token, chain_id)
}

/// What the buyer signs for `releaseWithSignature`.
pub fn release(release: Release, escrow: Address, chain_id: u64) -> Message<Release> {
    Message { domain: domain(escrow, chain_id), content: release }
}
