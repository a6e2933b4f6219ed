//! Looking for listings.
//!
//! A page costs the page, not what matches: each order has an index, which Postgres follows when many listings match, and when few do it collects
//! them by their words. The order by relevance has no index, since how well a listing matches depends on the words; so it ranks a window of the
//! newest that match, and goes on with the window before it.

mod facets;
mod search;
pub(crate) mod typos;

use api::{Discover, Discovered};
use axum::{Json, extract::State};

use crate::{
    access::Origin,
    demand::Source,
    input::{self, Params},
    problem::Problem,
    service::Market,
};
pub(crate) use search::Search;

const QUERY_LEN_MAX_CHARS: usize = 400;

/// `GET /api/v1/discover`
pub(crate) async fn discover(
    State(market): State<Market>,
    origin: Origin,
    Params(asked): Params<Discover>,
) -> Result<Json<Discovered>, Problem> {
    let place = input::place(asked.cursor.as_deref(), asked.limit, asked.page, asked.page_size)?;
    let mut search = Search::new(&asked)?;
    let cursor = asked.cursor.as_deref();
    let mut found = search.page(&market.pool, cursor, place).await?;
    let mut corrected = None;
    if found.data.is_empty()
        && let Some(words) = &search.words
        && let Some(meant) = typos::meant(&market.pool, words).await?
    {
        search.words = Some(meant.clone());
        found = search.page(&market.pool, cursor, place).await?;
        corrected = Some(meant).filter(|_| !found.data.is_empty());
    }
    // A next page is no other search.
    if cursor.is_none() && place.0 == 0 {
        let looked_for = (search.words.as_deref(), search.category);
        market.demand.search(Source::Discover, origin.principal, looked_for, found.data.len(), search.max_price);
    }
    let facets = if asked.facets { Some(facets::count(&market.pool, &search).await?) } else { None };
    Ok(Json(Discovered { data: found.data, next_cursor: found.next_cursor, corrected, facets }))
}

/// What the words of a search may be.
pub(crate) fn words(asked: Option<&str>) -> Result<Option<String>, Problem> {
    let words = asked.map(str::trim).filter(|q| !q.is_empty());
    input::text("q", words.unwrap_or_default(), 0..=QUERY_LEN_MAX_CHARS)?;
    Ok(words.map(str::to_owned))
}
