//! What is suddenly looked for.

use api::{Category, EventType};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool, Row};
use time::OffsetDateTime;

use super::fold::{WINDOW_HOURS, hour};
use crate::{
    db,
    feed::{self, Audience, Event},
};

/// Searches of an hour that are many, and how many times those of an average hour they must be.
const SEARCHES_MIN: i64 = 10;
const TIMES: i64 = 3;
/// Patterns that are looked at, those with most searches.
const LOOKED_AT_MAX: i64 = 500;

/// Tells of patterns that are suddenly looked for, of each once in six hours.
pub(super) async fn look(pool: &PgPool, now: OffsetDateTime) -> sqlx::Result<()> {
    let mut tx = pg::begin(pool).await?;
    if sqlx::query("SELECT FROM demand FOR UPDATE SKIP LOCKED").fetch_optional(&mut *tx).await?.is_none() {
        return Ok(());
    }
    let spikes = format!(
        "UPDATE patterns AS p SET spiked_at = $1 FROM (
             SELECT id, (SELECT h.searches FROM pattern_hours AS h WHERE h.pattern_id = most.id AND h.hour = $2) AS recent
             FROM {most} AS most) AS s
         WHERE p.id = s.id AND s.recent >= $4 AND s.recent * $5 > p.searches * $6
             AND (p.spiked_at IS NULL OR p.spiked_at < $1 - interval '6 hours')
         RETURNING p.pattern, p.category, p.searches, p.requesters, s.recent",
        most = super::most_searched("top", "TRUE", "$3"),
    );
    let spikes = sqlx::query(AssertSqlSafe(spikes)).bind(now).bind(hour(now)).bind(LOOKED_AT_MAX).bind(SEARCHES_MIN);
    let spikes = spikes.bind(WINDOW_HOURS).bind(TIMES).fetch_all(&mut *tx).await?;
    for row in &spikes {
        let category: Option<Category> =
            row.try_get::<Option<String>, _>("category")?.map(|_| db::named(row, "category")).transpose()?;
        let number = |column: &str| row.try_get::<i64, _>(column);
        let data = json!({
            "pattern": row.try_get::<String, _>("pattern")?,
            "category": category,
            "searches_this_hour": number("recent")?,
            "searches_24_hours": number("searches")?,
            "requesters": number("requesters")?,
        });
        let event = Event::public(EventType::DemandSpike, Audience::Demand, data);
        feed::emit(&mut tx, Event { category, ..event }).await?;
    }
    tx.commit().await
}
