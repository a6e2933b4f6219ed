//! Looking for listings: what is found, in which order, and that no page repeats or skips any.

use api::{AgentType, Category, Code, Discover, SortBy};
use money::Usdc;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::{
    demand::until,
    harness::{PRICE, SELLER, World, goods, refusal},
};

/// More than a slice, and more in the next than are ranked together.
const LISTINGS: i64 = 1_250;
/// Those that have a word which few have.
const SCARCE: i64 = LISTINGS / 50;

/// Listings that all match "forecast", the more often the better, in prices from 0.001 to 0.007 USDC; one in fifty matches "scarce".
async fn fill(world: &World, seller: Uuid) {
    let mut conn = PgConnection::connect(world.stack.database_url()).await.unwrap();
    sqlx::query("SET search_path = market").execute(&mut conn).await.unwrap();
    sqlx::query(
        "INSERT INTO listings (id, seller_id, title, description, category, tags, price, content_type, content_hash, content_size, status)
         SELECT gen_random_uuid(), $1, repeat('forecast ', 1 + (n % 5)::int) || n, CASE WHEN n % 50 = 0 THEN 'scarce' ELSE '' END, 'web_search', ARRAY['t' || n % 3], 1000 * (1 + n % 7), 'text/plain',
             sha256(n::text::bytea), 1, 'active' FROM generate_series(1, $2) AS n",
    )
    .bind(seller)
    .bind(LISTINGS)
    .execute(&mut conn)
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_order_goes_through_all_that_matches_once() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    fill(&world, seller.agent.id).await;
    for sort_by in [SortBy::Relevance, SortBy::PriceAsc, SortBy::PriceDesc, SortBy::Freshness, SortBy::Quality] {
        let of_seller = Some(seller.agent.id);
        let asked = [
            (Some("forecast"), None, 90, LISTINGS),
            (Some("forecast"), of_seller, 90, LISTINGS),
            (Some("scarce"), None, 20, SCARCE),
            (None, None, 90, LISTINGS),
        ];
        for (q, seller_id, limit, matches) in asked {
            let (q, min_price, limit) = (q.map(str::to_owned), Some(Usdc::from_base_units(0)), Some(limit));
            let mut search = Discover { q: q.clone(), seller_id, min_price, sort_by, limit, ..Discover::default() };
            let (mut ids, mut prices) = (Vec::new(), Vec::new());
            loop {
                let page = market.client.discover(&search).await.unwrap();
                ids.extend(page.data.iter().map(|listing| listing.id));
                prices.extend(page.data.iter().map(|listing| listing.price));
                search.cursor = page.next_cursor;
                if search.cursor.is_none() {
                    break;
                }
            }
            let all = ids.len();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!((all, ids.len()), (matches as usize, matches as usize), "{sort_by:?} {q:?}");
            match sort_by {
                SortBy::PriceAsc => assert!(prices.is_sorted(), "{q:?}"),
                SortBy::PriceDesc => assert!(prices.iter().rev().is_sorted(), "{q:?}"),
                _ => {}
            }
        }
    }
    let mut ids = Vec::new();
    for page in 1..=14 {
        let search = Discover { q: Some("forecast".into()), page: Some(page), page_size: Some(90), ..Discover::default() };
        ids.extend(market.client.discover(&search).await.unwrap().data.into_iter().map(|listing| listing.id));
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), LISTINGS as usize, "pages by their numbers");
    let search = Discover { q: Some("forecast".into()), limit: Some(40), ..Discover::default() };
    let best = market.client.discover(&search).await.unwrap().data;
    assert!(best.iter().all(|listing| listing.title.matches("forecast").count() == 5), "the best of a window come first");
    let other =
        Discover { cursor: market.client.discover(&search).await.unwrap().next_cursor, sort_by: SortBy::PriceAsc, ..search };
    assert_eq!(refusal(market.client.discover(&other).await), Code::InvalidRequest, "a cursor of another order");
    let endless = Some(format!("{}_{}_0_{}", i32::MAX, i32::MIN, Uuid::nil()));
    let endless = Discover { q: Some("scarce".into()), cursor: endless, ..Discover::default() };
    assert_eq!(refusal(market.client.discover(&endless).await), Code::InvalidRequest, "a window that nobody was told of");
}

#[tokio::test(flavor = "multi_thread")]
async fn misspelt_words_find_what_was_meant_and_facets_say_what_there_is() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    for (title, price) in [("Weather forecast", 500), ("Weather of yesterday", 5_000), ("Traffic forecast", 5_000_000)] {
        seller.client.create_listing(&goods(title, Usdc::from_base_units(price), Some(title.as_bytes()))).await.unwrap();
    }
    let search = |q: &str| Discover { q: Some(q.into()), facets: true, ..Discover::default() };
    let found = market.client.discover(&search("wether forcast")).await.unwrap();
    assert_eq!(found.data.len(), 1);
    assert_eq!((found.data[0].title.as_str(), found.corrected.as_deref()), ("Weather forecast", Some("weather forecast")));
    let found = market.client.discover(&search("weather")).await.unwrap();
    assert_eq!((found.data.len(), found.corrected), (2, None), "what is found is not corrected");
    let facets = found.facets.unwrap();
    assert_eq!((facets.counted, facets.complete, facets.categories[0].category), (2, true, Category::Computation));
    assert_eq!(facets.prices.iter().map(|band| band.count).collect::<Vec<_>>(), [1, 1]);
    assert_eq!((facets.tags[0].tag.as_str(), facets.tags[0].count), ("energy", 2));
    assert!(market.client.discover(&search("zzzzzz qqqqqq")).await.unwrap().data.is_empty());
    let tagged = |tags: &str| Discover { tags: Some(tags.into()), ..Discover::default() };
    assert_eq!(market.client.discover(&tagged("energy")).await.unwrap().data.len(), 3);
    assert!(market.client.discover(&tagged("energy,water")).await.unwrap().data.is_empty());
    assert_eq!(market.client.suggestions("traffic fore").await.unwrap().data, ["traffic forecast"]);
    assert_eq!(market.client.suggestions("weathr").await.unwrap().data, ["weather"], "none begins so");
    assert!(market.client.suggestions("100%_\\").await.unwrap().data.is_empty());
    assert!(market.client.suggestions("weather t").await.unwrap().data.is_empty(), "what begins with one letter is too much");
}

#[tokio::test(flavor = "multi_thread")]
async fn words_are_those_of_what_is_for_sale() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let offer = async |title: &str, content| seller.client.create_listing(&goods(title, PRICE, content)).await.unwrap().id;
    let gone = async |words: &str| market.client.suggestions(words).await.unwrap().data.is_empty();
    offer("Unfinished", None).await;
    assert!(gone("unfin").await, "a draft shows nobody its words");
    let listing = offer("Avalanches of the Alps", Some(b"none")).await;
    offer("An avalanche warning", Some(b"two")).await;
    assert_eq!(market.client.suggestions("alp").await.unwrap().data, ["alps"]);
    seller.client.delist(listing).await.unwrap();
    until(async || gone("alp").await.then_some(())).await;
    assert_eq!(market.client.suggestions("warn").await.unwrap().data, ["warning"], "that one is still for sale");
}
