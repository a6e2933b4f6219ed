//! How much our cache finds beside published ones, on the same requests and the same bytes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use cache::{Found, Limits, Tier, Tiers};
use clap::Parser;
use foyer_memory::{CacheBuilder, EvictionConfig, LfuConfig, LruConfig, S3FifoConfig};
use rand::{SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, Zipf};

const LEN_MIN_BYTES: f64 = 512.0;
const LEN_MAX_BYTES: f64 = 65_536.0;
static BODY: [u8; LEN_MAX_BYTES as usize] = [0; LEN_MAX_BYTES as usize];

/// Asks each cache for the same blobs: keys by Zipf's law, each of 0.5 to 64 KiB, every length as likely on a logarithmic scale (or on a plain one). The
/// first quarter only fills. Each row is the median of the rounds, which differ by their seed.
#[derive(Parser)]
struct Args {
    /// Bytes of blobs that each cache may keep.
    #[arg(long, default_value_t = 256)]
    budget_mib: u64,
    /// Different blobs.
    #[arg(long, default_value_t = 200_000)]
    keys: u64,
    /// Requests a round.
    #[arg(long, default_value_t = 1_000_000)]
    asks: usize,
    /// Rounds.
    #[arg(long, default_value_t = 3)]
    rounds: u64,
}

/// One request after the other: `true` if the blob was there.
type Ask = Box<dyn FnMut(u64, u32) -> bool>;

fn main() {
    let args = Args::parse();
    for plain in [false, true] {
        for exponent in [0.8, 1.0] {
            println!("\nzipf {exponent}, lengths even on a {} scale: found, ns a request", if plain { "plain" } else { "logarithmic" });
            let mut rows: Vec<(&str, Vec<(f64, f64)>)> = Vec::new();
            for round in 0..args.rounds {
                let zipf = Zipf::new(args.keys as f64, exponent).expect("a law");
                let mut random = StdRng::seed_from_u64(round);
                let trace: Vec<_> = (0..args.asks).map(|_| zipf.sample(&mut random) as u64).map(|key| (key, len(key, plain))).collect();
                for (row, (name, ask)) in caches(&args).into_iter().enumerate() {
                    if rows.len() == row {
                        rows.push((name, Vec::new()));
                    }
                    rows[row].1.push(measured(&trace, ask));
                }
            }
            for (name, mut found) in rows {
                found.sort_by(|a, b| a.0.total_cmp(&b.0));
                let (ratio, ns) = found[found.len() / 2];
                println!("{name:>22}  {:6.2} %  {ns:6.0}", ratio * 100.0);
            }
        }
    }
}

/// A blob's length follows from its key.
fn len(key: u64, plain: bool) -> u32 {
    let mut mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let at = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
    let len = if plain { LEN_MIN_BYTES + at * (LEN_MAX_BYTES - LEN_MIN_BYTES) } else { LEN_MIN_BYTES * (LEN_MAX_BYTES / LEN_MIN_BYTES).powf(at) };
    len as u32
}

fn measured(trace: &[(u64, u32)], mut ask: Ask) -> (f64, f64) {
    let (fill, counted) = trace.split_at(trace.len() / 4);
    for (key, len) in fill {
        ask(*key, *len);
    }
    let begun = Instant::now();
    let found = counted.iter().filter(|(key, len)| ask(*key, *len)).count();
    (found as f64 / counted.len() as f64, begun.elapsed().as_nanos() as f64 / counted.len() as f64)
}

fn caches(args: &Args) -> Vec<(&'static str, Ask)> {
    let budget = args.budget_mib << 20;
    let foyer = |eviction: EvictionConfig| -> Ask {
        let cache: foyer_memory::Cache<u64, u32> = CacheBuilder::new(budget as usize).with_eviction_config(eviction).with_weighter(|_: &u64, len: &u32| *len as usize).build();
        Box::new(move |key, len| cache.get(&key).is_some() || {
            cache.insert(key, len);
            false
        })
    };
    let quick = quick_cache::sync::Cache::with_weighter(budget as usize / 16_384, budget, Weighter);
    let moka = moka::sync::Cache::builder().max_capacity(budget).weigher(|_: &u64, len: &u32| *len).build();
    vec![
        ("ours, all tiers", ours(budget)),
        ("quick_cache", Box::new(move |key, len| quick.get(&key).is_some() || {
            quick.insert(key, len);
            false
        })),
        ("moka", Box::new(move |key, len| moka.get(&key).is_some() || {
            moka.insert(key, len);
            false
        })),
        ("foyer, S3-FIFO", foyer(S3FifoConfig::default().into())),
        ("foyer, w-TinyLFU", foyer(LfuConfig::default().into())),
        ("foyer, LRU", foyer(LruConfig::default().into())),
    ]
}

/// With everything it does for a service: its budget is also for what is being fetched and sent.
fn ours(budget_bytes: u64) -> Ask {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let tiers = Tiers::new(Limits { budget_bytes, blob_len_max_bytes: 8 << 20, warm_for: Duration::from_secs(300) });
    Box::new(move |key, len| {
        let mut name = [0; 32];
        name[..8].copy_from_slice(&key.to_le_bytes());
        let fetch = async { Ok(Bytes::from_static(&BODY[..len as usize])) };
        let found = runtime.block_on(tiers.get(name, len.into(), fetch)).expect("it is there");
        assert!(tiers.bytes() <= budget_bytes);
        matches!(found, Found::Held(_, Tier::Hot | Tier::Warm))
    })
}

#[derive(Clone)]
struct Weighter;

impl quick_cache::Weighter<u64, u32> for Weighter {
    fn weight(&self, _: &u64, len: &u32) -> u64 {
        (*len).into()
    }
}
