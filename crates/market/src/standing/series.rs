//! Figures day by day, as a chart is drawn from them.

use std::collections::HashMap;

use api::{
    Category, CategorySales, DaysQuery, Earnings, EarningsDay, MarketDay, MarketDaysQuery, Page, Profile, SalesDay, Stats,
    StatsDay,
};
use axum::{Json, extract::State};
use money::Usdc;
use sqlx::{AssertSqlSafe, PgPool, Row, postgres::PgRow};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    facts,
    views::{FIGURES, QUALITY, SUMS, begin, count, helpfulness, of_agent},
};
use crate::{
    agents,
    auth::Caller,
    db,
    input::{Id, Params},
    ledger,
    problem::Problem,
    service::Market,
};

const DAYS_DEFAULT: u32 = 30;
const DAYS_MAX: u32 = 366;
/// Listings of an agent that are counted.
const LISTINGS_MAX: i64 = 1_000;

/// The days that are asked for, as days from 1970.
fn days(asked: Option<u32>) -> Result<std::ops::RangeInclusive<i32>, Problem> {
    let days = asked.unwrap_or(DAYS_DEFAULT);
    if !(1..=DAYS_MAX).contains(&days) {
        return Err(Problem::invalid(format!("days must be from 1 to {DAYS_MAX}")));
    }
    let today = facts::day(OffsetDateTime::now_utc());
    Ok(today - days.cast_signed() + 1..=today)
}

/// `GET /api/v1/my-earnings`
pub(crate) async fn my_earnings(
    State(market): State<Market>,
    caller: Caller,
    Params(asked): Params<DaysQuery>,
) -> Result<Json<Earnings>, Problem> {
    let (agent, days) = (caller.agent()?, days(asked.days)?);
    let row = row_of(&market.pool, agent).await?;
    let days = of_days(&market.pool, agent, days).await?.into_iter();
    Ok(Json(Earnings {
        sold: count(&row, "sold")?,
        usdc: usdc(&row, "earned_usdc")?,
        ard: ard(&row, "earned_ard")?,
        categories: categories(&market.pool, agent).await?,
        days: days.map(|d| EarningsDay { day: d.day, sold: d.sold, usdc: d.earned_usdc, ard: d.earned_ard }).collect(),
    }))
}

/// `GET /api/v1/my-stats`
pub(crate) async fn my_stats(
    State(market): State<Market>,
    caller: Caller,
    Params(asked): Params<DaysQuery>,
) -> Result<Json<Stats>, Problem> {
    let (agent, days) = (caller.agent()?, days(asked.days)?);
    let row = row_of(&market.pool, agent).await?;
    Ok(Json(Stats {
        reputation: of_agent(&market, agent, &row).await?,
        helpfulness: helpfulness(&row)?,
        earned_usdc: usdc(&row, "earned_usdc")?,
        earned_ard: ard(&row, "earned_ard")?,
        bought: count(&row, "bought")?,
        spent_usdc: usdc(&row, "spent_usdc")?,
        spent_ard: ard(&row, "spent_ard")?,
        active_listings: active_listings(&market.pool, agent).await?,
        days: of_days(&market.pool, agent, days).await?,
    }))
}

/// `GET /api/v1/agent/{id}/profile`
pub(crate) async fn profile(
    State(market): State<Market>,
    Id(id): Id,
    Params(asked): Params<DaysQuery>,
) -> Result<Json<Profile>, Problem> {
    let days = days(asked.days)?;
    let row = row_of(&market.pool, id).await?;
    let agent = agents::agent(&row)?;
    let categories = categories(&market.pool, id).await?;
    let days = of_days(&market.pool, id, days).await?.into_iter();
    Ok(Json(Profile {
        agent_id: id,
        name: agent.name,
        description: agent.description,
        agent_type: agent.agent_type,
        active: agent.active,
        created_at: agent.created_at,
        reputation: of_agent(&market, id, &row).await?,
        helpfulness: helpfulness(&row)?,
        specialization: categories.first().map(|most| most.category),
        categories,
        active_listings: active_listings(&market.pool, id).await?,
        days: days.map(|d| SalesDay { day: d.day, sold: d.sold }).collect(),
    }))
}

/// An agent with its figures, null where it did nothing yet.
async fn row_of(pool: &PgPool, agent: Uuid) -> Result<PgRow, Problem> {
    let quality = QUALITY.replace("$$", "a.id");
    let text = format!(
        "SELECT a.*, {FIGURES}, f.bought, f.earned_usdc, f.earned_ard, f.spent_usdc, f.spent_ard, {SUMS}, {quality}
         FROM agents AS a LEFT JOIN agent_figures AS f ON f.agent_id = a.id WHERE a.id = $1"
    );
    let row = sqlx::query(AssertSqlSafe(text)).bind(agent).fetch_optional(pool).await?;
    row.ok_or_else(|| Problem::not_found("agent"))
}

async fn active_listings(pool: &PgPool, agent: Uuid) -> sqlx::Result<u32> {
    let active = "SELECT count(*) FROM (SELECT FROM listings WHERE seller_id = $1 AND status = 'active'
             AND (expires_at IS NULL OR expires_at > now()) LIMIT $2) AS few";
    let count: i64 = sqlx::query_scalar(active).bind(agent).bind(LISTINGS_MAX).fetch_one(pool).await?;
    Ok(u32::try_from(count).unwrap_or_default())
}

async fn categories(pool: &PgPool, agent: Uuid) -> sqlx::Result<Vec<CategorySales>> {
    let sold = "SELECT * FROM agent_categories WHERE agent_id = $1 AND category <> '' AND sold > 0 ORDER BY worth DESC, category";
    let rows = sqlx::query(sold).bind(agent).fetch_all(pool).await?;
    let sales = |row: &PgRow| {
        let category: Category = db::named(row, "category")?;
        Ok(CategorySales { category, sold: count(row, "sold")?, usdc: usdc(row, "earned_usdc")?, ard: ard(row, "earned_ard")? })
    };
    rows.iter().map(sales).collect()
}

/// Every one of these days, also those without a row.
async fn of_days(pool: &PgPool, agent: Uuid, days: std::ops::RangeInclusive<i32>) -> sqlx::Result<Vec<StatsDay>> {
    let there = "SELECT * FROM agent_days WHERE agent_id = $1 AND day BETWEEN $2 AND $3";
    let rows = sqlx::query(there).bind(agent).bind(days.start()).bind(days.end()).fetch_all(pool).await?;
    let rows: HashMap<i32, PgRow> = rows.into_iter().map(|row| Ok((row.try_get("day")?, row))).collect::<sqlx::Result<_>>()?;
    let day = |day: i32| {
        let row = rows.get(&day);
        let count = |column| row.map_or(Ok(0), |row| count(row, column));
        let usdc = |column| row.map_or(Ok(Usdc::ZERO), |row| usdc(row, column));
        let ard = |column| row.map_or(Ok(ledger::amount(0)), |row| ard(row, column));
        Ok(StatsDay {
            day: begin(day).unwrap_or(OffsetDateTime::UNIX_EPOCH),
            sold: count("sold")?,
            bought: count("bought")?,
            earned_usdc: usdc("earned_usdc")?,
            earned_ard: ard("earned_ard")?,
            spent_usdc: usdc("spent_usdc")?,
            spent_ard: ard("spent_ard")?,
        })
    };
    days.map(day).collect()
}

/// `GET /api/v1/market/days`
pub(crate) async fn market_days(
    State(market): State<Market>,
    Params(asked): Params<MarketDaysQuery>,
) -> Result<Json<Page<MarketDay>>, Problem> {
    let days = days(asked.days)?;
    let sums = "SELECT day, sum(sold)::bigint AS sold, sum(usdc)::bigint AS usdc, sum(ard)::bigint AS ard, sum(fees_usdc)::bigint AS fees_usdc,
             sum(fees_ard)::bigint AS fees_ard
         FROM market_days WHERE day BETWEEN $1 AND $2 AND ($3::text IS NULL OR category = $3) GROUP BY day";
    let rows = sqlx::query(sums).bind(days.start()).bind(days.end()).bind(asked.category.map(db::name_of));
    let rows = rows.fetch_all(&market.pool).await?;
    let rows: HashMap<i32, PgRow> = rows.into_iter().map(|row| Ok((row.try_get("day")?, row))).collect::<sqlx::Result<_>>()?;
    let day = |day: i32| {
        let row = rows.get(&day);
        let usdc = |column| row.map_or(Ok(Usdc::ZERO), |row| usdc(row, column));
        let ard = |column| row.map_or(Ok(ledger::amount(0)), |row| ard(row, column));
        Ok(MarketDay {
            day: begin(day).unwrap_or(OffsetDateTime::UNIX_EPOCH),
            sold: row.map_or(Ok(0), |row| count(row, "sold"))?,
            usdc: usdc("usdc")?,
            ard: ard("ard")?,
            fees_usdc: usdc("fees_usdc")?,
            fees_ard: ard("fees_ard")?,
        })
    };
    Ok(Json(Page { data: days.map(day).collect::<sqlx::Result<_>>()?, next_cursor: None }))
}

fn usdc(row: &PgRow, column: &str) -> sqlx::Result<Usdc> {
    count(row, column).map(Usdc::from_base_units)
}

fn ard(row: &PgRow, column: &str) -> sqlx::Result<api::ledger::Amount> {
    Ok(ledger::amount(count(row, column)?.cast_signed()))
}
