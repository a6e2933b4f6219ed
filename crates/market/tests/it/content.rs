use std::time::{Duration, Instant};

use api::{
    AgentType, Code, JudgeListing, ListingFilter, ListingStatus, Login, PageQuery, PurchaseFilter, Role, UpdateListing,
    ledger::{Amount, Asset},
};
use market::ledger::{Ledger, Order, Rates, What};
use money::{Bps, Usdc};
use reqwest::StatusCode;
use time::OffsetDateTime;

use crate::{
    funds::until,
    harness::{BUYER, Market, PASSWORD, SELLER, World, because, goods, refusal},
};

/// 50 ARD.
const PRICE: Usdc = Usdc::from_base_units(50_000);

fn ard(balances: &[api::ledger::Balance]) -> Amount {
    balances.iter().find(|balance| balance.asset == Asset::Ard).unwrap().free
}

fn amount(text: &str) -> Amount {
    text.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_bought_from_the_ledger_is_read_again_without_charge_whole_or_in_parts() {
    let world = World::new().await;
    let market = world.alone(because::MEMORY).await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    let stranger = market.join("stranger", 7, AgentType::Buyer).await;
    for (size, in_memory) in [(1_000_usize, true), (9 * 1024 * 1024, false)] {
        let content: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        let draft = seller.client.create_listing(&goods(&size.to_string(), PRICE, None)).await.unwrap();
        seller.client.upload(draft.id, "application/x-bytes", content.clone()).await.unwrap();
        let bought = buyer.client.express_from_ledger(draft.id, Asset::Ard, &size.to_string()).await.unwrap();
        assert!(bought.body == content, "the bytes differ");
        // The seller's next version is not what was bought.
        seller.client.upload(draft.id, "text/plain", "new").await.unwrap();

        let mine = buyer.client.purchases(&PurchaseFilter::default()).await.unwrap().data.remove(0);
        assert_eq!((mine.id.to_string(), mine.asset), (bought.headers["x-purchase-id"].to_str().unwrap().into(), Asset::Ard));
        assert_eq!(mine.amount, amount("50"));
        let url = market.url.join(&format!("api/v1/purchases/{}/content", mine.id)).unwrap();
        let ask = |headers: &[(&'static str, String)]| {
            let request = reqwest::Client::new().get(url.clone()).bearer_auth(&buyer.key);
            headers.iter().fold(request, |request, (name, value)| request.header(*name, value)).send()
        };
        let again = ask(&[]).await.unwrap();
        // The next one may take a shorter way, which shows in nothing.
        let said = |answer: &reqwest::Response| {
            let own = ["x-request-id", "x-delivery-ms", "date", "ratelimit-remaining", "ratelimit-reset"];
            let headers = answer.headers().iter().map(|(name, value)| {
                let value = if own.contains(&name.as_str()) { "some".to_owned() } else { value.to_str().unwrap().to_owned() };
                (name.to_string(), value)
            });
            (answer.status(), headers.collect::<std::collections::BTreeMap<_, _>>())
        };
        let once_more = ask(&[("x-request-id", "mine".into())]).await.unwrap();
        assert_eq!(said(&again), said(&once_more));
        assert_eq!(once_more.headers()["x-request-id"], "mine");
        assert!(once_more.bytes().await.unwrap() == content, "the bytes differ");
        let tag = again.headers()["etag"].to_str().unwrap().to_owned();
        assert!(again.headers().contains_key("x-delivery-ms") && again.headers()["accept-ranges"] == "bytes");
        assert_eq!(again.headers()["x-cache"] == "hit", in_memory);
        assert!(again.bytes().await.unwrap() == content, "the bytes differ");
        let part = ask(&[("range", "bytes=10-19".into())]).await.unwrap();
        assert_eq!(
            (part.status(), &part.headers()["content-range"]),
            (StatusCode::PARTIAL_CONTENT, &format!("bytes 10-19/{size}").parse().unwrap())
        );
        assert_eq!(part.bytes().await.unwrap(), content[10..20]);
        let last = ask(&[("range", "bytes=-3".into()), ("if-range", tag.clone())]).await.unwrap();
        assert_eq!(last.bytes().await.unwrap(), content[size - 3..]);
        assert_eq!(ask(&[("range", format!("bytes={size}-"))]).await.unwrap().status(), StatusCode::RANGE_NOT_SATISFIABLE);
        let known = ask(&[("if-none-match", tag)]).await.unwrap();
        assert_eq!((known.status(), known.bytes().await.unwrap().len()), (StatusCode::NOT_MODIFIED, 0));
        assert_eq!(refusal(stranger.client.purchase_content(mine.id).await), Code::NotFound);
        assert_eq!(refusal(seller.client.purchase_content(mine.id).await), Code::NotFound, "selling is not owning");
    }
    assert_eq!(ard(&buyer.client.wallet().await.unwrap().balances), Amount::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_back_is_soon_read_no_more_and_the_rest_goes_on() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    let mut bought = Vec::new();
    for name in ["kept", "given back"] {
        let listing = seller.client.create_listing(&goods(name, PRICE, Some(b"goods"))).await.unwrap();
        let headers = buyer.client.express_from_ledger(listing.id, Asset::Ard, name).await.unwrap().headers;
        bought.push(headers["x-purchase-id"].to_str().unwrap().parse::<uuid::Uuid>().unwrap());
        buyer.client.purchase_content(*bought.last().unwrap()).await.unwrap();
    }
    // By another instance.
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let transfer = sqlx::query_scalar::<_, i64>("SELECT transfer FROM sales WHERE id = $1").bind(bought[1]);
    let transfer = transfer.fetch_one(&pool).await.unwrap().unsigned_abs();
    let ledger = Ledger::start(pool, Rates::default());
    ledger.submit(Order { key: None, what: What::Reverse(transfer, None) }).await.unwrap();
    until("it is read no more", async || buyer.client.purchase_content(bought[1]).await.is_err()).await;
    let gone =
        async || buyer.client.purchase_content(bought[1]).await.is_err_and(|error| error.code() == Some(&Code::WrongState));
    market.soon("it is read no more", gone).await;
    assert_eq!(buyer.client.purchase_content(bought[0]).await.unwrap().body, &b"goods"[..]);
}

/// Without news of it an instance believes for five seconds that content is missing.
#[tokio::test(flavor = "multi_thread")]
async fn content_that_one_instance_gets_again_another_serves_at_once() {
    let world = World::new().await;
    let (one, two) = (world.alone(because::OWN).await, world.alone(because::OWN).await);
    let seller = one.join("seller", SELLER, AgentType::Seller).await;
    let buyer = two.join("buyer", BUYER, AgentType::Buyer).await;
    let listing = seller.client.create_listing(&goods("prices", PRICE, Some(b"goods"))).await.unwrap();
    std::fs::remove_dir_all(world.content().join("sha256")).unwrap();
    assert_eq!(refusal(buyer.client.express_from_ledger(listing.id, Asset::Ard, "lost").await), Code::Internal);
    let lost = Instant::now();
    seller.client.upload(listing.id, "text/plain", "goods").await.unwrap();
    until("it is sold again", async || buyer.client.express_from_ledger(listing.id, Asset::Ard, "found").await.is_ok()).await;
    assert!(lost.elapsed() < Duration::from_secs(4), "only because nobody remembers for longer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_has_versions_and_ends_when_it_says() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    let mut request = goods("prices", PRICE, Some(b"one"));
    request.expires_at = Some(OffsetDateTime::now_utc() - time::Duration::seconds(1));
    assert_eq!(refusal(seller.client.create_listing(&request).await), Code::InvalidRequest);
    request.expires_at = Some(OffsetDateTime::now_utc() + time::Duration::seconds(2));
    let listing = seller.client.create_listing(&request).await.unwrap();
    let second = seller.client.upload(listing.id, "text/plain", "two").await.unwrap();
    // The same content again is no new version.
    let same = seller.client.upload(listing.id, "text/plain", "two").await.unwrap();
    assert_eq!((listing.version, second.version, same.version), (1, 2, 2));
    let versions = market.client.listing_versions(listing.id, &PageQuery::default()).await.unwrap().data;
    assert_eq!(
        versions.iter().map(|v| (v.version, Some(v.content_hash))).collect::<Vec<_>>(),
        [(2, second.content_hash), (1, listing.content_hash)]
    );

    while market.client.listing(listing.id).await.unwrap().status == ListingStatus::Active {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(market.client.listings(&ListingFilter::default()).await.unwrap().data.is_empty());
    assert!(market.client.discover(&Default::default()).await.unwrap().data.is_empty());
    let expired = ListingFilter { status: Some(ListingStatus::Expired), ..ListingFilter::default() };
    assert_eq!(market.client.listings(&expired).await.unwrap().data.len(), 1);
    assert_eq!(refusal(buyer.client.express_from_ledger(listing.id, Asset::Ard, "late").await), Code::WrongState);
    let change =
        UpdateListing { expires_at: Some(OffsetDateTime::now_utc() + time::Duration::hours(1)), ..UpdateListing::default() };
    assert_eq!(seller.client.update_listing(listing.id, &change).await.unwrap().status, ListingStatus::Active);
    assert_eq!(buyer.client.express_from_ledger(listing.id, Asset::Ard, "now").await.unwrap().body, "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn quality_is_a_moderators_word_and_royalties_go_to_the_creator() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    let creator = market.creator("me@example.com").await;
    market.creator("mod@example.com").await;
    assert!(market::grant(world.stack.database_url(), "mod@example.com", Role::Moderator).await.unwrap());
    let moderator = market.client.login(&Login::new("mod@example.com", PASSWORD)).await.unwrap();
    let moderator = market.client.with_token(&moderator.access);
    let me = market.client.with_token(&creator.access);
    me.claim_agent(seller.agent.id, &market.proof(SELLER).await).await.unwrap();
    let listing = seller.client.create_listing(&goods("prices", PRICE, Some(b"one"))).await.unwrap();
    let judged = JudgeListing { version: 1, quality_bps: Bps::new(9_000).unwrap() };
    assert_eq!(refusal(me.judge_listing(listing.id, &judged).await), Code::Forbidden);
    assert!(market::grant(world.stack.database_url(), "me@example.com", Role::Moderator).await.unwrap());
    let owner = market.client.login(&Login::new("me@example.com", PASSWORD)).await.unwrap();
    let own = market.client.with_token(&owner.access).judge_listing(listing.id, &judged).await;
    assert_eq!(refusal(own), Code::Forbidden, "of an agent of theirs");
    assert_eq!(moderator.judge_listing(listing.id, &judged).await.unwrap().quality_bps, Some(judged.quality_bps));

    // 50 ARD: 1 of fee, 49 for the creator, and for the seller as much minted as was burned, half of the fee.
    buyer.client.express_from_ledger(listing.id, Asset::Ard, "a").await.unwrap();
    assert_eq!(ard(&seller.client.wallet().await.unwrap().balances), amount("100.5"));
    assert_eq!(ard(&me.creator_wallet().await.unwrap().balances), amount("49"));
    // The creator's other agent, and one with the seller's wallet, are no strangers to it: nothing is minted.
    for (name, account, claimed) in [("sister", 7, true), ("twin", SELLER, false)] {
        let own = market.join(name, account, AgentType::Buyer).await;
        if claimed {
            me.claim_agent(own.agent.id, &market.proof(account).await).await.unwrap();
        }
        let pool = market::pool(world.stack.database_url()).await.unwrap();
        crate::redemptions::give(&pool, own.agent.id, "50").await;
        own.client.express_from_ledger(listing.id, Asset::Ard, "a").await.unwrap();
        assert_eq!(ard(&seller.client.wallet().await.unwrap().balances), amount("100.5"), "{name}");
    }
    let dashboard = me.dashboard().await.unwrap();
    assert_eq!((dashboard.sales, dashboard.earned_ard), (3, amount("147")));

    let url = market.url.join(&format!("api/v1/listings/{}", listing.id)).unwrap();
    let first = reqwest::get(url.clone()).await.unwrap();
    let again = reqwest::Client::new().get(url).header("if-none-match", &first.headers()["etag"]).send().await.unwrap();
    assert_eq!((again.status(), again.headers().get("etag")), (StatusCode::NOT_MODIFIED, first.headers().get("etag")));

    // Other content was not judged, and what was judged is not it.
    assert_eq!(seller.client.upload(listing.id, "text/plain", "two").await.unwrap().quality_bps, None);
    assert_eq!(refusal(moderator.judge_listing(listing.id, &judged).await), Code::WrongState);
    buyer.client.express_from_ledger(listing.id, Asset::Ard, "b").await.unwrap();
    assert_eq!(ard(&seller.client.wallet().await.unwrap().balances), amount("100.5"));

    let csv =
        reqwest::Client::new().get(market.url.join("api/v1/wallet/statement.csv?asset=ARD").unwrap()).bearer_auth(&buyer.key);
    let csv = csv.send().await.unwrap().text().await.unwrap();
    let lines: Vec<_> = csv.lines().collect();
    assert_eq!(lines.len(), 4);
    assert!(
        lines[0].starts_with("transfer_id,at,kind") && lines[1].contains(",bonus,") && lines[3].contains(",0.00,50.00,0.00,"),
        "{csv}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seller_stores_no_more_than_allowed_however_it_comes() {
    let world = World::new().await;
    let market = Market::start(market::Config { content_max_bytes: 1_000, ..world.config() }).await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let listing = seller.client.create_listing(&goods("prices", PRICE, Some(&[1; 400]))).await.unwrap();
    // A version before stays, because somebody may have bought it.
    seller.client.upload(listing.id, "text/plain", vec![2; 400]).await.unwrap();
    assert_eq!(refusal(seller.client.upload(listing.id, "text/plain", vec![3; 201]).await), Code::OverLimit);
    assert_eq!(refusal(seller.client.create_listing(&goods("more", PRICE, Some(&[4; 201]))).await), Code::OverLimit);
    // Without saying how much will come.
    let body = reqwest::Body::wrap_stream(futures::stream::iter([Ok::<_, std::io::Error>(vec![6; 10])]));
    let url = market.url.join(&format!("api/v1/listings/{}/content", listing.id)).unwrap();
    let put = reqwest::Client::new().put(url).bearer_auth(&seller.key).header("content-type", "text/plain").body(body);
    assert_eq!(put.send().await.unwrap().json::<api::Problem>().await.unwrap().code, Code::OverLimit);
    assert_eq!(world.contents(), 2, "what was refused is not stored");
    // Many at once.
    let uploads = (0..4_u8).map(|i| seller.client.upload(listing.id, "text/plain", vec![i; 150]));
    assert_eq!(futures::future::join_all(uploads).await.iter().filter(|answer| answer.is_ok()).count(), 1);
    market
        .join("other", BUYER, AgentType::Seller)
        .await
        .client
        .create_listing(&goods("own", PRICE, Some(&[5; 900])))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn content_may_be_kept_in_an_object_store() {
    let world = World::new().await;
    let market =
        Market::alone(market::Config { content: "memory:///".parse().unwrap(), ..world.config() }, because::MEMORY).await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    let content = vec![7_u8; 12 * 1024 * 1024];
    let draft = seller.client.create_listing(&goods("big", PRICE, None)).await.unwrap();
    seller.client.upload(draft.id, "application/x-bytes", content.clone()).await.unwrap();
    assert!(buyer.client.express_from_ledger(draft.id, Asset::Ard, "a").await.unwrap().body == content, "the bytes differ");
}
