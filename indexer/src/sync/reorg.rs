//! Near the tip: blocks by hash, and what to do when they do not continue ours.

use super::{Error, Failure, Fetched, Follower, Header, Outcome, Tip, Undo, mirror};

impl Follower<'_> {
    /// Makes `head` the tip: walks back from it to a block of ours, then replaces what is above that block in one transaction.
    pub(super) async fn follow_head(&mut self, head: Header) -> Result<Outcome, Failure> {
        let new = Tip { number: head.number(), hash: head.hash() };
        let branch = self.branch(head).await?;
        let first = branch.first().map_or(new.number, Header::number);
        let undo = self.undo_for(first, new)?;
        if let Some(undo) = &undo {
            self.reload_watch(Some(undo.ancestor)).await?;
        }
        let fetched = Fetched::complete(&self.context.node, &self.watch, branch).await?;
        let mut blocks = Vec::with_capacity(fetched.len());
        for block in fetched {
            blocks.push(mirror(&self.context.node, &mut self.watch, block).await?);
        }
        if undo.is_none() && self.partitions.cover_already(first, new.number) {
            self.append(&blocks).await?;
            return Ok(Outcome::Completed);
        }
        self.commit(undo, &blocks).await?;
        Ok(Outcome::Advanced)
    }

    /// The blocks from the first that is not ours to `head`, oldest first.
    async fn branch(&self, head: Header) -> Result<Vec<Header>, Failure> {
        let mut branch = vec![head];
        loop {
            let oldest = branch.last().expect("it begins with one");
            let parent = oldest.number().checked_sub(1);
            let joins = match parent {
                Some(parent) if oldest.number() > self.tail.start_block() => self.tail.contains(parent, oldest.parent_hash()),
                _ => true,
            };
            if joins {
                branch.reverse();
                return Ok(branch);
            }
            self.check_depth(oldest.number() - 1)?;
            branch.push(self.context.node.block(oldest.parent_hash()).await?);
        }
    }

    /// What must go so that block `first` can follow.
    fn undo_for(&self, first: u64, new: Tip) -> Result<Option<Undo>, Failure> {
        let Some(old) = self.tail.tip().filter(|tip| tip.number >= first) else { return Ok(None) };
        self.check_depth(first)?;
        Ok(Some(Undo { ancestor: first - 1, old, new }))
    }

    /// Whether block `number` of ours, if there is one, may be undone.
    fn check_depth(&self, number: u64) -> Result<(), Failure> {
        match self.tail.oldest_ancestor() {
            Some(last) if number <= last.number => Err(Failure::Stop(Error::ReorgTooDeep {
                block: last.number,
                hash: last.hash,
                finality_blocks: self.context.finality_blocks,
            })),
            _ => Ok(()),
        }
    }

    /// Removes blocks above `ancestor` without replacing them yet.
    pub(super) async fn undo_to(&mut self, ancestor: u64, new: Tip) -> Result<(), Failure> {
        let Some(undo) = self.undo_for(ancestor + 1, new)? else { return Ok(()) };
        self.commit(Some(undo), &[]).await?;
        self.reload_watch(None).await?;
        Ok(())
    }

    /// The newest block that the node's chain still shares with ours, looked for by number; the one before the start block if none.
    pub(super) async fn common_ancestor(&self) -> Result<Option<u64>, Failure> {
        let Some(tip) = self.tail.tip() else { return Ok(None) };
        let mut number = tip.number;
        loop {
            let theirs = self.context.node.header(number).await?;
            if self.tail.contains(number, theirs.hash()) {
                return Ok(Some(number));
            }
            self.check_depth(number)?;
            number -= 1;
            if number < self.tail.start_block() {
                return Ok(Some(number));
            }
        }
    }
}
