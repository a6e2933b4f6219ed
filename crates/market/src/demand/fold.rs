//! Folds what is new in the log into the figures: a cycle costs what is new and what is over, whatever the window holds.

use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, Row, Transaction};
use time::{Duration, OffsetDateTime};

/// Rows of the log in one transaction, and in one after many that failed.
pub(super) const BATCH_MAX: i64 = 10_000;
pub(super) const BATCH_MIN: i64 = 100;
/// The current hour, and those before it.
pub(super) const WINDOW_HOURS: i64 = 24;
/// How long hours and the log are kept.
pub(super) const KEPT_HOURS: i64 = 168;
/// Rows of a table removed in one go.
const REMOVED_MAX: i64 = 20_000;
/// How long after a search a purchase is its doing.
pub(super) const LEADS: &str = "30 minutes";
/// Of the searches of that time, so many of the last are compared with what was bought.
const LED_MAX: i64 = 20;
/// Nobody waits for this, and an hour of many patterns leaves at once: a statement may take longer than one of a request.
const STATEMENT_TIMEOUT: &str = "SET LOCAL statement_timeout = '60s'";

/// Folds the next rows of the log, at most so many, as of `now`. How many there were; `None` while another instance folds.
///
/// # Errors
/// When the database fails; then no row is folded, and hours that were over may have left the figures.
pub async fn fold(pool: &PgPool, now: OffsetDateTime, rows_max: i64) -> sqlx::Result<Option<u64>> {
    let begins = hour(now) - Duration::hours(WINDOW_HOURS - 1);
    let (mut tx, from, window) = loop {
        let Some((mut tx, from, window)) = lock(pool).await? else { return Ok(None) };
        if window >= begins {
            break (tx, from, window);
        }
        // Each hour for good: what is done of many need not be done again.
        let window = advance(&mut tx, window, begins).await?;
        sqlx::query("UPDATE demand SET window_from = $1").bind(window).execute(&mut *tx).await?;
        tx.commit().await?;
    };
    let row = sqlx::query(
        "SELECT coalesce(max(id), $1) AS upto, count(*) AS rows FROM (SELECT id FROM searches WHERE id > $1 ORDER BY id LIMIT $2) AS next",
    );
    let row = row.bind(from).bind(rows_max).fetch_one(&mut *tx).await?;
    let (upto, rows): (i64, i64) = (row.try_get("upto")?, row.try_get("rows")?);
    if rows > 0 {
        batch(&mut tx, from, upto, window).await?;
        sqlx::query("UPDATE demand SET folded_to = $1").bind(upto).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(Some(rows.unsigned_abs()))
}

/// The figures for this instance alone, the last row of the log and the first hour that they have. `None` while another instance has them.
async fn lock(pool: &PgPool) -> sqlx::Result<Option<(Transaction<'static, Postgres>, i64, OffsetDateTime)>> {
    let mut tx = pg::begin(pool).await?;
    sqlx::query(STATEMENT_TIMEOUT).execute(&mut *tx).await?;
    let state = "SELECT folded_to, window_from FROM demand FOR UPDATE SKIP LOCKED";
    let Some(row) = sqlx::query(state).fetch_optional(&mut *tx).await? else { return Ok(None) };
    Ok(Some((tx, row.try_get("folded_to")?, row.try_get("window_from")?)))
}

/// Takes the first hour from `old` on that is before `new` out of the figures. The first hour that they have then.
async fn advance(conn: &mut PgConnection, old: OffsetDateTime, new: OffsetDateTime) -> sqlx::Result<OffsetDateTime> {
    let first = "SELECT least((SELECT min(hour) FROM pattern_hours WHERE hour >= $1),
             (SELECT min(last_hour) FROM pattern_askers WHERE last_hour >= $1))";
    let first: Option<OffsetDateTime> = sqlx::query_scalar(first).bind(old).fetch_one(&mut *conn).await?;
    let Some(over) = first.filter(|first| *first < new) else { return Ok(new) };
    for statement in [
        "UPDATE patterns AS p SET searches = p.searches - o.searches, fulfilled = p.fulfilled - o.fulfilled,
             converted = p.converted - o.converted, ceilings = p.ceilings - o.ceilings, ceiling_sum = p.ceiling_sum - o.ceiling_sum
         FROM pattern_hours AS o WHERE o.hour = $1 AND p.id = o.pattern_id",
        "UPDATE patterns AS p SET requesters = p.requesters - o.askers
         FROM (SELECT pattern_id, count(*) AS askers FROM pattern_askers WHERE last_hour = $1 GROUP BY pattern_id) AS o
         WHERE p.id = o.pattern_id",
    ] {
        sqlx::query(statement).bind(over).execute(&mut *conn).await?;
    }
    Ok(over + Duration::HOUR)
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
             SELECT s.id FROM (SELECT id, at, pattern FROM searches
                 WHERE asker = b.asker AND pattern <> '' AND id < b.id AND at > b.at - $3::interval AND at <= b.at
                 ORDER BY at DESC LIMIT $4) AS s
             WHERE l.search @@ plainto_tsquery('english', s.pattern) ORDER BY s.at DESC, s.id DESC LIMIT 1) AS s
         WHERE b.id > $1 AND b.id <= $2 AND b.source = 3 ORDER BY b.id
         ON CONFLICT DO NOTHING";
    sqlx::query(conversions).bind(from).bind(upto).bind(LEADS).bind(LED_MAX).execute(&mut *conn).await?;
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
             FROM searches AS s JOIN patterns AS p USING (pattern) WHERE s.id > $1 AND s.id <= $2 AND s.pattern <> '' AND s.known GROUP BY 1, 2),
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

/// Removes the oldest of the log, once the figures have them and no more need them, and of the figures what is older than they are kept.
pub(super) async fn clean(pool: &PgPool, now: OffsetDateTime) -> sqlx::Result<()> {
    let Some((mut tx, folded, window)) = lock(pool).await? else { return Ok(()) };
    let kept = now - Duration::hours(KEPT_HOURS);
    // The first says whether there is anything to look for.
    let old = "DELETE FROM searches WHERE (SELECT at < $2 FROM searches ORDER BY id LIMIT 1)
             AND id IN (SELECT id FROM searches ORDER BY id LIMIT $1) AND at < $2 AND id <= $3";
    sqlx::query(old).bind(REMOVED_MAX).bind(kept).bind(folded).execute(&mut *tx).await?;
    // What has not left the figures yet is needed for that.
    let kept = hour(kept).min(window);
    for (table, column) in [("pattern_hours", "hour"), ("pattern_askers", "last_hour"), ("patterns", "last_hour")] {
        let old = format!(
            "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {column} < $1 ORDER BY {column} LIMIT $2))"
        );
        sqlx::query(AssertSqlSafe(old)).bind(kept).bind(REMOVED_MAX).execute(&mut *tx).await?;
    }
    tx.commit().await
}

/// When the hour of a time began.
pub(super) fn hour(at: OffsetDateTime) -> OffsetDateTime {
    let seconds = at.unix_timestamp();
    OffsetDateTime::from_unix_timestamp(seconds - seconds.rem_euclid(3_600)).unwrap_or(at)
}
