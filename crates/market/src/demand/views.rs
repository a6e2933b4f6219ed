use std::{hash::Hash, sync::Arc};

use api::{
    Category, DemandForMe, DemandLevel, GapsQuery, Opportunity, OpportunityFilter, Page, PageQuery, PriceQuestion,
    PriceSuggestion, Signal, Trend, Trending, TrendingQuery,
};
use axum::{Json, extract::State};
use moka::future::Cache;
use money::{Bps, Usdc};
use sqlx::{AssertSqlSafe, PgPool, Row, postgres::PgRow};
use time::{Duration, OffsetDateTime};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{
    fold::{KEPT_HOURS, WINDOW_HOURS, hour},
    opportunities::{CEILING_DEFAULT, REQUESTERS_MIN},
};
use crate::{
    auth::Caller,
    db,
    discover::Search,
    input::{self, Params},
    moment::Moment,
    problem::Problem,
    service::Market,
};

const HOURS_DEFAULT: u32 = 6;
/// Answers that are remembered, and statements for them at a time.
const TOLD_MAX: u64 = 1_000;
const READING_MAX: usize = 2;
/// Of the patterns looked for most, so many are compared with what a seller sells, the newest so many.
const COMPARED_MAX: i64 = 500;
const LISTINGS_MAX: i64 = 100;
/// Listings whose prices are compared, and the fewest that say something.
const PRICES_MAX: usize = 500;
const PRICES_MIN: usize = 5;
const PRICE_MIN: i128 = 1_000;
/// Searches of a category in 24 hours above which a price is 15 % higher.
const BUSY_SEARCHES: i64 = 100;
/// Patterns with their last six hours and the six before, `$1` and `$2` the hours.
const SIGNAL: &str = "p.*, trunc(p.ceiling_sum / greatest(p.ceilings, 1))::bigint AS ceiling,
    (SELECT coalesce(sum(h.searches), 0)::bigint FROM pattern_hours AS h WHERE h.pattern_id = p.id AND h.hour = ANY($1)) AS recent,
    (SELECT coalesce(sum(h.searches), 0)::bigint FROM pattern_hours AS h WHERE h.pattern_id = p.id AND h.hour = ANY($2)) AS before";

/// What was told to anybody some seconds ago: it is read from all that is looked for, once however many ask.
#[derive(Debug)]
pub(crate) struct Figures {
    /// By hours.
    trending: Cache<i64, Arc<[Trending]>>,
    gaps: Cache<Option<Category>, Arc<[Signal]>>,
    /// Searches of a category in 24 hours.
    searches: Cache<Category, i64>,
    /// Whose turn it is to read.
    reading: Semaphore,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            trending: Cache::builder().max_capacity(TOLD_MAX).expire_after(Moment).build(),
            gaps: Cache::builder().max_capacity(TOLD_MAX).expire_after(Moment).build(),
            searches: Cache::builder().max_capacity(TOLD_MAX).expire_after(Moment).build(),
            reading: Semaphore::new(READING_MAX),
        }
    }
}

/// What is remembered under a key, else what a look into the database finds.
pub(crate) async fn told<K: Hash + Eq + Send + Sync + 'static, V: Clone + Send + Sync + 'static>(
    reading: &Semaphore,
    cache: &Cache<K, V>,
    key: K,
    look: impl Future<Output = sqlx::Result<V>>,
) -> Result<V, Problem> {
    let look = async {
        let _turn = reading.acquire().await.ok();
        look.await
    };
    cache.try_get_with(key, look).await.map_err(|error| Problem::internal(&*error))
}

/// The first rows of what is told to all.
pub(crate) fn first<T: Clone>(rows: &[T], limit: usize) -> Json<Page<T>> {
    Json(Page { data: rows.iter().take(limit).cloned().collect(), next_cursor: None })
}

/// `GET /api/v1/trending`
pub(crate) async fn trending(
    State(market): State<Market>,
    Params(asked): Params<TrendingQuery>,
) -> Result<Json<Page<Trending>>, Problem> {
    let hours = i64::from(asked.hours.unwrap_or(HOURS_DEFAULT));
    if !(1..=KEPT_HOURS).contains(&hours) {
        return Err(Problem::invalid(format!("hours must be from 1 to {KEPT_HOURS}")));
    }
    let limit = input::limit(asked.limit)?;
    let figures = &market.figures;
    Ok(first(&told(&figures.reading, &figures.trending, hours, most(&market.pool, hours)).await?, limit))
}

/// What was looked for most in the last hours.
async fn most(pool: &PgPool, hours: i64) -> sqlx::Result<Arc<[Trending]>> {
    let (recent, before, now) = halves();
    // Of few askers nothing is shown.
    let text = format!(
        "SELECT {SIGNAL}, most.in_period FROM (
             SELECT pattern_id, sum(searches)::bigint AS in_period FROM pattern_hours WHERE hour >= $3
             GROUP BY pattern_id HAVING sum(askers) >= $4 ORDER BY in_period DESC, pattern_id LIMIT $5) AS most
         JOIN patterns AS p ON p.id = most.pattern_id ORDER BY in_period DESC, p.id"
    );
    let rows = sqlx::query(AssertSqlSafe(text))
        .bind(recent)
        .bind(before)
        .bind(now - Duration::hours(hours - 1))
        .bind(REQUESTERS_MIN)
        .bind(i64::from(api::LIMIT_MAX))
        .fetch_all(pool)
        .await?;
    rows.iter().map(|row| Ok(Trending { searches: count(row, "in_period")?, signal: signal(row)? })).collect()
}

/// `GET /api/v1/demand-gaps`
pub(crate) async fn gaps(State(market): State<Market>, Params(asked): Params<GapsQuery>) -> Result<Json<Page<Signal>>, Problem> {
    let limit = input::limit(asked.limit)?;
    let figures = &market.figures;
    let found = rarely_found(&market.pool, asked.category);
    Ok(first(&told(&figures.reading, &figures.gaps, asked.category, found).await?, limit))
}

async fn rarely_found(pool: &PgPool, category: Option<Category>) -> sqlx::Result<Arc<[Signal]>> {
    let (recent, before, _) = halves();
    let text = format!(
        "SELECT {SIGNAL} FROM {most} AS p ORDER BY searches DESC, id",
        most = super::most_searched("gap", "($3::text IS NULL OR category = $3)", "$4"),
    );
    let rows = sqlx::query(AssertSqlSafe(text)).bind(recent).bind(before).bind(category.map(db::name_of));
    rows.bind(i64::from(api::LIMIT_MAX)).fetch_all(pool).await?.iter().map(signal).collect()
}

/// How often something of a category was looked for.
async fn searches_of(pool: &PgPool, category: Category) -> sqlx::Result<i64> {
    let sum = "SELECT coalesce(sum(searches), 0)::bigint FROM patterns WHERE category = $1 AND searches > 0";
    sqlx::query_scalar(sum).bind(db::name_of(category)).fetch_one(pool).await
}

/// `GET /api/v1/opportunities`
pub(crate) async fn opportunities(
    State(market): State<Market>,
    Params(asked): Params<OpportunityFilter>,
) -> Result<Json<Page<Opportunity>>, Problem> {
    let limit = input::limit(asked.limit)?;
    let position = |cursor: &str| {
        let (urgency, id) = cursor.split_once('_')?;
        Some((urgency.parse().ok()?, id.parse().ok()?))
    };
    let (urgency, id): (i32, Uuid) = match asked.cursor.as_deref() {
        Some(cursor) => position(cursor).ok_or_else(|| Problem::invalid("cursor must be the next_cursor of another page"))?,
        None => (i32::MAX, Uuid::max()),
    };
    let rows = sqlx::query(
        "SELECT * FROM opportunities WHERE status = $1 AND ($2::text IS NULL OR category = $2) AND urgency >= $3
             AND (urgency, id) < ($4, $5) ORDER BY urgency DESC, id DESC LIMIT $6",
    )
    .bind(db::name_of(asked.status.unwrap_or_default()))
    .bind(asked.category.map(db::name_of))
    .bind(i32::from(asked.min_urgency_bps.unwrap_or_default().get()))
    .bind(urgency)
    .bind(id)
    .bind(limit as i64 + 1)
    .fetch_all(&market.pool)
    .await?;
    let rows = rows.iter().map(opportunity).collect::<sqlx::Result<Vec<_>>>()?;
    Ok(Json(input::page(rows, limit, |row: &Opportunity| format!("{}_{}", row.urgency_bps.get(), row.id))))
}

/// `GET /api/v1/seller/demand-for-me`
pub(crate) async fn demand_for_me(
    State(market): State<Market>,
    caller: Caller,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<DemandForMe>>, Problem> {
    let limit = input::limit(page.limit)?;
    if page.cursor.is_some() {
        return Err(Problem::invalid("there is one page: what is looked for most"));
    }
    let (recent, before, _) = halves();
    let text = format!(
        "WITH mine AS MATERIALIZED (SELECT id, category, search FROM listings WHERE seller_id = $3 AND status = 'active' ORDER BY id DESC LIMIT $4),
         most AS MATERIALIZED {most}
         SELECT * FROM (SELECT {SIGNAL}, (SELECT m.id FROM mine AS m WHERE m.search @@ p.words ORDER BY m.id DESC LIMIT 1) AS mine FROM most AS p) AS for_me
         WHERE mine IS NOT NULL OR category IN (SELECT category FROM mine)
         ORDER BY mine IS NULL, searches DESC, id LIMIT $6",
        most = super::most_searched("top", "TRUE", "$5"),
    );
    let rows = sqlx::query(AssertSqlSafe(text)).bind(recent).bind(before).bind(caller.agent()?);
    let rows = rows.bind(LISTINGS_MAX).bind(COMPARED_MAX).bind(limit as i64).fetch_all(&market.pool).await?;
    let for_me = |row: &PgRow| {
        let signal = signal(row)?;
        let level = match signal.velocity_thousandths {
            5_001.. => DemandLevel::High,
            1_001.. => DemandLevel::Medium,
            _ => DemandLevel::Low,
        };
        Ok(DemandForMe { signal, level, listing_id: row.try_get("mine")? })
    };
    Ok(Json(Page { data: rows.iter().map(for_me).collect::<sqlx::Result<_>>()?, next_cursor: None }))
}

/// `POST /api/v1/seller/price-suggest`
pub(crate) async fn price_suggest(
    State(market): State<Market>,
    input::Json(asked): input::Json<PriceQuestion>,
) -> Result<Json<PriceSuggestion>, Problem> {
    let mut search = Search::new(&api::Discover { q: asked.q, category: Some(asked.category), ..api::Discover::default() })?;
    let mut rows = search.newest("l.price, l.quality", PRICES_MAX).build().persistent(false).fetch_all(&market.pool).await?;
    if rows.len() < PRICES_MIN && search.words.take().is_some() {
        rows = search.newest("l.price, l.quality", PRICES_MAX).build().persistent(false).fetch_all(&market.pool).await?;
    }
    let mut prices = rows.iter().map(|row| row.try_get("price")).collect::<sqlx::Result<Vec<i64>>>()?;
    prices.sort_unstable();
    let judged = rows.iter().filter_map(|row| row.try_get::<Option<i16>, _>("quality").transpose());
    let judged = judged.collect::<sqlx::Result<Vec<_>>>()?;
    let quality = (!judged.is_empty()).then(|| judged.iter().map(|bps| i64::from(*bps)).sum::<i64>() / judged.len() as i64);
    let (figures, category) = (&market.figures, asked.category);
    let searches = told(&figures.reading, &figures.searches, category, searches_of(&market.pool, category)).await?;
    let price = suggest(&prices, asked.quality_bps.map(|bps| i64::from(bps.get())), quality, searches);
    let usdc = |units: i64| Usdc::from_base_units(units.unsigned_abs());
    Ok(Json(PriceSuggestion {
        price: usdc(price),
        compared: prices.len() as u32,
        median: median(&prices).map(usdc),
        dearest: prices.last().copied().map(usdc),
        average_quality_bps: quality.and_then(|bps| Bps::new(u16::try_from(bps).ok()?)),
        searches: searches.unsigned_abs(),
    }))
}

/// As [`PriceSuggestion`] says. The prices are in order.
fn suggest(prices: &[i64], quality: Option<i64>, average: Option<i64>, searches: i64) -> i64 {
    let (Some(median), Some(dearest)) = (median(prices), prices.last()) else { return CEILING_DEFAULT };
    let mut price = i128::from(median);
    if let (Some(quality), Some(average @ 1..)) = (quality, average) {
        price = price * i128::from(quality) / i128::from(average);
    }
    if searches > BUSY_SEARCHES {
        price = price * 115 / 100;
    }
    let most = (i128::from(*dearest) * 3 / 2).max(PRICE_MIN);
    i64::try_from(price.clamp(PRICE_MIN, most)).unwrap_or(i64::MAX)
}

/// Of an even number, the middle of the two, rounded down.
fn median(prices: &[i64]) -> Option<i64> {
    let (low, high) = (prices.get(prices.len().checked_sub(1)? / 2)?, prices.get(prices.len() / 2)?);
    Some(low.midpoint(*high))
}

/// The six hours until now, the six before them, and when this hour began.
fn halves() -> (Vec<OffsetDateTime>, Vec<OffsetDateTime>, OffsetDateTime) {
    let now = hour(OffsetDateTime::now_utc());
    let hours = |range: std::ops::Range<i64>| range.map(|back| now - Duration::hours(back)).collect();
    (hours(0..6), hours(6..12), now)
}

fn signal(row: &PgRow) -> sqlx::Result<Signal> {
    let searches = count(row, "searches")?;
    let (fulfilled, recent, before) = (count(row, "fulfilled")?, count(row, "recent")?, count(row, "before")?);
    let ceilings: i64 = row.try_get("ceilings")?;
    Ok(Signal {
        pattern: row.try_get("pattern")?,
        category: row.try_get::<Option<String>, _>("category")?.map(|_| db::named(row, "category")).transpose()?,
        searches,
        requesters: count(row, "requesters")?,
        velocity_thousandths: searches * 1_000 / WINDOW_HOURS.unsigned_abs(),
        fulfilment_bps: share(fulfilled, searches),
        conversion_bps: share(count(row, "converted")?, searches),
        average_ceiling: if ceilings > 0 { Some(Usdc::from_base_units(count(row, "ceiling")?)) } else { None },
        is_gap: fulfilled * 5 < searches,
        trend: match (recent * 2, before * 3) {
            (recent, before) if recent > before => Trend::Rising,
            _ if recent * 3 < before * 2 => Trend::Falling,
            _ => Trend::Steady,
        },
    })
}

fn opportunity(row: &PgRow) -> sqlx::Result<Opportunity> {
    let bps = |column: &str| {
        Ok::<_, sqlx::Error>(Bps::new(row.try_get::<i32, _>(column)?.try_into().unwrap_or_default()).unwrap_or_default())
    };
    Ok(Opportunity {
        id: row.try_get("id")?,
        pattern: row.try_get("pattern")?,
        category: row.try_get::<Option<String>, _>("category")?.map(|_| db::named(row, "category")).transpose()?,
        status: db::named(row, "status")?,
        searches: count(row, "searches")?,
        requesters: count(row, "requesters")?,
        fulfilment_bps: bps("fulfilment")?,
        average_ceiling: Usdc::from_base_units(count(row, "ceiling")?),
        estimated_revenue: Usdc::from_base_units(count(row, "estimated_revenue")?),
        urgency_bps: bps("urgency")?,
        competing_listings: row.try_get::<i32, _>("competing")?.unsigned_abs(),
        opened_at: row.try_get("opened_at")?,
        expires_at: row.try_get("expires_at")?,
        listing_id: row.try_get("listing_id")?,
    })
}

fn count(row: &PgRow, column: &str) -> sqlx::Result<u64> {
    Ok(row.try_get::<i64, _>(column)?.unsigned_abs())
}

fn share(part: u64, of: u64) -> Bps {
    (part * 10_000).checked_div(of).and_then(|bps| Bps::new(u16::try_from(bps).ok()?)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_suggested_as_documented() {
        assert_eq!(suggest(&[], Some(9_000), None, 1_000), 5_000, "nothing to compare with");
        assert_eq!(suggest(&[10_000, 20_000, 40_000], None, Some(5_000), 100), 20_000);
        assert_eq!(
            suggest(&[10_000, 20_000], Some(8_000), Some(4_000), 101),
            15_000 * 2 * 115 / 100 - 4_500,
            "at most half more than the dearest"
        );
        assert_eq!(suggest(&[10_000, 20_000, 40_000], Some(2_500), Some(5_000), 101), 11_500);
        assert_eq!(suggest(&[10], Some(1), Some(10_000), 0), 1_000, "at least");
        assert_eq!((median(&[]), median(&[3]), median(&[1, 4])), (None, Some(3), Some(2)));
    }
}
