//! Who may ask, how often, and for what: decided before any work is done.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use alloy::primitives::Address;
use axum::{
    Json,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use x402::{AnyPaymentRequest, PaymentRequirements, Reason};

use crate::{
    AdmissionConfig, ApiKey,
    limits::Limits,
    metrics::{Metrics, Refused},
    routes::App,
    verify::Invalid,
};

/// Requests worked on at once, most of them waiting for a block. More are told to come again.
const REQUESTS_MAX: usize = 2_048;
/// Readers of the catalogue at once.
const READERS_MAX: usize = 32;
/// How long the body of a request may take to come.
const BODY_WAIT_MAX: Duration = Duration::from_secs(10);

/// The operator's rules.
pub(crate) struct Admission {
    room: Semaphore,
    readers: Semaphore,
    keys: Vec<ApiKey>,
    by_key: Option<Limits<usize>>,
    by_ip: Option<Limits<IpAddr>>,
    by_payee: Option<Limits<Address>>,
    assets: Vec<Address>,
}

/// Why not.
#[derive(Debug)]
pub(crate) enum Refusal {
    Unauthorized,
    TooOften(Duration),
    TooLong,
    TooSlow,
    Busy,
}

impl Admission {
    pub(crate) fn new(config: &AdmissionConfig) -> Self {
        Self {
            room: Semaphore::new(REQUESTS_MAX),
            readers: Semaphore::new(READERS_MAX),
            keys: config.api_keys.clone(),
            by_key: config.key_rate.map(Limits::new),
            by_ip: config.ip_rate.map(Limits::new),
            by_payee: config.payee_rate.map(Limits::new),
            assets: config.assets.clone(),
        }
    }

    /// Requests that are being worked on.
    pub(crate) fn under_way(&self) -> usize {
        REQUESTS_MAX - self.room.available_permits()
    }

    fn address(&self, request: &Request) -> Result<(), Refusal> {
        let ip = request.extensions().get().map(|ConnectInfo(address): &ConnectInfo<SocketAddr>| address.ip());
        let (Some(limits), Some(ip)) = (&self.by_ip, ip) else { return Ok(()) };
        limits.admit(of_one_customer(ip), Instant::now()).map_err(Refusal::TooOften)
    }

    fn caller(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let now = Instant::now();
        if self.keys.is_empty() {
            return Ok(());
        }
        let key = self.key(headers).ok_or(Refusal::Unauthorized)?;
        let admitted = self.by_key.as_ref().map_or(Ok(()), |limits| limits.admit(key, now));
        admitted.map_err(|wait| {
            tracing::debug!(caller = self.keys[key].name, "asks too often");
            Refusal::TooOften(wait)
        })
    }

    /// The place of the key that was sent. Every hash is compared, and to its end, so that time tells nothing.
    fn key(&self, headers: &HeaderMap) -> Option<usize> {
        let sent = headers.get(AUTHORIZATION)?.as_bytes().strip_prefix(b"Bearer ")?;
        let sent = Sha256::digest(sent);
        let matches = self.keys.iter().map(|key| bool::from(key.sha256.ct_eq(sent.as_slice())));
        matches.enumerate().fold(None, |found, (index, matches)| if matches { Some(index) } else { found })
    }

    /// Whether a payment on these terms may be worked on now. The outer error is the caller's, the inner one the payment's.
    pub(crate) fn terms(&self, asked: &PaymentRequirements) -> Result<Result<(), Invalid>, Refusal> {
        let refused = |what| Ok(Err(Invalid { reason: Reason::InvalidPaymentRequirements, message: Some(what) }));
        if !self.assets.is_empty() && !asked.asset_address().is_some_and(|asset| self.assets.contains(&asset)) {
            return refused("this facilitator does not settle this asset".to_owned());
        }
        if let (Some(limits), Some(payee)) = (&self.by_payee, asked.pay_to_address()) {
            limits.admit(payee, Instant::now()).map_err(Refusal::TooOften)?;
        }
        Ok(Ok(()))
    }
}

/// A customer of an internet provider has a whole /64 of IPv6.
fn of_one_customer(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip => ip,
    }
}

/// Turns away who may not ask, and a crowd that would exhaust memory. Operators' routes are not behind it.
pub(crate) async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let admitted = app.admission.address(&request).and_then(|()| app.admission.caller(request.headers()));
    if let Err(refusal) = admitted {
        return refusal.answer(&app.metrics);
    }
    // Whoever sends slowly takes up nobody's place.
    let (head, body) = request.into_parts();
    let reading = axum::body::to_bytes(body, AnyPaymentRequest::BODY_LEN_MAX_BYTES);
    let body = match tokio::time::timeout(BODY_WAIT_MAX, reading).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return Refusal::TooLong.answer(&app.metrics),
        Err(_) => return Refusal::TooSlow.answer(&app.metrics),
    };
    let Ok(_place) = app.admission.room.try_acquire() else { return Refusal::Busy.answer(&app.metrics) };
    next.run(Request::from_parts(head, body.into())).await
}

/// Turns away a crowd of readers: anybody may read the catalogue, and nobody is to notice.
pub(crate) async fn admit_reader(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if let Err(refusal) = app.admission.address(&request) {
        return refusal.answer(&app.metrics);
    }
    let Ok(_place) = app.admission.readers.try_acquire() else { return Refusal::Busy.answer(&app.metrics) };
    next.run(request).await
}

impl Refusal {
    pub(crate) fn answer(self, metrics: &Metrics) -> Response {
        let again = |wait: Duration| (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1);
        let (why, status, seconds, error) = match self {
            Self::Unauthorized => {
                let error = "send a known API key: Authorization: Bearer KEY";
                (Refused::Unauthorized, StatusCode::UNAUTHORIZED, None, error)
            }
            Self::TooOften(wait) => {
                let error = "too many requests: ask again later with the same payment";
                (Refused::TooOften, StatusCode::TOO_MANY_REQUESTS, Some(again(wait)), error)
            }
            Self::TooLong => (Refused::TooLong, StatusCode::PAYLOAD_TOO_LARGE, None, "a request has at most 128 KiB"),
            Self::TooSlow => (Refused::TooSlow, StatusCode::REQUEST_TIMEOUT, None, "the request did not come in time"),
            Self::Busy => {
                let error = "too many requests at once: ask again with the same payment";
                (Refused::Busy, StatusCode::SERVICE_UNAVAILABLE, Some(1), error)
            }
        };
        metrics.refused(why);
        let mut response = (status, Json(json!({ "error": error }))).into_response();
        if let Some(seconds) = seconds {
            response.headers_mut().insert("retry-after", seconds.into());
        }
        response
    }
}
