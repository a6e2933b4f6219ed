//! What the server layer counts and times, through the facade `metrics`. The names are listed in the crate's README.

use std::time::Instant;

use super::Outcome;

/// A part of serving a paid request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    Verify,
    Handler,
    Settle,
}

/// Runs `work` and records how long it took.
pub(super) async fn timed<T>(stage: Stage, work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let result = work.await;
    let stage = match stage {
        Stage::Verify => "verify",
        Stage::Handler => "handler",
        Stage::Settle => "settle",
    };
    metrics::histogram!("x402_server_stage_seconds", "stage" => stage).record(begun.elapsed().as_secs_f64());
    result
}

/// Counts what a request was found to deserve.
pub(super) fn checked(outcome: &Outcome) {
    let outcome = match outcome {
        Outcome::Verified(_) => "verified",
        Outcome::SignedIn(_) => "signed_in",
        Outcome::Answer(response) => match response.status().as_u16() {
            402 | 412 => "unpaid",
            409 => "conflict",
            503 => "unavailable",
            status if status < 400 => "kept_answer",
            _ => "refused",
        },
    };
    metrics::counter!("x402_server_requests_total", "outcome" => outcome).increment(1);
}

/// Counts how a settlement ended.
pub(super) fn settled(outcome: &'static str) {
    metrics::counter!("x402_server_settlements_total", "outcome" => outcome).increment(1);
}
