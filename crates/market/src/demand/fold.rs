//! Folds what is new in the log into the figures: a cycle costs what is new and what is over, whatever the window holds.

use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, Row, Transaction};
use time::{Duration, OffsetDateTime};

/// Rows of the log in one transaction, and in one after many that failed. The more at once, the fewer times a pattern is written for all its searches.
pub(super) const BATCH_MAX: i64 = 100_000;
pub(super) const BATCH_MIN: i64 = 100;
/// The current hour, and those before it.
pub(super) const WINDOW_HOURS: i64 = 24;
/// How long hours and the log are kept.
pub(super) const KEPT_HOURS: i64 = 168;
/// Rows of a table removed in one go.
const REMOVED_MAX: i64 = 20_000;
/// Of the searches before a purchase so many of the last are compared with what was bought.
const LED_MAX: i64 = 20;
/// Nobody waits for this, and an hour of many patterns leaves at once: a statement may take longer than one of a request, and have more memory.
/// Of a batch that came a moment ago there are no statistics, and without them its words would be sorted rather than hashed.
const BEHIND_REQUESTS: &str = "SELECT set_config('statement_timeout', '60s', true), set_config('work_mem', '64MB', true), set_config('enable_mergejoin', 'off', true)";

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
        sqlx::query("UPDATE demand SET counted_to = $1").bind(upto).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(Some(rows.unsigned_abs()))
}

/// The figures for this instance alone, the last row of the log and the first hour that they have. `None` while another instance has them.
async fn lock(pool: &PgPool) -> sqlx::Result<Option<(Transaction<'static, Postgres>, i64, OffsetDateTime)>> {
    let mut tx = pg::begin(pool).await?;
    sqlx::query(BEHIND_REQUESTS).execute(&mut *tx).await?;
    let state = "SELECT counted_to, window_from FROM demand FOR UPDATE SKIP LOCKED";
    let Some(row) = sqlx::query(state).fetch_optional(&mut *tx).await? else { return Ok(None) };
    Ok(Some((tx, row.try_get("counted_to")?, row.try_get("window_from")?)))
}

/// Takes the first hour from `old` on that is before `new` out of the figures. The first hour that they have then.
async fn advance(conn: &mut PgConnection, old: OffsetDateTime, new: OffsetDateTime) -> sqlx::Result<OffsetDateTime> {
    let first = "SELECT min(hour) FROM pattern_hours WHERE hour >= $1";
    let first: Option<OffsetDateTime> = sqlx::query_scalar(first).bind(old).fetch_one(&mut *conn).await?;
    let Some(over) = first.filter(|first| *first < new) else { return Ok(new) };
    let leave = "UPDATE patterns AS p SET searches = p.searches - o.searches, fulfilled = p.fulfilled - o.fulfilled,
             converted = p.converted - o.converted, ceilings = p.ceilings - o.ceilings, ceiling_sum = p.ceiling_sum - o.ceiling_sum,
             requesters = p.requesters - o.askers
         FROM pattern_hours AS o WHERE o.hour = $1 AND p.id = o.pattern_id";
    sqlx::query(leave).bind(over).execute(&mut *conn).await?;
    Ok(over + Duration::HOUR)
}

/// Each pattern and asker is looked up by its index: `OFFSET 0` keeps the plan from reading whole tables, which grow, to compare them with a batch.
async fn batch(conn: &mut PgConnection, from: i64, upto: i64, window: OffsetDateTime) -> sqlx::Result<()> {
    let patterns = "INSERT INTO patterns (pattern, words, last_hour)
         SELECT pattern, plainto_tsquery('english', pattern), last_hour
         FROM (SELECT pattern, max(date_trunc('hour', at, 'UTC')) AS last_hour
               FROM searches WHERE id > $1 AND id <= $2 AND pattern <> '' GROUP BY pattern) AS said
         WHERE NOT EXISTS (SELECT FROM patterns AS p WHERE p.pattern = said.pattern OFFSET 0) ORDER BY pattern";
    sqlx::query(patterns).bind(from).bind(upto).execute(&mut *conn).await?;
    let conversions = concat!(
        "INSERT INTO conversions (search_id, purchase_id)
         SELECT s.id, b.id FROM searches AS b JOIN listings AS l ON l.id = b.listing_id CROSS JOIN LATERAL (
             SELECT last.id FROM (SELECT s.* FROM ",
        trail!("id, at, pattern", "AND id < b.id ORDER BY at DESC LIMIT $3"),
        " ORDER BY at DESC LIMIT $3) AS last
             WHERE l.search @@ plainto_tsquery('english', last.pattern) ORDER BY last.at DESC, last.id DESC LIMIT 1) AS s
         WHERE b.id > $1 AND b.id <= $2 AND b.source = 3 ORDER BY b.id
         ON CONFLICT DO NOTHING"
    );
    sqlx::query(conversions).bind(from).bind(upto).bind(LED_MAX).execute(&mut *conn).await?;
    // An asker counts in the last hour and leaves the one before; what is within the window is then the hours' matter.
    let figures = "WITH said AS MATERIALIZED (
             SELECT s.pattern, p.id FROM (SELECT DISTINCT pattern FROM searches WHERE id > $1 AND id <= $2 AND pattern <> '') AS s
             CROSS JOIN LATERAL (SELECT id FROM patterns AS p WHERE p.pattern = s.pattern OFFSET 0) AS p),
         searched AS MATERIALIZED (
             SELECT said.id AS pattern_id, date_trunc('hour', at, 'UTC') AS hour, s.id, category, asker, known, matches, price_max
             FROM searches AS s JOIN said USING (pattern) WHERE s.id > $1 AND s.id <= $2),
         seen AS (
             INSERT INTO pattern_askers AS a (pattern_id, asker, last_hour)
             SELECT pattern_id, asker, max(hour) FROM searched WHERE known GROUP BY pattern_id, asker ORDER BY pattern_id, asker
             ON CONFLICT (pattern_id, asker) DO UPDATE SET last_hour = excluded.last_hour, hour_before = a.last_hour
                 WHERE a.last_hour < excluded.last_hour
             RETURNING pattern_id, last_hour, hour_before),
         new AS MATERIALIZED (
             SELECT pattern_id, hour, sum(searches)::bigint AS searches, sum(fulfilled)::bigint AS fulfilled, sum(converted)::bigint AS converted,
                 sum(ceilings)::bigint AS ceilings, sum(ceiling_sum) AS ceiling_sum, sum(askers)::bigint AS askers, max(category_said) AS category_said
             FROM (SELECT pattern_id, hour, count(*) AS searches, count(*) FILTER (WHERE matches > 0) AS fulfilled, 0 AS converted,
                       count(price_max) AS ceilings, coalesce(sum(price_max), 0) AS ceiling_sum, 0 AS askers,
                       max(id) FILTER (WHERE category IS NOT NULL) AS category_said
                   FROM searched GROUP BY pattern_id, hour
                   UNION ALL
                   SELECT p.id, date_trunc('hour', s.at, 'UTC'), 0, 0, 1, 0, 0, 0, NULL
                   FROM conversions AS c JOIN searches AS s ON s.id = c.search_id JOIN patterns AS p USING (pattern)
                   WHERE c.purchase_id > $1 AND c.purchase_id <= $2
                   UNION ALL
                   SELECT pattern_id, last_hour, 0, 0, 0, 0, 0, count(*), NULL FROM seen GROUP BY pattern_id, last_hour
                   UNION ALL
                   SELECT pattern_id, hour_before, 0, 0, 0, 0, 0, -count(*), NULL FROM seen WHERE hour_before IS NOT NULL GROUP BY pattern_id, hour_before
                  ) AS parts GROUP BY pattern_id, hour),
         kept_hours AS (
             INSERT INTO pattern_hours AS h (hour, pattern_id, searches, fulfilled, converted, ceilings, ceiling_sum, askers)
             SELECT hour, pattern_id, searches, fulfilled, converted, ceilings, ceiling_sum, askers FROM new ORDER BY hour, pattern_id
             ON CONFLICT (hour, pattern_id) DO UPDATE SET searches = h.searches + excluded.searches,
                 fulfilled = h.fulfilled + excluded.fulfilled, converted = h.converted + excluded.converted,
                 ceilings = h.ceilings + excluded.ceilings, ceiling_sum = h.ceiling_sum + excluded.ceiling_sum, askers = h.askers + excluded.askers)
         UPDATE patterns AS p SET searches = p.searches + n.searches, fulfilled = p.fulfilled + n.fulfilled, converted = p.converted + n.converted,
             ceilings = p.ceilings + n.ceilings, ceiling_sum = p.ceiling_sum + n.ceiling_sum, requesters = p.requesters + n.askers,
             category = coalesce((SELECT s.category FROM searches AS s WHERE s.id = n.category_said), p.category),
             last_hour = greatest(p.last_hour, n.last_hour)
         FROM (SELECT pattern_id, max(category_said) AS category_said, max(hour) FILTER (WHERE searches > 0) AS last_hour,
                   coalesce(sum(searches) FILTER (WHERE hour >= $3), 0) AS searches, coalesce(sum(fulfilled) FILTER (WHERE hour >= $3), 0) AS fulfilled,
                   coalesce(sum(converted) FILTER (WHERE hour >= $3), 0) AS converted, coalesce(sum(ceilings) FILTER (WHERE hour >= $3), 0) AS ceilings,
                   coalesce(sum(ceiling_sum) FILTER (WHERE hour >= $3), 0) AS ceiling_sum, coalesce(sum(askers) FILTER (WHERE hour >= $3), 0) AS askers
               FROM new GROUP BY pattern_id) AS n
         WHERE p.id = n.pattern_id";
    sqlx::query(figures).bind(from).bind(upto).bind(window).execute(&mut *conn).await?;
    Ok(())
}

/// Removes the oldest of the log, once the figures have them and no more need them, and of the figures what is older than they are kept: some of
/// each. Whether there may be more.
pub(super) async fn clean(pool: &PgPool, now: OffsetDateTime) -> sqlx::Result<bool> {
    let Some((mut tx, folded, window)) = lock(pool).await? else { return Ok(false) };
    let kept = now - Duration::hours(KEPT_HOURS);
    // The first says whether there is anything to look for.
    let old = "DELETE FROM searches WHERE (SELECT at < $2 FROM searches ORDER BY id LIMIT 1)
             AND id IN (SELECT id FROM searches ORDER BY id LIMIT $1) AND at < $2 AND id <= $3";
    let mut most = sqlx::query(old).bind(REMOVED_MAX).bind(kept).bind(folded).execute(&mut *tx).await?.rows_affected();
    // What has not left the figures yet is needed for that.
    let kept = hour(kept).min(window);
    for (table, column) in [("pattern_hours", "hour"), ("pattern_askers", "last_hour"), ("patterns", "last_hour")] {
        let old = format!(
            "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {column} < $1 ORDER BY {column} LIMIT $2))"
        );
        let gone = sqlx::query(AssertSqlSafe(old)).bind(kept).bind(REMOVED_MAX).execute(&mut *tx).await?.rows_affected();
        most = most.max(gone);
    }
    tx.commit().await?;
    Ok(most >= REMOVED_MAX.unsigned_abs())
}

/// When the hour of a time began.
pub(super) fn hour(at: OffsetDateTime) -> OffsetDateTime {
    let seconds = at.unix_timestamp();
    OffsetDateTime::from_unix_timestamp(seconds - seconds.rem_euclid(3_600)).unwrap_or(at)
}
