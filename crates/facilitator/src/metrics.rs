//! Counters and times in the text format of Prometheus.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Upper bounds of the buckets, in microseconds: from what reading a request takes to what a slow chain takes.
const BUCKETS_MICROS: [u64; 14] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 1_000_000, 2_500_000, 10_000_000, 60_000_000];

/// A part of the work whose time is taken.
#[derive(Clone, Copy)]
pub(crate) enum Stage {
    /// The whole of `/verify`.
    Verify,
    /// The whole of `/settle`, with the waiting for a block.
    Settle,
    /// One round trip to the node, for everybody who goes with it.
    Round,
    /// A settlement's waiting for its turn in a lane.
    Lane,
    /// Writing to the journal what is about to be sent.
    Journal,
    /// Handing transactions to the node.
    Broadcast,
    /// From there to the block that holds a transaction, as it is seen.
    Inclusion,
}

impl Stage {
    const ALL: [(Self, &str); 7] = [
        (Self::Verify, "verify"),
        (Self::Settle, "settle"),
        (Self::Round, "round"),
        (Self::Lane, "lane"),
        (Self::Journal, "journal"),
        (Self::Broadcast, "broadcast"),
        (Self::Inclusion, "inclusion"),
    ];
}

/// Why a request was turned away before it was looked at.
#[derive(Clone, Copy)]
pub(crate) enum Refused {
    /// No API key, or one that is not known.
    Unauthorized,
    /// More often than its rate.
    TooOften,
    /// More bytes than any payment has.
    TooLong,
    /// Its body did not come in time.
    TooSlow,
    /// Too many at once.
    Busy,
}

impl Refused {
    const ALL: [(Self, &str); 5] = [
        (Self::Unauthorized, "unauthorized"),
        (Self::TooOften, "too_often"),
        (Self::TooLong, "too_long"),
        (Self::TooSlow, "too_slow"),
        (Self::Busy, "busy"),
    ];
}

#[derive(Default)]
pub(crate) struct Metrics {
    valid: AtomicU64,
    invalid: AtomicU64,
    settled: AtomicU64,
    unsettled: AtomicU64,
    unavailable: AtomicU64,
    refused: [AtomicU64; Refused::ALL.len()],
    asked: AtomicU64,
    stages: [Histogram; Stage::ALL.len()],
}

#[derive(Default)]
struct Histogram {
    /// One more than bounds: what is above all of them.
    buckets: [AtomicU64; BUCKETS_MICROS.len() + 1],
    micros: AtomicU64,
}

impl Metrics {
    pub(crate) fn verified(&self, valid: bool) {
        if valid { &self.valid } else { &self.invalid }.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn settled(&self, success: bool) {
        if success { &self.settled } else { &self.unsettled }.fetch_add(1, Ordering::Relaxed);
    }

    /// The node or the database failed.
    pub(crate) fn unavailable(&self) {
        self.unavailable.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self, why: Refused) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Questions that went to the node in one round.
    pub(crate) fn asked(&self, questions: usize) {
        self.asked.fetch_add(questions as u64, Ordering::Relaxed);
    }

    /// Takes the time until what it returns is dropped.
    pub(crate) fn time(&self, stage: Stage) -> impl Drop + use<'_> {
        Timer { histogram: &self.stages[stage as usize], started: Instant::now() }
    }

    /// The same where what is timed began elsewhere.
    pub(crate) fn took(&self, stage: Stage, took: Duration) {
        self.stages[stage as usize].record(took);
    }

    /// Answers so far, by what they said.
    pub(crate) fn totals(&self) -> serde_json::Value {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        serde_json::json!({ "valid": read(&self.valid), "invalid": read(&self.invalid), "settled": read(&self.settled),
            "not_settled": read(&self.unsettled), "unavailable": read(&self.unavailable) })
    }
}

struct Timer<'a> {
    histogram: &'a Histogram,
    started: Instant,
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.histogram.record(self.started.elapsed());
    }
}

impl Histogram {
    fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_MICROS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, stage: &str) -> fmt::Result {
        let mut count = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            count += bucket.load(Ordering::Relaxed);
            let bound = BUCKETS_MICROS.get(index).map_or("+Inf".to_owned(), |bound| seconds(*bound));
            writeln!(f, "facilitator_stage_seconds_bucket{{stage=\"{stage}\",le=\"{bound}\"}} {count}")?;
        }
        let sum = seconds(self.micros.load(Ordering::Relaxed));
        writeln!(f, "facilitator_stage_seconds_sum{{stage=\"{stage}\"}} {sum}")?;
        writeln!(f, "facilitator_stage_seconds_count{{stage=\"{stage}\"}} {count}")
    }
}

fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        writeln!(f, "# TYPE facilitator_verify_total counter")?;
        writeln!(f, "facilitator_verify_total{{outcome=\"valid\"}} {}", read(&self.valid))?;
        writeln!(f, "facilitator_verify_total{{outcome=\"invalid\"}} {}", read(&self.invalid))?;
        writeln!(f, "# TYPE facilitator_settle_total counter")?;
        writeln!(f, "facilitator_settle_total{{outcome=\"settled\"}} {}", read(&self.settled))?;
        writeln!(f, "facilitator_settle_total{{outcome=\"not_settled\"}} {}", read(&self.unsettled))?;
        writeln!(f, "# HELP facilitator_unavailable_total Requests the node or the database kept from an answer.")?;
        writeln!(f, "# TYPE facilitator_unavailable_total counter")?;
        writeln!(f, "facilitator_unavailable_total {}", read(&self.unavailable))?;
        writeln!(f, "# TYPE facilitator_refused_total counter")?;
        for (why, name) in Refused::ALL {
            writeln!(f, "facilitator_refused_total{{why=\"{name}\"}} {}", read(&self.refused[why as usize]))?;
        }
        writeln!(f, "# HELP facilitator_questions_total Calls tried on the node; those of one round share a round trip.")?;
        writeln!(f, "# TYPE facilitator_questions_total counter")?;
        writeln!(f, "facilitator_questions_total {}", read(&self.asked))?;
        writeln!(f, "# TYPE facilitator_stage_seconds histogram")?;
        Stage::ALL.into_iter().try_for_each(|(stage, name)| self.stages[stage as usize].write(f, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_every_bucket_that_reaches_it() {
        let metrics = Metrics::default();
        metrics.stages[Stage::Round as usize].record(Duration::from_micros(1_000));
        metrics.stages[Stage::Round as usize].record(Duration::from_secs(100));
        let text = metrics.to_string();
        for line in [
            "le=\"0.000500\"} 0",
            "le=\"0.001000\"} 1",
            "le=\"60.000000\"} 1",
            "le=\"+Inf\"} 2",
            "_sum{stage=\"round\"} 100.001000",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
