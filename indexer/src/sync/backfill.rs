//! Far behind the tip: ranges of blocks by number, fetched and proved in parallel, committed in order.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use futures::{Stream, StreamExt, future::BoxFuture, stream};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{debug, info};

use super::{Failure, Fetched, Follower, LIVE_BLOCKS, Step, Tip, node, node::Node};
use crate::watch::Watch;

/// Blocks of the first range.
const RANGE_BLOCKS_FIRST: u64 = 32;
const RANGE_BLOCKS_MAX: u64 = 512;
/// Ranges grow below half of this many logs and shrink above twice of it. It bounds the memory of a range.
const RANGE_LOGS: u64 = 8_192;

type Range = RangeInclusive<u64>;
type Fetching = AbortOnDropHandle<Result<Vec<Fetched>, node::Error>>;

/// What the ranges under way share with the loop that commits them.
struct Plan {
    blocks: AtomicU64,
    /// Grows with the contracts found meanwhile; a range fetched with an older one is looked through again.
    watch: Mutex<Arc<Watch>>,
}

impl Plan {
    fn watch(&self) -> Arc<Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_watch(&self, watch: &Watch) {
        *self.watch.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(watch.clone());
    }

    /// Adapts the size of the ranges to come to what one of `blocks` brought.
    fn adapt(&self, blocks: u64, logs: u64) {
        let next = match logs {
            logs if logs > RANGE_LOGS * 2 => blocks / 2,
            logs if logs < RANGE_LOGS / 2 => blocks * 2,
            _ => blocks,
        };
        self.blocks.store(next.clamp(1, RANGE_BLOCKS_MAX), Ordering::Relaxed);
    }
}

impl Follower<'_> {
    /// Mirrors up to shortly before `head`, or until shutdown.
    pub(super) async fn catch_up(&mut self, head: u64, shutdown: &CancellationToken) -> Result<(), Failure> {
        if let Some(ancestor) = self.common_ancestor().await? {
            self.undo_to(ancestor, Tip { number: head, hash: Default::default() }).await?;
        }
        let (from, to) = (self.tail.end(), head - LIVE_BLOCKS);
        info!(from, to, "catching up");
        let started = Instant::now();
        let plan = Arc::new(Plan { blocks: AtomicU64::new(RANGE_BLOCKS_FIRST), watch: Mutex::new(Arc::new(self.watch.clone())) });
        let parallel = usize::from(self.context.config.fetch_parallel);
        let mut ranges = fetches(self.context.node.clone(), plan.clone(), from..=to).buffered(parallel).boxed();
        while let Some(fetched) = ranges.next().await {
            if shutdown.is_cancelled() {
                return Ok(());
            }
            self.commit_range(fetched?, &plan).await?;
        }
        info!(blocks = to - from + 1, elapsed = ?started.elapsed(), "caught up");
        Ok(())
    }

    async fn commit_range(&mut self, fetched: Vec<Fetched>, plan: &Plan) -> Result<(), Failure> {
        let mut blocks = Vec::with_capacity(fetched.len());
        let mut parent = self.tail.tip();
        for block in fetched {
            let header = &block.header;
            if parent.is_some_and(|parent| parent.hash != header.parent_hash()) {
                return Err(node::Error::Unlinked { block: header.number() }.into());
            }
            parent = Some(Tip { number: header.number(), hash: header.hash() });
            blocks.push(self.mirror(block).await?);
        }
        if blocks.iter().any(|block| !block.children.is_empty()) {
            plan.set_watch(&self.watch);
        }
        debug!(blocks = blocks.len(), "committing a range");
        self.commit(Step { undo: None, blocks }).await
    }
}

/// The fetches of consecutive ranges, each started when the stream is polled for it.
fn fetches(node: Node, plan: Arc<Plan>, all: Range) -> impl Stream<Item = BoxFuture<'static, Result<Vec<Fetched>, node::Error>>> {
    stream::unfold(*all.start(), move |from| {
        let last = *all.end();
        let (node, plan) = (node.clone(), plan.clone());
        async move {
            if from > last {
                return None;
            }
            let to = last.min(from + plan.blocks.load(Ordering::Relaxed) - 1);
            let fetching: Fetching = AbortOnDropHandle::new(tokio::spawn(fetch_adapting(node, plan, from..=to)));
            Some((joined(fetching), to + 1))
        }
    })
}

fn joined(fetching: Fetching) -> BoxFuture<'static, Result<Vec<Fetched>, node::Error>> {
    Box::pin(async { fetching.await.expect("fetching neither panics nor is aborted while it is awaited") })
}

async fn fetch_adapting(node: Node, plan: Arc<Plan>, range: Range) -> Result<Vec<Fetched>, node::Error> {
    let blocks = range.end() - range.start() + 1;
    let watch = plan.watch();
    let fetched = fetch(&node, &watch, range, &plan).await?;
    let logs = fetched.iter().flat_map(|block| block.receipts.iter().flatten()).map(|receipt| receipt.logs.len()).sum::<usize>();
    plan.adapt(blocks, u64::try_from(logs).unwrap_or(u64::MAX));
    Ok(fetched)
}

/// Fetches a range; when that fails, its halves one after the other.
fn fetch<'a>(node: &'a Node, watch: &'a Watch, range: Range, plan: &'a Plan) -> BoxFuture<'a, Result<Vec<Fetched>, node::Error>> {
    Box::pin(async move {
        let (from, to) = range.into_inner();
        if from == to {
            return Fetched::complete(node, watch, vec![node.header(from).await?]).await;
        }
        match node.headers(from, to).await {
            Ok(headers) => Fetched::complete(node, watch, headers).await,
            Err(_) => {
                let middle = from + (to - from) / 2;
                plan.adapt(middle - from + 1, RANGE_LOGS);
                let mut fetched = fetch(node, watch, from..=middle, plan).await?;
                fetched.extend(fetch(node, watch, middle + 1..=to, plan).await?);
                Ok(fetched)
            }
        }
    })
}
