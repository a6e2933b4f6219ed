use std::time::Duration;

use api::Code;
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderName, StatusCode},
    routing::{get, post, put},
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    timeout::TimeoutLayer,
    trace::TraceLayer,
};

use crate::{
    agents, auth, content::CONTENT_LEN_MAX_BYTES, discover, express, input::JSON_LEN_MAX_BYTES, listings, problem::Problem,
    purchases, service::Market, transactions, wallet,
};

/// Longer than a settlement may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);
/// An upload of the largest content over a slow line.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(600);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Every route there is.
pub(crate) fn router(market: Market) -> Router {
    let timeout = |duration| TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, duration);
    let uploads = Router::new()
        .route("/listings/{id}/content", put(listings::upload))
        .layer(DefaultBodyLimit::max(CONTENT_LEN_MAX_BYTES as usize))
        .layer(timeout(UPLOAD_TIMEOUT));
    let v1 = Router::new()
        .route("/agents", get(agents::list))
        .route("/agents/challenge", post(auth::challenge))
        .route("/agents/register", post(agents::register))
        .route("/agents/{id}", get(agents::show).put(agents::update).delete(agents::deactivate))
        .route("/agents/{id}/heartbeat", post(agents::heartbeat))
        .route("/listings", get(listings::list).post(listings::create))
        .route("/listings/{id}", get(listings::show).put(listings::update).delete(listings::delist))
        .route("/discover", get(discover::discover))
        .route("/express/{id}", get(express::buy).post(express::buy))
        .route("/wallet/balance", get(wallet::balance))
        .route("/wallet/history", get(wallet::statement))
        .route("/wallet/transfer", post(wallet::send))
        .route("/wallet/ledger/verify", get(wallet::verify))
        .route("/wallet/ledger/seals", get(wallet::seals))
        .route("/wallet/ledger/proof/{transfer_id}", get(wallet::proof))
        .route("/purchases", get(purchases::list))
        .route("/purchases/{id}/content", get(purchases::content))
        .route("/transactions/initiate", post(transactions::initiate))
        .route("/transactions/{id}", get(transactions::show))
        .route("/transactions/{id}/deliver", post(transactions::deliver))
        .route("/transactions/{id}/content", get(transactions::content))
        .route("/health", get(health))
        .layer(DefaultBodyLimit::max(JSON_LEN_MAX_BYTES))
        .layer(timeout(REQUEST_TIMEOUT));
    Router::new()
        .nest("/api/v1", v1.merge(uploads))
        .route("/health", get(health))
        .fallback(|| async { Problem::new(Code::NotFound, "Nothing is served here; the paths begin with /api/v1/") })
        .method_not_allowed_fallback(|| async { Problem::new(Code::MethodNotAllowed, "Use another method") })
        .layer(CatchPanicLayer::new())
        .layer(TraceLayer::new_for_http())
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
        .with_state(market)
}

/// `GET /health`
async fn health(State(market): State<Market>) -> Result<Json<serde_json::Value>, Problem> {
    sqlx::query("SELECT 1")
        .execute(&market.pool)
        .await
        .map_err(|_| Problem::new(Code::Unavailable, "The database does not answer"))?;
    Ok(Json(serde_json::json!({"status": "ok", "chain_id": market.deployment.chain_id})))
}
