//! What an operator looks at: `/health` for machines, `/` and its `/status` for people.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use alloy::providers::Provider;
use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use serde_json::{Value, json};
use x402::Reason;

use crate::{routes::App, verify::now};

/// Failures that are remembered.
const FAILURES_MAX: usize = 20;
/// How long what was found is good for others who ask: a crowd looks once.
const LOOK_AGE_MAX: Duration = Duration::from_millis(250);
/// The page asks `/status` and nobody else.
const POLICY: &str =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'";

/// The last payments that were refused, newest first.
pub(crate) struct Recent {
    since: Instant,
    failures: Mutex<VecDeque<Value>>,
    looked: tokio::sync::Mutex<Option<(Instant, bool, Value)>>,
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), failures: Mutex::default(), looked: Default::default() }
    }

    pub(crate) fn failed(&self, call: &str, payer: Option<&str>, reason: Option<&Reason>, message: Option<&str>) {
        let message: Option<String> = message.map(|text| text.chars().take(200).collect());
        let failure = json!({ "at": now(), "call": call, "payer": payer, "reason": reason, "message": message });
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.truncate(FAILURES_MAX - 1);
        failures.push_front(failure);
    }
}

/// Whether it can work: 503 when the journal or the node does not answer, or a signer has no coin for gas.
pub(crate) async fn health(State(app): State<Arc<App>>) -> Response {
    let (ok, body) = look(&app).await;
    (if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body)).into_response()
}

/// The same with what happened since the start.
pub(crate) async fn status(State(app): State<Arc<App>>) -> Json<Value> {
    let (_, mut body) = look(&app).await;
    body["seconds"] = app.recent.since.elapsed().as_secs().into();
    body["under_way"] = app.admission.under_way().into();
    body["totals"] = app.metrics.totals();
    let failures = app.recent.failures.lock().unwrap_or_else(PoisonError::into_inner);
    body["failures"] = failures.iter().cloned().collect();
    Json(body)
}

pub(crate) async fn page() -> Response {
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(include_str!("status.html"))).into_response()
}

/// What was found a moment ago, or is found now.
async fn look(app: &App) -> (bool, Value) {
    let mut looked = app.recent.looked.lock().await;
    if let Some((at, ok, body)) = &*looked
        && at.elapsed() < LOOK_AGE_MAX
    {
        return (*ok, body.clone());
    }
    let (ok, body) = look_now(app).await;
    *looked = Some((Instant::now(), ok, body.clone()));
    (ok, body)
}

async fn look_now(app: &App) -> (bool, Value) {
    let verifier = &app.engine.verifier;
    let balances = app.engine.lanes.iter().map(|lane| verifier.provider.get_balance(lane.address()).into_future());
    let (writable, block, balances) =
        tokio::join!(app.engine.journal.is_well(), verifier.provider.get_block_number(), futures::future::join_all(balances));
    let balances: Vec<_> = balances.into_iter().map(Result::ok).collect();
    let funded = balances.iter().all(|wei| wei.is_none_or(|wei| !wei.is_zero()));
    let ok = writable && block.is_ok() && funded;
    let status = match (funded, ok) {
        (false, _) => "no_gas",
        (_, true) => "ok",
        (_, false) => "unavailable",
    };
    let signers: Vec<Value> = (app.engine.lanes.iter().zip(&balances))
        .map(|(lane, wei)| json!({ "address": lane.address(), "wei": wei.map(|wei| wei.to_string()) }))
        .collect();
    let kind = if app.catalogue.is_some() { "postgres" } else { "file" };
    let body = json!({ "status": status, "chain_id": verifier.chain_id, "block": block.ok(), "node": app.node.current(),
        "journal": { "kind": kind, "writable": writable }, "signers": signers });
    (ok, body)
}
