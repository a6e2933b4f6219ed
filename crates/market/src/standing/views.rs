//! Reputations, as they are told.

use std::collections::HashMap;

use api::{Helpfulness, Reputation, ReputationFacts, ReputationTerms};
use axum::{Json, extract::State};
use sqlx::{PgPool, Row, postgres::PgRow};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{facts, registry, weigh::Terms};
use crate::{db, input::Id, problem::Problem, service::Market};

/// Columns of `agent_figures` as `f` that [`of_row`] reads besides [`SUMS`].
pub(super) const FIGURES: &str = "f.sold, f.bad, f.refunded, f.listings, f.persons, f.proven, f.first_day, f.last_day";
/// Columns of it that [`terms`] reads. Sums are larger than any whole number that Postgres has.
pub(super) const SUMS: &str = "f.trust::text AS trust, f.distrust::text AS distrust, f.unproven::text AS unproven";
/// The average quality of an agent's newest active listings, as `quality`: `$$` is the agent.
pub(super) const QUALITY: &str = "(SELECT trunc(avg(quality))::bigint FROM (SELECT quality FROM listings
    WHERE seller_id = $$ AND status = 'active' ORDER BY id DESC LIMIT 50) AS newest) AS quality";
/// Listings and counterparties that are as many as count.
const LISTINGS_FULL: u64 = 20;
const PERSONS_FULL: u64 = 100_000;

/// `GET /api/v1/reputation/{id}`
pub(crate) async fn reputation(State(market): State<Market>, Id(id): Id) -> Result<Json<Reputation>, Problem> {
    let text = format!(
        "SELECT a.wallet, {FIGURES}, {SUMS} FROM agents AS a LEFT JOIN agent_figures AS f ON f.agent_id = a.id WHERE a.id = $1"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(text)).bind(id).fetch_optional(&market.pool).await?;
    let row = row.ok_or_else(|| Problem::not_found("agent"))?;
    Ok(Json(of_agent(&market, id, &row).await?))
}

/// Of a row with [`FIGURES`], [`SUMS`] and the agent's wallet.
pub(super) async fn of_agent(market: &Market, agent_id: Uuid, row: &PgRow) -> sqlx::Result<Reputation> {
    let services = registry::services(market, db::address(row, "wallet")?).await?;
    Ok(Reputation { services, ..of_row(agent_id, row)? })
}

/// What counterparties say of agents; nothing of those who have none.
pub(crate) async fn terms_of(pool: &PgPool, agents: &[Uuid]) -> sqlx::Result<HashMap<Uuid, Terms>> {
    let text = format!("SELECT f.agent_id, {SUMS} FROM agent_figures AS f WHERE f.agent_id = ANY($1)");
    let rows = sqlx::query(sqlx::AssertSqlSafe(text)).bind(agents).fetch_all(pool).await?;
    rows.iter().map(|row| Ok((row.try_get("agent_id")?, terms(row)?))).collect()
}

pub(super) fn terms(row: &PgRow) -> sqlx::Result<Terms> {
    let sum = |column: &str| {
        let text: Option<&str> = row.try_get(column)?;
        text.map_or(Ok(0), str::parse::<i128>).map_err(|error| sqlx::Error::Decode(error.into()))
    };
    Ok(Terms::of(sum("trust")?, sum("distrust")?, sum("unproven")?, facts::day(OffsetDateTime::now_utc())))
}

/// Of a row with [`FIGURES`] and [`SUMS`], of which all is null when there is none.
fn of_row(agent_id: Uuid, row: &PgRow) -> sqlx::Result<Reputation> {
    let terms = terms(row)?;
    let facts = ReputationFacts {
        sold: count(row, "sold")?,
        bad: count(row, "bad")?,
        refunded: count(row, "refunded")?,
        persons: count(row, "persons")?,
        proven_persons: count(row, "proven")?,
        listings: count(row, "listings")?,
        first_sale_day: row.try_get::<Option<i32>, _>("first_day")?.and_then(begin),
        last_sale_day: row.try_get::<Option<i32>, _>("last_day")?.and_then(begin),
    };
    let told = told(terms);
    let why = format!(
        "{} persons bought, {} of them with own money: {} whole counterparties by today, and {} that turned out bad, which count four times. Ten \
         whole ones make half of the best score.",
        facts.persons,
        facts.proven_persons,
        decimal(terms.counted()),
        decimal(told.distrust_bps),
    );
    Ok(Reputation { agent_id, score_bps: terms.score(), terms: told, facts, services: Vec::new(), why })
}

/// Basis points of a counterparty as counterparties.
fn decimal(bps: u64) -> String {
    format!("{}.{:02}", bps / 10_000, bps % 10_000 / 100)
}

fn told(terms: Terms) -> ReputationTerms {
    ReputationTerms { trust_bps: terms.trust, unproven_bps: terms.unproven, distrust_bps: terms.distrust }
}

/// As [`Helpfulness`] says, of a row with [`SUMS`] and [`QUALITY`].
pub(super) fn helpfulness(row: &PgRow) -> sqlx::Result<Helpfulness> {
    let quality = row.try_get::<Option<i64>, _>("quality")?.unwrap_or_default().clamp(0, 10_000);
    Ok(help(terms(row)?, quality.unsigned_abs(), count(row, "listings")?))
}

fn help(terms: Terms, quality: u64, listings: u64) -> Helpfulness {
    let share = |weight: u64, part: u64, of: u64| u32::try_from(weight * part.min(of) / of).unwrap_or_default();
    let persons = share(5_000, terms.counted(), PERSONS_FULL);
    let (quality, listings) = (share(3_000, quality, 10_000), share(2_000, listings, LISTINGS_FULL).min(persons));
    Helpfulness { score: persons + quality + listings, persons, quality, listings }
}

/// A number that is null where there is no row.
pub(super) fn count(row: &PgRow, column: &str) -> sqlx::Result<u64> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map_or(0, |count| count.max(0).unsigned_abs()))
}

/// When a day begins.
pub(super) fn begin(day: i32) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(i64::from(day) * 86_400).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpfulness_is_the_documented_sum_and_listings_alone_help_nobody() {
        let terms = |trust| Terms { trust, ..Terms::default() };
        let all = Helpfulness { score: 10_000, persons: 5_000, quality: 3_000, listings: 2_000 };
        assert_eq!(help(terms(100_000), 10_000, 20), all);
        assert_eq!(help(terms(u64::MAX / 10_000), 10_000, 1_000), all);
        let half = Helpfulness { score: 5_000, persons: 2_500, quality: 1_500, listings: 1_000 };
        assert_eq!(help(terms(50_000), 5_000, 10), half);
        assert_eq!(help(terms(0), 0, 1_000_000), Helpfulness::default());
    }
}
