//! What is listed, shown or asked for in a second way, and what the stories of the other tests have no need of.

use api::{
    AgentType, Code, Login, PageQuery, Role,
    ledger::{Redeem, RedemptionMethod, Withdraw},
};
use market::Config;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    funds::{custody, top_up, until, usdc},
    harness::{BUYER, Market, PASSWORD, SELLER, World, address, refusal},
    redemptions::give,
};

/// Status and answer of an operation; null where nothing is answered.
async fn ask(market: &Market, method: Method, path: &str, token: Option<&str>, body: Option<Value>) -> (StatusCode, Value) {
    let url = market.url.join(&format!("api/v1{path}")).unwrap();
    let request = reqwest::Client::new().request(method, url);
    let request = token.iter().fold(request, |request, token| request.bearer_auth(token));
    let answer = body.iter().fold(request, |request, body| request.json(body)).send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    (status, serde_json::from_str(&text).unwrap_or_default())
}

async fn read(market: &Market, path: &str) -> Value {
    let (status, answer) = ask(market, Method::GET, path, None, None).await;
    assert_eq!(status, StatusCode::OK, "{path}: {answer}");
    answer
}

/// The ids on a page.
fn ids(page: &Value) -> Vec<String> {
    page["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_reads_an_agents_card_the_seals_and_what_ard_is_redeemed_for() {
    let world = World::new().await;
    let market = world.market().await;
    let agent = market.join("forecaster", SELLER, AgentType::Seller).await;
    let path = format!("/agents/{}/card", agent.agent.id);
    let card = read(&market, &path).await;
    assert_eq!(card["name"], "forecaster");
    assert!(card["url"].as_str().unwrap().ends_with(&format!("/api/v1{path}")), "{card}");
    agent.client.deactivate_agent(agent.agent.id).await.unwrap();
    assert_eq!(ask(&market, Method::GET, &path, None, None).await.0, StatusCode::NOT_FOUND);

    let offers = read(&market, "/redemptions/methods").await;
    let said = |name: &str| offers.as_array().unwrap().iter().map(|offer| offer[name].clone()).collect::<Vec<_>>();
    assert_eq!(said("method"), ["api_credits", "gift_card", "upi", "bank"]);
    assert_eq!(said("at_once"), [json!(true), json!(false), json!(false), json!(false)]);

    // The bonus and the registration are sealed, each in its chain.
    for path in ["/wallet/ledger/seals", "/audit/seals"] {
        until("it is sealed", async || !read(&market, path).await.as_array().unwrap().is_empty()).await;
        assert_eq!(read(&market, path).await[0]["sequence"], 1, "{path}");
        assert_eq!(read(&market, &format!("{path}?from=1000000")).await, json!([]), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_is_announced_by_both_paths_and_confirmed_by_nobodys_word() {
    let world = World::new().await;
    let market = Market::start(Config { custody: Some(address(9)), ..world.config() }).await;
    let agent = market.join("agent", BUYER, AgentType::Both).await;
    let other = market.join("other", SELLER, AgentType::Both).await;
    let post = async |path: &str, key: &str, body| ask(&market, Method::POST, path, Some(key), body).await;
    let (status, deposit) = post("/wallet/deposit", &agent.key, Some(json!({"amount": "5"}))).await;
    assert_eq!((status, &deposit["status"]), (StatusCode::CREATED, &json!("pending")), "{deposit}");
    let id = deposit["id"].as_str().unwrap();
    let path = format!("/wallet/deposit/{id}/confirm");
    assert_eq!(post(&path, &agent.key, None).await, (StatusCode::OK, deposit.clone()), "nothing came, so nothing is confirmed");
    assert_eq!(post(&path, &other.key, None).await.0, StatusCode::NOT_FOUND);
    let shown = agent.client.deposit(id.parse().unwrap()).await.unwrap();
    assert_eq!((shown.id.to_string().as_str(), json!(shown.status)), (id, json!("pending")));
    assert_eq!(refusal(other.client.deposit(shown.id).await), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_for_money_lists_it_and_so_does_who_decides() {
    let world = World::new().await;
    let (_, config) = custody(&world).await;
    let market = Market::start(config).await;
    let agent = market.join("agent", BUYER, AgentType::Both).await;
    let other = market.join("other", SELLER, AgentType::Both).await;
    let staff = market.staff(world.stack.database_url(), Role::Finance).await;
    top_up(&agent, BUYER, "10").await.unwrap();
    let elsewhere = Withdraw { amount: usdc("1"), to_address: Some(address(8)) };
    let withdrawal = agent.client.withdraw(&elsewhere, "a").await.unwrap().id;
    let own = agent.client.withdrawals(&PageQuery::default()).await.unwrap().data;
    assert_eq!(own.iter().map(|own| own.id).collect::<Vec<_>>(), [withdrawal]);
    assert!(other.client.withdrawals(&PageQuery::default()).await.unwrap().data.is_empty());

    let pool = market::pool(world.stack.database_url()).await.unwrap();
    give(&pool, agent.agent.id, "1000").await;
    let card = Redeem { method: RedemptionMethod::GiftCard, amount: usdc("1000"), details: Some("me@example.com".into()) };
    let redemption = agent.client.redeem(&card, "b").await.unwrap().id;
    for (path, id) in [("/admin/withdrawals", withdrawal), ("/redemptions/admin", redemption)] {
        let (status, page) = ask(&market, Method::GET, path, Some(&staff), None).await;
        assert_eq!((status, ids(&page)), (StatusCode::OK, vec![id.to_string()]), "{path}: {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sessions_end_together() {
    let world = World::new().await;
    let market = world.market().await;
    let one = market.creator("me@example.com").await;
    let other = market.client.login(&Login::new("me@example.com", PASSWORD)).await.unwrap();
    let stranger = market.creator("stranger@example.com").await;
    market.client.with_token(&one.access).end_all_sessions().await.unwrap();
    for session in [&one, &other] {
        assert_eq!(refusal(market.client.with_token(&session.access).creator().await), Code::Unauthenticated);
        assert_eq!(refusal(market.client.refresh(&session.refresh_token).await), Code::Unauthenticated);
    }
    assert!(market.client.with_token(&stranger.access).creator().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_for_openclaw_are_listed_tested_and_removed_by_their_agent() {
    let world = World::new().await;
    let market = Market::start(Config { webhook_loopback: true, ..world.config() }).await;
    let mine = market.join("mine", SELLER, AgentType::Both).await;
    let other = market.join("other", BUYER, AgentType::Both).await;
    let at = |path: &str| format!("/integrations/openclaw/{path}");
    // Nobody listens there.
    let hook = json!({"url": "http://127.0.0.1:1/hook"});
    let (status, made) = ask(&market, Method::POST, &at("register-webhook"), Some(&mine.key), Some(hook)).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let listed = async |key: &str| ask(&market, Method::GET, &at("webhooks"), Some(key), None).await.1;
    let before = ids(&listed(&mine.key).await);
    assert_eq!((before.len(), ids(&listed(&other.key).await).len()), (1, 0));
    let (test, path) = (at(&format!("webhooks/{}/test", before[0])), at(&format!("webhooks/{}", before[0])));
    assert_eq!(ask(&market, Method::POST, &test, Some(&other.key), None).await.0, StatusCode::NOT_FOUND);
    assert!(ask(&market, Method::POST, &test, Some(&mine.key), None).await.0.is_success());
    assert_eq!(ask(&market, Method::DELETE, &path, Some(&other.key), None).await.0, StatusCode::NOT_FOUND);
    assert!(ask(&market, Method::DELETE, &path, Some(&mine.key), None).await.0.is_success());
    assert!(ids(&listed(&mine.key).await).is_empty());
}
