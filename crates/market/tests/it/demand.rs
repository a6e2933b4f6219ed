//! What is looked for: figures against a recount of the log, and what sellers are told.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use api::{
    AgentType, Category, DemandLevel, Discover, GapsQuery, OpportunityFilter, OpportunityStatus, PageQuery, PriceQuestion, Trend,
    TrendingQuery, ledger::Asset,
};
use market::demand::{self, Seen, Source};
use money::Usdc;
use proptest::{collection::vec, option, prelude::*, test_runner::TestRunner};
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::harness::{BUYER, PRICE, SELLER, WAIT, World, because, goods};

/// One row of the log: minutes before the step, which words, whose (below 0 of nobody known), whether found, the ceiling; or a purchase.
type Row = (u16, u8, i64, bool, Option<u64>);

const PATTERNS: [&str; 6] = ["", "forecast", "forecast weather", "load", "a", "prices weather"];

/// Steps: hours that pass, what is logged, and how often it is folded then.
fn steps() -> impl Strategy<Value = Vec<(u8, Vec<Row>, u8)>> {
    let row = (0_u16..400, 0_u8..6, -2_i64..4, any::<bool>(), option::of(1_u64..1_000_000));
    vec((prop_oneof![3 => 0_u8..3, 1 => 3_u8..40], vec(row, 0..25), 0_u8..2), 1..14)
}

async fn assert_recounted(pool: &PgPool) {
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
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(differ, 0, "the figures are not those of the log");
    let differ: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT pattern_id, hour, askers FROM pattern_hours WHERE askers <> 0) AS kept
             FULL JOIN (SELECT pattern_id, last_hour AS hour, count(*) AS askers FROM pattern_askers GROUP BY pattern_id, last_hour) AS counted
             USING (pattern_id, hour, askers)
         WHERE kept IS NULL OR counted IS NULL",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(differ, 0, "the hours' askers are not those whose last hour it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_kept_step_by_step_are_those_of_the_whole_log() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let listing = seller.client.create_listing(&goods("Weather forecast", PRICE, Some(b"sun"))).await.unwrap().id;
    market.stop().await;
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let mut runner = TestRunner::new(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() });
    let converted = AtomicI64::new(0);
    let run = runner.run(&steps(), |steps| {
        let found = tokio::task::block_in_place(|| Handle::current().block_on(play(&pool, listing, steps)));
        converted.fetch_add(found, Ordering::Relaxed);
        Ok(())
    });
    run.unwrap();
    assert!(converted.into_inner() > 0, "no history had a purchase after a search");
}

/// Lives through a history, and counts the searches that led to purchases.
async fn play(pool: &PgPool, listing: Uuid, steps: Vec<(u8, Vec<Row>, u8)>) -> i64 {
    for reset in [
        "TRUNCATE searches, conversions, patterns, pattern_hours, pattern_askers RESTART IDENTITY",
        "UPDATE demand SET counted_to = 0, window_from = 'epoch'",
    ] {
        sqlx::query(reset).execute(pool).await.unwrap();
    }
    let mut now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
    let last = steps.len();
    for (at, (hours, rows, folds)) in steps.into_iter().enumerate() {
        now += time::Duration::hours(hours.into());
        let seen = |(minutes, words, asker, found, ceiling): Row| Seen {
            source: if words == 0 { Source::Purchase } else { Source::Discover },
            at: now - time::Duration::minutes(minutes.into()),
            pattern: demand::pattern(PATTERNS[usize::from(words)]),
            category: found.then_some(Category::Computation),
            asker,
            known: asker >= 0,
            matches: found.into(),
            price_max: ceiling.map(Usdc::from_base_units),
            listing_id: (words == 0).then_some(listing),
        };
        let rows: Vec<_> = rows.into_iter().map(seen).collect();
        demand::log(pool, &rows).await.unwrap();
        for _ in 0..if at + 1 == last { 50 } else { folds } {
            let more = demand::fold(pool, now, 10, &CancellationToken::new()).await.unwrap();
            demand::clean(pool, now).await.unwrap();
            assert_recounted(pool).await;
            if more != Some(true) {
                break;
            }
        }
    }
    sqlx::query_scalar("SELECT count(*) FROM conversions").fetch_one(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_several_look_for_in_vain_is_an_opportunity_until_somebody_sells_it() {
    let world = World::new().await;
    let market = world.alone(because::SEARCHES).await;
    let seller = market.join("seller", SELLER, AgentType::Both).await;
    let mut others = Vec::new();
    for (at, name) in ["one", "two", "three"].into_iter().enumerate() {
        others.push(market.join(name, BUYER + at, AgentType::Buyer).await);
    }
    let search = |q: &str| Discover {
        q: Some(q.into()),
        category: Some(Category::Computation),
        max_price: Some(Usdc::from_base_units(30_000)),
        ..Discover::default()
    };
    for other in &others {
        other.client.discover(&search("Tide tables")).await.unwrap();
        other.client.discover(&Discover::default()).await.unwrap();
    }
    for other in &others[..2] {
        other.client.discover(&search("secret plan")).await.unwrap();
    }
    market.client.discover(&search("secret plan")).await.unwrap();
    let open = OpportunityFilter::default();
    let opened = until(async || market.client.opportunities(&open).await.unwrap().data.pop()).await;
    assert_eq!((opened.pattern.as_str(), opened.requesters, opened.searches), ("tables tide", 3, 3));
    assert_eq!((opened.urgency_bps.get(), opened.average_ceiling), (10_000, Usdc::from_base_units(30_000)));
    assert_eq!(opened.estimated_revenue, Usdc::from_base_units(3 * 30_000 / 24));
    let gaps = market.client.demand_gaps(&GapsQuery::default()).await.unwrap().data;
    assert_eq!(
        gaps.iter().map(|gap| gap.pattern.as_str()).collect::<Vec<_>>(),
        ["tables tide"],
        "of two persons nothing is shown, whoever asks without a name"
    );
    let trending = market.client.trending(&TrendingQuery::default()).await.unwrap().data;
    assert_eq!((trending.len(), trending[0].searches, trending[0].signal.trend), (1, 3, Trend::Rising));
    let mine = async || seller.client.demand_for_me(&PageQuery::default()).await.unwrap().data;
    assert!(mine().await.is_empty(), "the seller has nothing in that category");

    let listing = goods("Tide tables of Brest", Usdc::from_base_units(20_000), Some(b"high"));
    let listing = seller.client.create_listing(&listing).await.unwrap();
    let fulfilled = OpportunityFilter { status: Some(OpportunityStatus::Fulfilled), ..open.clone() };
    let ended = until(async || market.client.opportunities(&fulfilled).await.unwrap().data.pop()).await;
    assert_eq!((ended.id, ended.listing_id), (opened.id, Some(listing.id)));
    let mine = mine().await;
    assert_eq!((mine[0].listing_id, mine[0].level, mine.len()), (Some(listing.id), DemandLevel::Low, 1));
    others[0].client.discover(&search("tide tables")).await.unwrap();
    others[0].client.express_from_ledger(listing.id, Asset::Ard, "tides").await.unwrap();
    let converted = until(async || {
        let trending = market.client.trending(&TrendingQuery::default()).await.unwrap().data;
        trending.into_iter().find(|row| row.signal.conversion_bps.get() > 0)
    });
    let signal = converted.await.signal;
    assert_eq!((signal.searches, signal.conversion_bps.get(), signal.fulfilment_bps.get()), (4, 2_500, 2_500));
    let question = PriceQuestion { category: Category::Computation, q: None, quality_bps: None };
    let price = seller.client.price_suggest(&question).await.unwrap();
    assert_eq!((price.price, price.compared), (Usdc::from_base_units(20_000), 1));
}

pub(crate) async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(WAIT, found).await.unwrap()
}
