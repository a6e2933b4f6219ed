//! What is kept is worth keeping.
#![allow(clippy::float_arithmetic)]

use cache::Hot;

const KEYS: usize = 20_000;
const BUDGET_BYTES: u64 = 24 << 20;

/// Keys by Zipf's law with exponent 1, and their lengths from 0.5 to 64 KiB: the same every time.
struct Trace {
    sums: Vec<f64>,
    random: u64,
}

impl Trace {
    fn new() -> Self {
        let sums = (1..=KEYS).scan(0.0, |sum, rank| {
            *sum += 1.0 / rank as f64;
            Some(*sum)
        });
        Self { sums: sums.collect(), random: 42 }
    }

    fn next(&mut self) -> (u64, u64) {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (self.random >> 11) as f64 / (1_u64 << 53) as f64 * self.sums[KEYS - 1];
        let key = self.sums.partition_point(|sum| *sum < at) as u64;
        (key, 512 + (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48))
    }
}

#[tokio::test]
async fn more_is_found_than_by_a_cache_that_does_not_weigh_worth_against_length() {
    let ours = Hot::new(BUDGET_BYTES);
    let peer = moka::future::Cache::builder().max_capacity(BUDGET_BYTES).weigher(|_: &u64, len: &u64| *len as u32).build();
    let (mut trace, mut hits, mut hits_peer) = (Trace::new(), 0, 0);
    for _ in 0..150_000 {
        let (key, len) = trace.next();
        match ours.get(&key) {
            Some(()) => hits += 1,
            None => drop(ours.offer(key, (), len)),
        }
        match peer.get(&key).await {
            Some(_) => hits_peer += 1,
            None => peer.insert(key, len).await,
        }
    }
    assert!(hits > hits_peer, "{hits} of 150,000 beside {hits_peer}");
}
