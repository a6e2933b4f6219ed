//! The facilitator's HTTP API, as the official SDKs call it.

use std::{sync::Arc, time::Duration};

use alloy::primitives::B256;
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderValue, StatusCode},
    response::{AppendHeaders, IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tower_http::{catch_panic::CatchPanicLayer, cors::CorsLayer, timeout::TimeoutLayer, trace::TraceLayer};
use tracing::Instrument as _;
use x402::{
    AnyPaymentRequest, EIP2612_GAS_SPONSORING, ERC20_APPROVAL_GAS_SPONSORING, ExactPayload, Network, PaymentRequest, Reason,
    Scheme, SettleResponse, SupportedKind, SupportedResponse, VerifyResponse, header::EXTENSION_RESPONSES,
};

use crate::{
    Error,
    admission::{self, Admission},
    catalogue, channels,
    engine::Engine,
    escrow,
    metrics::{Metrics, Stage},
    node::Connection,
    status::{self, Recent},
    upto,
    verify::Invalid,
};

/// Of the words in which a seller is told why its resource is not listed. They repeat what the buyer sent, and a header that is too long would keep
/// the seller from the answer.
const REJECTED_CHARS_MAX: usize = 300;
/// Sellers' words looked at at once.
pub(crate) const LISTING_MAX: usize = 2;
/// What a settlement may take beyond its confirmation before the connection is given up.
const REQUEST_SLACK_SECONDS: u64 = 20;

pub(crate) struct App {
    pub(crate) engine: Arc<Engine>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) admission: Admission,
    pub(crate) node: Connection,
    /// Where the catalogue is; without it there is none.
    pub(crate) catalogue: Option<PgPool>,
    /// Room to look at what sellers say of themselves.
    pub(crate) listing: Semaphore,
    pub(crate) recent: Recent,
}

impl App {
    /// Puts what was paid for into the catalogue; nobody waits for that. What the seller is told of it, if it asked.
    async fn enter(&self, request: &PaymentRequest, settled: &SettleResponse) -> Option<HeaderValue> {
        let database = self.catalogue.clone()?;
        request.payment_payload.extensions.as_ref()?.get(catalogue::BAZAAR)?;
        // A schema is somebody's program: it keeps no payment waiting.
        let room = self.listing.acquire().await.ok()?;
        let asked = request.clone();
        let read = tokio::task::spawn_blocking(move || catalogue::read(&asked)).await.ok()??;
        drop(room);
        let told = match read {
            Ok(entry) => {
                let sale = catalogue::Sale::of(request, settled);
                self.engine.tasks.spawn(async move {
                    let Some(sale) = sale else { return };
                    if let Err(error) = catalogue::enter(&database, &sale, entry).await {
                        tracing::warn!(%error, "the catalogue cannot be written");
                    }
                });
                json!({ "status": "success" })
            }
            Err(why) => {
                let why: String = why.chars().take(REJECTED_CHARS_MAX).collect();
                json!({ "status": "rejected", "rejectedReason": why })
            }
        };
        let told = x402::header::encode(&json!({ catalogue::BAZAAR: told })).ok()?;
        told.try_into().ok()
    }
}

pub(crate) fn router(app: Arc<App>) -> Router {
    let timeout = app.engine.limits.confirm_timeout + Duration::from_secs(REQUEST_SLACK_SECONDS);
    Router::new()
        .route("/verify", post(verify))
        .route("/settle", post(settle))
        .layer(axum::middleware::from_fn_with_state(app.clone(), admission::admit))
        .merge(
            Router::new()
                .route("/discovery/resources", get(catalogue::resources))
                .route("/discovery/search", get(catalogue::search))
                .layer(axum::middleware::from_fn_with_state(app.clone(), admission::admit_reader)),
        )
        .route("/supported", get(supported))
        .route("/health", get(status::health))
        .route("/status", get(status::status))
        .route("/", get(status::page))
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

async fn verify(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let (request, v1_name) = match read(&body) {
        Ok(read) => read,
        Err(error) => {
            let refused = VerifyResponse::invalid(unread(&error), None);
            return (StatusCode::BAD_REQUEST, Json(VerifyResponse { invalid_message: Some(error.to_string()), ..refused }))
                .into_response();
        }
    };
    let _timer = app.metrics.time(Stage::Verify);
    match app.admission.terms(&request.payment_requirements) {
        Err(refusal) => return refusal.answer(&app.metrics),
        Ok(Err(Invalid { reason, message })) => {
            let payer = request.payment_payload.exact().ok().map(|payload| payload.payer());
            return Json(VerifyResponse { invalid_message: message, ..VerifyResponse::invalid(reason, payer) }).into_response();
        }
        Ok(Ok(())) => {}
    }
    let span = tracing::debug_span!("facilitator.verify", payment = nonce(&request));
    let answer = match judged(&app, &request).instrument(span).await {
        Ok(answer) => {
            let invalid_reason = answer.invalid_reason.map(|reason| reason_in_version(reason, v1_name));
            VerifyResponse { invalid_reason, ..answer }
        }
        Err(error) => return unavailable(&app, "verify", &error),
    };
    app.metrics.verified(answer.is_valid);
    if !answer.is_valid {
        let (payer, message) = (answer.payer.as_deref(), answer.invalid_message.as_deref());
        app.recent.failed("verify", payer, answer.invalid_reason.as_ref(), message);
    }
    Json(answer).into_response()
}

async fn judged(app: &App, request: &PaymentRequest) -> Result<VerifyResponse, Error> {
    app.engine.affordable()?;
    match Scheme::of(&request.payment_requirements) {
        Some(Scheme::BatchSettlement) => return channels::verify(&app.engine, request).await,
        Some(Scheme::AuthCapture) => return escrow::verify(&app.engine, request).await,
        _ => {}
    }
    let payer = request.payment_payload.exact().ok().map(|payload| payload.payer());
    Ok(match app.engine.verify(request).await? {
        Ok(payer) => VerifyResponse::valid(payer),
        Err(invalid) => VerifyResponse { invalid_message: invalid.message, ..VerifyResponse::invalid(invalid.reason, payer) },
    })
}

async fn settle(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let (request, v1_name) = match read(&body) {
        Ok(read) => read,
        Err(error) => {
            let body = json!({ "success": false, "errorReason": unread(&error), "errorMessage": error.to_string(),
                "transaction": "", "network": "" });
            return (StatusCode::BAD_REQUEST, Json(body)).into_response();
        }
    };
    let _timer = app.metrics.time(Stage::Settle);
    match app.admission.terms(&request.payment_requirements) {
        Err(refusal) => return refusal.answer(&app.metrics),
        Ok(Err(Invalid { reason, message })) => {
            let failed = SettleResponse::failed(request.payment_requirements.network.clone(), None, reason);
            return Json(in_version(SettleResponse { error_message: message, ..failed }, v1_name)).into_response();
        }
        Ok(Ok(())) => {}
    }
    // In a task of its own: a seller that hangs up must not stop a settlement half way.
    let settling = app.clone();
    let span = tracing::info_span!("facilitator.settle", payment = nonce(&request));
    let settling = async move {
        let answer = settling.engine.settle(&request).await;
        let answer = answer?;
        let told = if answer.success { settling.enter(&request, &answer).await } else { None };
        Ok::<_, Error>((answer, told))
    };
    match app.engine.tasks.spawn(settling.instrument(span)).await {
        Ok(Ok((answer, told))) => {
            app.metrics.settled(answer.success);
            if !answer.success {
                let (payer, message) = (answer.payer.as_deref(), answer.error_message.as_deref());
                app.recent.failed("settle", payer, answer.error_reason.as_ref(), message);
            }
            let told = told.map(|told| (EXTENSION_RESPONSES, told));
            (AppendHeaders(told), Json(in_version(answer, v1_name))).into_response()
        }
        Ok(Err(error)) => unavailable(&app, "settle", &error),
        Err(error) => {
            tracing::error!(%error, "settle panicked");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Why a body is no request.
fn unread(error: &x402::DecodeError) -> Reason {
    match error {
        x402::DecodeError::Version(_) => Reason::InvalidX402Version,
        _ => Reason::InvalidPayload,
    }
}

/// What a payment is told by in logs and on the chain.
fn nonce(request: &PaymentRequest) -> Option<tracing::field::DisplayValue<B256>> {
    request.payment_payload.key().ok().map(|key| tracing::field::display(key.nonce))
}

/// Version 1 calls networks by name.
fn in_version(mut answer: SettleResponse, v1_name: Option<&'static str>) -> Value {
    answer.error_reason = answer.error_reason.map(|reason| reason_in_version(reason, v1_name));
    let mut json = serde_json::to_value(answer).expect("a struct of texts is always JSON");
    if let Some(name) = v1_name {
        json["network"] = name.into();
    }
    json
}

/// Version 1 has another word for a payment of too little.
fn reason_in_version(reason: Reason, v1_name: Option<&'static str>) -> Reason {
    match reason {
        Reason::ValueMismatch if v1_name.is_some() => Reason::AuthorizationValue,
        reason => reason,
    }
}

/// The node or the database failed. The caller may ask again with the same payment: nothing is sent twice.
fn unavailable(app: &App, call: &'static str, error: &Error) -> Response {
    app.metrics.unavailable();
    tracing::error!(call, %error, "cannot answer");
    let why = match error {
        Error::Owes | Error::GasPrice { .. } => error.to_string(),
        // What it says is the operator's business.
        _ => "temporarily unavailable: ask again with the same payment".to_owned(),
    };
    (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")], Json(json!({ "error": why }))).into_response()
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
    let escrow = escrow::kind(&app.engine, &network);
    let kinds = [kind(2, Scheme::Exact, network.to_string()), upto, channels].into_iter().chain(escrow).chain(v1).collect();
    let approvals = app.engine.verifier.sponsor.as_ref().map(|_| ERC20_APPROVAL_GAS_SPONSORING);
    let bazaar = app.catalogue.as_ref().map(|_| catalogue::BAZAAR);
    let signers = app.engine.lanes.iter().map(|lane| lane.address().to_checksum(None)).collect();
    Json(SupportedResponse {
        kinds,
        extensions: [EIP2612_GAS_SPONSORING].into_iter().chain(approvals).chain(bazaar).map(Into::into).collect(),
        signers: [("eip155:*".to_owned(), signers)].into(),
    })
}

async fn metrics(State(app): State<Arc<App>>) -> String {
    let mut text = app.metrics.to_string();
    text.push_str(
        "# HELP facilitator_waiting Settlements that wait for their turn to be sent.\n# TYPE facilitator_waiting gauge\n",
    );
    for lane in &app.engine.lanes {
        text.push_str(&format!("facilitator_waiting{{signer=\"{}\"}} {}\n", lane.address(), lane.waiting()));
    }
    text
}
