//! What is looked for: how fast it is logged, alone and beside purchases, and what counting it costs with a full window behind it.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use api::Category;
use market::demand::{self, Seen as Search, Source, WRITE_EVERY, WRITE_MAX};
use money::Usdc;
use sqlx::{Connection, PgConnection, PgPool};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::{
    Bench, Shop,
    load::{Seen, summary},
    people::People,
    report::{Beside, Report},
};

/// Rows that are new in a cycle.
const CYCLE: usize = 10_000;
/// Different searches, as often as words of a language (Zipf with exponent 1), and who asks.
const PATTERNS: f64 = 100_000.0;
const ASKERS: u64 = 200_000;
/// So long ago at most.
const WINDOW_SECONDS: u64 = 23 * 3_600;
/// Different batches that are written beside purchases, made beforehand.
const BATCHES: usize = 40;

pub(crate) async fn run(
    bench: &Bench,
    database_url: &str,
    pool: &PgPool,
    people: &People,
    directory: &Path,
    report: &mut Report,
) -> Result<()> {
    let (mut random, mut waits) = (0, Vec::new());
    for _ in 0..bench.searches.div_ceil(WRITE_MAX) {
        let rows = searches(&mut random, WRITE_MAX, WINDOW_SECONDS);
        let asked = Instant::now();
        demand::log(pool, &rows).await?;
        waits.push(asked.elapsed());
    }
    let took = waits.iter().sum();
    report.add("searches logged, p50 and p99 of 5,000", Beside::Nothing, written(waits, took, WRITE_MAX));
    let took = cycle(pool).await?;
    let count = bench.searches;
    let folded = Seen { count, per_second: count as f64 / took.as_secs_f64(), ..Seen::default() };
    report.add("searches counted", Beside::Nothing, folded);
    let (mut waits, begun) = (Vec::new(), Instant::now());
    for _ in 0..bench.rounds {
        demand::log(pool, &searches(&mut random, CYCLE, 1)).await?;
        waits.push(cycle(pool).await?);
    }
    report.add("a cycle after 10,000 new searches", Beside::Nothing, summary(&mut waits, begun.elapsed().as_secs_f64()));

    let mut shop = Shop::open(bench, database_url, pool, people, directory).await?;
    let tokens = people.tokens(&format!("http://{}", shop.address)).await?;
    // As the market writes what comes.
    let come = match bench.searches_paced {
        0 => WRITE_MAX,
        paced => (f64::from(paced) * WRITE_EVERY.as_secs_f64()) as usize,
    };
    let batches: Vec<_> = (0..BATCHES).map(|_| searches(&mut random, come.clamp(1, WRITE_MAX), 1)).collect();
    for _ in 0..bench.rounds {
        // What the round before has left to be counted would be counted beside purchases alone.
        until_counted(pool).await?;
        let name = format!("express buy when {} come in a second", bench.paced);
        report.add(&name, Beside::Nothing, shop.buy(0, Some(bench.paced), &tokens).await?);
        let stop = CancellationToken::new();
        let (bought, logged) = tokio::join!(
            async {
                let bought = shop.buy(0, Some(bench.paced), &tokens).await;
                stop.cancel();
                bought
            },
            write(pool, &batches, bench.searches_paced, &stop),
        );
        report.add(&format!("{name}, beside searches"), Beside::Nothing, bought?);
        report.add("searches logged beside express buy", Beside::Nothing, logged?);
    }
    drop(shop);
    cycle(pool).await?;
    recount(database_url).await
}

async fn until_counted(pool: &PgPool) -> Result<()> {
    let counted = "SELECT counted_to >= (SELECT coalesce(max(id), 0) FROM searches) FROM demand";
    while !sqlx::query_scalar::<_, bool>(counted).fetch_one(pool).await? {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// Until all is counted.
async fn cycle(pool: &PgPool) -> Result<Duration> {
    let begun = Instant::now();
    demand::cycle(pool, &mut (CYCLE as i64), &CancellationToken::new()).await?;
    Ok(begun.elapsed())
}

/// Writes until it is told to stop, so many rows a second.
async fn write(pool: &PgPool, batches: &[Vec<Search>], paced: u32, stop: &CancellationToken) -> Result<Seen> {
    let (mut waits, begun, mut comes, rows) = (Vec::new(), Instant::now(), Duration::ZERO, batches[0].len());
    for batch in batches.iter().cycle() {
        let due = if paced == 0 { Instant::now() } else { begun + comes };
        if stop.run_until_cancelled(tokio::time::sleep_until(due.into())).await.is_none() {
            break;
        }
        demand::log(pool, batch).await?;
        waits.push(due.elapsed());
        comes += Duration::from_secs(rows as u64).checked_div(paced).unwrap_or_default();
    }
    Ok(written(waits, begun.elapsed(), rows))
}

fn written(mut waits: Vec<Duration>, took: Duration, rows: usize) -> Seen {
    let seen = summary(&mut waits, took.as_secs_f64());
    Seen { count: seen.count * rows, per_second: seen.per_second * rows as f64, ..seen }
}

fn searches(random: &mut u64, count: usize, within_seconds: u64) -> Vec<Search> {
    let now = OffsetDateTime::now_utc();
    let mut draw = || {
        *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*random ^ (*random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33
    };
    let one = |_| {
        let rank = PATTERNS.powf(draw() as f64 / (1_u64 << 31) as f64) as u64;
        Search {
            source: Source::Discover,
            at: now - Duration::from_secs(draw() % within_seconds),
            pattern: demand::pattern(&format!("word{} of{rank}", rank % 997)),
            category: Some(Category::Computation),
            asker: (draw() % ASKERS).cast_signed(),
            known: !rank.is_multiple_of(5),
            matches: (rank % 4) as u32,
            price_max: rank.is_multiple_of(3).then(|| Usdc::from_base_units(rank)),
            listing_id: None,
        }
    };
    (0..count).map(one).collect()
}

/// Compares the figures with what the log says.
async fn recount(database_url: &str) -> Result<()> {
    let mut conn = PgConnection::connect(database_url).await?;
    sqlx::raw_sql("SET search_path = market; SET work_mem = '512MB'").execute(&mut conn).await?;
    let differ: i64 = sqlx::query_scalar(
        "WITH counted AS (
             SELECT s.pattern, count(*) AS searches, count(*) FILTER (WHERE matches > 0) AS fulfilled, count(c.search_id) AS converted,
                 count(price_max) AS ceilings, coalesce(sum(price_max), 0) AS ceiling_sum, count(DISTINCT asker) FILTER (WHERE known) AS requesters
             FROM demand AS d, searches AS s LEFT JOIN conversions AS c ON c.search_id = s.id
             WHERE s.id <= d.counted_to AND s.at >= d.window_from AND s.pattern <> '' GROUP BY s.pattern)
         SELECT count(*) FROM (SELECT pattern, searches, fulfilled, converted, ceilings, ceiling_sum, requesters FROM patterns
                               WHERE searches <> 0 OR requesters <> 0 OR converted <> 0 OR ceiling_sum <> 0) AS kept
             FULL JOIN counted USING (pattern, searches, fulfilled, converted, ceilings, ceiling_sum, requesters)
         WHERE kept IS NULL OR counted IS NULL",
    )
    .fetch_one(&mut conn)
    .await?;
    ensure!(differ == 0, "{differ} patterns are not those of the log");
    eprintln!("all figures are those of a recount of the log");
    Ok(())
}
