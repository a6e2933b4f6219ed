use axum::{
    Json,
    body::to_bytes,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tracing::error;

/// What Postgres calls a query that ran into `statement_timeout`.
const QUERY_CANCELED: &str = "57014";
/// Longest explanation that is taken over from a layer below.
const DETAIL_BYTES_MAX: usize = 1_000;

/// An error as `application/problem+json` (RFC 9457). `code` is stable; `detail` is for people.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct Problem {
    /// A URN that ends with the code.
    #[serde(rename = "type")]
    kind: String,
    /// What went wrong, for programs.
    code: &'static str,
    /// What went wrong, in general.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What went wrong this time, and what to do about it.
    detail: String,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { kind: format!("urn:florin:problem:{code}"), code, title, status: status.as_u16(), detail: detail.into() }
    }

    pub(crate) fn invalid_parameter(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_parameter", "A parameter cannot be used", detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such thing on the chain", detail)
    }

    pub(crate) fn not_mirrored(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_mirrored", "The mirror does not hold that", detail)
    }

    pub(crate) fn unknown_chain(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown_chain", "This chain is not mirrored here", detail)
    }

    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Nobody may do that here", detail)
    }

    pub(crate) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "That takes the administrator's token", detail)
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "That cannot be done now", detail)
    }

    pub(crate) fn no_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_such_path", "Nothing is served here", "The paths begin with /api/v1/chain/")
    }

    pub(crate) fn read_only() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "The chain is read here, not written", "Use GET")
    }

    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong here", "It was logged")
    }

    fn too_long() -> Self {
        Self::unavailable("This took too long: ask for fewer rows or blocks, or again later")
    }

    /// Whether what was asked for is not on the chain.
    pub(super) fn is_not_found(&self) -> bool {
        self.code == "not_found"
    }

    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The mirror cannot be relied on now", detail)
    }
}

impl From<sqlx::Error> for Problem {
    fn from(cause: sqlx::Error) -> Self {
        if matches!(cause, sqlx::Error::PoolTimedOut | sqlx::Error::Io(_)) {
            return Self::unavailable("The database does not answer, try again");
        }
        if cause.as_database_error().and_then(|cause| cause.code()).is_some_and(|code| code == QUERY_CANCELED) {
            return Self::too_long();
        }
        error!(error = %cause, "a query failed");
        Self::internal()
    }
}

/// Gives every error the shape of a [`Problem`]: also those of the layers around the handlers, which are text or nothing.
pub(super) async fn shape(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let typed = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| !kind.as_bytes().starts_with(b"text/"));
    if typed || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let problem = match status {
        StatusCode::SERVICE_UNAVAILABLE => Problem::too_long(),
        status if status.is_server_error() => Problem::internal(),
        status => {
            let said = to_bytes(response.into_body(), DETAIL_BYTES_MAX).await.unwrap_or_default();
            Problem { status: status.as_u16(), ..Problem::invalid_parameter(String::from_utf8_lossy(&said)) }
        }
    };
    problem.into_response()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}
