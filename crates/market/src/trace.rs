//! What is logged about a request names it.

use axum::{extract::Request, middleware::Next, response::Response};
use tracing::{Instrument, debug, info_span};

use crate::router::REQUEST_ID;

pub(crate) async fn follow(request: Request, next: Next) -> Response {
    let request_id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let span = info_span!("request", method = %request.method(), path = request.uri().path(), request_id);
    let answered = async {
        let response = next.run(request).await;
        debug!(status = response.status().as_u16(), "answered");
        response
    };
    answered.instrument(span).await
}
