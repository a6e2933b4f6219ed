//! The query API. A handler reads its parameters, makes one call into [`crate::read`], and answers.

mod accounts;
mod events;
mod input;
mod lists;
mod objects;
mod problem;
mod status;

use std::{sync::Arc, time::Duration};

use alloy::primitives::Address;
use axum::{Router, http::StatusCode, routing::get};
use sqlx::PgPool;
use tower_http::{catch_panic::CatchPanicLayer, timeout::TimeoutLayer};

use crate::{metrics::Counters, node::Node};
use problem::Problem;

/// A request that takes longer is answered 503.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Clone)]
pub(crate) struct ApiState {
    pub(crate) pool: PgPool,
    pub(crate) usdc: Address,
    pub(crate) counters: Arc<Counters>,
    pub(crate) node: Node,
}

impl ApiState {
    async fn conn(&self) -> Result<sqlx::pool::PoolConnection<sqlx::Postgres>, Problem> {
        Ok(self.pool.acquire().await?)
    }
}

/// Every route there is.
pub(crate) fn router(state: ApiState) -> Router {
    let chain = Router::new()
        .route("/events", get(events::list))
        .route("/transfers", get(accounts::all_transfers))
        .route("/accounts/{address}", get(accounts::show))
        .route("/accounts/{address}/transfers", get(accounts::transfers))
        .route("/wallets", get(lists::wallets))
        .route("/wallets/{address}", get(objects::wallet))
        .route("/treasuries/{address}", get(objects::treasury))
        .route("/treasuries/{address}/proposals", get(lists::proposals))
        .route("/treasuries/{address}/proposals/{id}", get(objects::proposal))
        .route("/agreements", get(lists::agreements))
        .route("/agreements/{id}", get(objects::agreement))
        .route("/subscriptions", get(lists::subscriptions))
        .route("/subscriptions/{id}", get(objects::subscription))
        .route("/services", get(lists::services))
        .route("/services/{id}", get(objects::service))
        .route("/status", get(status::show));
    Router::new()
        .nest("/api/v1/chain", chain)
        .route("/health", get(status::health))
        .route("/metrics", get(status::metrics))
        .fallback(|| async { Problem::no_route() })
        .method_not_allowed_fallback(|| async { Problem::read_only() })
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_TIMEOUT))
        .layer(CatchPanicLayer::new())
        .with_state(state)
}
