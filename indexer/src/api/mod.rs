//! The query API. A handler reads its parameters, makes one call into [`crate::read`], and answers.

mod accounts;
mod authorizations;
mod blocks;
mod chain;
mod events;
mod graphql;
mod input;
mod lists;
mod objects;
mod openapi;
mod operation;
mod payments;
mod places;
mod problem;
mod slot;
mod snapshot;
mod statement;
mod status;
mod stream;
mod times;
mod webhooks;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Path, RawPathParams, RawQuery, State},
    http::{HeaderMap, HeaderName, Method, StatusCode, header},
    middleware::{from_fn, from_fn_with_state},
    routing::{delete, get, post},
};
use tokio_util::sync::CancellationToken;
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{Any, CorsLayer},
    timeout::TimeoutLayer,
};

use crate::{Config, webhooks::Guard};
pub(crate) use chain::Chain;
use graphql::Graphql;
use operation::Operation;
use places::Places;
use problem::Problem;
pub(crate) use slot::Slot;
use times::Times;

/// A request that takes longer is answered 503.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Clone)]
pub(crate) struct ApiState {
    /// What is mirrored; `chain` in a path stands for the first.
    pub(crate) chains: Arc<[Arc<Slot>]>,
    times: Arc<Times>,
    readers: Arc<Places>,
    shutdown: CancellationToken,
    /// A reader that takes nothing for longer is dropped.
    slow: Duration,
    /// Whom webhooks may be posted to, and who may register them.
    guard: Guard,
    admin_token: Option<Arc<str>>,
}

impl ApiState {
    /// `shutdown` ends what would go on for as long as somebody reads.
    pub(crate) fn new(chains: Vec<Arc<Slot>>, shutdown: CancellationToken, guard: Guard, config: &Config) -> Self {
        Self {
            chains: chains.into(),
            times: Arc::default(),
            readers: Places::new(config.readers_per_address),
            shutdown,
            slow: Duration::from_secs(config.stream_slow_seconds),
            guard,
            admin_token: config.admin_token.as_deref().map(Arc::from),
        }
    }

    /// A chain by its name or its number.
    fn chain(&self, name: &str) -> Result<&Arc<Chain>, Problem> {
        let found = match name {
            "chain" => self.chains.first(),
            name => self.chains.iter().find(|slot| slot.name() == name || slot.id().is_some_and(|id| id.to_string() == name)),
        };
        let unknown = || {
            let names: Vec<String> = self.chains.iter().map(|slot| slot.name()).collect();
            Problem::unknown_chain(format!("No chain {name} is mirrored here, only {}", names.join(", ")))
        };
        found.ok_or_else(unknown)?.chain()
    }
}

/// Everything that can be asked about a chain.
fn operations() -> Vec<Operation> {
    [
        payments::operations(),
        accounts::operations(),
        authorizations::operations(),
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
    let graphql = Arc::new(Graphql::new(&operations, &description));
    let sdl = graphql.clone();
    let execute = async move |State(api): State<ApiState>, Path(chain): Path<String>, headers: HeaderMap, body| {
        graphql.answer(&api, &chain, &headers, body).await
    };
    let mut chain = Router::new()
        .route("/accounts/{address}/statement.csv", get(statement::csv))
        .route("/graphql", get(async move || sdl.sdl()).post(execute))
        .route("/stream", get(stream::sse))
        .route("/stream/ws", get(stream::ws))
        .route("/webhooks", get(webhooks::list).post(webhooks::register))
        .route("/webhooks/{id}", delete(webhooks::remove))
        .route("/webhooks/{id}/dead-letters", get(webhooks::dead_letters))
        .route("/webhooks/{id}/replay", post(webhooks::replay));
    for operation in operations {
        let path = operation.path;
        let answer = async move |State(api): State<ApiState>, path: RawPathParams, query: RawQuery, headers: HeaderMap| {
            operation.clone().get(api, path, query, headers).await
        };
        chain = chain.route(path, get(answer));
    }
    // What everybody may read, the pages of others may too, GraphQL by POST; webhooks need a header that these may not send.
    let pages = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::CONTENT_TYPE, header::IF_NONE_MATCH, HeaderName::from_static("last-event-id")])
        .expose_headers(Any);
    // The fallback first: one that is set outside would answer what a page asks beforehand (OPTIONS) in place of the layer.
    let chain = chain.method_not_allowed_fallback(|| async { Problem::read_only() }).layer(pages);
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
        .layer(from_fn(problem::shape))
        .with_state(state)
}
