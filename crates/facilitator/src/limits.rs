//! How often somebody may ask.

use std::{
    collections::HashMap,
    hash::Hash,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Seconds' worth of requests that may come at once.
const BURST_SECONDS: u64 = 10;
/// Callers that are told apart at a time. Beyond it, newcomers share what one may ask.
const CALLERS_MAX: usize = 65_536;

/// A rate for each caller. Of a caller only one time is kept: when what it has asked for so far would be used up at the rate (the "generic cell
/// rate algorithm", as good as a bucket of tokens). Whose time has passed is as good as unknown.
pub(crate) struct Limits<K> {
    interval: Duration,
    callers: Mutex<Callers<K>>,
}

struct Callers<K> {
    used_up_at: HashMap<K, Instant>,
    others_used_up_at: Option<Instant>,
    swept_at: Instant,
}

impl<K: Eq + Hash> Limits<K> {
    /// `rate` requests a second.
    pub(crate) fn new(rate: NonZeroU32) -> Self {
        let callers = Callers { used_up_at: HashMap::new(), others_used_up_at: None, swept_at: Instant::now() };
        Self { interval: Duration::from_secs(1) / rate.get(), callers: Mutex::new(callers) }
    }

    /// Counts a request at `now`, unless it is one too many: then how long to wait.
    pub(crate) fn admit(&self, caller: K, now: Instant) -> Result<(), Duration> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let Callers { used_up_at, others_used_up_at, swept_at } = &mut *callers;
        let known = used_up_at.get(&caller).copied();
        if known.is_none()
            && used_up_at.len() >= CALLERS_MAX
            && now.saturating_duration_since(*swept_at) >= Duration::from_secs(1)
        {
            *swept_at = now;
            used_up_at.retain(|_, at| *at > now);
        }
        let is_other = known.is_none() && used_up_at.len() >= CALLERS_MAX;
        let before = if is_other { *others_used_up_at } else { known };
        let after = before.map_or(now, |at| at.max(now)) + self.interval;
        let latest = now + Duration::from_secs(BURST_SECONDS).max(self.interval);
        if after > latest {
            return Err(after - latest);
        }
        if is_other {
            *others_used_up_at = Some(after);
        } else {
            used_up_at.insert(caller, after);
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::{collection, prelude::*};

    use super::*;

    fn limits(rate: u32) -> Limits<u32> {
        Limits::new(NonZeroU32::new(rate).unwrap())
    }

    #[test]
    fn after_a_burst_a_caller_waits_and_another_does_not() {
        let (limits, now) = (limits(2), Instant::now());
        assert_eq!((0..30).filter(|_| limits.admit(1, now).is_ok()).count(), 20);
        let wait = limits.admit(1, now).unwrap_err();
        assert_eq!(wait, Duration::from_millis(500));
        assert!(limits.admit(1, now + wait).is_ok());
        assert!(limits.admit(2, now).is_ok());
    }

    #[test]
    fn a_crowd_of_callers_does_not_grow_the_table() {
        let (limits, now) = (limits(1), Instant::now());
        let crowd = 2 * CALLERS_MAX as u32;
        let let_through = (0..crowd).filter(|caller| limits.admit(*caller, now).is_ok()).count();
        assert_eq!(limits.callers.lock().unwrap().used_up_at.len(), CALLERS_MAX);
        assert_eq!(let_through, CALLERS_MAX + 10, "the rest shares what one may ask");
        assert!(limits.admit(crowd, now + Duration::from_secs(60)).is_ok());
        assert_eq!(limits.callers.lock().unwrap().used_up_at.len(), 1, "who has not asked for long is forgotten");
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_the_rate_and_one_burst(rate in 1_u32..50, gaps in collection::vec(0_u64..400, 1..300)) {
            let (limits, start) = (limits(rate), Instant::now());
            let (mut now, mut let_through) = (start, 0_u64);
            for gap in gaps {
                now += Duration::from_millis(gap);
                let_through += u64::from(limits.admit(0, now).is_ok());
                let most = u64::from(rate) * (BURST_SECONDS * 1_000 + (now - start).as_millis() as u64 + 1) / 1_000;
                prop_assert!(let_through <= most + 1);
            }
        }
    }
}
