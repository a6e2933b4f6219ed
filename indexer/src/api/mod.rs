//! The query API. A handler reads its parameters, makes one call into [`crate::read`], and answers.

mod accounts;
mod blocks;
mod chain;
mod events;
mod input;
mod lists;
mod objects;
mod openapi;
mod operation;
mod payments;
mod problem;
mod snapshot;
mod statement;
mod status;
mod times;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{RawPathParams, RawQuery, State},
    http::{HeaderMap, StatusCode},
    middleware::from_fn_with_state,
    routing::get,
};
use tower_http::{catch_panic::CatchPanicLayer, timeout::TimeoutLayer};

pub(crate) use chain::Chain;
use operation::Operation;
use problem::Problem;
use times::Times;

/// A request that takes longer is answered 503.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Clone)]
pub(crate) struct ApiState {
    /// What is mirrored; `chain` in a path stands for the first.
    pub(crate) chains: Arc<[Arc<Chain>]>,
    times: Arc<Times>,
}

impl ApiState {
    pub(crate) fn new(chains: Vec<Arc<Chain>>) -> Self {
        Self { chains: chains.into(), times: Arc::default() }
    }

    /// A chain by its name or its number.
    fn chain(&self, name: &str) -> Result<&Arc<Chain>, Problem> {
        let found = match name {
            "chain" => self.chains.first(),
            name => self.chains.iter().find(|chain| chain.name == name || chain.id.to_string() == name),
        };
        found.ok_or_else(|| {
            let names: Vec<&str> = self.chains.iter().map(|chain| chain.name.as_str()).collect();
            Problem::unknown_chain(format!("No chain {name} is mirrored here, only {}", names.join(", ")))
        })
    }
}

/// Everything that can be asked about a chain.
fn operations() -> Vec<Operation> {
    [
        payments::operations(),
        accounts::operations(),
        events::operations(),
        blocks::operations(),
        lists::operations(),
        objects::operations(),
    ]
    .into_iter()
    .flatten()
    .chain([Operation::new("/status", "status", "How the mirror stands to the chain", status::show).changing()])
    .collect()
}

/// Every route there is.
pub(crate) fn router(state: ApiState) -> Router {
    let operations: Vec<Arc<Operation>> = operations().into_iter().map(Arc::new).collect();
    let description = Arc::new(openapi::document(&operations));
    let mut chain = Router::new().route("/accounts/{address}/statement.csv", get(statement::csv));
    for operation in operations {
        let path = operation.path;
        let answer = async move |State(api): State<ApiState>, path: RawPathParams, query: RawQuery, headers: HeaderMap| {
            operation.clone().get(api, path, query, headers).await
        };
        chain = chain.route(path, get(answer));
    }
    Router::new()
        .nest("/api/v1/{chain}", chain)
        .route("/openapi.json", get(async move || axum::Json(description.clone())))
        .route("/health", get(status::health))
        .route("/ready", get(status::ready))
        .route("/metrics", get(status::metrics))
        .fallback(|| async { Problem::no_route() })
        .method_not_allowed_fallback(|| async { Problem::read_only() })
        .layer(from_fn_with_state(state.times.clone(), times::measure))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_TIMEOUT))
        .layer(CatchPanicLayer::new())
        .with_state(state)
}
