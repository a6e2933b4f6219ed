//! With `--transfers ours`: what a wallet or treasury got before it was created.
//!
//! Nobody can sign for a contract that is not there, so its address can only receive: its balance grows, and the blocks in which it did are
//! found by halving. Each is fetched and proved like any other. What is fetched stays when the creation is undone, so that waits for finality.
//!
//! Anybody may send anything to an address beforehand. So there is a little time for it between two looks at the node, the contracts take turns,
//! and a search that time ends goes on where it was.

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
    /// Those that are being searched for.
    searches: BTreeMap<Address, Search>,
    failed: Option<Instant>,
}

/// Where the blocks are in which a contract got something.
#[derive(Debug)]
struct Search {
    /// What it held when the mirror begins.
    before: i128,
    /// What is left to look through, the newest last, which comes first: what is added does not change what was missing before it.
    spans: Vec<Span>,
}

/// Blocks, and what is missing before the first and up to the last of them.
#[derive(Clone, Copy, Debug)]
struct Span {
    first: u64,
    last: u64,
    missing_before: i128,
    missing: i128,
}

/// What may be done between two looks at the node: one step, and others for as long as there is time. A step asks the node for a balance or two, or
/// fetches one block.
struct Turn<'a> {
    shutdown: &'a CancellationToken,
    ends: Instant,
    begun: bool,
}

impl Turn<'_> {
    fn is_over(&self) -> bool {
        self.shutdown.is_cancelled() || self.begun && Instant::now() >= self.ends
    }

    /// Whether another step may be done.
    fn step(&mut self) -> bool {
        let may = !self.is_over();
        self.begun = true;
        may
    }
}

impl Follower<'_> {
    /// Looks at every contract that was not checked yet, as far as there is time; the next call goes on.
    pub(super) async fn fetch_earlier(&mut self, shutdown: &CancellationToken) -> Result<(), Failure> {
        let config = &self.context.config;
        let Some(tip) = self.tail.tip().filter(|_| config.transfers == Transfers::Ours && !config.raw) else { return Ok(()) };
        if self.earlier.done == Some(tip) || self.earlier.failed.is_some_and(|at| at.elapsed() < RETRY) {
            return Ok(());
        }
        let mut turn = Turn { shutdown, ends: Instant::now() + config.earlier_turn, begun: false };
        while !turn.is_over() {
            let page = store::unchecked(&mut self.writer.conn, self.earlier.after).await?;
            if page.is_empty() {
                let is_more = std::mem::take(&mut self.earlier.is_more);
                self.earlier.after = Address::ZERO;
                self.earlier.done = (!is_more).then_some(tip);
                return Ok(());
            }
            for contract in page {
                if turn.is_over() {
                    return Ok(());
                }
                self.earlier.after = contract.address;
                match self.fetch_earlier_of(&contract, tip.number, &mut turn).await {
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
    async fn fetch_earlier_of(&mut self, contract: &Unchecked, tip: u64, turn: &mut Turn<'_>) -> Result<bool, Failure> {
        let (account, start) = (contract.address, self.tail.start_block());
        let is_final = contract.created.saturating_add(self.context.finality_blocks) <= tip;
        if !is_final && self.earlier.waiting.contains(&account) {
            return Ok(true);
        }
        if contract.created <= start {
            return self.check(contract).await;
        }
        if let Some(search) = self.earlier.searches.remove(&account) {
            return self.search(contract, search, turn).await;
        }
        turn.step();
        let before = match start.checked_sub(1) {
            Some(block) => self.held(account, block).await?,
            None => 0,
        };
        let last = contract.created - 1;
        let missing = self.missing(account, before, last).await?;
        if missing == 0 {
            return self.check(contract).await;
        }
        if !is_final {
            self.earlier.waiting.insert(account);
            return Ok(true);
        }
        info!(%account, "fetching what it got before it was created");
        let spans = vec![Span { first: start, last, missing_before: 0, missing }];
        self.search(contract, Search { before, spans }, turn).await
    }

    /// Goes on with a search. Whether it is over; otherwise it is kept.
    async fn search(&mut self, contract: &Unchecked, mut search: Search, turn: &mut Turn<'_>) -> Result<bool, Failure> {
        let found = self.look_through(contract.address, &mut search, turn).await;
        if !matches!(found, Ok(true)) {
            self.earlier.searches.insert(contract.address, search);
            return found;
        }
        let (account, last) = (contract.address, contract.created - 1);
        // Where USDC pays for gas too, what an account holds is more than what it was sent.
        if self.context.targets.usdc != ARC_USDC && self.missing(account, search.before, last).await? != 0 {
            let reason = "what an account held is not what it was sent";
            return Err(node::Error::Unproved { block: last, reason }.into());
        }
        self.check(contract).await
    }

    /// Adds what is missing in each span, halving it. Whether there was time for all.
    async fn look_through(&mut self, account: Address, search: &mut Search, turn: &mut Turn<'_>) -> Result<bool, Failure> {
        while let Some(span) = search.spans.last().copied() {
            if span.missing_before == span.missing {
                search.spans.pop();
                continue;
            }
            if !turn.step() {
                return Ok(false);
            }
            if span.first == span.last {
                self.add_earlier(account, span.first).await?;
                search.spans.pop();
                continue;
            }
            let middle = span.first + (span.last - span.first) / 2;
            let missing = self.missing(account, search.before, middle).await?;
            search.spans.pop();
            search.spans.push(Span { last: middle, missing, ..span });
            search.spans.push(Span { first: middle + 1, missing_before: missing, ..span });
        }
        Ok(true)
    }

    async fn check(&mut self, contract: &Unchecked) -> Result<bool, Failure> {
        store::check(&mut self.writer.conn, contract).await?;
        self.earlier.waiting.remove(&contract.address);
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
