use std::fmt;

use alloy::hex;
use axum::{
    extract::{FromRequestParts, Path, Query},
    http::request::Parts,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::problem::Problem;
use crate::read::{Named, Place, Position};

/// Rows of a page that does not ask for a number.
const PAGE_ROWS: u32 = 50;
/// Most rows of a page.
const PAGE_ROWS_MAX: u32 = 500;

/// Query parameters; an unknown, repeated or malformed one is a problem.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(params) = Query::from_request_parts(parts, state).await.map_err(|e| Problem::invalid_parameter(reason(&e)))?;
        Ok(Self(params))
    }
}

/// The `{...}` of the path; a malformed one is a problem.
pub(super) struct Part<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Part<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(part) = Path::from_request_parts(parts, state).await.map_err(|e| Problem::invalid_parameter(reason(&e)))?;
        Ok(Self(part))
    }
}

/// The innermost cause says what is wrong with the value.
fn reason(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// `limit` of a list.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u32")]
pub(super) struct Limit(u32);

impl Limit {
    pub(super) const fn get(self) -> u32 {
        self.0
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(PAGE_ROWS)
    }
}

impl TryFrom<u32> for Limit {
    type Error = String;

    fn try_from(limit: u32) -> Result<Self, String> {
        if (1..=PAGE_ROWS_MAX).contains(&limit) {
            Ok(Self(limit))
        } else {
            Err(format!("limit must be from 1 to {PAGE_ROWS_MAX}"))
        }
    }
}

/// Where a page continues, as the page before it said.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Cursor(pub(super) Position);

impl TryFrom<String> for Cursor {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        const HELP: &str = "cursor must be the next_cursor of another page";
        let (block, log) = text.split_once('-').ok_or(HELP)?;
        Ok(Self(Position { block: block.parse().map_err(|_| HELP)?, log: log.parse().map_err(|_| HELP)? }))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.block, self.0.log)
    }
}

/// A page of a list.
#[derive(Debug, Serialize)]
pub(super) struct Page<T> {
    data: Vec<T>,
    /// For the page after this one; absent when this is the last.
    next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// `rows` were read with [`Page::rows_to_read`].
    pub(super) fn new(mut rows: Vec<T>, limit: Limit, place: impl Fn(&T) -> &Place) -> Self {
        let wanted = usize::try_from(limit.get()).expect("u32 fits in usize");
        let more = rows.len() > wanted;
        rows.truncate(wanted);
        let next_cursor = rows.last().filter(|_| more).map(|row| Cursor(place(row).position()).to_string());
        Self { data: rows, next_cursor }
    }

    /// As [`Page::new`], for lists whose pages continue after an address or id.
    pub(super) fn by_key<R>(mut rows: Vec<Named<R>>, limit: Limit, answer: impl Fn(Named<R>) -> T) -> Self {
        let wanted = usize::try_from(limit.get()).expect("u32 fits in usize");
        let more = rows.len() > wanted;
        rows.truncate(wanted);
        let next_cursor = rows.last().filter(|_| more).map(|row| hex::encode_prefixed(row.id()));
        Self { data: rows.into_iter().map(answer).collect(), next_cursor }
    }

    /// One more than asked for tells whether there is another page.
    pub(super) const fn rows_to_read(limit: Limit) -> u32 {
        limit.get() + 1
    }
}
