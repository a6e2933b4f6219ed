use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Rows of a page that does not ask for a number.
pub const LIMIT_DEFAULT: u32 = 20;
/// Most rows of a page.
pub const LIMIT_MAX: u32 = 100;

/// Rows before a page that is asked for by its number, at most: beyond them pages go on by their cursors.
pub const PAGED_MAX: u32 = 10_000;

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    /// The rows.
    pub data: Vec<T>,
    /// For the page after this one; absent when this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Which page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Rows wanted, 1 to [`LIMIT_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}
