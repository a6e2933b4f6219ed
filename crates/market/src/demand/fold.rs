//! Folds what is new in the log into the figures: a cycle costs what is new and what is over, whatever the window holds.

use std::{collections::HashMap, time::Instant};

use futures::TryStreamExt;
use sqlx::{PgConnection, PgPool, Postgres, Row, Transaction};
use time::{Duration, OffsetDateTime};
use tokio_util::sync::CancellationToken;

/// Rows of the log in one transaction, and in one after many that failed. The more at once, the fewer times a pattern is written for all its searches.
pub(super) const BATCH_MAX: i64 = 1_000_000;
pub(super) const BATCH_MIN: i64 = 100;
/// Bytes of a batch in memory, about; with more, it ends.
const SAID_MAX: usize = 64 << 20;
/// Rows read in one step; patterns looked up in one; rows of hours and askers written in one. A step is some ten milliseconds.
const READ_MAX: i64 = 10_000;
const FOUND_MAX: usize = 1_000;
const WRITTEN_MAX: usize = 1_000;
/// After a step, so many times as long as it took belong to those who wait for the database, at most so long; none once a batch has taken so long.
const PAUSE_TIMES: u32 = 2;
const PAUSE_MAX: std::time::Duration = std::time::Duration::from_secs(1);
const PACED_MAX: std::time::Duration = std::time::Duration::from_secs(20);
/// The current hour, and those before it.
pub(super) const WINDOW_HOURS: i64 = 24;
/// How long hours and the log are kept.
pub(super) const KEPT_HOURS: i64 = 168;
/// Rows of a table removed in one go, and hours of patterns, each with its askers.
const REMOVED_MAX: i64 = 20_000;
const HOURS_REMOVED_MAX: i64 = 1_000;
/// Of the searches before a purchase so many of the last are compared with what was bought.
const LED_MAX: i64 = 20;
/// Nobody waits for this: a statement may take longer than one of a request.
const BEHIND_REQUESTS: &str =
    "SELECT set_config('statement_timeout', '60s', true), set_config('idle_in_transaction_session_timeout', '60s', true)";

/// What a batch says of one pattern.
#[derive(Default)]
struct Said {
    /// Of each hour, most often one.
    hours: Vec<(OffsetDateTime, Figures)>,
    /// Who had proven who it is, and when that was.
    askers: Vec<(i64, OffsetDateTime)>,
    /// The last it was looked for in.
    category: Option<String>,
}

/// As in the tables.
#[derive(Default)]
struct Figures {
    searches: i64,
    fulfilled: i64,
    converted: i64,
    ceilings: i64,
    ceiling_sum: i64,
}

impl Said {
    /// Bytes of one, but for its name and its askers.
    const LEN: usize = size_of::<(String, Self)>() + 2 * size_of::<(OffsetDateTime, Figures)>();

    fn hour(&mut self, at: OffsetDateTime) -> &mut Figures {
        let hour = hour(at);
        let known = self.hours.iter().position(|(known, _)| *known == hour).unwrap_or_else(|| {
            self.hours.push((hour, Figures::default()));
            self.hours.len() - 1
        });
        &mut self.hours[known].1
    }

    fn last_hour(&self) -> Option<OffsetDateTime> {
        self.hours.iter().map(|(hour, _)| *hour).max()
    }

    /// Takes each once, with the last hour, in the order of the index.
    fn askers(&mut self) -> Vec<(i64, OffsetDateTime)> {
        self.askers.sort_unstable_by(|(a, early), (b, late)| a.cmp(b).then(late.cmp(early)));
        self.askers.dedup_by_key(|(asker, _)| *asker);
        std::mem::take(&mut self.askers)
    }
}

/// Folds the next rows of the log, at most so many, as of `now`: in steps, with pauses unless there is more, or `stop`. Whether there may be more;
/// `None` while another instance folds.
///
/// # Errors
/// When the database fails; then, and after `stop`, no row is folded, and hours that were over may have left the figures.
pub async fn fold(pool: &PgPool, now: OffsetDateTime, rows_max: i64, stop: &CancellationToken) -> sqlx::Result<Option<bool>> {
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
    let mut pace = Pace { stop, begun: Instant::now(), step: Instant::now(), behind: false };
    let (mut said, mut len, mut upto, mut rows) = (HashMap::new(), 0, from, 0);
    loop {
        let wanted = READ_MAX.min(rows_max - rows);
        let (last, had) = read(&mut tx, upto, wanted, (&mut said, &mut len)).await?;
        (upto, rows) = (last, rows + had);
        if had < wanted {
            break;
        }
        pace.behind = rows >= rows_max || len >= SAID_MAX;
        if pace.behind {
            break;
        }
        pace.pause().await;
        if stop.is_cancelled() {
            return Ok(None);
        }
    }
    if rows > 0 {
        write(&mut tx, said, window, &mut pace).await?;
        sqlx::query("UPDATE demand SET counted_to = $1").bind(upto).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(Some(pace.behind))
}

/// Steps that leave most of the time to others.
struct Pace<'a> {
    stop: &'a CancellationToken,
    begun: Instant,
    step: Instant,
    behind: bool,
}

impl Pace<'_> {
    /// Between two steps.
    async fn pause(&mut self) {
        if !self.behind && self.begun.elapsed() < PACED_MAX {
            self.stop.run_until_cancelled(tokio::time::sleep((self.step.elapsed() * PAUSE_TIMES).min(PAUSE_MAX))).await;
        }
        self.step = Instant::now();
    }
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

/// Adds the next rows to what is said. The last of them, and how many there were.
async fn read(
    conn: &mut PgConnection,
    from: i64,
    most: i64,
    (said, len): (&mut HashMap<String, Said>, &mut usize),
) -> sqlx::Result<(i64, i64)> {
    let next =
        "SELECT id, at, pattern, category, asker, known, matches > 0, price_max FROM searches WHERE id > $1 ORDER BY id LIMIT $2";
    let (mut last, mut had, mut purchases) = (from, 0, Vec::new());
    let mut rows = sqlx::query(next).bind(from).bind(most).fetch(&mut *conn);
    while let Some(row) = rows.try_next().await? {
        (last, had) = (row.try_get(0)?, had + 1);
        let pattern: &str = row.try_get(2)?;
        if pattern.is_empty() {
            purchases.push(last);
            continue;
        }
        let at: OffsetDateTime = row.try_get(1)?;
        let pattern = match said.get_mut(pattern) {
            Some(said) => said,
            None => {
                *len += Said::LEN + pattern.len();
                said.entry(pattern.to_owned()).or_default()
            }
        };
        if let Some(category) = row.try_get::<Option<&str>, _>(3)?
            && pattern.category.as_deref() != Some(category)
        {
            pattern.category = Some(category.to_owned());
        }
        if row.try_get(5)? {
            *len += size_of::<(i64, OffsetDateTime)>();
            pattern.askers.push((row.try_get(4)?, hour(at)));
        }
        let (found, ceiling): (bool, Option<i64>) = (row.try_get(6)?, row.try_get(7)?);
        let figures = pattern.hour(at);
        figures.searches += 1;
        figures.fulfilled += i64::from(found);
        figures.ceilings += i64::from(ceiling.is_some());
        figures.ceiling_sum += ceiling.unwrap_or_default();
    }
    drop(rows);
    if !purchases.is_empty() {
        let led = concat!(
            "WITH led AS (INSERT INTO conversions (search_id, purchase_id)
                 SELECT s.id, b.id FROM unnest($1::bigint[]) AS bought (id) JOIN searches AS b USING (id)
                 JOIN listings AS l ON l.id = b.listing_id CROSS JOIN LATERAL (
                     SELECT last.id FROM (SELECT s.* FROM ",
            trail!("id, at, pattern", "AND id < b.id ORDER BY at DESC LIMIT $2"),
            " ORDER BY at DESC LIMIT $2) AS last
                     WHERE l.search @@ plainto_tsquery('english', last.pattern) ORDER BY last.at DESC, last.id DESC LIMIT 1) AS s
                 ORDER BY b.id ON CONFLICT DO NOTHING RETURNING search_id)
             SELECT s.pattern, s.at FROM led JOIN searches AS s ON s.id = led.search_id"
        );
        for row in sqlx::query(led).bind(purchases).bind(LED_MAX).fetch_all(conn).await? {
            said.entry(row.try_get(0)?).or_default().hour(row.try_get(1)?).converted += 1;
        }
    }
    Ok((last, had))
}

/// Each pattern and asker is looked up by its index, in the order of that.
async fn write(
    conn: &mut PgConnection,
    said: HashMap<String, Said>,
    window: OffsetDateTime,
    pace: &mut Pace<'_>,
) -> sqlx::Result<()> {
    // `OFFSET 0` keeps the plan from reading the whole table, which grows.
    let find = "WITH said AS MATERIALIZED (SELECT * FROM unnest($1::text[], $2::timestamptz[]) AS s (pattern, last_hour)),
         found AS MATERIALIZED (SELECT p.* FROM said
             CROSS JOIN LATERAL (SELECT id, pattern FROM patterns AS p WHERE p.pattern = said.pattern OFFSET 0) AS p),
         new AS (INSERT INTO patterns (pattern, words, last_hour)
             SELECT pattern, plainto_tsquery('english', pattern), last_hour FROM said
             WHERE pattern NOT IN (SELECT pattern FROM found) RETURNING id, pattern)
         SELECT id, pattern FROM found UNION ALL SELECT id, pattern FROM new";
    let mut said: Vec<_> = said.into_iter().collect();
    said.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
    let mut found = Vec::with_capacity(said.len());
    while !said.is_empty() {
        pace.pause().await;
        let mut some: HashMap<_, _> = said.split_off(said.len().saturating_sub(FOUND_MAX)).into_iter().collect();
        let (names, hours): (Vec<&str>, Vec<_>) = some.iter().map(|(name, said)| (name.as_str(), said.last_hour())).unzip();
        for row in sqlx::query(find).bind(names).bind(hours).fetch_all(&mut *conn).await? {
            if let Some(said) = some.remove(row.try_get::<&str, _>(1)?) {
                found.push((row.try_get::<i64, _>(0)?, said));
            }
        }
    }
    found.sort_unstable_by_key(|(id, _)| *id);
    let mut rows = Rows::default();
    for (id, mut said) in found {
        let askers = said.askers();
        rows.push(id, said);
        for (asker, hour) in askers {
            rows.push_asker(id, asker, hour);
            rows.write_if_many(WRITTEN_MAX, conn, window, pace).await?;
        }
        rows.write_if_many(WRITTEN_MAX, conn, window, pace).await?;
    }
    rows.write_if_many(1, conn, window, pace).await
}

/// Rows of hours, with a category in the last hour of a pattern that has one, and of askers: by columns.
#[derive(Default)]
struct Rows {
    patterns: Vec<i64>,
    hours: Vec<OffsetDateTime>,
    figures: [Vec<i64>; 5],
    categories: Vec<Option<String>>,
    asked: Vec<i64>,
    askers: Vec<i64>,
    last_hours: Vec<OffsetDateTime>,
}

impl Rows {
    fn push(&mut self, pattern: i64, mut said: Said) {
        for (hour, figures) in said.hours {
            self.patterns.push(pattern);
            self.hours.push(hour);
            let Figures { searches, fulfilled, converted, ceilings, ceiling_sum } = figures;
            for (column, figure) in self.figures.iter_mut().zip([searches, fulfilled, converted, ceilings, ceiling_sum]) {
                column.push(figure);
            }
            self.categories.push(said.category.take());
        }
    }

    fn push_asker(&mut self, pattern: i64, asker: i64, hour: OffsetDateTime) {
        self.asked.push(pattern);
        self.askers.push(asker);
        self.last_hours.push(hour);
    }

    /// Empties itself, when there are so many.
    async fn write_if_many(
        &mut self,
        many: usize,
        conn: &mut PgConnection,
        window: OffsetDateTime,
        pace: &mut Pace<'_>,
    ) -> sqlx::Result<()> {
        if self.hours.len() + self.askers.len() >= many {
            pace.pause().await;
            std::mem::take(self).write(conn, window).await?;
        }
        Ok(())
    }

    /// An asker counts in the last hour and leaves the one before; what is within the window is then the hours' matter. Those that were there in this hour
    /// already are left out beforehand: a conflict that changes nothing writes all the same, to lock the row.
    async fn write(self, conn: &mut PgConnection, window: OffsetDateTime) -> sqlx::Result<()> {
        let figures = "WITH seen AS (
                 INSERT INTO pattern_askers AS a (pattern_id, asker, last_hour)
                 SELECT n.* FROM unnest($10::bigint[], $11::bigint[], $12::timestamptz[]) AS n (pattern_id, asker, last_hour)
                 LEFT JOIN LATERAL (SELECT k.last_hour FROM pattern_askers AS k WHERE k.pattern_id = n.pattern_id AND k.asker = n.asker OFFSET 0) AS k ON TRUE
                 WHERE k.last_hour IS NULL OR k.last_hour < n.last_hour
                 ON CONFLICT (pattern_id, asker) DO UPDATE SET last_hour = excluded.last_hour, hour_before = a.last_hour
                     WHERE a.last_hour < excluded.last_hour
                 RETURNING pattern_id, last_hour, hour_before),
             new AS MATERIALIZED (
                 SELECT pattern_id, hour, sum(searches)::bigint AS searches, sum(fulfilled)::bigint AS fulfilled, sum(converted)::bigint AS converted,
                     sum(ceilings)::bigint AS ceilings, sum(ceiling_sum) AS ceiling_sum, max(category) AS category, sum(askers)::bigint AS askers
                 FROM (SELECT s.*, 0 AS askers
                       FROM unnest($2::bigint[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::text[])
                           AS s (pattern_id, hour, searches, fulfilled, converted, ceilings, ceiling_sum, category)
                       UNION ALL
                       SELECT pattern_id, last_hour, 0, 0, 0, 0, 0, NULL, count(*) FROM seen GROUP BY pattern_id, last_hour
                       UNION ALL
                       SELECT pattern_id, hour_before, 0, 0, 0, 0, 0, NULL, -count(*) FROM seen WHERE hour_before IS NOT NULL
                       GROUP BY pattern_id, hour_before) AS parts GROUP BY pattern_id, hour),
             kept_hours AS (
                 INSERT INTO pattern_hours AS h (hour, pattern_id, searches, fulfilled, converted, ceilings, ceiling_sum, askers)
                 SELECT hour, pattern_id, searches, fulfilled, converted, ceilings, ceiling_sum, askers FROM new ORDER BY hour, pattern_id
                 ON CONFLICT (hour, pattern_id) DO UPDATE SET searches = h.searches + excluded.searches,
                     fulfilled = h.fulfilled + excluded.fulfilled, converted = h.converted + excluded.converted,
                     ceilings = h.ceilings + excluded.ceilings, ceiling_sum = h.ceiling_sum + excluded.ceiling_sum, askers = h.askers + excluded.askers)
             UPDATE patterns AS p SET searches = p.searches + n.searches, fulfilled = p.fulfilled + n.fulfilled, converted = p.converted + n.converted,
                 ceilings = p.ceilings + n.ceilings, ceiling_sum = p.ceiling_sum + n.ceiling_sum, requesters = p.requesters + n.askers,
                 category = coalesce(n.category, p.category), last_hour = greatest(p.last_hour, n.last_hour)
             FROM (SELECT pattern_id, max(category) AS category, max(hour) FILTER (WHERE searches > 0) AS last_hour,
                       coalesce(sum(searches) FILTER (WHERE hour >= $1), 0) AS searches, coalesce(sum(fulfilled) FILTER (WHERE hour >= $1), 0) AS fulfilled,
                       coalesce(sum(converted) FILTER (WHERE hour >= $1), 0) AS converted, coalesce(sum(ceilings) FILTER (WHERE hour >= $1), 0) AS ceilings,
                       coalesce(sum(ceiling_sum) FILTER (WHERE hour >= $1), 0) AS ceiling_sum, coalesce(sum(askers) FILTER (WHERE hour >= $1), 0) AS askers
                   FROM new GROUP BY pattern_id) AS n
             WHERE p.id = n.pattern_id";
        let mut query = sqlx::query(figures).bind(window).bind(self.patterns).bind(self.hours);
        for column in self.figures {
            query = query.bind(column);
        }
        query.bind(self.categories).bind(self.asked).bind(self.askers).bind(self.last_hours).execute(conn).await?;
        Ok(())
    }
}

/// Removes the oldest of the log, once the figures have them and no more need them, and of the figures what is older than they are kept: some of
/// each. Whether there may be more.
///
/// # Errors
/// When the database fails; then nothing is removed.
pub async fn clean(pool: &PgPool, now: OffsetDateTime) -> sqlx::Result<bool> {
    let Some((mut tx, folded, window)) = lock(pool).await? else { return Ok(false) };
    let kept = now - Duration::hours(KEPT_HOURS);
    // The first says whether there is anything to look for.
    let old = "DELETE FROM searches WHERE (SELECT at < $2 FROM searches ORDER BY id LIMIT 1)
             AND id IN (SELECT id FROM searches ORDER BY id LIMIT $1) AND at < $2 AND id <= $3";
    let logged = sqlx::query(old).bind(REMOVED_MAX).bind(kept).bind(folded).execute(&mut *tx).await?.rows_affected();
    // What has not left the figures yet is needed for that.
    let kept = hour(kept).min(window);
    // Each asker is in one of the hours: only by these its last hour is found.
    let old = "WITH gone AS (DELETE FROM pattern_hours
             WHERE ctid = ANY(ARRAY(SELECT ctid FROM pattern_hours WHERE hour < $1 ORDER BY hour, pattern_id LIMIT $2)) RETURNING pattern_id, hour, askers),
         asked AS (DELETE FROM pattern_askers WHERE ctid = ANY(ARRAY(SELECT a.id FROM gone CROSS JOIN LATERAL (
             SELECT ctid AS id FROM pattern_askers WHERE pattern_id = gone.pattern_id AND last_hour = gone.hour OFFSET 0) AS a WHERE gone.askers > 0)))
         SELECT count(*) FROM gone";
    let hours: i64 = sqlx::query_scalar(old).bind(kept).bind(HOURS_REMOVED_MAX).fetch_one(&mut *tx).await?;
    let old = "DELETE FROM patterns WHERE ctid = ANY(ARRAY(SELECT ctid FROM patterns WHERE last_hour < $1 ORDER BY last_hour LIMIT $2))";
    let patterns = sqlx::query(old).bind(kept).bind(REMOVED_MAX).execute(&mut *tx).await?.rows_affected();
    tx.commit().await?;
    Ok(logged.max(patterns) >= REMOVED_MAX.unsigned_abs() || hours >= HOURS_REMOVED_MAX)
}

/// When the hour of a time began.
pub(super) fn hour(at: OffsetDateTime) -> OffsetDateTime {
    let seconds = at.unix_timestamp();
    OffsetDateTime::from_unix_timestamp(seconds - seconds.rem_euclid(3_600)).unwrap_or(at)
}
