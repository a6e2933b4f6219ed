use api::{Discover, Listing, Page, SortBy};
use axum::{Json, extract::State};
use money::Usdc;
use sqlx::{Postgres, QueryBuilder, Row};
use uuid::Uuid;

use crate::{
    db,
    input::{self, Params},
    listings,
    problem::Problem,
    service::Market,
};

const QUERY_LEN_MAX_CHARS: usize = 400;
/// Older than anything here.
const AGE_MAX_HOURS: u32 = 1_000_000;

/// `GET /api/v1/discover`
pub(crate) async fn discover(
    State(market): State<Market>,
    Params(search): Params<Discover>,
) -> Result<Json<Page<Listing>>, Problem> {
    let (skip, limit) = input::place(search.cursor.as_deref(), search.limit, search.page, search.page_size)?;
    let words = search.q.as_deref().map(str::trim).filter(|q| !q.is_empty());
    input::text("q", words.unwrap_or_default(), 0..=QUERY_LEN_MAX_CHARS)?;
    let mut query = QueryBuilder::<Postgres>::new("SELECT * FROM (SELECT l.*, a.wallet AS seller_wallet, a.creator_id, ");
    // One whole number orders the page, so that the next one continues exactly: largest first, then newest.
    match (search.sort_by, words) {
        (SortBy::PriceAsc, _) => query.push("-l.price"),
        (SortBy::PriceDesc, _) => query.push("l.price"),
        (SortBy::Quality, _) => query.push("coalesce(l.quality, -1)::bigint"),
        // To the microsecond, which is what a cursor can carry exactly.
        (SortBy::Freshness, _) => query.push("(extract(epoch FROM l.freshness_at) * 1000000)::bigint"),
        (SortBy::Relevance, Some(words)) => {
            query.push("(ts_rank(l.search, websearch_to_tsquery('english', ").push_bind(words).push(")) * 1000000)::bigint")
        }
        (SortBy::Relevance, None) => query.push("0::bigint"),
    };
    query.push(" AS sort_key FROM listings AS l JOIN agents AS a ON a.id = l.seller_id WHERE l.status = 'active'");
    query.push(" AND (l.expires_at IS NULL OR l.expires_at > now())");
    if let Some(words) = words {
        query.push(" AND l.search @@ websearch_to_tsquery('english', ").push_bind(words).push(")");
    }
    if let Some(category) = search.category {
        query.push(" AND l.category = ").push_bind(db::name_of(category));
    }
    if let Some(price) = search.min_price {
        query.push(" AND l.price >= ").push_bind(units(price));
    }
    if let Some(price) = search.max_price {
        query.push(" AND l.price <= ").push_bind(units(price));
    }
    if let Some(seller) = search.seller_id {
        query.push(" AND l.seller_id = ").push_bind(seller);
    }
    if let Some(quality) = search.min_quality_bps {
        query.push(" AND l.quality >= ").push_bind(quality.get().cast_signed());
    }
    if let Some(hours) = search.max_age_hours {
        query
            .push(" AND l.freshness_at > now() - make_interval(hours => ")
            .push_bind(hours.min(AGE_MAX_HOURS).cast_signed())
            .push(")");
    }
    query.push(") AS found");
    if let Some(cursor) = &search.cursor {
        let (key, id) = position(cursor).ok_or_else(|| Problem::invalid("cursor must be the next_cursor of another page"))?;
        query.push(" WHERE (sort_key, id) < (").push_bind(key).push(", ").push_bind(id).push(")");
    }
    query.push(" ORDER BY sort_key DESC, id DESC LIMIT ").push_bind(limit as i64 + 1).push(" OFFSET ").push_bind(skip);
    let rows = query.build().fetch_all(&market.pool).await?;
    let found = rows.iter().map(|row| Ok((row.try_get::<i64, _>("sort_key")?, listings::listing(row)?)));
    let found = found.collect::<Result<Vec<_>, sqlx::Error>>()?;
    let page = input::page(found, limit, |(key, listing)| format!("{key}_{}", listing.id));
    let data = page.data.into_iter().map(|(_, listing)| listing).collect();
    Ok(Json(Page { data, next_cursor: page.next_cursor }))
}

/// A bound as a column has it; beyond what a column holds, nothing is cut off.
fn units(price: Usdc) -> i64 {
    i64::try_from(price.base_units()).unwrap_or(i64::MAX)
}

fn position(cursor: &str) -> Option<(i64, Uuid)> {
    let (key, id) = cursor.split_once('_')?;
    Some((key.parse().ok()?, id.parse().ok()?))
}
