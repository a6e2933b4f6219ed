//! What is looked for and not for sale.

use api::{Category, EventType};
use money::{Bps, Usdc};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row, postgres::PgRow};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use crate::{
    db,
    feed::{self, Audience, Event},
};

/// Patterns that only fewer different persons have are nobody else's business: as in the columns `top` and `gap` of `patterns`.
pub(super) const REQUESTERS_MIN: i64 = 3;
/// Gaps that are looked at, those with most searches, and those of them that may become opportunities.
const LOOKED_AT_MAX: i64 = 500;
const GAPS_MAX: i64 = 50;
/// How long an opportunity is open.
const OPEN_FOR: Duration = Duration::hours(24);
/// What a search would pay when it does not say: 0.005 USDC.
pub(super) const CEILING_DEFAULT: i64 = 5_000;
const COMPETING_MAX: i64 = 100;
/// Words of a pattern of which one may be missing in what competes.
const NEAR_WORDS_MAX: usize = 8;
/// Listings are looked at once more that long after, since those that come at once are not seen in their order.
const OVERLAP: Duration = Duration::minutes(1);

/// Ends opportunities, and opens those of the gaps there are now.
pub(super) async fn look(pool: &PgPool, now: OffsetDateTime) -> sqlx::Result<()> {
    let mut tx = pg::begin(pool).await?;
    let state = sqlx::query_scalar("SELECT listed_to FROM demand FOR UPDATE SKIP LOCKED").fetch_optional(&mut *tx).await?;
    let Some(listed_to): Option<OffsetDateTime> = state else { return Ok(()) };
    let fulfilled = "UPDATE opportunities AS o SET status = 'fulfilled', ended_at = $2, listing_id = l.id
         FROM listings AS l WHERE o.status = 'open' AND l.status = 'active' AND (l.expires_at IS NULL OR l.expires_at > $2)
             AND l.freshness_at > $1 AND l.search @@ o.words RETURNING o.id, o.pattern, o.category, o.urgency, o.listing_id";
    let fulfilled = sqlx::query(fulfilled).bind(listed_to - OVERLAP).bind(now).fetch_all(&mut *tx).await?;
    for row in &fulfilled {
        tell_fulfilled(&mut tx, row).await?;
    }
    let expired = "UPDATE opportunities SET status = 'expired', ended_at = $1 WHERE status = 'open' AND expires_at <= $1";
    sqlx::query(expired).bind(now).execute(&mut *tx).await?;
    // Of the most searched gaps that many have and nothing active fits.
    let gaps = format!(
        "SELECT pattern, category, searches, requesters, (fulfilled * 10000 / searches)::integer AS fulfilment,
             CASE WHEN ceilings > 0 THEN trunc(ceiling_sum / ceilings)::bigint ELSE $3 END AS ceiling,
             max(searches) OVER () AS searches_max, max(requesters) OVER () AS requesters_max
         FROM {most} AS p
         WHERE numnode(words) > 0 AND NOT EXISTS (SELECT 1 FROM listings AS l
             WHERE l.status = 'active' AND (l.expires_at IS NULL OR l.expires_at > $4) AND l.search @@ p.words)
         ORDER BY searches DESC, id LIMIT $2",
        most = super::most_searched("gap", "TRUE", "$1"),
    );
    let gaps = sqlx::query(AssertSqlSafe(gaps)).bind(LOOKED_AT_MAX).bind(GAPS_MAX).bind(CEILING_DEFAULT).bind(now);
    let gaps = gaps.fetch_all(&mut *tx).await?;
    for gap in &gaps {
        let pattern: String = gap.try_get("pattern")?;
        let number = |column: &str| gap.try_get::<i64, _>(column);
        let (searches, requesters, ceiling) = (number("searches")?, number("requesters")?, number("ceiling")?);
        let fulfilment: i32 = gap.try_get("fulfilment")?;
        let urgency = urgency((searches, number("searches_max")?), fulfilment, (requesters, number("requesters_max")?));
        let open = "INSERT INTO opportunities AS o (id, pattern, words, category, searches, requesters, fulfilment, ceiling,
                 estimated_revenue, urgency, opened_at, expires_at)
             VALUES ($1, $2, plainto_tsquery('english', $2), $3, $4, $5, $6, $7, $8, $9, $10, $11)
             ON CONFLICT (pattern) WHERE status = 'open' DO UPDATE SET category = excluded.category, searches = excluded.searches,
                 requesters = excluded.requesters, fulfilment = excluded.fulfilment, ceiling = excluded.ceiling,
                 estimated_revenue = excluded.estimated_revenue, urgency = excluded.urgency
             RETURNING opened_at = $10 AS is_new, id, expires_at";
        let row = sqlx::query(open)
            .bind(Uuid::now_v7())
            .bind(&pattern)
            .bind(gap.try_get::<Option<String>, _>("category")?)
            .bind(searches)
            .bind(requesters)
            .bind(fulfilment)
            .bind(ceiling)
            .bind(revenue(searches, ceiling))
            .bind(urgency)
            .bind(now)
            .bind(now + OPEN_FOR)
            .fetch_one(&mut *tx)
            .await?;
        if !row.try_get::<bool, _>("is_new")? {
            continue;
        }
        let expires_at: OffsetDateTime = row.try_get("expires_at")?;
        let data = json!({
            "opportunity_id": row.try_get::<Uuid, _>("id")?,
            "pattern": pattern,
            "category": category_of(gap)?,
            "searches": searches,
            "requesters": requesters,
            "average_ceiling": usdc(ceiling),
            "estimated_revenue": usdc(revenue(searches, ceiling)),
            "urgency_bps": urgency,
            "expires_at": expires_at.format(&Rfc3339).unwrap_or_default(),
        });
        let event = Event::public(EventType::OpportunityCreated, Audience::Demand, data);
        feed::emit(&mut tx, Event { category: category_of(gap)?, urgency_bps: bps(urgency), ..event }).await?;
        if let Some(near) = all_but_one(&pattern) {
            let count = "UPDATE opportunities SET competing = (SELECT count(*) FROM (
                     SELECT 1 FROM listings WHERE status = 'active' AND (expires_at IS NULL OR expires_at > $4)
                         AND search @@ to_tsquery('english', $2) LIMIT $3) AS near) WHERE id = $1";
            let count = sqlx::query(count).bind(row.try_get::<Uuid, _>("id")?).bind(near).bind(COMPETING_MAX).bind(now);
            count.execute(&mut *tx).await?;
        }
    }
    sqlx::query("UPDATE demand SET listed_to = $1").bind(now).execute(&mut *tx).await?;
    tx.commit().await
}

/// Tells everybody, and once more those agents that listen to what concerns them and looked for it: who looks without a name is not known.
async fn tell_fulfilled(conn: &mut PgConnection, row: &PgRow) -> sqlx::Result<()> {
    let pattern: String = row.try_get("pattern")?;
    // As the log hashes who asks.
    let looked = "SELECT DISTINCT a.id FROM demand AS d, feed_listeners AS l JOIN agents AS a ON a.id = l.agent_id
         WHERE EXISTS (SELECT FROM patterns AS p JOIN pattern_askers AS s ON s.pattern_id = p.id WHERE p.pattern = $1
             AND s.asker = ('x' || encode(substring(sha256(d.salt || convert_to('person ' || a.person, 'UTF8')) FOR 8), 'hex'))::bit(64)::bigint)";
    let looked: Vec<Uuid> = sqlx::query_scalar(looked).bind(&pattern).fetch_all(&mut *conn).await?;
    let (category, urgency) = (category_of(row)?, row.try_get("urgency")?);
    let data = |looked_for_by_you: bool| {
        Ok::<_, sqlx::Error>(json!({
            "opportunity_id": row.try_get::<Uuid, _>("id")?,
            "pattern": pattern,
            "category": category,
            "listing_id": row.try_get::<Uuid, _>("listing_id")?,
            "looked_for_by_you": looked_for_by_you,
        }))
    };
    for event in [
        Event::public(EventType::OpportunityFulfilled, Audience::Demand, data(false)?),
        Event::private(EventType::OpportunityFulfilled, looked, data(true)?),
    ] {
        feed::emit(conn, Event { category, urgency_bps: bps(urgency), ..event }).await?;
    }
    Ok(())
}

fn category_of(row: &PgRow) -> sqlx::Result<Option<Category>> {
    row.try_get::<Option<String>, _>("category")?.map(|_| db::named(row, "category")).transpose()
}

fn bps(urgency: i32) -> Option<Bps> {
    Bps::new(u16::try_from(urgency).ok()?)
}

fn usdc(units: i64) -> Usdc {
    Usdc::from_base_units(units.unsigned_abs())
}

/// 0.4 of how often, 0.3 of how rarely something is found, 0.3 of by how many it is looked for, each beside the most of all gaps; in basis points.
fn urgency((searches, searches_max): (i64, i64), fulfilment: i32, (requesters, requesters_max): (i64, i64)) -> i32 {
    let part = |of: i64, most: i64, weight: i64| weight * of / most.max(1);
    let sum = part(searches, searches_max, 4_000)
        + part(10_000 - i64::from(fulfilment), 10_000, 3_000)
        + part(requesters, requesters_max, 3_000);
    i32::try_from(sum.clamp(0, 10_000)).unwrap_or(10_000)
}

/// Searches an hour, times what they would pay: base units an hour.
fn revenue(searches: i64, ceiling: i64) -> i64 {
    let revenue = i128::from(searches) * i128::from(ceiling) / i128::from(super::fold::WINDOW_HOURS);
    i64::try_from(revenue).unwrap_or(i64::MAX)
}

/// What has all words of a pattern but one, as a query of Postgres. Patterns have letters and digits only.
fn all_but_one(pattern: &str) -> Option<String> {
    let words: Vec<_> = pattern.split(' ').take(NEAR_WORDS_MAX).collect();
    let without = |out: usize| {
        let rest: Vec<_> = words.iter().enumerate().filter(|(at, _)| *at != out).map(|(_, word)| *word).collect();
        format!("({})", rest.join(" & "))
    };
    (words.len() > 1).then(|| (0..words.len()).map(without).collect::<Vec<_>>().join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgency_and_revenue_are_the_documented_sums() {
        assert_eq!(urgency((10, 10), 0, (5, 5)), 10_000);
        assert_eq!(urgency((5, 10), 2_000, (1, 5)), 2_000 + 2_400 + 600);
        assert_eq!(urgency((0, 0), 10_000, (0, 0)), 0);
        assert_eq!((revenue(48, 5_000), revenue(i64::MAX, i64::MAX)), (10_000, i64::MAX));
        assert_eq!(all_but_one("a b c").as_deref(), Some("(b & c) | (a & c) | (a & b)"));
        assert_eq!(all_but_one("a"), None);
    }
}
