use std::{borrow::Cow, fmt};

use alloy::hex;
use axum::{extract::Query, http::Uri};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use url::form_urlencoded;

use super::problem::Problem;
use crate::{
    read::{self, Found, Named, Position},
    schema,
};

/// Rows of a page that does not ask for a number.
const PAGE_ROWS: u32 = 50;
/// Most rows of a page.
pub(super) const PAGE_ROWS_MAX: u32 = 500;

/// Reads the parameters of a path and a query string; an unknown, repeated or malformed one is a problem.
pub(super) fn params<T: DeserializeOwned>(pairs: &[(String, String)]) -> Result<T, Problem> {
    // Postgres keeps no such text, so nothing is called that.
    if let Some((name, _)) = pairs.iter().find(|(_, value)| value.contains('\0')) {
        return Err(Problem::invalid_parameter(format!("{name} contains a zero byte")));
    }
    let query = form_urlencoded::Serializer::new("/?".to_owned()).extend_pairs(pairs).finish();
    let uri: Uri = query.parse().map_err(|_| Problem::invalid_parameter("the parameters are too long"))?;
    let Query(params) = Query::try_from_uri(&uri).map_err(|error| Problem::invalid_parameter(reason(&error)))?;
    Ok(params)
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
    /// Most rows of a page.
    pub(super) const fn max() -> Self {
        Self(PAGE_ROWS_MAX)
    }

    pub(super) const fn get(self) -> u32 {
        self.0
    }

    /// One more than asked for tells whether there is another page.
    pub(super) const fn rows_to_read(self) -> u32 {
        self.0 + 1
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

impl JsonSchema for Limit {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Limit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": 1, "maximum": PAGE_ROWS_MAX, "default": PAGE_ROWS})
    }
}

/// Where a page continues, as the page before it said.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Cursor {
    pub(super) position: Position,
    /// The last reorganisation that the page before it knew of.
    pub(super) reorg: u64,
}

impl TryFrom<String> for Cursor {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        const HELP: &str = "cursor must be the next_cursor of another page";
        let mut parts = text.split('-');
        let mut next = || parts.next().ok_or(HELP);
        let block = next()?.parse().map_err(|_| HELP)?;
        let log = next()?.parse().map_err(|_| HELP)?;
        let part = next()?.parse().map_err(|_| HELP)?;
        let reorg = next()?.parse().map_err(|_| HELP)?;
        if parts.next().is_some() { Err(HELP) } else { Ok(Self { position: Position { block, log, part }, reorg }) }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position: Position { block, log, part }, reorg } = self;
        write!(f, "{block}-{log}-{part}-{reorg}")
    }
}

impl JsonSchema for Cursor {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Cursor".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        schema::Cursor::json_schema(generator)
    }
}

/// A page of a list.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub(super) struct Page<T> {
    /// The rows.
    pub(super) data: Vec<T>,
    /// For the page after this one; null when this is the last. A page that looked for what is rare may have fewer rows than asked for, or none,
    /// and still not be the last.
    pub(super) next_cursor: Option<String>,
    /// Rows of this block and later ones that earlier pages had are no longer of the chain: drop them and read again with `from_block`.
    /// Null when nothing was undone since the page before.
    pub(super) undone_from: Option<u64>,
}

impl<T> Page<T> {
    /// `rows` were read with [`Limit::rows_to_read`].
    pub(super) fn new(mut rows: Vec<T>, limit: Limit, next: impl Fn(&T) -> String) -> Self {
        let wanted = usize::try_from(limit.get()).expect("u32 fits in usize");
        let more = rows.len() > wanted;
        rows.truncate(wanted);
        let next_cursor = rows.last().filter(|_| more).map(next);
        Self { data: rows, next_cursor, undone_from: None }
    }

    /// As [`Page::new`], for lists whose pages continue after an address or id.
    pub(super) fn by_key<R>(found: Found<R>, limit: Limit, answer: impl Fn(Named<R>) -> T) -> Self {
        let Page { data, next_cursor, .. } = Page::new(found.rows, limit, |row| hex::encode_prefixed(row.id()));
        let next_cursor = next_cursor.or(found.looked_to.map(|key| hex::encode_prefixed(read::id(&key))));
        Self { data: data.into_iter().map(answer).collect(), next_cursor, undone_from: None }
    }
}
