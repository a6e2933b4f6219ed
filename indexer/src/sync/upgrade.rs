//! After an upgrade, before the mirror goes on: contracts that are new are filled in from the first block on, and what follows from the rows is
//! made again if there are new rows, or new rules.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::info;

use super::{
    Failure, Follower, Tip,
    backfill::{Plan, Ranges, fetches, mirror_range},
    node,
    progress::Progress,
};
use crate::{Transfers, db, derive, store, store::Missing, watch::Watch};

/// How often is said that what takes long goes on.
const SAY_INTERVAL: Duration = Duration::from_secs(5);

/// Says it at first and whenever another of `steps` was done, until `done`; on a connection of its own: of what one transaction does nobody else sees
/// anything. What it began to say it says to the end.
async fn keep_saying(database_url: String, what: &str, steps: Arc<AtomicU64>, done: CancellationToken) {
    let mut said = None;
    while !done.is_cancelled() {
        if let Ok(mut conn) = db::connect_to(&database_url).await {
            loop {
                let step = steps.load(Ordering::Relaxed);
                if said != Some(step) && store::record_upgrade(&mut conn, what).await.is_err() {
                    break;
                }
                said = Some(step);
                if done.run_until_cancelled(tokio::time::sleep(SAY_INTERVAL)).await.is_none() {
                    return;
                }
            }
        }
        let _ = done.run_until_cancelled(tokio::time::sleep(SAY_INTERVAL)).await;
    }
}

impl Follower<'_> {
    /// Brings the mirror to what this deployment and this program would have made; interrupted, the next start goes on.
    pub(super) async fn upgrade(&mut self, shutdown: &CancellationToken) -> Result<(), Failure> {
        let usdc = self.context.targets.usdc;
        let missing = store::missing(&mut self.writer.conn).await?;
        if let Some(missing) = &missing {
            self.fill(missing, shutdown).await?;
            self.reload_watch(None).await?;
        }
        if shutdown.is_cancelled() {
            return Ok(());
        }
        if missing.is_some() || derive::is_due(&mut self.writer.conn, usdc).await? {
            self.derive_again().await?;
        }
        // Also after a start that was cut off once all was made.
        store::record_upgraded(&mut self.writer.conn).await?;
        self.upgraded = true;
        Ok(())
    }

    async fn derive_again(&mut self) -> Result<(), Failure> {
        let what = "what follows from the mirrored rows is being made again after an upgrade";
        info!("{what}");
        let (config, usdc) = (&self.context.config, self.context.targets.usdc);
        let (steps, done) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
        let saying = keep_saying(config.database_url.clone(), what, steps.clone(), done.clone());
        let saying = AbortOnDropHandle::new(tokio::spawn(saying));
        // Where all transfers are mirrored, no new contract adds one.
        let with_balances = config.transfers == Transfers::Ours;
        derive::again(&mut self.writer.conn, usdc, config.raw, with_balances, &steps).await?;
        done.cancel();
        // What it says after this would outlive the upgrade.
        let _ = saying.await;
        Ok(())
    }

    async fn fill(&mut self, missing: &Missing, shutdown: &CancellationToken) -> Result<(), Failure> {
        // Blocks that are no longer the chain's are undone first: they could not be filled in.
        if let Some(ancestor) = self.common_ancestor().await? {
            self.undo_to(ancestor, Tip { number: ancestor, hash: Default::default() }).await?;
        }
        let Some(tip) = self.tail.tip().filter(|tip| tip.number >= missing.from) else { return Ok(()) };
        let mut watch = Watch::new(self.context.targets.usdc, &missing.contracts, Transfers::Ours);
        for (address, kind) in store::load_children_of(&mut self.writer.conn, &missing.contracts).await? {
            watch.add(address, kind);
        }
        info!(contracts = ?missing.contracts, from = missing.from, to = tip.number, "filling in contracts that are new");
        let plan = Arc::new(Plan::new(&watch));
        let parallel = usize::from(self.context.config.fetch_parallel);
        let mut ranges: Ranges =
            fetches(self.context.node.clone(), plan.clone(), missing.from..=tip.number).buffered(parallel).boxed();
        let progress = Progress::new(tip.number - missing.from + 1);
        while let Some(fetched) = ranges.next().await {
            let blocks = mirror_range(&self.context.node, &mut watch, None, fetched?).await?;
            let Some(last) = blocks.last().map(|block| block.number) else { continue };
            if !store::fill(&mut self.writer.conn, &self.row_types, &blocks).await? {
                return Err(node::Error::Unlinked { block: last }.into());
            }
            plan.set_watch(&watch);
            progress.reached(last + 1 - missing.from, 0);
            let what = format!("contracts that are new are being filled in, up to block {last} of {}", tip.number);
            store::record_upgrade(&mut self.writer.conn, &what).await?;
            if shutdown.is_cancelled() {
                return Ok(());
            }
        }
        progress.finish();
        Ok(())
    }
}
