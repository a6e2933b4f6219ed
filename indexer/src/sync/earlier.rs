//! With `--transfers ours`: what a wallet or treasury got before it was created.
//!
//! Nobody can sign for a contract that is not there, so its address can only receive: its balance grows, and the blocks in which it did are
//! found by halving. Each is fetched and proved like any other. What is fetched stays when the creation is undone, so that waits for finality.

use std::time::{Duration, Instant};

use alloy::{primitives::Address, sol_types::SolCall};
use contracts::usdc::Usdc::balanceOfCall;
use tracing::{info, warn};

use super::{Failure, Fetched, Follower, mirror};
use crate::{
    Transfers,
    node::{self, At},
    store::{self, Unchecked},
    watch::Watch,
};

/// How long to wait after the node could not say what an account held; it must keep that old a state.
const RETRY: Duration = Duration::from_secs(60);

impl Follower<'_> {
    /// Looks at every contract that was not checked yet.
    pub(super) async fn fetch_earlier(&mut self) -> Result<(), Failure> {
        let Some(tip) = self.tail.tip().filter(|_| self.context.config.transfers == Transfers::Ours && !self.context.config.raw)
        else {
            return Ok(());
        };
        if self.earlier_tip == Some(tip) || self.earlier_failed.is_some_and(|at| at.elapsed() < RETRY) {
            return Ok(());
        }
        let mut after = Address::ZERO;
        loop {
            let page = store::unchecked(&mut self.writer.conn, after).await?;
            let Some(last) = page.last() else { break };
            after = last.address;
            for contract in page {
                match self.fetch_earlier_of(&contract, tip.number).await {
                    Err(Failure::Node(error)) => {
                        let account = contract.address;
                        warn!(%account, %error, "what it got before it was created is not known; its balance is not told");
                        self.earlier_failed = Some(Instant::now());
                        return Ok(());
                    }
                    outcome => outcome?,
                }
            }
        }
        self.earlier_tip = Some(tip);
        Ok(())
    }

    async fn fetch_earlier_of(&mut self, contract: &Unchecked, tip: u64) -> Result<(), Failure> {
        let (account, start) = (contract.address, self.tail.start_block());
        let Some(last) = contract.created.checked_sub(1).filter(|last| *last >= start) else {
            return Ok(store::check(&mut self.writer.conn, contract).await?);
        };
        let before = match start.checked_sub(1) {
            Some(block) => self.held(account, block).await?,
            None => 0,
        };
        let after = self.held(account, last).await?;
        if after - before == i128::from(contract.mirrored) {
            return Ok(store::check(&mut self.writer.conn, contract).await?);
        }
        if contract.created.saturating_add(self.context.finality_blocks) > tip {
            return Ok(());
        }
        info!(%account, "fetching what it got before it was created");
        let mut spans = vec![(start, before, last, after)];
        while let Some((from, before, to, after)) = spans.pop() {
            if before == after {
                continue;
            }
            if from == to {
                self.add_earlier(account, from).await?;
                continue;
            }
            let middle = from + (to - from) / 2;
            let between = self.held(account, middle).await?;
            spans.push((from, before, middle, between));
            spans.push((middle + 1, between, to, after));
        }
        Ok(store::check(&mut self.writer.conn, contract).await?)
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

    /// What an account held at the end of a block, in base units; nothing before the token was there.
    async fn held(&self, account: Address, block: u64) -> Result<i128, node::Error> {
        let call = balanceOfCall { account }.abi_encode();
        let answer = self.context.node.call(self.context.targets.usdc, call.into(), At::Number(block)).await?;
        Ok(balanceOfCall::abi_decode_returns(&answer).map_or(0, |held| held.saturating_to()))
    }
}
