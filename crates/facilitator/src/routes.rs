//! The facilitator's HTTP API, as the official SDKs call it.

use std::{sync::Arc, time::Duration};

use alloy::providers::Provider;
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tower_http::{catch_panic::CatchPanicLayer, cors::CorsLayer, timeout::TimeoutLayer, trace::TraceLayer};
use x402::{
    AnyPaymentRequest, EIP2612_GAS_SPONSORING, ExactPayload, Network, PaymentRequest, Reason, Scheme, SettleResponse,
    SupportedKind, SupportedResponse, VerifyResponse,
};

use crate::{Error, channels, engine::Engine, metrics::Metrics, upto};

/// Requests worked on at once, most of them waiting for a block. More are told to come again.
const REQUESTS_MAX: usize = 2_048;
/// What a settlement may take beyond its confirmation before the connection is given up.
const REQUEST_SLACK_SECONDS: u64 = 20;

pub(crate) struct App {
    pub(crate) engine: Arc<Engine>,
    pub(crate) metrics: Metrics,
    pub(crate) room: Semaphore,
}

impl App {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine, metrics: Metrics::default(), room: Semaphore::new(REQUESTS_MAX) }
    }
}

pub(crate) fn router(app: Arc<App>) -> Router {
    let timeout = app.engine.limits.confirm_timeout + Duration::from_secs(REQUEST_SLACK_SECONDS);
    Router::new()
        .route("/verify", post(verify))
        .route("/settle", post(settle))
        .layer(axum::middleware::from_fn_with_state(app.clone(), admit))
        .route("/supported", get(supported))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .layer(DefaultBodyLimit::max(AnyPaymentRequest::BODY_LEN_MAX_BYTES))
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, timeout))
        .layer(CatchPanicLayer::new())
        .layer(CorsLayer::permissive())
        .layer(TraceLayer::new_for_http())
        .with_state(app)
}

/// A request of either version, in terms of version 2, and the name its answer must give the network if it was version 1.
fn read(body: &[u8]) -> Result<(PaymentRequest, Option<&'static str>), x402::DecodeError> {
    let request = AnyPaymentRequest::from_slice(body)?;
    let is_v1 = matches!(request, AnyPaymentRequest::V1(_));
    let mut request = request.into_v2()?;
    let v1_name = if is_v1 { request.payment_requirements.network.v1_name() } else { None };
    // Version 1 asks for a least amount, and what was signed is what is paid.
    if is_v1 && let Ok(ExactPayload::Eip3009(payload)) = request.payment_payload.exact() {
        let amount = &mut request.payment_requirements.amount;
        amount.0 = amount.0.max(payload.authorization.value.0);
    }
    Ok((request, v1_name))
}

/// Keeps a crowd from exhausting memory; operators' routes are not held up by it.
async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let Ok(_place) = app.room.try_acquire() else {
        let body = json!({ "error": "too many requests at once: ask again with the same payment" });
        return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")], Json(body)).into_response();
    };
    next.run(request).await
}

async fn verify(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let request = match read(&body) {
        Ok((request, _)) => request,
        Err(error) => {
            let refused = VerifyResponse::invalid(Reason::InvalidPayload, None);
            return (StatusCode::BAD_REQUEST, Json(VerifyResponse { invalid_message: Some(error.to_string()), ..refused }))
                .into_response();
        }
    };
    let answer = match judged(&app, &request).await {
        Ok(answer) => answer,
        Err(error) => return unavailable("verify", &error),
    };
    app.metrics.verified(answer.is_valid);
    Json(answer).into_response()
}

async fn judged(app: &App, request: &PaymentRequest) -> Result<VerifyResponse, Error> {
    if Scheme::of(&request.payment_requirements) == Some(Scheme::BatchSettlement) {
        return channels::verify(&app.engine, request).await;
    }
    let payer = request.payment_payload.exact().ok().map(|payload| payload.payer());
    Ok(match app.engine.verify(request).await? {
        Ok(valid) => VerifyResponse::valid(valid.transfer.from),
        Err(invalid) => VerifyResponse { invalid_message: invalid.message, ..VerifyResponse::invalid(invalid.reason, payer) },
    })
}

async fn settle(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let (request, v1_name) = match read(&body) {
        Ok(read) => read,
        Err(error) => {
            let body = json!({ "success": false, "errorReason": Reason::InvalidPayload, "errorMessage": error.to_string(),
                "transaction": "", "network": "" });
            return (StatusCode::BAD_REQUEST, Json(body)).into_response();
        }
    };
    // In a task of its own: a seller that hangs up must not stop a settlement half way.
    let engine = app.engine.clone();
    let settled = app.engine.tasks.spawn(async move { engine.settle(&request).await }).await;
    match settled {
        Ok(Ok(answer)) => {
            app.metrics.settled(answer.success);
            Json(in_version(answer, v1_name)).into_response()
        }
        Ok(Err(error)) => unavailable("settle", &error),
        Err(error) => {
            tracing::error!(%error, "settle panicked");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Version 1 calls networks by name.
fn in_version(answer: SettleResponse, v1_name: Option<&'static str>) -> Value {
    let mut json = serde_json::to_value(answer).expect("a struct of texts is always JSON");
    if let Some(name) = v1_name {
        json["network"] = name.into();
    }
    json
}

/// The node or the database failed. The caller may ask again with the same payment: nothing is sent twice.
fn unavailable(call: &'static str, error: &Error) -> Response {
    tracing::error!(call, %error, "cannot answer");
    let body = json!({ "error": "temporarily unavailable: ask again with the same payment" });
    (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")], Json(body)).into_response()
}

async fn supported(State(app): State<Arc<App>>) -> Json<SupportedResponse> {
    let network = Network::evm(app.engine.verifier.chain_id);
    let kind = |x402_version, scheme: Scheme, network: String| {
        let scheme = scheme.as_str().to_owned();
        SupportedKind { x402_version, scheme, network, extra: None }
    };
    let v1 = network.v1_name().map(|name| kind(1, Scheme::Exact, name.to_owned()));
    let upto = upto::kind(&app.engine, &network);
    let channels = kind(2, Scheme::BatchSettlement, network.to_string());
    let channels = SupportedKind { extra: app.engine.verifier.channels.extra(), ..channels };
    let kinds = [kind(2, Scheme::Exact, network.to_string()), upto, channels].into_iter().chain(v1).collect();
    let signers = app.engine.lanes.iter().map(|lane| lane.address().to_checksum(None)).collect();
    Json(SupportedResponse {
        kinds,
        extensions: vec![EIP2612_GAS_SPONSORING.into()],
        signers: [("eip155:*".to_owned(), signers)].into(),
    })
}

async fn health(State(app): State<Arc<App>>) -> Response {
    let verifier = &app.engine.verifier;
    let journal = app.engine.journal.is_well().await;
    let block = verifier.provider.get_block_number().await;
    let (mut signers, mut balances) = (Vec::new(), Vec::new());
    for lane in &app.engine.lanes {
        let balance = verifier.provider.get_balance(lane.address()).await.ok();
        balances.push(balance);
        signers.push(json!({ "address": lane.address(), "wei": balance.map(|wei| wei.to_string()) }));
    }
    let funded = balances.iter().all(|wei| wei.is_none_or(|wei| !wei.is_zero()));
    let ok = journal && block.is_ok() && funded;
    let status = if !funded {
        "no_gas"
    } else if ok {
        "ok"
    } else {
        "unavailable"
    };
    let body = json!({ "status": status, "chain_id": verifier.chain_id, "block": block.ok(),
        "database": journal, "signers": signers });
    (if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body)).into_response()
}

async fn metrics(State(app): State<Arc<App>>) -> String {
    app.metrics.to_string()
}
