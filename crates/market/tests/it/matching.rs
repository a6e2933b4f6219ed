//! What fits a need best, and what is bought of it.

use api::{AgentType, AutoMatch, Category, Code, MatchTerms, ledger::Asset};
use money::Usdc;

use crate::harness::{BUYER, SELLER, World, goods, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn the_best_match_is_explained_and_bought_once() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Both).await;
    let publish = async |member: &crate::harness::Member, title: &str, price: u64| {
        let goods = goods(title, Usdc::from_base_units(price), Some(title.as_bytes()));
        member.client.create_listing(&goods).await.unwrap()
    };
    let best = publish(&seller, "Weather forecast for Paris", 9_000).await;
    let half = publish(&seller, "Weather of yesterday", 1_000).await;
    publish(&seller, "Weather forecast for kings", 90_000).await;
    publish(&seller, "Load profile", 1_000).await;
    publish(&buyer, "My own forecast for the weather in Paris", 1_000).await;

    let asked = AutoMatch {
        q: "the weather forecast in PARIS".into(),
        category: Some(Category::Computation),
        max_price: Some(Usdc::from_base_units(50_000)),
        auto_buy: false,
        auto_buy_max_price: None,
        asset: Some(Asset::Ard),
    };
    let found = buyer.client.auto_match(&asked, None).await.unwrap();
    assert_eq!(found.data.iter().map(|found| found.listing.id).collect::<Vec<_>>(), [best.id, half.id]);
    let MatchTerms { words, quality, freshness, specialization } = found.data[0].terms;
    assert_eq!(
        (words, quality, specialization),
        (5_000, 1_500, 1_000),
        "stop words are no words, what is not judged is half good"
    );
    assert!((1_900..=2_000).contains(&freshness));
    assert_eq!(u32::from(found.data[0].score_bps.get()), words + quality + freshness + specialization);
    assert_eq!((found.data[0].saving, found.data[1].terms.words), (Some(Usdc::from_base_units(16_000)), 1_666));
    assert_eq!(found.purchase, None);

    let buy = AutoMatch { auto_buy: true, ..asked.clone() };
    assert_eq!(refusal(buyer.client.auto_match(&buy, None).await), Code::IdempotencyKeyMissing);
    let dear = AutoMatch { auto_buy_max_price: Some(Usdc::from_base_units(8_999)), ..buy.clone() };
    assert_eq!(buyer.client.auto_match(&dear, Some("dear")).await.unwrap().purchase, None);
    let bought = buyer.client.auto_match(&buy, Some("one")).await.unwrap().purchase.unwrap();
    assert_eq!((bought.listing_id, bought.replayed), (best.id, false));
    // What is owned is told again as it was told, whether or not it was charged.
    for replayed in [false, true] {
        let owned = buyer.client.auto_match(&buy, Some("two")).await.unwrap().purchase.unwrap();
        assert_eq!((owned.purchase_id, owned.listing_id, owned.replayed), (bought.purchase_id, best.id, replayed));
    }
    assert_eq!(buyer.client.purchase_content(bought.purchase_id).await.unwrap().body, "Weather forecast for Paris");
    // What it bought is gone, and it is asked for again.
    seller.client.delist(best.id).await.unwrap();
    let again = buyer.client.auto_match(&buy, Some("one")).await.unwrap().purchase.unwrap();
    assert_eq!((again.purchase_id, again.listing_id, again.replayed), (bought.purchase_id, best.id, true));
    assert_eq!(refusal(buyer.client.auto_match(&dear, Some("one")).await), Code::IdempotencyKeyReused);
    let spent = buyer.client.wallet().await.unwrap();
    let ard = spent.balances.iter().find(|balance| balance.asset == Asset::Ard).unwrap();
    assert_eq!(ard.free, "91".parse().unwrap(), "charged once");
}
