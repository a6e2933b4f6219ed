//! Payments that somebody else settled.

use alloy::{
    consensus::Transaction as _, primitives::B256, providers::Provider, rpc::types::Filter, sol_types::SolEvent,
    transports::TransportErrorKind,
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
/// And how many transfers between the same two, newest first.
const LOOK_BACK_TRANSACTIONS: usize = 64;

impl Engine {
    /// The transaction in which somebody else settled this payment, if it did what ours would have done. A node that shows the logs of a
    /// transaction and not the rest of it is behind: an error, for a payment must not be called failed by what it cannot tell yet.
    pub(crate) async fn settled_elsewhere(&self, key: Key, transfer: &Transfer) -> Result<Option<B256>, Error> {
        if !self.verifier.is_used(&key).await? {
            return Ok(None);
        }
        let provider = &self.verifier.provider;
        let head = provider.get_block_number().await?;
        let recent = Filter::new().address(key.token).from_block(head.saturating_sub(LOOK_BACK_BLOCKS));
        let filter = match key.method {
            Method::Eip3009 => {
                recent.event_signature(IToken::AuthorizationUsed::SIGNATURE_HASH).topic1(key.payer.into_word()).topic2(key.nonce)
            }
            Method::Permit2 => recent
                .event_signature(IToken::Transfer::SIGNATURE_HASH)
                .topic1(key.payer.into_word())
                .topic2(transfer.to.into_word()),
            Method::Channel | Method::Gas => return Ok(None),
        };
        let logs = provider.get_logs(&filter).await?;
        for hash in logs.iter().rev().filter_map(|log| log.transaction_hash).take(LOOK_BACK_TRANSACTIONS) {
            if key.method == Method::Permit2 {
                let transaction = provider.get_transaction_by_hash(hash).await?.ok_or_else(behind)?;
                if !permit2::settles(transaction.to(), transaction.input(), transfer, key.nonce.into()) {
                    continue;
                }
            }
            let receipt = provider.get_transaction_receipt(hash).await?.ok_or_else(behind)?;
            let is_shown = match key.method {
                Method::Eip3009 => transfer.is_authorized_in(receipt.logs(), key.nonce),
                _ => transfer.is_in(receipt.logs()),
            };
            if receipt.status() && is_shown {
                return Ok(Some(hash));
            }
        }
        Ok(None)
    }
}

fn behind() -> Error {
    Error::Node(TransportErrorKind::custom_str("it shows the logs of a transaction and not the rest of it"))
}
