//! What the server layer counts and times, through the facade `metrics`. The names are listed in the crate's README.

use std::time::Instant;

use alloy::primitives::{Address, B256};
use axum::response::Response;
use tracing::Instrument as _;

use super::Outcome;

/// A part of serving a paid request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    Verify,
    Handler,
    Settle,
}

/// Runs `work` for the payment with this nonce in a span of its own and records how long it took.
pub(super) async fn timed<T>(stage: Stage, nonce: B256, work: impl Future<Output = T>) -> T {
    let stage = match stage {
        Stage::Verify => "verify",
        Stage::Handler => "handler",
        Stage::Settle => "settle",
    };
    let begun = Instant::now();
    let result = work.instrument(tracing::info_span!("x402.stage", stage, payment = %nonce)).await;
    metrics::histogram!("x402_server_stage_seconds", "stage" => stage).record(begun.elapsed().as_secs_f64());
    result
}

/// Counts what a request was found to deserve.
pub(super) fn checked(outcome: &Outcome) {
    count(match outcome {
        Outcome::Verified(_) => "verified",
        Outcome::Answer(response) => named(response),
    });
}

/// Counts who signed in, and who tried to.
pub(super) fn signed_in(wallet: &Result<Option<Address>, Box<Response>>) {
    match wallet {
        Ok(Some(_)) => count("signed_in"),
        Err(response) => count(named(response)),
        Ok(None) => {}
    }
}

fn named(response: &Response) -> &'static str {
    match response.status().as_u16() {
        402 | 412 => "unpaid",
        409 => "conflict",
        503 => "unavailable",
        status if status < 400 => "kept_answer",
        _ => "refused",
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("x402_server_requests_total", "outcome" => outcome).increment(1);
}

/// Counts how a settlement ended.
pub(super) fn settled(outcome: &'static str) {
    metrics::counter!("x402_server_settlements_total", "outcome" => outcome).increment(1);
}
