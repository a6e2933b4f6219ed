//! Payments that somebody else settled.

use alloy::{
    consensus::Transaction as _, eips::BlockId, primitives::B256, providers::Provider, rpc::types::Filter, sol_types::SolEvent,
};

use crate::{
    Error,
    engine::Engine,
    permit2,
    settlement::{Key, Method},
    token::{IToken, Transfer},
};

/// How far back a transfer that somebody else settled is looked for, in blocks.
const LOOK_BACK_BLOCKS: u64 = 1_000;
/// And once more, when it must have been somewhere and was not there.
const LOOK_FAR_BLOCKS: u64 = 10_000;
/// And how many transfers between the same two, newest first.
const LOOK_BACK_TRANSACTIONS: usize = 64;

impl Engine {
    /// The transaction in which somebody else settled this payment, if it did what ours would have done. `seen` is a block that a node has
    /// shown, in which ours did not do it. A node that does not have it, or shows a nonce as used and not by what, or the logs of a transaction
    /// and not the rest of it, is behind: an error, for a payment must not be called failed by what a node cannot tell yet. What it does not
    /// tell when the block is `confirmations` deep it never will: a token need log nothing, and what is too long ago is not looked for.
    pub(crate) async fn settled_elsewhere(
        &self,
        key: Key,
        transfer: &Transfer,
        seen: Option<u64>,
    ) -> Result<Option<B256>, Error> {
        let head = self.verifier.provider.get_block_number().await?;
        if seen.is_some_and(|seen| head < seen) {
            return Err(Error::Behind);
        }
        let is_deep = seen.is_some_and(|seen| head >= seen + self.limits.confirmations);
        match self.find_elsewhere(key, transfer, head, seen.is_some()).await {
            Err(error) if is_deep && error.is_told() => Ok(None),
            found => found,
        }
    }

    /// Looks for it once. `is_ours` when a transaction of ours was on its way: then a nonce that is used without a trace is waited for.
    async fn find_elsewhere(&self, key: Key, transfer: &Transfer, head: u64, is_ours: bool) -> Result<Option<B256>, Error> {
        let provider = &self.verifier.provider;
        if !self.verifier.is_used(&key, BlockId::number(head)).await? {
            return Ok(None);
        }
        let recent = Filter::new().address(key.token).from_block(head.saturating_sub(LOOK_BACK_BLOCKS));
        let filter = match key.method {
            Method::Eip3009 => return self.authorized_elsewhere(key, transfer, head).await,
            Method::Permit2 => recent
                .event_signature(IToken::Transfer::SIGNATURE_HASH)
                .topic1(key.payer.into_word())
                .topic2(transfer.to.into_word()),
            Method::Channel | Method::Gas => return Ok(None),
        };
        let logs = provider.get_logs(&filter).await?;
        for hash in logs.iter().rev().filter_map(|log| log.transaction_hash).take(LOOK_BACK_TRANSACTIONS) {
            let transaction = provider.get_transaction_by_hash(hash).await?.ok_or(Error::Behind)?;
            if !permit2::settles(transaction.to(), transaction.input(), transfer, key.nonce.into()) {
                continue;
            }
            let receipt = provider.get_transaction_receipt(hash).await?.ok_or(Error::Behind)?;
            if receipt.status() && transfer.is_in(receipt.logs()) {
                return Ok(Some(hash));
            }
        }
        // Permit2 logs no nonce: what used it may as well have moved nothing.
        if is_ours { Err(Error::Behind) } else { Ok(None) }
    }

    /// The same where the token logs each nonce that it burns, once: with a transfer, or because the payer called it off.
    async fn authorized_elsewhere(&self, key: Key, transfer: &Transfer, head: u64) -> Result<Option<B256>, Error> {
        let provider = &self.verifier.provider;
        let events = vec![IToken::AuthorizationUsed::SIGNATURE_HASH, IToken::AuthorizationCanceled::SIGNATURE_HASH];
        let burnt = Filter::new().address(key.token).event_signature(events).topic1(key.payer.into_word()).topic2(key.nonce);
        let near = head.saturating_sub(LOOK_BACK_BLOCKS);
        let ranges = [(near, None), (head.saturating_sub(LOOK_FAR_BLOCKS), Some(near))];
        for (from, to) in ranges {
            let range = burnt.clone().from_block(from);
            let range = if let Some(to) = to { range.to_block(to) } else { range };
            let logs = provider.get_logs(&range).await?;
            let Some(log) = logs.last() else { continue };
            let hash = log.transaction_hash.ok_or(Error::Behind)?;
            if log.topic0() == Some(&IToken::AuthorizationCanceled::SIGNATURE_HASH) {
                return Ok(None);
            }
            let receipt = provider.get_transaction_receipt(hash).await?.ok_or(Error::Behind)?;
            let is_shown = receipt.status() && transfer.is_authorized_in(receipt.logs(), key.nonce);
            return Ok(is_shown.then_some(hash));
        }
        Err(Error::Behind)
    }
}
