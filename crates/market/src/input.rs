//! Strict reading of what outsiders send.

use axum::{
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{StatusCode, request::Parts},
};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::problem::Problem;

/// Longest JSON body: 4 MiB of content as base64, and the rest.
pub(crate) const JSON_LEN_MAX_BYTES: usize = 6 * 1024 * 1024;

/// Query parameters; an unknown, repeated or malformed one is a problem.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(params) = Query::from_request_parts(parts, state).await.map_err(|e| Problem::invalid(reason(&e)))?;
        Ok(Self(params))
    }
}

/// The id in the path.
pub(crate) struct Id(pub(crate) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(id) = Path::from_request_parts(parts, state).await.map_err(|e| Problem::invalid(reason(&e)))?;
        Ok(Self(id))
    }
}

/// The name in the path.
pub(crate) struct Name(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(name) = Path::from_request_parts(parts, state).await.map_err(|e| Problem::invalid(reason(&e)))?;
        Ok(Self(name))
    }
}

/// The number in the path.
pub(crate) struct Number(pub(crate) u64);

impl<S: Send + Sync> FromRequestParts<S> for Number {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(number) = Path::from_request_parts(parts, state).await.map_err(|e| Problem::invalid(reason(&e)))?;
        Ok(Self(number))
    }
}

/// A JSON body; an unknown field is a problem.
pub(crate) struct Json<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match axum::Json::from_request(request, state).await {
            Ok(axum::Json(body)) => Ok(Self(body)),
            Err(e) if e.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                let detail = format!("A JSON body has at most {JSON_LEN_MAX_BYTES} bytes");
                Err(Problem::new(api::Code::TooLarge, detail))
            }
            Err(e) => Err(Problem::invalid(reason(&e))),
        }
    }
}

/// The innermost cause says what is wrong with the value.
fn reason(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string().chars().take(300).collect()
}

/// Refuses a text with fewer or more characters than allowed.
pub(crate) fn text(field: &str, value: &str, allowed: std::ops::RangeInclusive<usize>) -> Result<(), Problem> {
    let len = value.chars().count();
    let fits = allowed.contains(&len) && (*allowed.start() == 0 || !value.trim().is_empty());
    let detail = || format!("{field} has {len} characters, allowed are {} to {}", allowed.start(), allowed.end());
    if value.contains('\0') {
        return Err(Problem::invalid(format!("{field} contains a zero character")));
    }
    if fits { Ok(()) } else { Err(Problem::invalid(detail())) }
}

/// Rows to show, of a request's `limit`.
pub(crate) fn limit(asked: Option<u32>) -> Result<usize, Problem> {
    match asked.unwrap_or(api::LIMIT_DEFAULT) {
        rows @ 1..=api::LIMIT_MAX => Ok(rows as usize),
        _ => Err(Problem::invalid(format!("limit must be from 1 to {}", api::LIMIT_MAX))),
    }
}

/// Where a page begins that is asked for by a cursor or by its number: rows to skip, and rows to show.
pub(crate) fn place(
    cursor: Option<&str>,
    limit: Option<u32>,
    page: Option<u32>,
    size: Option<u32>,
) -> Result<(i64, usize), Problem> {
    place_up_to(api::LIMIT_MAX, cursor, limit, page, size)
}

/// The same, for pages with a number that have up to so many rows.
pub(crate) fn place_up_to(
    size_max: u32,
    cursor: Option<&str>,
    limit: Option<u32>,
    page: Option<u32>,
    size: Option<u32>,
) -> Result<(i64, usize), Problem> {
    if page.is_none() && size.is_none() {
        return Ok((0, self::limit(limit)?));
    }
    if cursor.is_some() || limit.is_some() {
        return Err(Problem::invalid("page and page_size do not go with cursor and limit: use the ones or the others"));
    }
    let (page, size) = (page.unwrap_or(1), size.unwrap_or(api::LIMIT_DEFAULT));
    if page == 0 || !(1..=size_max).contains(&size) {
        return Err(Problem::invalid(format!("page must be 1 or more, and page_size from 1 to {size_max}")));
    }
    let skip = (page - 1).checked_mul(size).filter(|skip| *skip <= api::PAGED_MAX);
    let skip = skip.ok_or_else(|| Problem::invalid(format!("beyond {} rows, go on by next_cursor", api::PAGED_MAX)))?;
    Ok((skip.into(), size as usize))
}

/// The id at which a page continues: below every UUID of version 7 that is older.
pub(crate) fn before(cursor: Option<&str>) -> Result<Uuid, Problem> {
    let bad = |_| Problem::invalid("cursor must be the next_cursor of another page");
    cursor.map_or(Ok(Uuid::max()), |text| text.parse().map_err(bad))
}

/// A page of `rows`, which were read with one more than `limit`.
pub(crate) fn page<T>(mut rows: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> api::Page<T> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(cursor);
    api::Page { data: rows, next_cursor }
}
