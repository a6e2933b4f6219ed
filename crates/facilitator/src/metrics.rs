//! Counters in the text format of Prometheus.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

#[derive(Default)]
pub(crate) struct Metrics {
    valid: AtomicU64,
    invalid: AtomicU64,
    settled: AtomicU64,
    unsettled: AtomicU64,
}

impl Metrics {
    pub(crate) fn verified(&self, valid: bool) {
        if valid { &self.valid } else { &self.invalid }.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn settled(&self, success: bool) {
        if success { &self.settled } else { &self.unsettled }.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        writeln!(f, "# TYPE facilitator_verify_total counter")?;
        writeln!(f, "facilitator_verify_total{{outcome=\"valid\"}} {}", read(&self.valid))?;
        writeln!(f, "facilitator_verify_total{{outcome=\"invalid\"}} {}", read(&self.invalid))?;
        writeln!(f, "# TYPE facilitator_settle_total counter")?;
        writeln!(f, "facilitator_settle_total{{outcome=\"settled\"}} {}", read(&self.settled))?;
        writeln!(f, "facilitator_settle_total{{outcome=\"not_settled\"}} {}", read(&self.unsettled))
    }
}
