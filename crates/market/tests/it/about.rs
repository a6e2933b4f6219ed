//! What the market says of itself, and how requests are told apart.

use std::process::Stdio;

use api::{
    AgentFilter, AgentStatus, AgentType, Discover, ListingFilter,
    ledger::{Amount, Asset, Currency, TierOffer},
};
use serde_json::Value;

use crate::{
    harness::{BUYER, Market, PRICE, SELLER, World, because, buy, goods},
    relay::{Fault, Relay},
};

async fn get<T: serde::de::DeserializeOwned>(market: &Market, path: &str) -> T {
    reqwest::get(market.url.join(path).unwrap()).await.unwrap().error_for_status().unwrap().json().await.unwrap()
}

fn amount(text: &str) -> Amount {
    text.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_market_tells_what_there_is() {
    let world = World::new().await;
    let market = world.alone(because::MEMORY).await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    let listing = seller.client.create_listing(&goods("prices", PRICE, Some(b"0.21"))).await.unwrap();
    for key in ["a", "b"] {
        buyer.client.express_from_ledger(listing.id, Asset::Ard, key).await.unwrap();
    }
    let health = market.client.health().await.unwrap();
    assert_eq!((health.status.as_str(), health.agents, health.listings, health.transactions), ("ok", 2, 1, 1));
    let served: Vec<_> = health.content.tiers.iter().map(|tier| (tier.name.as_str(), tier.served)).collect();
    assert_eq!((served, health.content.hit_rate_bps), (vec![("hot", 1), ("warm", 0), ("cold", 1)], Some(5_000)));
    assert_eq!(get::<api::ContentHealth>(&market, "api/v1/health/cdn").await.tiers.len(), 3);

    // 100 ARD for each who is new; a sale for 50 costs 1, of which half is burned.
    let supply = market.client.supply().await.unwrap();
    let ard = supply.iter().find(|supply| supply.asset == Asset::Ard).unwrap();
    assert_eq!(
        (ard.issued, ard.burned, ard.circulating, ard.house),
        (amount("200"), amount("0.5"), amount("199.5"), amount("0.5"))
    );
    assert_eq!(supply.iter().find(|supply| supply.asset == Asset::Usdc).unwrap().issued, Amount::ZERO);
    let tiers: Vec<TierOffer> = get(&market, "api/v1/wallet/tiers").await;
    assert_eq!(
        (tiers.len(), tiers[1].name.as_str(), tiers[1].from, tiers[1].discount.get()),
        (4, "silver", amount("10000"), 1_000)
    );
    let currencies: Vec<Currency> = get(&market, "api/v1/wallet/currencies").await;
    let worth: Vec<_> = currencies.iter().map(|currency| (currency.code.as_str(), currency.per_ard)).collect();
    let known = [("USD", "0.001"), ("USDC", "0.001"), ("INR", "0.084"), ("EUR", "0.00092"), ("GBP", "0.00079")];
    assert_eq!(worth, known.map(|(code, worth)| (code, amount(worth))));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_have_numbered_pages_too() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    for title in ["1", "2", "3"] {
        seller.client.create_listing(&goods(title, PRICE, Some(title.as_bytes()))).await.unwrap();
    }
    let titles = |page: Vec<api::Listing>| page.into_iter().map(|listing| listing.title).collect::<Vec<_>>();
    let listed = async |page| {
        let filter = ListingFilter { page: Some(page), page_size: Some(2), ..ListingFilter::default() };
        titles(market.client.listings(&filter).await.unwrap().data)
    };
    assert_eq!((listed(1).await, listed(2).await), (vec!["3".to_owned(), "2".into()], vec!["1".to_owned()]));
    let found = Discover { page: Some(2), page_size: Some(2), ..Discover::default() };
    assert_eq!(titles(market.client.discover(&found).await.unwrap().data), ["1"]);
    for wrong in ["page=0", "page_size=101", "page=1&limit=2", "page=102&page_size=100"] {
        let answer = reqwest::get(market.url.join(&format!("api/v1/agents?{wrong}")).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 400, "{wrong}");
    }
    let gone = market.join("gone", BUYER, AgentType::Buyer).await;
    gone.client.deactivate_agent(gone.agent.id).await.unwrap();
    let agents = async |status| {
        let filter = AgentFilter { status, page: Some(1), ..AgentFilter::default() };
        market.client.agents(&filter).await.unwrap().data.into_iter().map(|agent| agent.name).collect::<Vec<_>>()
    };
    assert_eq!(
        (agents(None).await, agents(Some(AgentStatus::Deactivated)).await),
        (vec!["seller".into()], vec!["gone".to_owned()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_on_to_the_facilitator() {
    let world = World::new().await;
    let relay = Relay::start(world.stack.facilitator_url(), Fault::Refused).await;
    relay.repair();
    let market = Market::start(market::Config { facilitator_url: relay.url.clone(), ..world.config() }).await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let listing = seller.client.create_listing(&goods("prices", PRICE, Some(b"0.21"))).await.unwrap();
    let payment = market.payment(&listing, BUYER).await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = reqwest::Client::new().get(market.client.express_url(listing.id)).header("payment-signature", &payment);
    let answer = request.header("traceparent", parent).header("x-request-id", "mine").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["x-request-id"]), (200, &"mine".parse().unwrap()));
    let traces = relay.traces();
    assert_eq!(traces.len(), 2, "verified and settled: {traces:?}");
    for trace in traces {
        assert!(
            trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && trace.ends_with("-01") && trace != parent,
            "{trace}"
        );
    }
    // Without one, the market begins a trace.
    buy(&market, &listing, &market.payment(&listing, 7).await).await;
    let traces = relay.traces();
    assert!(traces.len() == 4 && traces[2][..35] == traces[3][..35] && !traces[2].contains("0af765"), "{traces:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_every_operation() {
    let world = World::new().await;
    let market = world.market().await;
    let document: Value = get(&market, "openapi.json").await;
    let profile = tempfile::tempdir().unwrap();
    let chromium = std::env::var("FLORIN_CHROMIUM").unwrap_or_else(|_| "chromium".into());
    let shown = tokio::process::Command::new(&chromium)
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--virtual-time-budget=10000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(market.url.join("docs").unwrap().as_str())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let shown = tokio::time::timeout(crate::harness::WAIT, shown).await.unwrap();
    let shown = shown.unwrap_or_else(|error| panic!("{chromium}: {error}; run scripts/setup --tests, or set FLORIN_CHROMIUM"));
    let page = String::from_utf8_lossy(&shown.stdout);
    for (path, methods) in document["paths"].as_object().unwrap() {
        for operation in methods.as_object().unwrap().values() {
            let summary = operation["summary"].as_str().unwrap();
            assert!(page.contains(path) && page.contains(summary), "{path}, {summary}");
        }
    }
    assert!(!page.contains("Loading."));
}
