//! The hot tier.

use std::collections::HashMap;

use cache::Hot;
use proptest::prelude::*;

const BUDGET_BYTES: u64 = 10_000;

#[test]
fn what_is_asked_for_more_often_per_byte_stays() {
    let hot = Hot::new(BUDGET_BYTES);
    assert!(hot.offer("big", (), 9_000));
    hot.get(&"small");
    assert!(!hot.offer("other", (), 9_000), "as often, as big: nothing gained");
    // Values of one shard compete: with many small ones, each shard has some.
    for key in (0..10_000_u32).map(|n| n.to_string()) {
        let key: &'static str = key.leak();
        hot.get(&key);
        hot.get(&key);
        hot.offer(key, (), 100);
    }
    assert!(hot.get(&"big").is_none() && hot.evicted() >= 1, "{hot:?}");
}

#[test]
fn a_scan_does_not_drive_out_what_is_wanted() {
    const LEN: u64 = 4096;
    let hot = Hot::new(256 * LEN);
    let wanted = 0..200_u32;
    for _ in 0..5 {
        for key in wanted.clone() {
            if hot.get(&key).is_none() {
                hot.offer(key, (), LEN);
            }
        }
    }
    for key in 1_000..3_000 {
        assert!(hot.get(&key).is_none());
        hot.offer(key, (), LEN);
    }
    let left = wanted.filter(|key| hot.get(key).is_some()).count();
    assert!(left >= 180, "{left} of 200");
}

#[test]
fn of_equals_no_more_are_kept_than_were_wanted_and_a_removed_one_can_be_replaced() {
    const MOST: u64 = 256;
    let hot = Hot::of_equals(MOST);
    for key in 0..10_000_u32 {
        hot.offer(key, 'a', 1);
        assert!(hot.blobs() <= MOST, "{hot:?}");
    }
    assert_eq!((hot.blobs(), hot.get(&0)), (MOST, Some('a')));
    assert!(hot.offer(0, 'b', 1) && hot.get(&0) == Some('a'), "what is kept is not replaced");
    hot.remove(&0);
    assert!(hot.offer(0, 'b', 1) && hot.get(&0) == Some('b'));
}

#[derive(Clone, Debug)]
enum Step {
    Get(u8),
    Offer(u8, u16),
    Remove(u8),
}

/// So few keys that they meet.
const KEYS: u8 = 32;

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![1_u16..500, 500_u16..12_000];
    prop_oneof![
        (0..KEYS).prop_map(Step::Get),
        ((0..KEYS), len).prop_map(|(k, l)| Step::Offer(k, l)),
        (0..KEYS).prop_map(Step::Remove)
    ]
}

proptest! {
    #[test]
    fn the_budget_holds_and_nothing_is_mixed_up(steps in prop::collection::vec(step(), 1..400)) {
        let (hot, mut offered) = (Hot::new(BUDGET_BYTES), HashMap::new());
        for step in steps {
            match step {
                Step::Get(key) => if let Some(len) = hot.get(&key) { prop_assert_eq!(Some(&len), offered.get(&key)) },
                Step::Offer(key, len) => {
                    let had = hot.get(&key).is_some();
                    if hot.offer(key, len, len.into()) && !had {
                        offered.insert(key, len);
                    }
                }
                Step::Remove(key) => {
                    hot.remove(&key);
                    prop_assert!(hot.get(&key).is_none());
                }
            }
            let kept: Vec<u64> = (0..KEYS).filter_map(|key| hot.get(&key)).map(u64::from).collect();
            prop_assert_eq!((hot.blobs(), hot.bytes()), (kept.len() as u64, kept.iter().sum()));
            prop_assert!(hot.bytes() <= BUDGET_BYTES);
        }
    }
}
