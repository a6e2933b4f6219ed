use std::fmt::Write;

use axum::{Json, extract, http::header, response::IntoResponse};

use super::{ApiState, problem::Problem};
use crate::read::{self, Status};

/// A mirror that was last complete longer ago is not healthy.
const CHECKED_SECONDS_MAX: u64 = 15;

/// `GET /api/v1/chain/status`
pub(super) async fn show(extract::State(state): extract::State<ApiState>) -> Result<Json<Status>, Problem> {
    let status = read::status(&mut *state.conn().await?).await?;
    status.map(Json).ok_or_else(|| Problem::unavailable("Nothing is mirrored yet"))
}

/// `GET /health`: whether the mirror is complete, on whichever instance writes it.
pub(super) async fn health(state: extract::State<ApiState>) -> Result<Json<serde_json::Value>, Problem> {
    let Json(status) = show(state).await?;
    let why = status.last_error.as_deref().unwrap_or("it is catching up");
    match status.checked_seconds_ago {
        Some(seconds) if seconds <= CHECKED_SECONDS_MAX => {
            Ok(Json(serde_json::json!({"status": "ok", "indexed_block": status.indexed.map(|head| head.number)})))
        }
        Some(seconds) => Err(Problem::unavailable(format!("The mirror was last complete {seconds} seconds ago: {why}"))),
        None => Err(Problem::unavailable(format!("The mirror has never been complete: {why}"))),
    }
}

/// `GET /metrics` in the text format of Prometheus.
pub(super) async fn metrics(state: extract::State<ApiState>) -> Result<impl IntoResponse, Problem> {
    let counters = state.counters.counts();
    let Json(status) = show(state.clone()).await?;
    let mut text = String::new();
    let mut add = |name: &str, help: &str, kind: &str, value: u64| {
        // Writing to a String cannot fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    };
    add("florin_indexer_head_block", "Newest block that the node announced.", "gauge", status.head_block.unwrap_or_default());
    let indexed = status.indexed.map_or(0, |head| head.number);
    add("florin_indexer_indexed_block", "Newest mirrored block.", "gauge", indexed);
    add("florin_indexer_lag_blocks", "Blocks announced and not mirrored.", "gauge", status.lag_blocks);
    let age = status.checked_seconds_ago.unwrap_or(u64::from(u32::MAX));
    add("florin_indexer_checked_seconds", "Seconds since the mirror was last known to be complete.", "gauge", age);
    let differences = state.counters.differences();
    add(
        "florin_indexer_differences",
        "Balances, agreements and wallets that were not the chain's when last compared.",
        "gauge",
        differences,
    );
    for (name, help, value) in counters {
        add(name, help, "counter", value);
    }
    let (endpoints, current) = state.node.endpoints();
    let _ = writeln!(text, "# HELP florin_indexer_endpoint_failures_total Answers of an endpoint that could not be used.");
    let _ = writeln!(text, "# TYPE florin_indexer_endpoint_failures_total counter");
    for (index, rpc) in endpoints.iter().enumerate() {
        let labels = format!("{{endpoint=\"{}\",index=\"{index}\"}}", rpc.name());
        let _ = writeln!(text, "florin_indexer_endpoint_failures_total{labels} {}", rpc.failures());
    }
    let _ = writeln!(text, "# HELP florin_indexer_endpoint_current Index of the endpoint that is asked.");
    let _ = writeln!(text, "# TYPE florin_indexer_endpoint_current gauge\nflorin_indexer_endpoint_current {current}");
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}
