//! Each request within its trace: what is logged names it, and what is asked of the facilitator carries it on.

use axum::{extract::Request, middleware::Next, response::Response};
use tracing::{Instrument, debug, info_span};
use x402::TraceContext;

use crate::router::REQUEST_ID;

pub(crate) async fn follow(request: Request, next: Next) -> Response {
    let trace = TraceContext::of(request.headers());
    let request_id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let span = info_span!(
        "request",
        method = %request.method(),
        path = request.uri().path(),
        request_id,
        trace_id = %format_args!("{:032x}", trace.trace_id()),
    );
    let answered = async {
        let response = next.run(request).await;
        debug!(status = response.status().as_u16(), "answered");
        response
    };
    trace.scope(answered).instrument(span).await
}
