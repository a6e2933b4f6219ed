use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use x402::{PaymentRequest, ResourceInfo};

use crate::{
    harness::{Facilitator, World},
    interop::{Official, node},
};

/// What the official client sees of the catalogue.
fn discover(facilitator: &str, world: &World, words: &str) -> Value {
    let output = node("discover.mjs").args([facilitator, &world.payee.to_string(), words]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

/// A payment whose seller wants `url` known.
fn advertised(world: &World, url: &str, extension: Value) -> PaymentRequest {
    let mut payment = world.payment();
    payment.payment_payload.resource = Some(ResourceInfo::new(url));
    payment.payment_payload.extensions = Some([("bazaar".to_owned(), extension)].into_iter().collect());
    payment
}

async fn listed(facilitator: &Facilitator) -> Vec<String> {
    let url = format!("{}/discovery/resources?limit=100", facilitator.url);
    let body: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    body["items"].as_array().unwrap().iter().map(|item| item["resource"].as_str().unwrap().to_owned()).collect()
}

/// The catalogue is written after the answer.
async fn until_listed(facilitator: &Facilitator, resource: &str) {
    for _ in 0..500 {
        if listed(facilitator).await.iter().any(|listed| listed == resource) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{resource} is not listed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_official_server_sold_is_found_by_the_official_client() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let mut server = node("sell.mjs");
    server.args([&facilitator.url, &world.payee.to_string()]);
    let seller = Official::start(server).await;
    let sold = &seller.urls[0];
    assert!(listed(&facilitator).await.is_empty(), "nothing is known before it is paid for");
    let mut buyer = node("buy.mjs");
    buyer.arg(sold).env("FLORIN_KEY", format!("0x{:x}", world.payer.to_bytes()));
    let bought: Value = serde_json::from_slice(&buyer.output().unwrap().stdout).unwrap();
    assert_eq!(bought["status"], 200, "{bought}");
    until_listed(&facilitator, sold).await;

    let seen = discover(&facilitator.url, &world, "reports");
    let item = &seen["listed"]["items"][0];
    assert_eq!(item["resource"], *sold, "{seen}");
    assert_eq!((&item["type"], &item["description"]), (&json!("http"), &json!("A report")));
    assert_eq!(item["accepts"][0]["payTo"].as_str().unwrap().to_lowercase(), world.payee.to_string().to_lowercase());
    assert_eq!(item["extensions"]["bazaar"]["info"]["input"]["method"], "GET");
    assert_eq!((&seen["listed"]["pagination"]["total"], &seen["found"]["resources"][0]), (&json!(1), item));
    assert_eq!(seen["missed"]["resources"], json!([]));
}

#[tokio::test]
async fn only_what_is_well_formed_and_settled_is_listed() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let info = json!({ "input": { "type": "http", "method": "GET" } });
    let good = json!({ "info": info });
    let evil_template = json!({ "info": info, "routeTemplate": "//elsewhere.example/x" });
    let bad = [
        ("not a url", good.clone()),
        ("javascript:alert(1)", good.clone()),
        ("https://shop.example/1", json!({ "info": { "input": { "type": "gopher", "method": "GET" } } })),
        ("https://shop.example/2", json!({ "info": "none" })),
        ("https://shop.example/3", json!([])),
        ("https://shop.example/4", json!({ "info": info, "schema": "x".repeat(20_000) })),
        ("https://shop.example/5", json!({ "info": { "input": { "type": "http", "method": "G\0T" } } })),
        ("https://shop.example/6", json!({ "info": info, "schema": { "required": ["output"] } })),
        ("https://shop.example/7", json!({ "info": info, "schema": { "$ref": "#" } })),
    ];
    let payments: Vec<_> = bad.iter().map(|(url, extension)| advertised(&world, url, extension.clone())).collect();
    for answer in join_all(payments.iter().map(|payment| facilitator.settle(payment))).await {
        assert!(answer.success, "the payment is good whatever its seller says of itself: {answer:?}");
    }
    let mut unpaid = advertised(&world, "https://shop.example/unpaid", good.clone());
    unpaid.payment_requirements.amount = 1_u64.into();
    assert!(!facilitator.settle(&unpaid).await.success);
    assert!(facilitator.settle(&advertised(&world, "https://me:word@shop.example/a?key=1#x", evil_template)).await.success);
    until_listed(&facilitator, "https://shop.example/a").await;
    assert_eq!(listed(&facilitator).await, ["https://shop.example/a"]);

    // The seller is told, by the header that the official packages read.
    let told = async |number: u8, schema: Value| {
        let payment =
            advertised(&world, &format!("https://shop.example/told/{number}"), json!({ "info": info, "schema": schema }));
        let answer = reqwest::Client::new().post(format!("{}/settle", facilitator.url)).json(&payment).send().await.unwrap();
        let told = answer.headers().get("extension-responses").unwrap().to_str().unwrap().to_owned();
        x402::header::decode::<Value>(told.as_bytes()).unwrap()["bazaar"].clone()
    };
    assert_eq!(told(1, json!({ "required": ["input"] })).await, json!({ "status": "success" }));
    let rejected = told(2, json!({ "required": ["output"] })).await;
    assert_eq!(rejected["status"], "rejected");
    assert!(rejected["rejectedReason"].as_str().unwrap().contains("is not as schema says"), "{rejected}");
    // A buyer's text must not become a header that the seller cannot read.
    let long = told(3, json!({ "const": "x".repeat(10_000) })).await;
    assert!(long["rejectedReason"].as_str().unwrap().len() < 1_000, "{long}");

    // A payment lists once: who repeats it pushes nothing out.
    let again = advertised(&world, "https://shop.example/again", good.clone());
    assert!(facilitator.settle(&again).await.success);
    until_listed(&facilitator, "https://shop.example/again").await;
    let mut other = again.clone();
    other.payment_payload.resource = Some(ResourceInfo::new("https://shop.example/repeated"));
    assert!(facilitator.settle(&other).await.success);
    assert!(facilitator.settle(&advertised(&world, "https://shop.example/later", good)).await.success);
    until_listed(&facilitator, "https://shop.example/later").await;
    assert!(!listed(&facilitator).await.contains(&"https://shop.example/repeated".to_owned()));

    for query in ["limit=x", "offset=99999999999999999999"] {
        let answer = reqwest::get(format!("{}/discovery/resources?{query}", facilitator.url)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{query}");
    }
    for path in
        ["search?query=%00%27%22%28", "search?query=a&cursor=-9223372036854775808", "resources?limit=-5&offset=-5&payTo=%00"]
    {
        let answer = reqwest::get(format!("{}/discovery/{path}", facilitator.url)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
}

/// Readers whose queries hang hold up no payment, and more of them than there is room for are sent away.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_readers_delays_no_settlement() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let pool = sqlx::PgPool::connect(&world.database.url).await.unwrap();
    let mut lock = pg::begin(&pool).await.unwrap();
    sqlx::query("LOCK TABLE facilitator.resources IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    let url = format!("{}/discovery/resources", facilitator.url);
    let readers: Vec<_> = (0..60).map(|_| tokio::spawn(reqwest::get(url.clone()))).collect();
    while readers.iter().filter(|reader| reader.is_finished()).count() < 28 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let payment = world.payment();
    let settled = tokio::time::timeout(std::time::Duration::from_secs(4), facilitator.settle(&payment)).await;
    assert!(settled.expect("nobody stands in its way").success);
    let health = reqwest::get(format!("{}/health", facilitator.url)).await.unwrap();
    assert_eq!(health.status(), StatusCode::OK);
    lock.rollback().await.unwrap();
    for reader in readers {
        let status = reader.await.unwrap().unwrap().status();
        assert!([StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE].contains(&status), "{status}");
    }
}
