use alloy::{
    contract::Error as CallError,
    eips::BlockId,
    primitives::{Address, B256, U256},
    providers::{DynProvider, Provider},
    sol,
    transports::{RpcError, TransportErrorKind},
};
use money::Usdc;

use super::{Payer, Purse, budget::Spending, purse::ReservedDay};
use crate::{PERMIT2, PaymentKey, TokenAmount, TransferMethod};

sol! {
    #[sol(rpc)]
    interface Nonces {
        function authorizationState(address authorizer, bytes32 nonce) external view returns (bool);
        function nonceBitmap(address owner, uint256 word) external view returns (uint256);
        function paymentState(bytes32 paymentInfoHash) external view
            returns (bool hasCollectedPayment, uint120 capturableAmount, uint120 refundableAmount);
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
    /// Where it is held, if it is: what of it was captured is known when nothing is held any more.
    pub(super) held: Option<Held>,
}

/// A payment in an escrow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) escrow: Address,
    pub(super) id: B256,
}

impl<P: Payer> Purse<P> {
    /// Gives back to the budgets what was signed and can never settle: it ended before the last finalized block, and is unused in it. And of
    /// what was held in an escrow that part which the escrow gave back. Of the payments that this purse and its clones signed and nobody
    /// served, or that were held, the latest 1024; today's budget only what was signed today. Returns how much it was.
    ///
    /// # Errors
    /// [`ReclaimError`] when `node` does not tell.
    pub async fn reclaim(&self, node: &DynProvider) -> Result<Usdc, ReclaimError> {
        let chain = node.get_chain_id().await?;
        let block = node.get_block(BlockId::finalized()).await?.ok_or(ReclaimError::NotFinal)?;
        let mut sum = Usdc::ZERO;
        for (key, valid_before, held) in self.account.signed() {
            if key.network.chain_id() != Some(chain) {
                continue;
            }
            // Permit2 takes one in the very second of its deadline, EIP-3009 does not.
            let has_ended = valid_before < block.header.timestamp;
            let spent = match held {
                Some(held) => captured(node, held, block.header.hash, has_ended).await?,
                None if !has_ended => None,
                None if is_used(node, &key, block.header.hash).await? => Some(Usdc::MAX),
                None => Some(Usdc::ZERO),
            };
            let Some(spent) = spent else { continue };
            if let Some(signed) = self.account.take_signed(&key) {
                let price = signed.spending.price.saturating_sub(spent);
                self.account.give_back(&Spending { price, ..signed.spending });
                if let Some(day) = signed.day {
                    day.give_back(price);
                }
                sum = sum.checked_add(price).unwrap_or(Usdc::MAX);
            }
        }
        Ok(sum)
    }
}

/// What was captured of a payment that an escrow holds nothing of any more; `None` while that is not known.
async fn captured(node: &DynProvider, held: Held, block: B256, has_ended: bool) -> Result<Option<Usdc>, CallError> {
    let state = Nonces::new(held.escrow, node).paymentState(held.id).block(BlockId::hash(block)).call().await?;
    if !state.hasCollectedPayment {
        return Ok(has_ended.then_some(Usdc::ZERO));
    }
    let captured = TokenAmount(state.refundableAmount.to()).to_usdc().unwrap_or(Usdc::MAX);
    Ok(state.capturableAmount.is_zero().then_some(captured))
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
