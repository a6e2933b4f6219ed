//! How often who may ask.

use api::AgentType;
use reqwest::StatusCode;

use crate::harness::{Market, SELLER, World, because};

/// Not at the turn of a minute, which would count anew.
async fn within_a_minute() {
    let second = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() % 60;
    while second() > 45 {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_of_wallets_are_counted_before_they_are_looked_at() {
    let world = World::new().await;
    let market = Market::start(market::Config { requests_per_minute_unknown: 40, ..world.config() }).await;
    within_a_minute().await;
    let proof = market.wallet_proof(SELLER).await;
    let ask = |proof: &str| {
        let request = reqwest::Client::new().get(market.url.join("api/v1/purchases").unwrap());
        request.header("authorization", proof.to_owned()).send()
    };
    let guess = format!("Wallet 0x{}.0x{}", "11".repeat(32), "22".repeat(65));
    for _ in 0..40 {
        ask(&guess).await.unwrap();
    }
    assert_eq!(ask(&proof).await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
    let pool = sqlx::PgPool::connect(world.stack.database_url()).await.unwrap();
    let unused: i64 = sqlx::query_scalar("SELECT count(*) FROM market.challenges").fetch_one(&pool).await.unwrap();
    assert_eq!(unused, 1, "the challenge can still be answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_together_let_nobody_ask_more_often_than_the_limit() {
    let world = World::new().await;
    let config = || market::Config { requests_per_minute: 40, token_secrets: vec![[7; 32].into()], ..world.config() };
    let (one, two) = (Market::alone(config(), because::OWN).await, Market::alone(config(), because::OWN).await);
    let agent = one.join("agent", SELLER, AgentType::Both).await;
    within_a_minute().await;
    let (mut served, mut refused) = (0, 0);
    for turn in 0..60 {
        let market = if turn % 2 == 0 { &one } else { &two };
        let request = reqwest::Client::new().get(market.url.join("api/v1/wallet/balance").unwrap()).bearer_auth(&agent.key);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["ratelimit-limit"], "40");
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            assert!(answer.headers().contains_key("retry-after"));
            assert_eq!(answer.json::<api::Problem>().await.unwrap().code, api::Code::TooManyRequests);
            refused += 1;
        } else {
            served += 1;
        }
    }
    assert_eq!((served, refused), (40, 20));
    assert!(one.client.agent(agent.agent.id).await.is_ok(), "others are served");
}
