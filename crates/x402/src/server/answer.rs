//! Responses the gate gives by itself.

use axum::{
    body::Body,
    response::{IntoResponse, Json, Response},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, RETRY_AFTER},
};
use serde_json::json;

use super::{Kept, Offers, Work, paywall};
use crate::{Charge, ChargeError, Reason, SettleResponse, header};

/// Longest reason told; what a facilitator says beyond that would not fit a header.
const REASON_CHARS_MAX: usize = 1_000;
const EXPOSED: &str = "PAYMENT-REQUIRED, PAYMENT-RESPONSE";

/// 402 (412 when Permit2 has to be approved first): how to pay, and why the payment that came does not do.
pub(super) fn unpaid(headers: &HeaderMap, offers: &Offers, error: Option<&Reason>) -> Response {
    let error_text = error.map_or("PAYMENT-SIGNATURE header is required", Reason::as_str);
    let required = offers.required(Some(error_text.chars().take(REASON_CHARS_MAX).collect()), true);
    let Ok(encoded) = header::encode(&required) else {
        tracing::error!(url = required.resource.url, "the offers do not fit a header: shorten descriptions and extensions");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let status = match error {
        Some(Reason::Permit2AllowanceRequired) => StatusCode::PRECONDITION_FAILED,
        _ => StatusCode::PAYMENT_REQUIRED,
    };
    let mut response = if paywall::is_browser(headers) { paywall::page(&required) } else { Json(&required).into_response() };
    *response.status_mut() = status;
    insert(&mut response, header::PAYMENT_REQUIRED, &encoded);
    insert(&mut response, CACHE_CONTROL.as_str(), "no-store");
    insert(&mut response, ACCESS_CONTROL_EXPOSE_HEADERS.as_str(), EXPOSED);
    response
}

/// 402 after a settlement that failed for good.
pub(super) fn not_settled(headers: &HeaderMap, offers: &Offers, failure: &SettleResponse) -> Response {
    let reason = failure.error_reason.clone().unwrap_or(Reason::UnexpectedSettleError);
    let mut response = unpaid(headers, offers, Some(&reason));
    attach_receipt(&mut response, failure);
    response
}

/// 503: nobody is to pay again, the same payment may come again.
pub(super) fn try_again(detail: &str) -> Response {
    let body = json!({ "error": detail, "retry": "send the same payment again, never a new one" });
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response();
    insert(&mut response, RETRY_AFTER.as_str(), "1");
    insert(&mut response, CACHE_CONTROL.as_str(), "no-store");
    response
}

/// 500: the handler did what it must not.
pub(super) fn failed() -> Response {
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

/// What the handler says that its work costs. Taken out: it is for nobody else.
pub(super) fn take_charge(response: &mut Response) -> Result<Option<Charge>, ChargeError> {
    let header = response.headers_mut().remove(header::SETTLEMENT_OVERRIDES);
    match (response.extensions_mut().remove::<Charge>(), header) {
        (Some(charge), _) => Ok(Some(charge)),
        (None, Some(content)) => Charge::from_header(content.as_bytes()).map(Some),
        (None, None) => Ok(None),
    }
}

/// 400: the payment cannot be judged as it is.
pub(super) fn bad_request(code: &str) -> Response {
    let mut response = (StatusCode::BAD_REQUEST, Json(json!({ "error": code }))).into_response();
    insert(&mut response, CACHE_CONTROL.as_str(), "no-store");
    response
}

/// 409: the purchase's name was given to another payment or request.
pub(super) fn id_taken() -> Response {
    let detail = "this payment identifier names another payment or request: choose a new one for a new purchase";
    let body = json!({ "error": "payment_identifier_conflict", "detail": detail });
    let mut response = (StatusCode::CONFLICT, Json(body)).into_response();
    insert(&mut response, CACHE_CONTROL.as_str(), "no-store");
    response
}

/// 409: the payment was served before; its receipt is in the header.
pub(super) fn already_used(receipt: &SettleResponse) -> Response {
    let body = json!({ "error": "this payment was served before", "transaction": receipt.transaction });
    let mut response = (StatusCode::CONFLICT, Json(body)).into_response();
    insert(&mut response, CACHE_CONTROL.as_str(), "no-store");
    attach_receipt(&mut response, receipt);
    response
}

impl Kept {
    pub(super) fn with_receipt(&self, receipt: &SettleResponse) -> Self {
        Self { receipt: Some(receipt.clone()), ..self.clone() }
    }
}

impl Work {
    /// The answer with its receipt.
    pub(super) fn into_response(self, receipt: &SettleResponse) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        mark_paid(&mut response, receipt);
        response
    }
}

/// Adds the receipt, lets scripts read it, and keeps shared caches from keeping what was paid for.
pub(super) fn mark_paid(response: &mut Response, receipt: &SettleResponse) {
    attach_receipt(response, receipt);
    mark_private(response);
}

/// Keeps shared caches from keeping what not everybody may have.
pub(super) fn mark_private(response: &mut Response) {
    let private = match response.headers().get(CACHE_CONTROL).and_then(|value| value.to_str().ok()) {
        Some(told) if told.contains("private") || told.contains("no-store") => return,
        Some(told) => {
            let rest = told.split(',').map(str::trim).filter(|part| *part != "public" && !part.starts_with("s-maxage"));
            std::iter::once("private").chain(rest).collect::<Vec<_>>().join(", ")
        }
        None => "private".to_owned(),
    };
    insert(response, CACHE_CONTROL.as_str(), &private);
}

fn attach_receipt(response: &mut Response, receipt: &SettleResponse) {
    match header::encode(receipt) {
        Ok(encoded) => insert(response, header::PAYMENT_RESPONSE, &encoded),
        Err(error) => tracing::error!(%error, transaction = receipt.transaction, "the receipt does not fit a header"),
    }
    response.headers_mut().append(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
}

fn insert(response: &mut Response, name: &str, value: &str) {
    let name = HeaderName::from_bytes(name.as_bytes()).expect("names are constants of this crate");
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
