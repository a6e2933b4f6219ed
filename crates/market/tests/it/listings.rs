use alloy::primitives::B256;
use api::{AgentType, BulkList, Code, Discover, ListingStatus, SortBy, UpdateListing, ledger::Asset};
use money::Usdc;
use sha2::{Digest, Sha256};

use crate::harness::{BUYER, Market, PRICE, SELLER, World, goods, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_is_for_sale_once_its_content_is_stored_under_its_hash() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    assert_eq!(refusal(buyer.client.create_listing(&goods("mine", PRICE, None)).await), Code::Forbidden);
    let draft = seller.client.create_listing(&goods("prices", PRICE, None)).await.unwrap();
    assert_eq!((draft.status, draft.content_hash), (ListingStatus::Draft, None));
    assert_eq!(refusal(market.client.express(draft.id, None).await), Code::WrongState);
    assert_eq!(refusal(buyer.client.upload(draft.id, "text/plain", "x").await), Code::Forbidden);

    let content: Vec<u8> = (0..20_000_000_u32).map(|i| i as u8).collect();
    let hash = B256::from_slice(&Sha256::digest(&content));
    let active = seller.client.upload(draft.id, "application/x-bytes", content.clone()).await.unwrap();
    assert_eq!((active.status, active.content_hash), (ListingStatus::Active, Some(hash)));
    assert_eq!((active.content_size, active.content_type.as_str()), (Some(content.len() as u64), "application/x-bytes"));
    let name = hash.to_string()[2..].to_owned();
    let stored = world.content().join("sha256").join(&name[..2]).join(&name[2..4]).join(&name);
    assert_eq!(std::fs::read(stored).unwrap(), content);

    assert_eq!(seller.client.delist(draft.id).await.unwrap().status, ListingStatus::Delisted);
    assert_eq!(refusal(seller.client.upload(draft.id, "text/plain", "again").await), Code::WrongState);
    assert_eq!(world.contents(), 1, "what is not for sale any more gets nothing stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_with_the_reason() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    for wrong in [
        goods("", PRICE, None),
        goods(&"t".repeat(256), PRICE, None),
        goods("zero", Usdc::ZERO, None),
        goods("huge", Usdc::MAX, None),
        goods("nul\0", PRICE, None),
        goods("empty", PRICE, Some(b"")),
    ] {
        assert_eq!(refusal(seller.client.create_listing(&wrong).await), Code::InvalidRequest, "{:?}", wrong.title);
    }
    let told = |value: &str| serde_json::Map::from_iter([("source".to_owned(), value.into())]);
    let mut goods = goods("told", PRICE, None);
    for wrong in ["zero \0", &"x".repeat(4_096)] {
        goods.metadata = told(wrong);
        assert_eq!(
            refusal(seller.client.create_listing(&goods).await),
            Code::InvalidRequest,
            "{} bytes of metadata",
            wrong.len()
        );
    }
    goods.metadata = told(r"no zero: \u0000");
    let listing = seller.client.create_listing(&goods).await.unwrap();
    assert_eq!((&listing.metadata, listing.price_ard), (&goods.metadata, Asset::Ard.price_of(PRICE)));
    let change = UpdateListing { metadata: Some(told("another")), ..UpdateListing::default() };
    assert_eq!(seller.client.update_listing(listing.id, &change).await.unwrap().metadata, told("another"));
    let unknown = serde_json::json!({"title": "t", "category": "computation", "price": "1", "prize": "2"});
    let (url, http) = (market.url.join("api/v1/listings").unwrap(), reqwest::Client::new());
    let answer = http.post(url.clone()).json(&unknown).send().await.unwrap();
    assert_eq!(answer.status(), 401, "who asks comes before what is asked");
    let answer = http.post(url.clone()).bearer_auth(&seller.key).json(&unknown).send().await.unwrap();
    assert!(answer.json::<api::Problem>().await.unwrap().detail.contains("prize"));
    let answer = http.get(format!("{url}?limit=101")).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap()), (400, "application/problem+json"));
    assert!(answer.headers().contains_key("x-request-id"));
    assert!(answer.json::<api::Problem>().await.unwrap().detail.contains("100"));
    let answer = http.get(market.url.join("api/v1/listings/7").unwrap()).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap()), (400, "application/problem+json"));
    let answer = http.get(format!("{url}?colour=red")).send().await.unwrap();
    assert!(answer.json::<api::Problem>().await.unwrap().detail.contains("colour"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_publishes_nothing_twice_and_a_seller_has_so_many_listings() {
    let world = World::new().await;
    let market = Market::start(market::Config { listings_max: 3, ..world.config() }).await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let one = goods("one", PRICE, Some(b"1"));
    let publish = async |title: &str| seller.client.create_listing(&goods(title, PRICE, None)).await;
    let once = async || seller.client.create_listing_once(&one, "key").await;
    let (first, second) = tokio::join!(once(), once());
    let first = first.unwrap();
    assert_eq!(first.id, second.unwrap().id, "two at once are one");
    let other = goods("other", PRICE, None);
    assert_eq!(refusal(seller.client.create_listing_once(&other, "key").await), Code::IdempotencyKeyReused);

    let mut several = BulkList { listings: vec![goods("two", PRICE, None), goods("", PRICE, None)] };
    let listed = seller.client.bulk_list_once(&several, "key").await.unwrap();
    let again = seller.client.bulk_list_once(&several, "key").await.unwrap();
    assert_eq!((listed.published, again.published, &listed.data[0]), (1, 1, &again.data[0]));
    several.listings[1] = goods("three", PRICE, None);
    assert_eq!(refusal(seller.client.bulk_list_once(&several, "key").await), Code::IdempotencyKeyReused);

    publish("three").await.unwrap();
    assert_eq!(refusal(publish("four").await), Code::OverLimit);
    assert_eq!(once().await.unwrap().id, first.id, "what was done is answered without room");
    seller.client.delist(first.id).await.unwrap();
    publish("four").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_finds_by_words_and_price_and_its_pages_neither_repeat_nor_skip() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Both).await;
    for i in 1..=7_u64 {
        let title = if i % 2 == 0 { format!("Weather forecast {i}") } else { format!("Load profile {i}") };
        // Two share each price, so that the order within a price matters too.
        let price = Usdc::from_base_units(i.div_ceil(2) * 1_000);
        seller.client.create_listing(&goods(&title, price, Some(title.as_bytes()))).await.unwrap();
    }
    let mut search = Discover { q: Some("forecasts".into()), ..Discover::default() };
    assert_eq!(market.client.discover(&search).await.unwrap().data.len(), 3, "words match by their stem");
    search.q = Some("weather -forecast & ' | !".into());
    assert!(market.client.discover(&search).await.unwrap().data.is_empty(), "odd queries are no errors");
    search = Discover { max_price: Some(Usdc::from_base_units(2_000)), ..Discover::default() };
    assert_eq!(market.client.discover(&search).await.unwrap().data.len(), 4);

    for sort_by in [SortBy::PriceAsc, SortBy::PriceDesc, SortBy::Freshness, SortBy::Relevance] {
        let mut search = Discover { q: Some("electricity".into()), sort_by, limit: Some(2), ..Discover::default() };
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
        assert!(sort_by != SortBy::PriceAsc || prices.is_sorted());
        assert!(sort_by != SortBy::PriceDesc || prices.iter().rev().is_sorted());
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 7, "{sort_by:?}");
    }
    let first = market.client.discover(&Discover { sort_by: SortBy::PriceAsc, ..Discover::default() }).await.unwrap().data;
    let change = UpdateListing { title: Some("Zebra crossing".into()), ..UpdateListing::default() };
    seller.client.update_listing(first[0].id, &change).await.unwrap();
    let zebras = Discover { q: Some("zebra".into()), ..Discover::default() };
    assert_eq!(market.client.discover(&zebras).await.unwrap().data[0].id, first[0].id, "a new title is found at once");
}
