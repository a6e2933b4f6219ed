use alloy::{
    contract::Error as CallError,
    eips::BlockId,
    primitives::{B256, U256},
    providers::{DynProvider, Provider},
    sol,
    transports::{RpcError, TransportErrorKind},
};
use money::Usdc;

use super::{Payer, Purse, budget::Spending, purse::ReservedDay};
use crate::{PERMIT2, PaymentKey, TransferMethod};

sol! {
    #[sol(rpc)]
    interface Nonces {
        function authorizationState(address authorizer, bytes32 nonce) external view returns (bool);
        function nonceBitmap(address owner, uint256 word) external view returns (uint256);
    }
}

/// Why nobody knows which payments came to nothing. Nothing was given back that was not told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReclaimError {
    /// The node does not answer.
    #[error("the node does not tell what became of payments: {0}")]
    Node(#[from] RpcError<TransportErrorKind>),
    /// The node answers otherwise than a token or Permit2 does.
    #[error("the node does not tell what became of a payment: {0}")]
    Call(#[from] CallError),
    /// A block without which nothing is certain.
    #[error("the node knows no finalized block: ask one that does")]
    NotFinal,
}

/// A payment that counts against budgets, although it may come to nothing.
#[derive(Debug)]
pub(super) struct Signed {
    pub(super) key: PaymentKey,
    /// Unix seconds.
    pub(super) valid_before: u64,
    pub(super) spending: Spending,
    pub(super) day: Option<ReservedDay>,
}

impl<P: Payer> Purse<P> {
    /// Gives back to the budgets what was signed and can never settle: it ended before the last finalized block, and is unused in it. Of
    /// the payments that this purse and its clones signed and nobody served, the latest 1024; today's budget only what was signed today.
    /// Returns how much it was.
    ///
    /// # Errors
    /// [`ReclaimError`] when `node` does not tell.
    pub async fn reclaim(&self, node: &DynProvider) -> Result<Usdc, ReclaimError> {
        let chain = node.get_chain_id().await?;
        let block = node.get_block(BlockId::finalized()).await?.ok_or(ReclaimError::NotFinal)?;
        let mut sum = Usdc::ZERO;
        for (key, valid_before) in self.account.signed() {
            // Permit2 takes one in the very second of its deadline, EIP-3009 does not.
            if key.network.chain_id() != Some(chain) || valid_before >= block.header.timestamp {
                continue;
            }
            if is_used(node, &key, block.header.hash).await? {
                self.account.take_signed(&key);
            } else if let Some(signed) = self.account.take_signed(&key) {
                self.account.give_back(&signed.spending);
                if let Some(day) = signed.day {
                    day.give_back();
                }
                sum = sum.checked_add(signed.spending.price).unwrap_or(Usdc::MAX);
            }
        }
        Ok(sum)
    }
}

async fn is_used(node: &DynProvider, key: &PaymentKey, block: B256) -> Result<bool, CallError> {
    match key.method {
        TransferMethod::Eip3009 => {
            Nonces::new(key.asset, node).authorizationState(key.payer, key.nonce).block(BlockId::hash(block)).call().await
        }
        TransferMethod::Permit2 => {
            let nonce = U256::from_be_bytes(key.nonce.0);
            let word = Nonces::new(PERMIT2, node).nonceBitmap(key.payer, nonce >> 8).block(BlockId::hash(block)).call().await?;
            Ok(word.bit(usize::from(key.nonce[31])))
        }
    }
}
