//! Hot, warm and cold together.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use cache::{Found, Key, Limits, Tier, Tiers};
use tokio::{sync::Semaphore, task::JoinSet};

const BUDGET_BYTES: u64 = 1 << 20;

fn tiers() -> Tiers {
    Tiers::new(Limits { budget_bytes: BUDGET_BYTES, blob_len_max_bytes: 64 << 10, warm_for: Duration::from_secs(300) })
}

fn key(n: u64) -> Key {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&n.to_be_bytes());
    key
}

async fn blob(n: u64, len: u64) -> io::Result<Bytes> {
    Ok(vec![n as u8; len as usize].into())
}

fn held(found: Found) -> (Bytes, Tier) {
    match found {
        Found::Held(bytes, tier) => (bytes, tier),
        Found::Apart => panic!("not in memory"),
    }
}

/// So many ask for one key while it cannot be answered yet; returns what they got and how often it was fetched.
async fn crowd(tiers: &Tiers, answer: fn() -> io::Result<Bytes>) -> (Vec<io::Result<Found>>, u64) {
    let (fetches, go) = (Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(0)));
    let mut asking = JoinSet::new();
    for _ in 0..10_000 {
        let (tiers, fetches, go) = (tiers.clone(), fetches.clone(), go.clone());
        asking.spawn(async move {
            let fetch = async {
                fetches.fetch_add(1, Ordering::Relaxed);
                let _ = go.acquire().await.unwrap();
                answer()
            };
            tiers.get(key(1), 1_000, fetch).await
        });
    }
    // Everybody has asked before the first is answered.
    while fetches.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    go.add_permits(1);
    (asking.join_all().await, fetches.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_crowd_fetches_once() {
    let tiers = tiers();
    let (found, fetches) = crowd(&tiers, || Ok(vec![7; 1_000].into())).await;
    assert_eq!((found.len(), fetches, tiers.fetched()), (10_000, 1, 1));
    assert!(found.into_iter().all(|found| held(found.unwrap()).0 == vec![7; 1_000]));
    assert_eq!(tiers.bytes(), 1_000, "one copy, whoever has it");
}

#[tokio::test]
async fn a_crowd_gets_one_error_and_what_is_gone_is_not_asked_for_again_at_once() {
    let tiers = tiers();
    let (found, fetches) = crowd(&tiers, || Err(io::ErrorKind::NotFound.into())).await;
    assert!(found.iter().all(|found| found.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)));
    assert_eq!((fetches, tiers.bytes()), (1, 0));
    assert!(tiers.get(key(1), 1_000, async { panic!("asked the store again") }).await.is_err());
    // It was stored anew.
    tiers.forget(&key(1)).await;
    assert_eq!(held(tiers.get(key(1), 1_000, blob(1, 1_000)).await.unwrap()).1, Tier::Cold);

    let outage = tiers.get(key(2), 1_000, async { Err(io::ErrorKind::TimedOut.into()) }).await;
    assert_eq!(outage.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(tiers.get(key(2), 1_000, blob(2, 1_000)).await.is_ok(), "an outage says nothing of the blob");
}

#[tokio::test]
async fn a_blob_becomes_hot_when_it_is_worth_it_and_forgotten_when_told() {
    let tiers = tiers();
    let len = 10_000;
    // The first fill the hot tier, and are wanted more often than a newcomer.
    for _ in 0..3 {
        for n in 0..100 {
            tiers.get(key(n), len, blob(n, len)).await.unwrap();
        }
    }
    let ask = || async { held(tiers.get(key(1_000), len, blob(1_000, len)).await.unwrap()).1 };
    let mut seen = vec![ask().await];
    while seen.last() != Some(&Tier::Hot) && seen.len() < 1_000 {
        seen.push(ask().await);
    }
    assert_eq!((seen[0], seen[1], seen.last()), (Tier::Cold, Tier::Warm, Some(&Tier::Hot)));
    tiers.forget(&key(1_000)).await;
    assert_eq!(ask().await, Tier::Cold);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_stays_within_the_budget_whatever_is_being_sent() {
    let tiers = tiers();
    let mut busy = JoinSet::new();
    for worker in 0..8_u64 {
        let tiers = tiers.clone();
        busy.spawn(async move {
            // Slow readers: what they are sent stays in memory after it has left the cache.
            let (mut sent, mut apart) = (Vec::new(), 0);
            for n in 0..2_000 {
                let n = worker * 1_000 + n;
                let len = 100 + n * 7_919 % 60_000;
                match tiers.get(key(n), len, blob(n, len)).await.unwrap() {
                    Found::Held(bytes, _) => {
                        assert!(bytes.len() as u64 == len && bytes.iter().all(|byte| *byte == n as u8));
                        sent.push(bytes);
                    }
                    Found::Apart => apart += 1,
                }
                assert!(tiers.bytes() <= BUDGET_BYTES);
                if sent.len() > 100 {
                    sent.drain(..90);
                }
            }
            apart
        });
    }
    assert!(busy.join_all().await.into_iter().sum::<u64>() > 0, "there was not always room");
    for n in 0..10_000 {
        tiers.forget(&key(n)).await;
    }
    while tiers.bytes() > 0 {
        // What left is given back by the cache's own pace.
        tiers.get(key(u64::MAX), 1, async { Err(io::ErrorKind::TimedOut.into()) }).await.unwrap_err();
        tokio::task::yield_now().await;
    }
}
