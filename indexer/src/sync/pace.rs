use std::time::{Duration, Instant};

use super::Outcome;

/// Between looks at a node on this machine.
const LOCAL_POLL: Duration = Duration::from_millis(15);
/// The same, when the node pushes what is new.
const LOCAL_PUSHED_POLL: Duration = Duration::from_millis(50);
/// Shortest and longest time between looks at a node elsewhere.
const REMOTE_POLL_MIN: Duration = Duration::from_millis(50);
const REMOTE_POLL_MAX: Duration = Duration::from_millis(1_000);
/// A remote node is looked at this often per block that it makes.
const LOOKS_PER_BLOCK: u32 = 16;
/// Wait after the first failure; doubled by each further one.
const FAILURE_WAIT_MIN: Duration = Duration::from_millis(50);
const FAILURE_WAIT_MAX: Duration = Duration::from_secs(5);
/// An endpoint may be several nodes that are not equally far. A chain that is shorter than ours, and no block of which is another than ours, is
/// believed only when nothing else was seen for this long.
const REMOTE_BEHIND: Duration = Duration::from_secs(30);
const LOCAL_BEHIND: Duration = Duration::from_secs(2);
/// How often progress is recorded when nothing happens.
const RECORD_INTERVAL: Duration = Duration::from_secs(1);

/// When to look at the node again.
#[derive(Debug)]
pub(super) struct Pace {
    local: bool,
    last_block: Instant,
    /// Time between blocks, smoothed.
    block_time: Duration,
    failures: u32,
    behind_since: Option<Instant>,
    recorded: Option<Instant>,
}

impl Pace {
    pub(super) fn new(local: bool) -> Self {
        let block_time = REMOTE_POLL_MIN * LOOKS_PER_BLOCK;
        Self { local, last_block: Instant::now(), block_time, failures: 0, behind_since: None, recorded: None }
    }

    pub(super) fn after(&mut self, outcome: &Outcome, pushed: bool) -> Duration {
        self.failures = 0;
        if matches!(outcome, Outcome::Advanced | Outcome::Completed) {
            self.block_time = (self.block_time * 3 + self.last_block.elapsed()) / 4;
            self.last_block = Instant::now();
            self.behind_since = None;
            self.recorded = (*outcome == Outcome::Completed).then_some(self.last_block);
        }
        if *outcome == Outcome::Advanced {
            return Duration::ZERO;
        }
        match (self.local, pushed) {
            (true, true) => LOCAL_PUSHED_POLL,
            (true, false) => LOCAL_POLL,
            (false, _) => (self.block_time / LOOKS_PER_BLOCK).clamp(REMOTE_POLL_MIN, REMOTE_POLL_MAX),
        }
    }

    pub(super) fn after_failure(&mut self) -> Duration {
        let wait = FAILURE_WAIT_MIN * 2_u32.saturating_pow(self.failures.min(10));
        self.failures += 1;
        self.recorded = None;
        wait.min(FAILURE_WAIT_MAX)
    }

    pub(super) fn node_is_ahead(&mut self) {
        self.behind_since = None;
    }

    /// Whether a chain shorter than ours has been the node's for long enough to be the truth.
    pub(super) fn node_stays_behind(&mut self) -> bool {
        let since = *self.behind_since.get_or_insert_with(Instant::now);
        since.elapsed() >= if self.local { LOCAL_BEHIND } else { REMOTE_BEHIND }
    }

    pub(super) fn due_to_record(&mut self) -> bool {
        if self.recorded.is_some_and(|at| at.elapsed() < RECORD_INTERVAL) {
            return false;
        }
        self.recorded = Some(Instant::now());
        true
    }
}
