//! Looking for listings.
//!
//! A page costs the page, not what matches: each order has an index. By words, functions of the database look at the newest slices of the listings,
//! or at the cheapest bands of prices, until there is enough (migrations 0094 and 0102). The order by relevance has no index, since how well a listing matches
//! depends on the words; so it ranks a window of slices with the newest that match, and goes on with the window before it.
//!
//! Where an endpoint tells what texts mean, that counts in the order by relevance, and finds what has none of the words (`meaning`).

mod after;
mod facets;
pub(crate) mod meaning;
mod search;
mod turns;
pub(crate) mod typos;

use std::sync::Arc;

use api::{Discover, Discovered};
use axum::{Json, extract::State};
use sqlx::PgConnection;

use crate::{
    access::Origin,
    demand::Source,
    input::{self, Params},
    problem::Problem,
    service::Market,
};
use meaning::Meaning;
pub(crate) use search::Search;
pub(crate) use turns::Turns;

const QUERY_LEN_MAX_CHARS: usize = 400;

/// `GET /api/v1/discover`
pub(crate) async fn discover(
    State(market): State<Market>,
    origin: Origin,
    Params(asked): Params<Discover>,
) -> Result<Json<Discovered>, Problem> {
    let place = input::place(asked.cursor.as_deref(), asked.limit, asked.page, asked.page_size)?;
    let search = Search::new(&asked)?;
    let (cursor, meaning) = match (asked.cursor.as_deref(), search.ranked_by()) {
        (Some(cursor), _) => market.meanings.of_cursor(cursor).map(|(place, meaning)| (Some(place), meaning))?,
        (None, Some(words)) => (None, market.meanings.of(words).await),
        (None, None) => (None, None),
    };
    let (cursor, mut turn) = (cursor.map(str::to_owned), Arc::clone(&market.searching).next().await);
    let at = market.clone();
    // The turn is over when the database is done with it, not when whoever asked has hung up.
    let found = market.spawn(async move {
        let found = find(&at, turn.connection().await?, (origin, &asked), search, meaning, cursor.as_deref(), place).await?;
        turn.pass();
        Ok(found)
    });
    found.await.map_err(|error| Problem::internal(&error))?
}

async fn find(
    market: &Market,
    conn: &mut PgConnection,
    (origin, asked): (Origin, &Discover),
    mut search: Search,
    meaning: Option<Meaning>,
    cursor: Option<&str>,
    place: (i64, usize),
) -> Result<Json<Discovered>, Problem> {
    let sense = meaning.and_then(|meaning| market.meanings.sense(meaning));
    let mut found = search.page(conn, sense, cursor, place).await?;
    let mut corrected = None;
    if found.data.is_empty()
        && let Some(words) = &search.words
        && let Some(meant) = typos::meant(conn, words).await?
    {
        search.words = Some(meant.clone());
        found = search.page(conn, sense, cursor, place).await?;
        corrected = Some(meant).filter(|_| !found.data.is_empty());
    }
    // A next page is no other search.
    if cursor.is_none() && place.0 == 0 {
        let looked_for = (search.words.as_deref(), search.category);
        market.demand.search(Source::Discover, origin.principal, looked_for, found.data.len(), search.max_price);
    }
    let by_words = found.data.len();
    if let Some(sense) = sense
        && cursor.is_none()
        && place.0 == 0
        && by_words < place.1
        && !asked.q.as_deref().is_some_and(is_strict)
    {
        let far_max = market.meanings.far_max();
        let near = search.nearest(conn, sense, far_max, &found.data, place.1 - by_words).await?;
        found.data.extend(near);
    }
    let near = (found.data.len() - by_words) as u32;
    let facets = if asked.facets { Some(facets::count(conn, &search).await?) } else { None };
    Ok(Json(Discovered { data: found.data, near, next_cursor: found.next_cursor, corrected, facets }))
}

/// Whether a search says that words must not be there, or must be there as they are: then nothing else will do.
fn is_strict(words: &str) -> bool {
    words.contains('"') || words.split_whitespace().any(|word| word.starts_with('-'))
}

/// What the words of a search may be.
pub(crate) fn words(asked: Option<&str>) -> Result<Option<String>, Problem> {
    let words = asked.map(str::trim).filter(|q| !q.is_empty());
    input::text("q", words.unwrap_or_default(), 0..=QUERY_LEN_MAX_CHARS)?;
    Ok(words.map(str::to_owned))
}
