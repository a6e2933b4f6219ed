//! How often keys were asked for lately, whether they are kept or not.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Rows of the sketch: a key's count is the least of its four.
const ROWS: u64 = 4;
/// Cells of a row per blob that fits. So few keys share one that a scan of keys that are asked for once does not look wanted.
const CELLS_PER_BLOB: u64 = 4;
/// Asks per blob that fits, after which all counts are halved.
const ASKS_PER_BLOB: u64 = 10;

/// A count-min sketch with conservative update whose counts are halved as asks go by, as in TinyLFU (Einziger, Friedman, Manes 2017).
/// It overestimates when keys meet in all four rows, never the other way round, and takes 16 bytes for each blob that fits.
#[derive(Debug)]
pub(crate) struct Counts {
    cells: Box<[AtomicU8]>,
    asks: AtomicU64,
    halve_after: u64,
}

impl Counts {
    /// For about so many blobs kept.
    pub(crate) fn new(blobs: u64) -> Self {
        let blobs = blobs.clamp(64, 1 << 24).next_power_of_two();
        let cells = (0..blobs * CELLS_PER_BLOB * ROWS).map(|_| AtomicU8::new(0));
        Self { cells: cells.collect(), asks: AtomicU64::new(0), halve_after: blobs * ASKS_PER_BLOB }
    }

    /// Counts an ask. Counts that two threads raise at once may be one short: an estimate is all that is asked of them.
    pub(crate) fn ask(&self, hash: u64) {
        let cells = self.cells(hash);
        let least = cells.iter().map(|cell| cell.load(Ordering::Relaxed)).min().unwrap_or(u8::MAX);
        if least < u8::MAX {
            for cell in cells {
                let _ = cell.compare_exchange(least, least + 1, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
        if self.asks.fetch_add(1, Ordering::Relaxed) + 1 == self.halve_after {
            self.asks.store(0, Ordering::Relaxed);
            for cell in &self.cells {
                let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| Some(count / 2));
            }
        }
    }

    /// How often it was asked for, at least 1.
    pub(crate) fn of(&self, hash: u64) -> u64 {
        self.cells(hash).iter().map(|cell| u64::from(cell.load(Ordering::Relaxed))).min().unwrap_or(0).max(1)
    }

    fn cells(&self, hash: u64) -> [&AtomicU8; ROWS as usize] {
        let row_len = self.cells.len() as u64 / ROWS;
        // The halves of the hash make as many independent ones as wanted (Kirsch, Mitzenmacher 2006).
        let (first, step) = (hash & 0xffff_ffff, hash >> 32 | 1);
        std::array::from_fn(|row| {
            let row = row as u64;
            let mixed = (first.wrapping_add(step.wrapping_mul(row))).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            &self.cells[(row * row_len + (mixed & (row_len - 1))) as usize]
        })
    }
}
