//! What agents can deliver, and who is told of it.

use api::{
    AgentType, BulkList, BulkResult, CatalogFilter, CatalogNewsQuery, CatalogWanted, Category, Code, CreateCatalogEntry,
    PageQuery, UpdateCatalogEntry, UpdateListing,
};
use money::Usdc;

use crate::harness::{BUYER, PRICE, SELLER, World, goods, refusal};

fn offer(topic: &str, description: &str, price: u64) -> CreateCatalogEntry {
    CreateCatalogEntry {
        topic: topic.into(),
        description: description.into(),
        category: Category::Computation,
        price_from: Usdc::from_base_units(price),
        price_to: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_found_by_topic_words_and_price_and_belong_to_who_made_them() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let other = market.join("other", 7, AgentType::Both).await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    let hourly = seller.client.create_entry(&offer("weather.europe.hourly", "Forecasts of rain", 5_000)).await.unwrap();
    let wide = other.client.create_entry(&offer("weather", "Climate of the world", 50_000)).await.unwrap();
    seller.client.create_entry(&offer("weatherman", "A biography", 1_000)).await.unwrap();
    let found = async |filter: CatalogFilter| {
        let page = market.client.catalog(&filter).await.unwrap();
        page.data.into_iter().map(|entry| entry.id).collect::<Vec<_>>()
    };
    let topic = |topic: &str| CatalogFilter { topic: Some(topic.into()), ..CatalogFilter::default() };
    assert_eq!(found(topic("weather")).await, [wide.id, hourly.id], "a topic and what is below it");
    assert_eq!(found(topic("weather.europe")).await, [hourly.id]);
    let cheap = CatalogFilter { max_price: Some(Usdc::from_base_units(5_000)), ..topic("weather") };
    assert_eq!(found(cheap).await, [hourly.id]);
    let rain = CatalogFilter { q: Some("rain forecast".into()), ..CatalogFilter::default() };
    assert_eq!(found(rain).await, [hourly.id]);
    let first = market.client.catalog(&CatalogFilter { limit: Some(1), ..topic("weather") }).await.unwrap();
    assert_eq!(found(CatalogFilter { cursor: first.next_cursor, ..topic("weather") }).await, [hourly.id]);
    assert_eq!(market.client.catalog_of(seller.agent.id, &PageQuery::default()).await.unwrap().data.len(), 2);

    let dearer = UpdateCatalogEntry { price_to: Some(Usdc::from_base_units(9_000)), ..UpdateCatalogEntry::default() };
    assert_eq!(refusal(other.client.update_entry(hourly.id, &dearer).await), Code::Forbidden);
    let changed = seller.client.update_entry(hourly.id, &dearer).await.unwrap();
    assert_eq!((changed.price_from, changed.price_to), (hourly.price_from, dearer.price_to));
    let below = UpdateCatalogEntry { price_to: Some(Usdc::from_base_units(1)), ..UpdateCatalogEntry::default() };
    assert_eq!(refusal(seller.client.update_entry(hourly.id, &below).await), Code::InvalidRequest);
    assert_eq!(refusal(other.client.remove_entry(hourly.id).await), Code::Forbidden);
    seller.client.remove_entry(hourly.id).await.unwrap();
    assert_eq!(refusal(market.client.entry(hourly.id).await), Code::NotFound);
    assert_eq!(refusal(buyer.client.create_entry(&offer("a", "", 1)).await), Code::Forbidden, "who sells nothing");
    assert_eq!(refusal(seller.client.create_entry(&offer("Not a topic", "", 1)).await), Code::InvalidRequest);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_are_told_of_what_is_new_and_lose_nothing() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Both).await;
    seller.client.create_entry(&offer("weather.old", "was there before", 1)).await.unwrap();
    let weather = CatalogWanted { topic: Some("weather".into()), ..CatalogWanted::default() };
    let weather = buyer.client.subscribe(&weather).await.unwrap();
    let tides = buyer.client.subscribe(&CatalogWanted { q: Some("tides".into()), ..CatalogWanted::default() }).await.unwrap();
    for n in 0..25 {
        seller.client.create_entry(&offer(&format!("weather.n{n}"), "", 1)).await.unwrap();
    }
    let both = seller.client.create_entry(&offer("weather.sea", "tides of the sea", 1)).await.unwrap();
    buyer.client.create_entry(&offer("weather.own", "tides of its own", 1)).await.unwrap();
    let news = async |after| {
        let news = buyer.client.catalog_news(&CatalogNewsQuery { after }).await.unwrap();
        let topics = |at: usize| news.data[at].entries.iter().map(|entry| entry.topic.clone()).collect::<Vec<_>>();
        assert_eq!((news.data[0].subscription.id, news.data[1].subscription.id), (weather.id, tides.id));
        ((topics(0), topics(1)), news.cursor, news.more)
    };
    let (told, cursor, more) = news(None).await;
    assert_eq!((told.0.len(), told.1.len(), more), (20, 0, true), "the answer ends for all where it ends for one");
    assert_eq!(told.0[0], "weather.n0");
    assert_eq!(news(None).await.0, told, "an answer that was lost is told again");
    let (told, cursor, more) = news(Some(cursor)).await;
    assert_eq!((told.0.len(), told.0[5].as_str(), told.1, more), (6, "weather.sea", vec!["weather.sea".into()], false));
    assert_eq!(news(Some(cursor)).await.0, (vec![], vec![]));
    let change = UpdateCatalogEntry { description: Some("low tides".into()), ..UpdateCatalogEntry::default() };
    seller.client.update_entry(both.id, &change).await.unwrap();
    assert_eq!(news(Some(cursor)).await.0.1, ["weather.sea"], "what changes is told again");
    assert_eq!(refusal(seller.client.unsubscribe(tides.id).await), Code::NotFound);
    buyer.client.unsubscribe(tides.id).await.unwrap();
    assert_eq!(buyer.client.catalog_news(&CatalogNewsQuery::default()).await.unwrap().data.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_are_published_together_and_become_entries() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let listings = vec![goods("one", PRICE, Some(b"1")), goods("", PRICE, Some(b"2")), goods("three", PRICE, None)];
    let listed = seller.client.bulk_list(&BulkList { listings: listings.clone() }).await.unwrap();
    let [BulkResult::Listing(one), BulkResult::Problem(problem), BulkResult::Listing(_)] = &listed.data[..] else {
        panic!("{listed:?}")
    };
    assert_eq!((listed.published, &problem.code), (2, &Code::InvalidRequest));
    let many = BulkList { listings: vec![listings[0].clone(); 101] };
    assert_eq!(refusal(seller.client.bulk_list(&many).await), Code::InvalidRequest);

    let populated = async || {
        let done = seller.client.populate_catalog().await.unwrap();
        (done.added, done.updated, done.removed)
    };
    assert_eq!(populated().await, (1, 0, 0), "a draft cannot be delivered");
    assert_eq!(populated().await, (0, 0, 0));
    let dearer = UpdateListing { price: Some(Usdc::from_base_units(70_000)), ..UpdateListing::default() };
    seller.client.update_listing(one.id, &dearer).await.unwrap();
    assert_eq!(populated().await, (0, 1, 0));
    let entry = market.client.catalog(&CatalogFilter::default()).await.unwrap().data.remove(0);
    assert_eq!(
        (entry.listing_id, entry.price_from, entry.topic.as_str()),
        (Some(one.id), Usdc::from_base_units(70_000), "computation")
    );
    seller.client.delist(one.id).await.unwrap();
    assert_eq!(populated().await, (0, 0, 1));
}
