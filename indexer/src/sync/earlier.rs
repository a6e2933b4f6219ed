//! With `--transfers ours`: what a wallet or treasury got before it was created.
//!
//! Nobody can sign for a contract that is not there, so its address can only receive: its balance grows, and the blocks in which it did are
//! found by halving. Each is fetched and proved like any other. What is fetched stays when the creation is undone, so that waits for finality.
//!
//! Anybody may send anything to an address beforehand. So there is a little time for it between two looks at the node, and the contracts take
//! turns.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use alloy::primitives::Address;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Failure, Fetched, Follower, Tip, mirror};
use crate::{
    Transfers,
    chains::ARC_USDC,
    node,
    store::{self, Unchecked},
    watch::Watch,
};

/// How long to wait after the node could not say what an account held; it must keep that old a state.
const RETRY: Duration = Duration::from_secs(60);
/// After so long no other contract and no other block is begun before the mirror has gone on.
const TURN: Duration = Duration::from_secs(1);

/// How far the contracts are that may have got something before they were created.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    /// The tip at which there was nothing left to do.
    done: Option<Tip>,
    /// The contract that was looked at last. The next round begins after it, so that none keeps the others waiting.
    after: Address,
    /// Whether something is left to do of this round.
    is_more: bool,
    /// Those that got something and whose creation is not final yet.
    waiting: BTreeSet<Address>,
    /// Of those that are begun, the lowest block that was fetched: those from it on are all here.
    reached: BTreeMap<Address, u64>,
    failed: Option<Instant>,
}

impl Follower<'_> {
    /// Looks at every contract that was not checked yet, as far as there is time; the next call goes on.
    pub(super) async fn fetch_earlier(&mut self, shutdown: &CancellationToken) -> Result<(), Failure> {
        let Some(tip) = self.tail.tip().filter(|_| self.context.config.transfers == Transfers::Ours && !self.context.config.raw)
        else {
            return Ok(());
        };
        if self.earlier.done == Some(tip) || self.earlier.failed.is_some_and(|at| at.elapsed() < RETRY) {
            return Ok(());
        }
        let begun = Instant::now();
        let is_over = || shutdown.is_cancelled() || begun.elapsed() > TURN;
        while !is_over() {
            let page = store::unchecked(&mut self.writer.conn, self.earlier.after).await?;
            if page.is_empty() {
                let is_more = std::mem::take(&mut self.earlier.is_more);
                self.earlier.after = Address::ZERO;
                self.earlier.done = (!is_more).then_some(tip);
                return Ok(());
            }
            for contract in page {
                if is_over() {
                    return Ok(());
                }
                self.earlier.after = contract.address;
                match self.fetch_earlier_of(&contract, tip.number, &is_over).await {
                    Ok(is_complete) => self.earlier.is_more |= !is_complete,
                    Err(Failure::Node(error)) => {
                        let account = contract.address;
                        warn!(%account, %error, "what it got before it was created is not known; its balance is not told");
                        self.earlier.is_more = true;
                        self.earlier.failed = Some(Instant::now());
                        return Ok(());
                    }
                    Err(stop) => return Err(stop),
                }
            }
        }
        Ok(())
    }

    /// Whether there is nothing more to do for it at this tip.
    async fn fetch_earlier_of(
        &mut self,
        contract: &Unchecked,
        tip: u64,
        is_over: &(impl Fn() -> bool + Sync),
    ) -> Result<bool, Failure> {
        let (account, start) = (contract.address, self.tail.start_block());
        let is_final = contract.created.saturating_add(self.context.finality_blocks) <= tip;
        if !is_final && self.earlier.waiting.contains(&account) {
            return Ok(true);
        }
        // Blocks from here on are all here.
        let end = self.earlier.reached.get(&account).copied().unwrap_or(contract.created);
        if end <= start {
            return self.check(contract).await;
        }
        let before = match start.checked_sub(1) {
            Some(block) => self.held(account, block).await?,
            None => 0,
        };
        let missing = self.missing(account, before, end - 1).await?;
        if end == contract.created {
            if missing == 0 {
                return self.check(contract).await;
            }
            if !is_final {
                self.earlier.waiting.insert(account);
                return Ok(true);
            }
            info!(%account, "fetching what it got before it was created");
        }
        // First and last block, and what is missing before the first and up to the last. The newest come first: what is added does not change
        // what was missing before it.
        let mut spans = vec![(start, 0, end - 1, missing)];
        while let Some((from, before_it, to, up_to_it)) = spans.pop() {
            if before_it == up_to_it {
                continue;
            }
            if from == to {
                self.add_earlier(account, from).await?;
                self.earlier.reached.insert(account, from);
                if !spans.is_empty() && is_over() {
                    return Ok(false);
                }
                continue;
            }
            let middle = from + (to - from) / 2;
            let between = self.missing(account, before, middle).await?;
            spans.push((from, before_it, middle, between));
            spans.push((middle + 1, between, to, up_to_it));
        }
        // Where USDC pays for gas too, what an account holds is more than what it was sent.
        if self.context.targets.usdc != ARC_USDC && self.missing(account, before, contract.created - 1).await? != 0 {
            self.earlier.reached.remove(&account);
            let reason = "what an account held is not what it was sent";
            return Err(node::Error::Unproved { block: contract.created - 1, reason }.into());
        }
        self.check(contract).await
    }

    async fn check(&mut self, contract: &Unchecked) -> Result<bool, Failure> {
        store::check(&mut self.writer.conn, contract).await?;
        self.earlier.waiting.remove(&contract.address);
        self.earlier.reached.remove(&contract.address);
        Ok(true)
    }

    async fn add_earlier(&mut self, account: Address, number: u64) -> Result<(), Failure> {
        let node = &self.context.node;
        let mut watch = Watch::new(self.context.targets.usdc, &[account], Transfers::Ours);
        for fetched in Fetched::complete(node, &watch, vec![node.header(number).await?]).await? {
            let block = mirror(node, &mut watch, fetched).await?;
            if !store::add_earlier(&mut self.writer.conn, &self.row_types, &block).await? {
                return Err(node::Error::Unlinked { block: number }.into());
            }
        }
        Ok(())
    }

    /// What an account got up to the end of a block and is not here, if it held `before` when the mirror begins.
    async fn missing(&mut self, account: Address, before: i128, block: u64) -> Result<i128, Failure> {
        let received = store::received(&mut self.writer.conn, account, block).await?;
        Ok(self.held(account, block).await? - before - i128::from(received))
    }

    /// What an account held at the end of a block, in base units.
    async fn held(&self, account: Address, block: u64) -> Result<i128, node::Error> {
        Ok(self.context.node.balance(self.context.targets.usdc, account, block).await?.saturating_to())
    }
}
