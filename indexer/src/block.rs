//! What a block leaves in the mirror.

use alloy::{
    primitives::{Address, B256, U256},
    sol_types::SolEvent,
};

use crate::{
    Error,
    decode::{self, Decoded},
    node::{Header, Log, Receipt},
    watch::{AuthorizationCanceled, AuthorizationUsed, Kind, PROXIES, Transfer, Watch},
};

/// Why nothing of a block is missing, as in `chain.blocks.proof`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    Bloom,
    Receipts,
    /// Nothing was proved.
    Told,
}

/// Everything mirrored of one block.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) number: u64,
    pub(crate) hash: B256,
    pub(crate) parent_hash: B256,
    pub(crate) timestamp: u64,
    pub(crate) proof: Proof,
    pub(crate) transactions: Vec<Transaction>,
    pub(crate) events: Vec<Event>,
    pub(crate) transfers: Vec<TokenTransfer>,
    pub(crate) children: Vec<Child>,
}

#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) index: u32,
    pub(crate) hash: B256,
    pub(crate) sender: Address,
    pub(crate) recipient: Option<Address>,
    pub(crate) gas_used: u64,
    pub(crate) gas_price: u64,
}

#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) log_index: u32,
    pub(crate) tx_index: u32,
    /// Of the contract that emitted it.
    pub(crate) kind: Kind,
    pub(crate) log: Log,
    pub(crate) decoded: Option<Decoded>,
}

#[derive(Debug)]
pub(crate) struct TokenTransfer {
    pub(crate) log_index: u32,
    pub(crate) tx_index: u32,
    pub(crate) token: Address,
    pub(crate) sender: Address,
    pub(crate) recipient: Address,
    pub(crate) amount: i64,
    pub(crate) authorization_nonce: Option<B256>,
}

/// A contract that a factory of ours created.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Child {
    pub(crate) address: Address,
    pub(crate) kind: Kind,
    pub(crate) log_index: u32,
}

impl Block {
    /// A block of which only the events matter.
    pub(crate) const fn of_events(number: u64, timestamp: u64) -> Self {
        Self {
            number,
            hash: B256::ZERO,
            parent_hash: B256::ZERO,
            timestamp,
            proof: Proof::Receipts,
            transactions: Vec::new(),
            events: Vec::new(),
            transfers: Vec::new(),
            children: Vec::new(),
        }
    }
}

/// Picks out what is mirrored. `receipts` are all of the block's, or none when its bloom excludes everything watched.
/// Contracts created in the block are watched from its first log on.
pub(crate) fn mirror(header: &Header, receipts: Option<&[Receipt]>, watch: &mut Watch) -> Result<Block, Error> {
    let mut block = Block {
        number: header.number(),
        hash: header.hash(),
        parent_hash: header.parent_hash(),
        timestamp: header.timestamp(),
        proof: match receipts {
            _ if header.is_told() => Proof::Told,
            Some(_) => Proof::Receipts,
            None => Proof::Bloom,
        },
        transactions: Vec::new(),
        events: Vec::new(),
        transfers: Vec::new(),
        children: Vec::new(),
    };
    let receipts = receipts.unwrap_or_default();
    block.children = children(receipts, watch);
    for child in &block.children {
        watch.add(child.address, child.kind);
    }
    let mut first_log = 0;
    for (index, receipt) in (0..).zip(receipts) {
        if keep_logs(&mut block, watch, receipt, index, first_log)? {
            block.transactions.push(transaction(index, receipt));
        }
        first_log += count(&receipt.logs);
    }
    Ok(block)
}

fn count(logs: &[Log]) -> u32 {
    u32::try_from(logs.len()).expect("a block's gas bounds its logs far below 2^32")
}

fn children(receipts: &[Receipt], watch: &Watch) -> Vec<Child> {
    let logs = receipts.iter().flat_map(|receipt| &receipt.logs);
    (0..)
        .zip(logs)
        .filter(|(_, log)| watch.contains(&log.address))
        .filter_map(|(log_index, log)| decode::child(log).map(|(address, kind)| Child { address, kind, log_index }))
        .filter(|child| !watch.contains(&child.address))
        .collect()
}

/// Whether anything of the transaction was kept.
fn keep_logs(block: &mut Block, watch: &Watch, receipt: &Receipt, tx_index: u32, first_log: u32) -> Result<bool, Error> {
    let before = block.events.len() + block.transfers.len();
    let mut authorization = None;
    for (log_index, log) in (first_log..).zip(&receipt.logs) {
        if log.address == watch.usdc {
            keep_transfer(block, watch, log, (tx_index, log_index), &mut authorization)?;
            keep_cancellation(block, watch, log, (tx_index, log_index));
        }
        if let Some(kind) = watch.kind(&log.address) {
            let decoded = decode::event(log);
            if decoded.is_some() || !PROXIES.contains(&log.address) {
                block.events.push(Event { log_index, tx_index, kind, log: log.clone(), decoded });
            }
        }
    }
    Ok(block.events.len() + block.transfers.len() > before)
}

/// USDC emits `AuthorizationUsed` right before the `Transfer` that it authorizes.
fn keep_transfer(
    block: &mut Block,
    watch: &Watch,
    log: &Log,
    (tx_index, log_index): (u32, u32),
    authorization: &mut Option<AuthorizationUsed>,
) -> Result<(), Error> {
    if let Ok(used) = AuthorizationUsed::decode_raw_log(log.topics.iter().copied(), &log.data) {
        *authorization = Some(used);
        return Ok(());
    }
    let used = authorization.take();
    let Ok(transfer) = Transfer::decode_raw_log(log.topics.iter().copied(), &log.data) else { return Ok(()) };
    if !watch.wants_transfer(&transfer.from, &transfer.to) {
        return Ok(());
    }
    block.transfers.push(TokenTransfer {
        log_index,
        tx_index,
        token: watch.usdc,
        sender: transfer.from,
        recipient: transfer.to,
        amount: base_units(transfer.value).ok_or(Error::AmountTooLarge { token: watch.usdc, block: block.number })?,
        authorization_nonce: used.filter(|used| used.authorizer == transfer.from).map(|used| used.nonce),
    });
    Ok(())
}

/// An authorization that its signer took back: no payment with its nonce will ever come.
fn keep_cancellation(block: &mut Block, watch: &Watch, log: &Log, (tx_index, log_index): (u32, u32)) {
    let canceled = AuthorizationCanceled::decode_raw_log(log.topics.iter().copied(), &log.data);
    if canceled.is_ok_and(|canceled| watch.wants_transfer(&canceled.authorizer, &canceled.authorizer)) {
        block.events.push(Event {
            log_index,
            tx_index,
            kind: Kind::Deployed,
            log: log.clone(),
            decoded: decode::usdc_event(log),
        });
    }
}

fn base_units(value: U256) -> Option<i64> {
    i64::try_from(value).ok()
}

fn transaction(index: u32, receipt: &Receipt) -> Transaction {
    Transaction {
        index,
        hash: receipt.transaction_hash,
        sender: receipt.from,
        recipient: receipt.to,
        gas_used: receipt.gas_used.to(),
        gas_price: receipt.effective_gas_price.saturating_to(),
    }
}
