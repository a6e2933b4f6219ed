//! Payments that somebody else settled.

use std::time::Instant;

use alloy::{
    consensus::Transaction as _,
    eips::BlockId,
    primitives::B256,
    providers::Provider,
    rpc::types::{Filter, Transaction},
    sol_types::SolEvent,
};

use crate::{
    Error,
    engine::Engine,
    permit2, rpc,
    settlement::{Key, Method},
    token::{IToken, Transfer},
};

/// How far back a transfer that somebody else settled is looked for, in blocks.
const LOOK_BACK_BLOCKS: u64 = 1_000;
/// And once more, when it must have been somewhere and was not there.
const LOOK_FAR_BLOCKS: u64 = 10_000;
/// And how many transfers between the same two, newest first.
const LOOK_BACK_TRANSACTIONS: usize = 64;

/// That a transaction of ours did not make a payment, as far as a node shows.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    /// The block in which it shows.
    pub(crate) block: u64,
    /// Since when this process asks what did instead.
    pub(crate) since: Instant,
}

/// What became of a payment that our own transaction did not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Its nonce is not used.
    Unused,
    /// This transaction did what ours would have done.
    Settled(B256),
    /// Its nonce was used for something else.
    Otherwise,
    /// Its nonce is used, and the node does not show for what: perhaps for this payment.
    Hidden,
}

impl Found {
    /// Who settled it, if it shows.
    pub(crate) fn transaction(self) -> Option<B256> {
        match self {
            Self::Settled(hash) => Some(hash),
            Self::Unused | Self::Otherwise | Self::Hidden => None,
        }
    }
}

impl Engine {
    /// Whether somebody else settled this payment. `seen` is a block that a node has shown, in which ours did not do it. A node that does not
    /// have it, or shows a nonce as used and not by what, or the logs of a transaction and not the rest of it, is behind: an error, for a
    /// payment must not be called failed by what a node cannot tell yet. What it does not tell when the block is `confirmations` deep, and was
    /// asked for in vain for as long as a node may fail, it never will: a token need log nothing, and what is too long ago is not looked for.
    pub(crate) async fn settled_elsewhere(&self, key: Key, transfer: &Transfer, seen: Option<Seen>) -> Result<Found, Error> {
        let head = self.verifier.provider.get_block_number().await?;
        if seen.is_some_and(|seen| head < seen.block) {
            return Err(Error::Behind);
        }
        let is_over =
            |seen: Seen| head >= seen.block + self.limits.confirmations && seen.since.elapsed() >= self.limits.give_up_after;
        match self.find_elsewhere(key, transfer, head, seen.is_some()).await {
            Err(error) if error.is_told() && seen.is_some_and(is_over) => Ok(Found::Hidden),
            found => found,
        }
    }

    /// Looks for it once. `is_ours` when a transaction of ours was on its way: then a nonce that is used without a trace is waited for.
    async fn find_elsewhere(&self, key: Key, transfer: &Transfer, head: u64, is_ours: bool) -> Result<Found, Error> {
        let provider = &self.verifier.provider;
        if matches!(key.method, Method::Channel | Method::Gas) {
            // The chain has no nonce for it: whether it happened, only the receipt tells.
            return Err(Error::Behind);
        }
        if !self.verifier.is_used(&key, BlockId::number(head)).await? {
            return Ok(Found::Unused);
        }
        if key.method == Method::Eip3009 {
            return self.authorized_elsewhere(key, transfer, head).await;
        }
        let paid = Filter::new()
            .address(key.token)
            .from_block(head.saturating_sub(LOOK_BACK_BLOCKS))
            .event_signature(IToken::Transfer::SIGNATURE_HASH)
            .topic1(key.payer.into_word())
            .topic2(transfer.to.into_word());
        // A transaction may have logged any number of them, one after the other.
        let mut hashes: Vec<B256> = provider.get_logs(&paid).await?.iter().rev().filter_map(|log| log.transaction_hash).collect();
        hashes.dedup();
        hashes.truncate(LOOK_BACK_TRANSACTIONS);
        let asked = hashes.iter().map(|hash| (*hash,)).collect();
        let transactions = rpc::many::<_, Option<Transaction>>(provider, "eth_getTransactionByHash", asked).await?;
        for (hash, transaction) in hashes.into_iter().zip(transactions) {
            let transaction = transaction?.ok_or(Error::Behind)?;
            if !permit2::settles(transaction.to(), transaction.input(), transfer, key.nonce.into()) {
                continue;
            }
            let receipt = provider.get_transaction_receipt(hash).await?.ok_or(Error::Behind)?;
            if receipt.status() && transfer.is_in(receipt.logs()) {
                return Ok(Found::Settled(hash));
            }
        }
        // Permit2 logs no nonce: what used it may as well have moved nothing.
        if is_ours { Err(Error::Behind) } else { Ok(Found::Hidden) }
    }

    /// The same where the token logs each nonce that it burns, once: with a transfer, or because the payer called it off.
    async fn authorized_elsewhere(&self, key: Key, transfer: &Transfer, head: u64) -> Result<Found, Error> {
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
                return Ok(Found::Otherwise);
            }
            let receipt = provider.get_transaction_receipt(hash).await?.ok_or(Error::Behind)?;
            let is_shown = receipt.status() && transfer.is_authorized_in(receipt.logs(), key.nonce);
            return Ok(if is_shown { Found::Settled(hash) } else { Found::Otherwise });
        }
        Err(Error::Behind)
    }
}
