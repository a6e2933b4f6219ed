use std::collections::VecDeque;

use alloy::primitives::B256;

use crate::store::Tip;

/// The newest blocks of the mirror: those that may still be undone, and the final one before them.
#[derive(Debug)]
pub(super) struct Tail {
    start_block: u64,
    finality_blocks: u64,
    /// Consecutive numbers, oldest first.
    tips: VecDeque<Tip>,
}

impl Tail {
    /// `recent` are the newest blocks of the mirror, oldest first.
    pub(super) fn new(start_block: u64, finality_blocks: u64, recent: Vec<Tip>) -> Self {
        Self { start_block, finality_blocks, tips: recent.into() }
    }

    pub(super) fn tip(&self) -> Option<Tip> {
        self.tips.back().copied()
    }

    /// First block that is not mirrored.
    pub(super) fn end(&self) -> u64 {
        self.tip().map_or(self.start_block, |tip| tip.number + 1)
    }

    pub(super) fn start_block(&self) -> u64 {
        self.start_block
    }

    /// The oldest block that a reorganisation may leave as ancestor; nothing when all blocks may go.
    pub(super) fn oldest_ancestor(&self) -> Option<Tip> {
        let oldest = self.tips.front()?;
        // Everything since the start is held, and not yet deep enough to be final. A genesis block is always final.
        let all_revocable = oldest.number == self.start_block && oldest.number > 0 && self.len() <= self.finality_blocks;
        (!all_revocable).then_some(*oldest)
    }

    fn len(&self) -> u64 {
        u64::try_from(self.tips.len()).expect("usize fits in u64")
    }

    pub(super) fn hash_at(&self, number: u64) -> Option<B256> {
        let oldest = self.tips.front()?.number;
        let at = usize::try_from(number.checked_sub(oldest)?).ok()?;
        self.tips.get(at).map(|tip| tip.hash)
    }

    pub(super) fn contains(&self, number: u64, hash: B256) -> bool {
        self.hash_at(number) == Some(hash)
    }

    /// Appends the block after the tip.
    pub(super) fn push(&mut self, tip: Tip) {
        debug_assert_eq!(tip.number, self.end(), "blocks are committed in order");
        self.tips.push_back(tip);
        while self.len() > self.finality_blocks + 1 {
            self.tips.pop_front();
        }
    }

    /// Forgets everything above `ancestor`.
    pub(super) fn truncate(&mut self, ancestor: u64) {
        while self.tips.back().is_some_and(|tip| tip.number > ancestor) {
            self.tips.pop_back();
        }
    }
}
