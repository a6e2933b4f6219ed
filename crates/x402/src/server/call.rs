//! The gate for transports without headers.

use axum::{
    body::{Body, Bytes, to_bytes},
    response::Response,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;

use super::{
    VerifiedPayment,
    metrics::{self, Stage},
};
use crate::{JsonMap, PaymentPayload, PaymentRequired, SettleResponse, header};

/// Longest answer held back until it is paid for.
const ANSWER_LEN_MAX_BYTES: usize = 8 * 1024 * 1024;

/// The payment of a call as the gate knows it.
pub(crate) fn headers(payment: Option<&Value>) -> Result<HeaderMap, &'static str> {
    let mut headers = HeaderMap::new();
    let Some(payment) = payment else { return Ok(headers) };
    let payment: PaymentPayload = serde_json::from_value(payment.clone()).map_err(|_| "not a payment of version 2")?;
    let encoded = header::encode(&payment).map_err(|_| "the payment is too long")?;
    let value = HeaderValue::try_from(encoded).map_err(|_| "the payment is not text")?;
    headers.insert(header::PAYMENT_SIGNATURE, value);
    Ok(headers)
}

/// Works for a payment, as the handler of a route does.
pub(crate) async fn worked(payment: &VerifiedPayment, work: impl Future<Output = JsonMap>) -> JsonMap {
    metrics::timed(Stage::Handler, payment.key().nonce, work).await
}

/// The work as the gate takes it.
pub(crate) fn response(result: JsonMap) -> Response {
    Response::new(Body::from(Value::Object(result).to_string()))
}

/// What the gate answers.
pub(crate) struct Told {
    /// What is asked for, and why the payment that came does not do.
    pub(crate) required: Option<PaymentRequired>,
    pub(crate) receipt: Option<SettleResponse>,
    body: Bytes,
    worked: bool,
}

impl Told {
    pub(crate) async fn by(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let header = |name| parts.headers.get(name).map(HeaderValue::as_bytes);
        Self {
            required: header(header::PAYMENT_REQUIRED).and_then(|value| header::decode(value).ok()),
            receipt: header(header::PAYMENT_RESPONSE).and_then(|value| header::decode(value).ok()),
            body: to_bytes(body, ANSWER_LEN_MAX_BYTES).await.unwrap_or_default(),
            worked: parts.status == StatusCode::OK,
        }
    }

    /// The work, or why there is none.
    pub(crate) fn work(&self) -> Result<JsonMap, String> {
        let why = || String::from_utf8_lossy(&self.body).into_owned();
        if !self.worked {
            return Err(why());
        }
        serde_json::from_slice(&self.body).map_err(|_| why())
    }
}
