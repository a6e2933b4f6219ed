use std::time::Duration;

use axum::{Json, extract::State, http::header, response::IntoResponse};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ApiState, Chain, problem::Problem, snapshot::Snapshot};
use crate::{
    derive,
    read::{self, Status},
};

/// A mirror that was last complete longer ago is not current.
const CHECKED_SECONDS_MAX: u64 = 15;
/// A mirror that is not complete and gained no block for longer has stopped.
const STILL_MAX: Duration = Duration::from_secs(60);
/// For what was never.
const NEVER_SECONDS: u64 = u32::MAX as u64;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

pub(super) async fn show(snapshot: Snapshot, Nothing {}: Nothing) -> Result<Status, Problem> {
    let status = read::status(&mut *snapshot.conn().await).await?;
    status.ok_or_else(|| Problem::unavailable("Nothing is mirrored yet"))
}

async fn status(chain: &Chain) -> Result<Status, Problem> {
    let status = read::status(&mut *chain.pool.acquire().await?).await?;
    status.ok_or_else(|| Problem::unavailable(format!("Nothing of {} is mirrored yet", chain.name)))
}

/// Whether all of the chain was mirrored a moment ago, as its node tells it; if not, since when and why.
fn complete(chain: &Chain, status: &Status) -> Result<(), String> {
    let why = status.last_error.as_deref().unwrap_or("it is catching up");
    match status.checked_seconds_ago {
        Some(seconds) if seconds <= CHECKED_SECONDS_MAX => Ok(()),
        Some(seconds) => Err(format!("{} was last complete {seconds} seconds ago: {why}", chain.name)),
        None => Err(format!("{} has never been complete: {why}", chain.name)),
    }
}

/// Whether the newest block is of now, too, and the rows are what this version reads: what ending this process would not mend.
fn current(chain: &Chain, status: &Status) -> Result<(), String> {
    complete(chain, status)?;
    // What an older writer made is read until this version takes over: a rolling upgrade waits for it to be ready before it ends the older one.
    if status.derivation > derive::VERSION {
        return Err(format!(
            "{} was made by a newer version, by rules {} instead of {}: start that version here, too",
            chain.name,
            status.derivation,
            derive::VERSION
        ));
    }
    match (chain.rules.still_seconds, status.block_age_seconds) {
        (Some(most), Some(age)) if age > most => Err(format!(
            "{} stands still: its newest block is {age} seconds old, more than {most}. Its node does not follow the chain, or the chain made no block",
            chain.name
        )),
        _ => Ok(()),
    }
}

/// `GET /ready`: whether answers are of now, whichever instance writes.
pub(super) async fn ready(State(api): State<ApiState>) -> Result<Json<Value>, Problem> {
    let mut chains = serde_json::Map::new();
    for slot in api.chains.iter() {
        let chain = slot.chain()?;
        let status = status(chain).await?;
        current(chain, &status).map_err(Problem::unavailable)?;
        chains.insert(chain.name.clone(), json!({"indexed_block": status.indexed.map(|head| head.number)}));
    }
    Ok(Json(json!({"status": "ok", "chains": chains})))
}

/// `GET /health`: whether every mirror is complete, or was and gains blocks, or is being upgraded: whether it would be wrong to end this process
/// and start it again. Who waits for a start waits for the first time it is complete.
pub(super) async fn health(State(api): State<ApiState>) -> Result<Json<Value>, Problem> {
    let mut chains = serde_json::Map::new();
    for slot in api.chains.iter() {
        let chain = slot.chain()?;
        let status = status(chain).await?;
        let indexed = status.indexed.as_ref().map(|head| head.number);
        let advances = chain.seen(indexed) <= STILL_MAX;
        let word = match complete(chain, &status) {
            Ok(()) => "current",
            Err(_) if status.upgrading => "upgrading",
            Err(_) if advances && status.checked_seconds_ago.is_some() => "catching_up",
            Err(why) => return Err(Problem::unavailable(why)),
        };
        chains.insert(chain.name.clone(), json!({"mirror": word, "indexed_block": indexed, "lag_blocks": status.lag_blocks}));
    }
    Ok(Json(json!({"status": "ok", "chains": chains})))
}

/// `GET /metrics` in the text format of Prometheus. With several chains each line says of which it is.
pub(super) async fn metrics(State(api): State<ApiState>) -> Result<impl IntoResponse, Problem> {
    let mut page = Page::default();
    for slot in api.chains.iter() {
        let of = if api.chains.len() > 1 { format!("chain=\"{}\"", slot.name()) } else { String::new() };
        let up = u64::from(slot.started().is_some());
        page.add("florin_indexer_up", "1 once the chain could be started.", "gauge", &of, up);
        let Some(chain) = slot.started() else { continue };
        let status = status(chain).await?;
        let indexed = status.indexed.map_or(0, |head| head.number);
        let age = status.checked_seconds_ago.unwrap_or(NEVER_SECONDS);
        let gauges = [
            ("head_block", "Newest block that the node announced.", status.head_block.unwrap_or_default()),
            ("indexed_block", "Newest mirrored block.", indexed),
            ("lag_blocks", "Blocks announced and not mirrored.", status.lag_blocks),
            (
                "block_age_seconds",
                "Seconds since the newest mirrored block was made.",
                status.block_age_seconds.unwrap_or(NEVER_SECONDS),
            ),
            ("checked_seconds", "Seconds since the mirror was last known to be complete.", age),
        ];
        for (name, help, value) in gauges {
            page.add(&format!("florin_indexer_{name}"), help, "gauge", &of, value);
        }
        for (what, value) in chain.counters.differences() {
            let help = "What was not the chain's when last compared; it must be 0.";
            page.add("florin_indexer_differences", help, "gauge", &with(&of, &format!("what=\"{what}\"")), value);
        }
        for (name, help, value) in chain.counters.counts() {
            page.add(name, help, "counter", &of, value);
        }
        let (endpoints, current) = chain.node.endpoints();
        for (index, rpc) in endpoints.iter().enumerate() {
            let labels = format!("endpoint=\"{}\",index=\"{index}\"", rpc.name());
            let labels = with(&of, &labels);
            let help = "Answers of an endpoint that could not be used.";
            page.add("florin_indexer_endpoint_failures_total", help, "counter", &labels, rpc.failures());
        }
        let current = u64::try_from(current).unwrap_or(u64::MAX);
        page.add("florin_indexer_endpoint_current", "Index of the endpoint that is asked.", "gauge", &of, current);
    }
    let text = page.to_string() + &api.times.to_string();
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}

/// Labels after those of the chain.
fn with(of: &str, labels: &str) -> String {
    if of.is_empty() { labels.to_owned() } else { format!("{of},{labels}") }
}

/// Metrics by name, with all samples of one together as the format wants it.
#[derive(Default)]
struct Page(Vec<(String, String)>);

impl Page {
    fn add(&mut self, name: &str, help: &str, kind: &str, labels: &str, value: u64) {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let sample = format!("{name}{labels} {value}\n");
        match self.0.iter_mut().find(|(found, _)| found == name) {
            Some((_, samples)) => *samples += &sample,
            None => self.0.push((name.to_owned(), format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{sample}"))),
        }
    }
}

impl std::fmt::Display for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|(_, samples)| f.write_str(samples))
    }
}
