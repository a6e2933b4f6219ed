//! Far behind the tip: ranges of blocks by number, fetched and proved in parallel, committed in order.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{
    Stream, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::info;

use super::{Added, Failure, Fetched, Follower, LIVE_BLOCKS, Step, Tip, mirror, node, node::Node, progress::Progress};
use crate::{block::Block, watch::Watch};

/// Blocks of the first range.
const RANGE_BLOCKS_FIRST: u64 = 32;
const RANGE_BLOCKS_MAX: u64 = 512;
/// Ranges grow below half of this many logs and shrink above twice of it. It bounds the memory of a range.
const RANGE_LOGS: u64 = 8_192;

/// A transaction is ended after this many rows, or this much time.
const BATCH_ROWS: usize = 65_536;
const BATCH_TIME: Duration = Duration::from_secs(2);

type Range = RangeInclusive<u64>;
type Fetching = AbortOnDropHandle<Result<Vec<Fetched>, node::Error>>;

/// What the ranges under way share with the loop that commits them.
pub(super) struct Plan {
    blocks: AtomicU64,
    /// Grows with the contracts found meanwhile; a range fetched with an older one is looked through again.
    watch: Mutex<Arc<Watch>>,
}

impl Plan {
    pub(super) fn new(watch: &Watch) -> Self {
        Self { blocks: AtomicU64::new(RANGE_BLOCKS_FIRST), watch: Mutex::new(Arc::new(watch.clone())) }
    }

    fn watch(&self) -> Arc<Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_watch(&self, watch: &Watch) {
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

/// Ranges on their way, in order.
pub(super) type Ranges = BoxStream<'static, Result<Vec<Fetched>, node::Error>>;

impl Follower<'_> {
    /// Mirrors up to shortly before `head`, or until shutdown.
    pub(super) async fn catch_up(&mut self, head: u64, shutdown: &CancellationToken) -> Result<(), Failure> {
        if let Some(ancestor) = self.common_ancestor().await? {
            self.undo_to(ancestor, Tip { number: head, hash: Default::default() }).await?;
        }
        let (from, to) = (self.tail.end(), head - LIVE_BLOCKS);
        info!(from, to, "catching up");
        let started = Instant::now();
        let plan = Arc::new(Plan::new(&self.watch));
        let parallel = usize::from(self.context.config.fetch_parallel);
        let mut ranges = fetches(self.context.node.clone(), plan.clone(), from..=to).buffered(parallel).boxed();
        let progress = Progress::new(to - from + 1);
        while self.tail.end() <= to && !shutdown.is_cancelled() {
            self.commit_batch(&mut ranges, &plan).await?;
            progress.reached(self.tail.end() - from, self.context.counters.rows());
        }
        progress.finish();
        info!(to = self.tail.end() - 1, elapsed = ?started.elapsed(), "caught up");
        Ok(())
    }

    /// Commits the ranges that come next, as one transaction. When one cannot be had, those before it are committed all the same.
    async fn commit_batch(&mut self, ranges: &mut Ranges, plan: &Plan) -> Result<(), Failure> {
        let until = tokio::time::Instant::now() + BATCH_TIME;
        let mut step = Step::begin(&mut self.writer.conn, self.context.config.raw, None).await?;
        let mut added = Added::default();
        let mut tip = self.tail.tip();
        let outcome = loop {
            let next = match tokio::time::timeout_at(until, ranges.next()).await {
                Ok(Some(fetched)) => fetched,
                Ok(None) | Err(_) => break Ok(()),
            };
            let mirrored = async { mirror_range(&self.context.node, &mut self.watch, tip, next?).await };
            match mirrored.await {
                Ok(blocks) => {
                    if blocks.iter().any(|block| !block.children.is_empty()) {
                        plan.set_watch(&self.watch);
                    }
                    step.add(&blocks, &mut self.partitions).await?;
                    added.add(&blocks);
                    tip = added.tips.last().copied().or(tip);
                }
                Err(failure) => break Err(failure),
            }
            if added.rows() >= BATCH_ROWS {
                break Ok(());
            }
        };
        if matches!(outcome, Err(Failure::Stop(_))) {
            return outcome;
        }
        step.commit().await?;
        self.remember(added);
        outcome
    }
}

/// Turns a range into rows, if it follows `tip`.
pub(super) async fn mirror_range(
    node: &Node,
    watch: &mut Watch,
    mut tip: Option<Tip>,
    fetched: Vec<Fetched>,
) -> Result<Vec<Block>, Failure> {
    let mut blocks = Vec::with_capacity(fetched.len());
    for block in fetched {
        let header = &block.header;
        if tip.is_some_and(|tip| tip.hash != header.parent_hash()) {
            return Err(node::Error::Unlinked { block: header.number() }.into());
        }
        tip = Some(Tip { number: header.number(), hash: header.hash() });
        blocks.push(mirror(node, watch, block).await?);
    }
    Ok(blocks)
}

/// The fetches of consecutive ranges, each started when the stream is polled for it.
pub(super) fn fetches(
    node: Node,
    plan: Arc<Plan>,
    all: Range,
) -> impl Stream<Item = BoxFuture<'static, Result<Vec<Fetched>, node::Error>>> {
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
