use std::sync::atomic::{AtomicU64, Ordering};

use crate::{sync::Added, verify::COMPARED};

/// What the writer of this process did since it started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    head: AtomicU64,
    tip: AtomicU64,
    blocks: AtomicU64,
    pushed: AtomicU64,
    events: AtomicU64,
    transfers: AtomicU64,
    reorgs: AtomicU64,
    node_failures: AtomicU64,
    proof_failures: AtomicU64,
    reconciliations: AtomicU64,
    differences: [AtomicU64; COMPARED.len()],
}

impl Counters {
    pub(crate) fn saw_head(&self, number: u64) {
        self.head.store(number, Ordering::Relaxed);
    }

    pub(crate) fn head(&self) -> Option<u64> {
        Some(self.head.load(Ordering::Relaxed)).filter(|number| *number > 0)
    }

    pub(crate) fn count_pushed(&self) {
        self.pushed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_reorg(&self) {
        self.reorgs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_failure(&self, lie: bool) {
        self.node_failures.fetch_add(1, Ordering::Relaxed);
        if lie {
            self.proof_failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The state was compared with the chain.
    pub(crate) fn reconciled(&self, differences: [u64; COMPARED.len()]) {
        for (kept, found) in self.differences.iter().zip(differences) {
            kept.store(found, Ordering::Relaxed);
        }
        self.reconciliations.fetch_add(1, Ordering::Relaxed);
    }

    /// What the last comparison with the chain found in each of [`COMPARED`]; it must be zero.
    pub(crate) fn differences(&self) -> impl Iterator<Item = (&'static str, u64)> {
        COMPARED.into_iter().zip(self.differences.iter().map(|found| found.load(Ordering::Relaxed)))
    }

    pub(crate) fn committed(&self, tip: Option<u64>, added: &Added) {
        let count =
            |counter: &AtomicU64, rows: usize| counter.fetch_add(u64::try_from(rows).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.tip.store(tip.unwrap_or_default(), Ordering::Relaxed);
        count(&self.blocks, added.tips.len());
        count(&self.events, added.events);
        count(&self.transfers, added.transfers);
    }

    /// Events and transfers committed so far.
    pub(crate) fn rows(&self) -> u64 {
        self.events.load(Ordering::Relaxed) + self.transfers.load(Ordering::Relaxed)
    }

    /// Name, help and value of each counter.
    pub(crate) fn counts(&self) -> [(&'static str, &'static str, u64); 8] {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("florin_indexer_blocks_total", "Blocks committed by this process.", load(&self.blocks)),
            ("florin_indexer_pushed_blocks_total", "Of them, those that the node pushed.", load(&self.pushed)),
            ("florin_indexer_events_total", "Events committed by this process.", load(&self.events)),
            ("florin_indexer_transfers_total", "USDC transfers committed by this process.", load(&self.transfers)),
            ("florin_indexer_reorgs_total", "Reorganisations followed by this process.", load(&self.reorgs)),
            ("florin_indexer_node_failures_total", "Requests to the node without a usable answer.", load(&self.node_failures)),
            (
                "florin_indexer_reconciliations_total",
                "Comparisons of every mirrored balance and object with the chain.",
                load(&self.reconciliations),
            ),
            ("florin_indexer_proof_failures_total", "Answers that contradicted the block's hash.", load(&self.proof_failures)),
        ]
    }
}
