//! The writer: follows the node and commits what it says, block after block.

mod backfill;
mod earlier;
mod pace;
mod progress;
mod reorg;
mod tail;
mod upgrade;
mod verify;

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    Config, Error,
    block::{self, Block},
    db::Writer,
    metrics::Counters,
    node::{self, Header, Node, Receipt},
    store::{self, Identity, Partitions, RowTypes, Step, Tip, Undo},
    watch::{Targets, Watch},
};
use earlier::Earlier;
use pace::Pace;
use tail::Tail;
pub(crate) use verify::verify;
pub use verify::{Difference, Report};

/// Blocks near the tip, taken one by one by hash. Further behind, blocks are fetched in ranges by number.
const LIVE_BLOCKS: u64 = 16;
/// Blocks whose receipts are asked for in one request.
const RECEIPTS_BLOCKS_MAX: usize = 8;
/// How often an instance that waits for its turn asks for it.
const LEASE_POLL: Duration = Duration::from_millis(200);
/// How long to wait after the database failed.
const DATABASE_RETRY: Duration = Duration::from_millis(500);

/// What the writer needs to run.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) chain_id: u64,
    pub(crate) finality_blocks: u64,
    pub(crate) targets: Targets,
    pub(crate) node: Node,
    pub(crate) counters: Arc<Counters>,
}

/// Mirrors until shutdown, or until it must not go on. Waits while another instance does.
pub(crate) async fn run(context: Context, shutdown: CancellationToken) -> Result<(), Error> {
    loop {
        let lead = lead(&context, &shutdown);
        match lead.await {
            // A failed commit may have happened or not: everything held in memory is read again.
            Err(error @ (Error::Database(_) | Error::DatabaseUnreachable(_))) => {
                warn!(%error, "the database failed, connecting again");
                tokio::select! {
                    () = shutdown.cancelled() => return Ok(()),
                    () = tokio::time::sleep(DATABASE_RETRY) => {}
                }
            }
            outcome => return outcome,
        }
    }
}

async fn lead(context: &Context, shutdown: &CancellationToken) -> Result<(), Error> {
    let mut writer = Writer::connect(&context.config.database_url).await?;
    let mut waited = false;
    while !writer.try_lock().await? {
        if !std::mem::replace(&mut waited, true) {
            info!("another instance writes, waiting to take over");
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(LEASE_POLL) => {}
        }
    }
    Follower::load(context, writer).await?.follow(shutdown).await
}

/// How far one look at the node brought the mirror.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// All of the chain is mirrored.
    Current,
    /// The node's newest block was added, and that this completes the mirror was recorded with it.
    Completed,
    /// Something was committed; there may be more.
    Advanced,
    /// The node's chain ends before ours without contradicting it.
    NodeBehind,
}

/// Why one look at the node failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Node(#[from] node::Error),
    #[error(transparent)]
    Stop(#[from] Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Stop(error.into())
    }
}

struct Follower<'a> {
    context: &'a Context,
    writer: Writer,
    watch: Watch,
    tail: Tail,
    partitions: Partitions,
    row_types: RowTypes,
    pace: Pace,
    /// Whether the mirror is what this deployment and this program make.
    upgraded: bool,
    earlier: Earlier,
}

impl<'a> Follower<'a> {
    async fn load(context: &'a Context, mut writer: Writer) -> Result<Self, Error> {
        let config = &context.config;
        let identity = Identity {
            chain_id: context.chain_id,
            start_block: context.targets.start_block,
            usdc: context.targets.usdc,
            transfers: config.transfers.as_str(),
            raw: config.raw,
            finality_blocks: context.finality_blocks,
        };
        store::register(&mut writer.conn, &identity).await?;
        store::watch(&mut writer.conn, &context.targets.contracts, context.targets.start_block).await?;
        let recent = store::load_recent(&mut writer.conn, context.finality_blocks).await?;
        let tail = Tail::new(context.targets.start_block, context.finality_blocks, recent);
        let watch = Watch::new(context.targets.usdc, &[], config.transfers);
        let partitions = Partitions::load(&mut writer.conn).await?;
        let row_types = RowTypes::load(&mut writer.conn).await?;
        let pace = Pace::new(context.node.is_local());
        let mut follower =
            Self { context, writer, watch, tail, partitions, row_types, pace, upgraded: false, earlier: Earlier::default() };
        follower.reload_watch(None).await?;
        Ok(follower)
    }

    /// Watches what the mirror says is ours, as of block `until`.
    async fn reload_watch(&mut self, until: Option<u64>) -> Result<(), sqlx::Error> {
        let deployed = store::load_watched(&mut self.writer.conn).await?;
        let mut watch = Watch::new(self.context.targets.usdc, &deployed, self.context.config.transfers);
        for (address, kind) in store::load_children(&mut self.writer.conn, until).await? {
            watch.add(address, kind);
        }
        self.watch = watch;
        Ok(())
    }

    async fn follow(&mut self, shutdown: &CancellationToken) -> Result<(), Error> {
        while !shutdown.is_cancelled() {
            let wait = match self.advance(shutdown).await {
                Ok(outcome) => {
                    self.note_progress(&outcome).await?;
                    self.pace.after(&outcome, self.context.node.heads().are_pushed())
                }
                Err(Failure::Stop(error)) => return Err(self.stop(error).await),
                Err(Failure::Node(error)) => self.recover(&error).await?,
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.context.node.heads().wait() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        Ok(())
    }

    async fn note_progress(&mut self, outcome: &Outcome) -> Result<(), Error> {
        let head = self.context.counters.head();
        match outcome {
            Outcome::Current | Outcome::NodeBehind if self.pace.due_to_record() => {
                store::record_progress(&mut self.writer.conn, head, None).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Says why the mirror stops where it is, as far as the database can still be told.
    async fn stop(&mut self, error: Error) -> Error {
        let _ = store::record_progress(&mut self.writer.conn, None, Some(&error.to_string())).await;
        error
    }

    async fn recover(&mut self, error: &node::Error) -> Result<Duration, Error> {
        warn!(%error, "the node gave no usable answer, asking again");
        self.context.counters.count_failure(error.is_lie());
        // Contracts of blocks that were looked at but not committed may be in it.
        self.reload_watch(None).await?;
        store::record_progress(&mut self.writer.conn, None, Some(&error.to_string())).await?;
        Ok(self.pace.after_failure())
    }

    async fn advance(&mut self, shutdown: &CancellationToken) -> Result<Outcome, Failure> {
        if !self.upgraded {
            self.upgrade(shutdown).await?;
            return Ok(Outcome::Advanced);
        }
        let pushed = self.tail.tip().and_then(|tip| self.context.node.pushed_after(tip.hash));
        let is_pushed = pushed.is_some();
        let head = match pushed {
            Some(head) => head,
            None => self.context.node.head().await?,
        };
        self.context.counters.saw_head(head.number());
        if head.number() < self.tail.start_block() {
            return Ok(Outcome::Current);
        }
        if self.is_final(&head).await? {
            return Ok(Outcome::NodeBehind);
        }
        let outcome = if self.tail.contains(head.number(), head.hash()) {
            self.at_or_behind(&head).await?
        } else if head.number() > self.tail.end() + LIVE_BLOCKS {
            self.catch_up(head.number(), shutdown).await?;
            return Ok(Outcome::Advanced);
        } else {
            let outcome = self.follow_head(head).await?;
            if is_pushed {
                self.context.counters.count_pushed();
            }
            outcome
        };
        // Only now: the rows are visible already.
        self.partitions.tend(&mut self.writer.conn, &self.context.config.database_url, self.tail.end()).await?;
        self.fetch_earlier(shutdown).await?;
        Ok(outcome)
    }

    /// Whether the node's newest block is one of ours that cannot be undone: it is only far behind.
    async fn is_final(&mut self, head: &Header) -> Result<bool, Failure> {
        let is_older = self.tail.oldest_ancestor().is_some_and(|oldest| head.number() < oldest.number);
        Ok(is_older && store::hash_of(&mut self.writer.conn, head.number()).await? == Some(head.hash()))
    }

    /// The node's newest block is one that we have. Ours above it go only when the endpoints agree that they are gone.
    async fn at_or_behind(&mut self, head: &Header) -> Result<Outcome, Failure> {
        let Some(tip) = self.tail.tip().filter(|tip| tip.number > head.number()) else {
            self.pace.node_is_ahead();
            return Ok(Outcome::Current);
        };
        let node = &self.context.node;
        if node.find(tip.hash).await?.is_some() || !self.pace.node_stays_behind() || !node.is_gone(tip.hash).await {
            return Ok(Outcome::NodeBehind);
        }
        self.undo_to(head.number(), Tip { number: head.number(), hash: head.hash() }).await?;
        Ok(Outcome::Advanced)
    }

    /// Adds blocks up to the node's newest, then remembers them.
    async fn append(&mut self, blocks: &[Block]) -> Result<(), Failure> {
        store::append(&mut self.writer.conn, self.context.config.raw, &self.row_types, blocks).await?;
        let mut added = Added::default();
        added.add(blocks);
        self.remember(added);
        Ok(())
    }

    /// Commits blocks near the tip and forgets others, then remembers them.
    async fn commit(&mut self, undo: Option<Undo>, blocks: &[Block]) -> Result<(), Failure> {
        let mut step = Step::begin(&mut self.writer.conn, self.context.config.raw, undo).await?;
        step.add(blocks, &mut self.partitions).await?;
        step.commit().await?;
        if let Some(undo) = &undo {
            info!(ancestor = undo.ancestor, old_tip = undo.old.number, new_tip = undo.new.number, "the chain reorganised");
            self.tail.truncate(undo.ancestor);
            self.context.counters.count_reorg();
        }
        let mut added = Added::default();
        added.add(blocks);
        self.remember(added);
        Ok(())
    }

    /// Blocks that were committed.
    fn remember(&mut self, added: Added) {
        added.tips.iter().for_each(|tip| self.tail.push(*tip));
        self.context.counters.committed(self.tail.tip().map(|tip| tip.number), &added);
    }
}

/// What a transaction adds.
#[derive(Debug, Default)]
pub(crate) struct Added {
    pub(crate) tips: Vec<Tip>,
    pub(crate) events: usize,
    pub(crate) transfers: usize,
}

impl Added {
    fn add(&mut self, blocks: &[Block]) {
        for block in blocks {
            self.tips.push(Tip { number: block.number, hash: block.hash });
            self.events += block.events.len();
            self.transfers += block.transfers.len();
        }
    }

    fn rows(&self) -> usize {
        self.tips.len() + self.events + self.transfers
    }
}

/// Turns a fetched block into rows. Blocks are taken in order, because a block may create contracts that later ones involve.
async fn mirror(node: &Node, watch: &mut Watch, fetched: Fetched) -> Result<Block, Failure> {
    let Fetched { header, mut receipts } = fetched;
    match (may_touch(watch, &header), &receipts) {
        (true, None) => receipts = Some(node.receipts_of(&header).await?),
        (false, Some(_)) => receipts = None,
        _ => {}
    }
    Ok(block::mirror(&header, receipts.as_deref(), watch)?)
}

/// False only when it is sure that the block holds nothing to mirror: a bloom that nothing proves is not asked.
fn may_touch(watch: &Watch, header: &Header) -> bool {
    header.is_told() || watch.may_touch(header.bloom())
}

/// A block with its receipts, if it could hold anything of what was watched when it was fetched.
#[derive(Debug)]
struct Fetched {
    header: Header,
    receipts: Option<Vec<Receipt>>,
}

impl Fetched {
    /// Fetches the receipts of those blocks that could hold anything watched.
    async fn complete(node: &Node, watch: &Watch, headers: Vec<Header>) -> Result<Vec<Self>, node::Error> {
        let mut fetched: Vec<Self> = headers.into_iter().map(|header| Self { header, receipts: None }).collect();
        let mut touched: Vec<&mut Self> = fetched.iter_mut().filter(|block| may_touch(watch, &block.header)).collect();
        for blocks in touched.chunks_mut(RECEIPTS_BLOCKS_MAX) {
            let headers: Vec<&Header> = blocks.iter().map(|block| &block.header).collect();
            // One bad answer spoils the batch; asking one by one finds out which.
            let together = node.receipts(&headers).await.ok();
            let mut together = together.into_iter().flatten();
            for block in blocks {
                block.receipts = Some(match together.next() {
                    Some(receipts) => receipts,
                    None => node.receipts_of(&block.header).await?,
                });
            }
        }
        Ok(fetched)
    }
}
