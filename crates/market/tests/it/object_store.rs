//! Content in an object store, behind a real server that speaks S3.

use api::{AgentType, ListingFilter, ListingStatus, ledger::Asset};
use market::Config;
use reqwest::StatusCode;
use stack::S3;

use crate::{
    funds::until,
    harness::{BUYER, Market, Member, PRICE, SELLER, World, goods},
};

#[tokio::test(flavor = "multi_thread")]
async fn content_in_a_bucket_is_bought_read_in_ranges_and_whole_after_a_crash() {
    let (world, s3) = (World::new().await, S3::start().await.unwrap());
    let config = || Config { content: s3.bucket().parse().unwrap(), ..world.config() };
    assert!(!config().content.to_string().contains("secret"), "what is shown holds no secret");
    let market = Market::start(config()).await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    // Three parts, and too large for the memory.
    let content: Vec<u8> = (0..11 * 1024 * 1024 + 7).map(|i: usize| (i % 251) as u8).collect();
    let large = seller.client.create_listing(&goods("large", PRICE, None)).await.unwrap();
    seller.client.upload(large.id, "application/x-bytes", content.clone()).await.unwrap();
    let bought = buyer.client.express_from_ledger(large.id, Asset::Ard, "a").await.unwrap();
    assert!(bought.body == content, "the bytes differ");
    let id = bought.headers["x-purchase-id"].to_str().unwrap().to_owned();
    let url = market.url.join(&format!("api/v1/purchases/{id}/content")).unwrap();
    let part = reqwest::Client::new().get(url).bearer_auth(&buyer.key).header("range", "bytes=6000000-6000009");
    let part = part.send().await.unwrap();
    assert_eq!((part.status(), &part.bytes().await.unwrap()[..]), (StatusCode::PARTIAL_CONTENT, &content[6_000_000..6_000_010]));
    let [key] = &s3.keys().await.unwrap()[..] else { panic!("what was uploaded aside is still there") };
    assert!(key.starts_with("market/sha256/"), "{key}");

    // An upload that breaks off is nothing.
    let draft = seller.client.create_listing(&goods("draft", PRICE, None)).await.unwrap();
    let broken = futures::stream::iter([Ok(vec![7_u8; 6_000_000]), Err(std::io::Error::other("gone"))]);
    assert!(seller.client.upload(draft.id, "text/plain", reqwest::Body::wrap_stream(broken)).await.is_err());

    // The market dies after the object is there and before the row is.
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let mut lock = pg::begin(&pool).await.unwrap();
    sqlx::query("LOCK TABLE market.listings IN SHARE MODE").execute(&mut *lock).await.unwrap();
    let client = seller.client.clone();
    let uploading = tokio::spawn(async move { client.upload(draft.id, "text/plain", "small").await });
    let objects = async || s3.keys().await.unwrap().iter().filter(|key| key.starts_with("market/sha256/")).count();
    until("the object is there", async || objects().await == 2).await;
    market.kill();
    let end =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    sqlx::query(end).execute(&mut *lock).await.unwrap();
    lock.rollback().await.unwrap();
    assert!(uploading.await.unwrap().is_err());
    let market = Market::start(config()).await;
    let at = |member: &Member| member.client.at(market.url.clone());
    assert_eq!(at(&seller).listing(draft.id).await.unwrap().status, ListingStatus::Draft);
    assert_eq!(at(&seller).upload(draft.id, "text/plain", "small").await.unwrap().status, ListingStatus::Active);
    assert_eq!(
        (at(&buyer).express_from_ledger(draft.id, Asset::Ard, "b").await.unwrap().body, objects().await),
        ("small".into(), 2)
    );

    // What expired or was delisted is not for sale, and stays what was bought.
    sqlx::query("UPDATE listings SET expires_at = now() WHERE id = $1").bind(draft.id).execute(&pool).await.unwrap();
    at(&seller).delist(large.id).await.unwrap();
    assert!(at(&buyer).listings(&ListingFilter::default()).await.unwrap().data.is_empty());
    assert!(at(&buyer).purchase_content(id.parse().unwrap()).await.unwrap().body == content, "the bytes differ");
    s3.stop().await;
}
