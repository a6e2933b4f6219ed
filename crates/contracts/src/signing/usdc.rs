//! What holders of USDC sign: authorizations by EIP-3009 and permits by EIP-2612.

use alloy::{primitives::Address, sol_types::Eip712Domain};
use x402::{Network, Token, TokenDomain};

use super::Message;

mod typed {
    #![allow(missing_docs)]
    alloy::sol! {
        /// Makes an authorization that was not used yet unusable.
        ///
        /// `CancelAuthorization(address authorizer,bytes32 nonce)`
        #[derive(Debug, PartialEq, Eq)]
        struct CancelAuthorization {
            address authorizer;
            bytes32 nonce;
        }

        /// An allowance. `nonce` is the token's `nonces(owner)`.
        ///
        /// `Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)`
        #[derive(Debug, PartialEq, Eq)]
        struct Permit {
            address owner;
            address spender;
            uint256 value;
            uint256 nonce;
            uint256 deadline;
        }
    }
}

pub use typed::{CancelAuthorization, Permit};
pub use x402::typed::{ReceiveWithAuthorization, TransferWithAuthorization};

/// The domain of the USDC at `usdc`. Its name differs between chains: the one that x402 lists, and "USDC" where it lists none.
pub fn domain(usdc: Address, chain_id: u64) -> Eip712Domain {
    let listed = Token::usdc(&Network::evm(chain_id)).ok().filter(|token| token.address == usdc);
    let name = listed.map_or_else(|| "USDC".to_owned(), |token| token.name.into_owned());
    TokenDomain { name, version: "2".to_owned(), chain_id, asset: usdc }.eip712()
}

/// What a payer signs to have anyone carry out a transfer.
pub fn transfer(authorization: TransferWithAuthorization, usdc: Address, chain_id: u64) -> Message<TransferWithAuthorization> {
    Message { domain: domain(usdc, chain_id), content: authorization }
}

/// What a payer signs to have the payee, and nobody else, carry out a transfer.
pub fn receive(authorization: ReceiveWithAuthorization, usdc: Address, chain_id: u64) -> Message<ReceiveWithAuthorization> {
    Message { domain: domain(usdc, chain_id), content: authorization }
}

/// What a payer signs to take an authorization back.
pub fn cancel(cancellation: CancelAuthorization, usdc: Address, chain_id: u64) -> Message<CancelAuthorization> {
    Message { domain: domain(usdc, chain_id), content: cancellation }
}

/// What a holder signs to give an allowance.
pub fn permit(permit: Permit, usdc: Address, chain_id: u64) -> Message<Permit> {
    Message { domain: domain(usdc, chain_id), content: permit }
}
