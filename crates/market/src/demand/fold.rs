//! Folds what is new in the log into the figures: a cycle costs what is new and what is over, whatever the window holds.

use sqlx::{PgConnection, PgPool, Row};
use time::{Duration, OffsetDateTime};

/// Rows of the log in one transaction.
const BATCH_MAX: i64 = 10_000;
/// The current hour, and those before it.
pub(super) const WINDOW_HOURS: i64 = 24;
/// How long hours and the log are kept.
pub(super) const KEPT_HOURS: i64 = 168;
/// Rows of the log removed in one go.
const REMOVED_MAX: i64 = 20_000;
/// How long after a search a purchase is its doing.
const LEADS: &str = "30 minutes";

/// Folds the next batch, as of `now`. How many rows of the log it had; `None` while another instance folds.
///
/// # Errors
/// When the database fails; then nothing of the batch is folded.
pub async fn fold(pool: &PgPool, now: OffsetDateTime) -> sqlx::Result<Option<u64>> {
    let mut tx = pool.begin().await?;
    let state = "SELECT folded_to, window_from FROM demand FOR UPDATE SKIP LOCKED";
    let Some(row) = sqlx::query(state).fetch_optional(&mut *tx).await? else { return Ok(None) };
    let (from, window): (i64, OffsetDateTime) = (row.try_get("folded_to")?, row.try_get("window_from")?);
    let window = advance(&mut tx, window, now).await?;
    let row = sqlx::query(
        "SELECT coalesce(max(id), $1) AS upto, count(*) AS rows FROM (SELECT id FROM searches WHERE id > $1 ORDER BY id LIMIT $2) AS next",
    );
    let row = row.bind(from).bind(BATCH_MAX).fetch_one(&mut *tx).await?;
    let (upto, rows): (i64, i64) = (row.try_get("upto")?, row.try_get("rows")?);
    if rows > 0 {
        batch(&mut tx, from, upto, window).await?;
    }
    sqlx::query("UPDATE demand SET folded_to = $1, window_from = $2").bind(upto).bind(window).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(Some(rows.unsigned_abs()))
}

/// Takes the hours that are over out of the figures.
async fn advance(conn: &mut PgConnection, old: OffsetDateTime, now: OffsetDateTime) -> sqlx::Result<OffsetDateTime> {
    let new = hour(now) - Duration::hours(WINDOW_HOURS - 1);
    if new <= old {
        return Ok(old);
    }
    for statement in [
        "UPDATE patterns AS p SET searches = p.searches - o.searches, fulfilled = p.fulfilled - o.fulfilled,
             converted = p.converted - o.converted, ceilings = p.ceilings - o.ceilings, ceiling_sum = p.ceiling_sum - o.ceiling_sum
         FROM (SELECT pattern_id, sum(searches) AS searches, sum(fulfilled) AS fulfilled, sum(converted) AS converted,
                   sum(ceilings) AS ceilings, sum(ceiling_sum) AS ceiling_sum
               FROM pattern_hours WHERE hour >= $1 AND hour < $2 GROUP BY pattern_id) AS o
         WHERE p.id = o.pattern_id",
        "UPDATE patterns AS p SET requesters = p.requesters - o.askers
         FROM (SELECT pattern_id, count(*) AS askers FROM pattern_askers WHERE last_hour >= $1 AND last_hour < $2 GROUP BY pattern_id) AS o
         WHERE p.id = o.pattern_id",
    ] {
        sqlx::query(statement).bind(old).bind(new).execute(&mut *conn).await?;
    }
    let kept = hour(now) - Duration::hours(KEPT_HOURS);
    for statement in [
        "DELETE FROM pattern_hours WHERE hour < $1",
        "DELETE FROM pattern_askers WHERE last_hour < $1",
        "DELETE FROM patterns WHERE last_hour < $1",
    ] {
        sqlx::query(statement).bind(kept).execute(&mut *conn).await?;
    }
    Ok(new)
}

async fn batch(conn: &mut PgConnection, from: i64, upto: i64, window: OffsetDateTime) -> sqlx::Result<()> {
    let patterns = "INSERT INTO patterns AS p (pattern, words, category, last_hour)
         SELECT pattern, plainto_tsquery('english', pattern), (array_agg(category ORDER BY id DESC) FILTER (WHERE category IS NOT NULL))[1],
             max(date_trunc('hour', at, 'UTC'))
         FROM searches WHERE id > $1 AND id <= $2 AND pattern <> '' GROUP BY pattern ORDER BY pattern
         ON CONFLICT (pattern) DO UPDATE SET category = coalesce(excluded.category, p.category),
             last_hour = greatest(p.last_hour, excluded.last_hour)";
    sqlx::query(patterns).bind(from).bind(upto).execute(&mut *conn).await?;
    let conversions = "INSERT INTO conversions (search_id, purchase_id)
         SELECT s.id, b.id FROM searches AS b JOIN listings AS l ON l.id = b.listing_id CROSS JOIN LATERAL (
             SELECT s.id FROM searches AS s JOIN patterns AS p ON p.pattern = s.pattern
             WHERE s.asker = b.asker AND s.pattern <> '' AND s.id < b.id AND s.at > b.at - $3::interval AND l.search @@ p.words
             ORDER BY s.id DESC LIMIT 1) AS s
         WHERE b.id > $1 AND b.id <= $2 AND b.source = 3 ORDER BY b.id
         ON CONFLICT DO NOTHING";
    sqlx::query(conversions).bind(from).bind(upto).bind(LEADS).execute(&mut *conn).await?;
    let figures = "WITH new AS (
             SELECT p.id AS pattern_id, hour, sum(a.searches)::bigint AS searches, sum(a.fulfilled)::bigint AS fulfilled,
                 sum(a.converted)::bigint AS converted, sum(a.ceilings)::bigint AS ceilings, sum(a.ceiling_sum) AS ceiling_sum
             FROM (SELECT pattern, date_trunc('hour', at, 'UTC') AS hour, count(*) AS searches, count(*) FILTER (WHERE matches > 0) AS fulfilled,
                       0 AS converted, count(price_max) AS ceilings, coalesce(sum(price_max), 0) AS ceiling_sum
                   FROM searches WHERE id > $1 AND id <= $2 AND pattern <> '' GROUP BY 1, 2
                   UNION ALL
                   SELECT s.pattern, date_trunc('hour', s.at, 'UTC'), 0, 0, count(*), 0, 0
                   FROM conversions AS c JOIN searches AS s ON s.id = c.search_id WHERE c.purchase_id > $1 AND c.purchase_id <= $2 GROUP BY 1, 2
                  ) AS a JOIN patterns AS p USING (pattern) GROUP BY 1, 2),
         kept AS (
             INSERT INTO pattern_hours AS h SELECT hour, pattern_id, searches, fulfilled, converted, ceilings, ceiling_sum FROM new
             ON CONFLICT (hour, pattern_id) DO UPDATE SET searches = h.searches + excluded.searches,
                 fulfilled = h.fulfilled + excluded.fulfilled, converted = h.converted + excluded.converted,
                 ceilings = h.ceilings + excluded.ceilings, ceiling_sum = h.ceiling_sum + excluded.ceiling_sum)
         UPDATE patterns AS p SET searches = p.searches + n.searches, fulfilled = p.fulfilled + n.fulfilled,
             converted = p.converted + n.converted, ceilings = p.ceilings + n.ceilings, ceiling_sum = p.ceiling_sum + n.ceiling_sum
         FROM (SELECT pattern_id, sum(searches) AS searches, sum(fulfilled) AS fulfilled, sum(converted) AS converted,
                   sum(ceilings) AS ceilings, sum(ceiling_sum) AS ceiling_sum
               FROM new WHERE hour >= $3 GROUP BY pattern_id) AS n
         WHERE p.id = n.pattern_id";
    sqlx::query(figures).bind(from).bind(upto).bind(window).execute(&mut *conn).await?;
    // The first search of somebody within the window counts; whether there was one before is looked at before it is written.
    let askers = "WITH seen AS (
             SELECT p.id AS pattern_id, s.asker, max(date_trunc('hour', s.at, 'UTC')) AS last_hour
             FROM searches AS s JOIN patterns AS p USING (pattern) WHERE s.id > $1 AND s.id <= $2 AND s.pattern <> '' GROUP BY 1, 2),
         kept AS (
             INSERT INTO pattern_askers AS a SELECT * FROM seen
             ON CONFLICT (pattern_id, asker) DO UPDATE SET last_hour = excluded.last_hour WHERE excluded.last_hour > a.last_hour)
         UPDATE patterns AS p SET requesters = p.requesters + n.askers
         FROM (SELECT pattern_id, count(*) AS askers FROM seen LEFT JOIN pattern_askers AS a USING (pattern_id, asker)
               WHERE seen.last_hour >= $3 AND (a.last_hour IS NULL OR a.last_hour < $3) GROUP BY pattern_id) AS n
         WHERE p.id = n.pattern_id";
    sqlx::query(askers).bind(from).bind(upto).bind(window).execute(&mut *conn).await?;
    Ok(())
}

/// Removes the oldest of the log, once the figures have them and no more need them.
pub(super) async fn clean(pool: &PgPool, now: OffsetDateTime) -> sqlx::Result<()> {
    let old = "DELETE FROM searches WHERE id IN (SELECT id FROM searches ORDER BY id LIMIT $1) AND at < $2
             AND id <= (SELECT folded_to FROM demand)";
    sqlx::query(old).bind(REMOVED_MAX).bind(now - Duration::hours(KEPT_HOURS)).execute(pool).await?;
    Ok(())
}

/// When the hour of a time began.
pub(super) fn hour(at: OffsetDateTime) -> OffsetDateTime {
    let seconds = at.unix_timestamp();
    OffsetDateTime::from_unix_timestamp(seconds - seconds.rem_euclid(3_600)).unwrap_or(at)
}
