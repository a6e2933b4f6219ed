use api::Code;
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use tracing::error;

/// Seconds after which to try again when something is not possible right now.
const RETRY_AFTER_SECONDS: u64 = 1;

/// What Postgres says to a text that it cannot keep, and to one within JSON.
const NOT_A_CHARACTER: [&str; 2] = ["22021", "22P05"];

/// A refusal, on its way out.
#[derive(Debug)]
pub(crate) struct Problem(pub(crate) api::Problem);

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(api::Problem::new(code, detail))
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, detail)
    }

    /// Not now, but in so many seconds.
    pub(crate) fn too_often(detail: impl Into<String>, seconds: u64) -> Self {
        Self(api::Problem { retry_after: Some(seconds), ..api::Problem::new(Code::TooManyRequests, detail) })
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("There is no such {what}"))
    }

    /// Logs what happened and tells the outside nothing of it.
    pub(crate) fn internal(cause: &(dyn std::error::Error + 'static)) -> Self {
        error!(error = cause, "a request failed");
        Self::new(Code::Internal, "It was logged")
    }
}

impl From<sqlx::Error> for Problem {
    fn from(cause: sqlx::Error) -> Self {
        if matches!(cause, sqlx::Error::PoolTimedOut | sqlx::Error::Io(_)) {
            return Self::new(Code::Unavailable, "The database does not answer, try again");
        }
        let code = cause.as_database_error().and_then(|error| error.code());
        if code.is_some_and(|code| NOT_A_CHARACTER.iter().any(|known| *known == code)) {
            return Self::invalid("No text may contain a zero character");
        }
        Self::internal(&cause)
    }
}

impl From<std::io::Error> for Problem {
    fn from(cause: std::io::Error) -> Self {
        Self::internal(&cause)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let unavailable = status == StatusCode::SERVICE_UNAVAILABLE;
        let retry_after = self.0.retry_after.or(unavailable.then_some(RETRY_AFTER_SECONDS));
        let mut response = (status, Json(self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
