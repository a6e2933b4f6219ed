//! Who may ask for what: every operation, by everybody.

use api::{AgentType, CreateApiKey, Login, Role, Scope};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{BUYER, Market, PASSWORD, SELLER, World};

/// Who is let in: `n`obody in particular, an `a`gent, an agent's key with the scope read only, a `w`allet, a `c`reator, an administrator (`s`taff).
const ADMITTED: &[(&str, &str)] = &[
    ("GET /health", "narwcs"),
    ("GET /health/cdn", "narwcs"),
    ("GET /wallet/currencies", "narwcs"),
    ("GET /wallet/supply", "narwcs"),
    ("GET /wallet/tiers", "narwcs"),
    ("POST /agents/challenge", "narwcs"),
    ("POST /agents/register", "narwcs"),
    ("POST /agents/token", "arw"),
    ("GET /agents", "narwcs"),
    ("GET /agents/{id}", "narwcs"),
    ("GET /agents/{id}/card", "narwcs"),
    ("PUT /agents/{id}", "a"),
    ("DELETE /agents/{id}", "a"),
    ("POST /agents/{id}/heartbeat", "ar"),
    ("GET /api-keys", "a"),
    ("POST /api-keys", "a"),
    ("DELETE /api-keys/{id}", "a"),
    ("POST /creators/register", "narwcs"),
    ("POST /creators/login", "narwcs"),
    ("POST /creators/refresh", "narwcs"),
    ("POST /creators/revoke", "narwcs"),
    ("POST /creators/revoke-all", "cs"),
    ("POST /creators/change-password", "cs"),
    ("GET /creators/me", "cs"),
    ("PUT /creators/me", "cs"),
    ("GET /creators/me/agents", "cs"),
    ("PUT /creators/me/wallet", "cs"),
    ("POST /creators/me/agents/{id}/claim", "cs"),
    ("GET /creators/me/dashboard", "cs"),
    ("GET /creators/me/wallet", "cs"),
    ("PUT /admin/creators/{id}/role", "s"),
    ("GET /admin/decisions", "s"),
    ("GET /listings", "narwcs"),
    ("POST /listings", "a"),
    ("GET /listings/{id}", "narwcs"),
    ("PUT /listings/{id}", "a"),
    ("DELETE /listings/{id}", "a"),
    ("PUT /listings/{id}/content", "a"),
    ("GET /listings/{id}/versions", "narwcs"),
    ("PUT /admin/listings/{id}/quality", "s"),
    ("GET /discover", "narwcs"),
    ("GET /discover/suggestions", "narwcs"),
    ("GET /trending", "narwcs"),
    ("GET /demand-gaps", "narwcs"),
    ("GET /opportunities", "narwcs"),
    ("GET /seller/demand-for-me", "ar"),
    ("POST /seller/price-suggest", "ar"),
    ("POST /agents/auto-match", "ar"),
    ("POST /seller/bulk-list", "a"),
    ("POST /catalog", "a"),
    ("GET /catalog/search", "narwcs"),
    ("GET /catalog/agent/{id}", "narwcs"),
    ("GET /catalog/{id}", "narwcs"),
    ("PATCH /catalog/{id}", "a"),
    ("DELETE /catalog/{id}", "a"),
    ("POST /catalog/auto-populate", "a"),
    ("POST /catalog/subscribe", "a"),
    ("DELETE /catalog/subscribe/{id}", "a"),
    ("GET /catalog/subscriptions", "ar"),
    ("POST /route/select", "ar"),
    ("POST /route/agents", "ar"),
    ("GET /route/strategies", "narwcs"),
    ("GET /reputation/leaderboard", "narwcs"),
    ("GET /reputation/{id}", "narwcs"),
    ("GET /leaderboard/{board}", "narwcs"),
    ("GET /agent/{id}/profile", "narwcs"),
    ("GET /my-earnings", "ar"),
    ("GET /my-stats", "ar"),
    ("GET /market/days", "narwcs"),
    ("GET /express/{id}", "narwcs"),
    ("POST /express/{id}", "narwcs"),
    ("GET /purchases", "arw"),
    ("GET /purchases/{id}/content", "aw"),
    ("GET /wallet/balance", "ar"),
    ("GET /wallet/balance/past", "arcs"),
    ("GET /wallet/history", "arcs"),
    ("GET /wallet/statement.csv", "arcs"),
    ("POST /wallet/transfer", "a"),
    ("GET /wallet/ledger/verify", "narwcs"),
    ("GET /wallet/ledger/seals", "narwcs"),
    ("GET /wallet/ledger/proof/{transfer_id}", "arcs"),
    ("POST /wallet/deposits", "a"),
    ("GET /wallet/deposits", "ar"),
    ("POST /wallet/deposits/x402", "a"),
    ("GET /wallet/deposits/{id}", "ar"),
    ("POST /wallet/deposit", "a"),
    ("POST /wallet/deposit/{id}/confirm", "ar"),
    ("POST /wallet/withdrawals", "acs"),
    ("GET /wallet/withdrawals", "arcs"),
    ("GET /wallet/withdrawals/{id}", "arcs"),
    ("POST /wallet/withdrawals/{id}/cancel", "acs"),
    ("GET /admin/ledger/sealed", "s"),
    ("POST /admin/ledger/{transfer_id}/reverse", "s"),
    ("GET /admin/withdrawals", "s"),
    ("POST /admin/withdrawals/{id}/approve", "s"),
    ("POST /admin/withdrawals/{id}/reject", "s"),
    ("GET /admin/deposits/unmatched", "s"),
    ("POST /admin/deposits/assign", "s"),
    ("POST /redemptions", "acs"),
    ("GET /redemptions", "arcs"),
    ("GET /redemptions/methods", "narwcs"),
    ("GET /redemptions/{id}", "arcs"),
    ("POST /redemptions/{id}/cancel", "acs"),
    ("GET /redemptions/admin", "s"),
    ("POST /redemptions/admin/{id}/approve", "s"),
    ("POST /redemptions/admin/{id}/complete", "s"),
    ("POST /redemptions/admin/{id}/reject", "s"),
    ("POST /transactions/initiate", "aw"),
    ("GET /transactions", "arw"),
    ("GET /transactions/{id}", "arw"),
    ("POST /transactions/{id}/confirm-payment", "aw"),
    ("POST /transactions/{id}/deliver", "a"),
    ("GET /transactions/{id}/content", "aw"),
    ("POST /transactions/{id}/verify", "aw"),
    ("POST /transactions/{id}/dispute", "aw"),
    ("POST /transactions/{id}/evidence", "arw"),
    ("GET /transactions/{id}/evidence", "arw"),
    ("POST /transactions/{id}/cancel", "arw"),
    ("POST /transactions/{id}/refund", "a"),
    ("GET /transactions/{id}/history", "arw"),
    ("GET /admin/transactions", "s"),
    ("GET /admin/transactions/check", "s"),
    ("GET /admin/transactions/{id}", "s"),
    ("GET /admin/transactions/{id}/content", "s"),
    ("POST /admin/transactions/{id}/award", "s"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_lets_in_whom_it_should_and_nobody_else() {
    let world = World::new().await;
    let market = world.market().await;
    let agent = market.join("agent", SELLER, AgentType::Both).await;
    let request = CreateApiKey { name: "reader".into(), scopes: vec![Scope::Read], expires_at: None };
    let reader = agent.client.create_api_key(&request).await.unwrap().api_key;
    let creator = market.creator("creator@example.com").await;
    market.creator("admin@example.com").await;
    assert!(market::grant(world.stack.database_url(), "Admin@example.com", Role::Admin).await.unwrap());
    let login = Login { email: "admin@example.com".into(), password: PASSWORD.into() };
    let admin = market.client.login(&login).await.unwrap();
    let bearer = |token: &str| Some(format!("Bearer {token}"));
    let principals = [
        ('n', None),
        ('r', bearer(&reader)),
        ('c', bearer(&creator.access.access_token)),
        ('s', bearer(&admin.access.access_token)),
        ('a', bearer(&agent.key)),
    ];

    let document: Value = reqwest::get(market.url.join("openapi.json").unwrap()).await.unwrap().json().await.unwrap();
    let mut operations: Vec<(Method, String)> = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.strip_prefix("/api/v1").unwrap();
        for method in methods.as_object().unwrap().keys() {
            operations.push((method.to_uppercase().parse().unwrap(), path.into()));
        }
    }
    // What ends somebody comes last.
    operations.sort_by_key(|(method, path)| (path.contains("revoke-all"), *method == Method::DELETE && path == "/agents/{id}"));
    let mut found = Vec::new();
    for (method, path) in &operations {
        let id = if path.starts_with("/agents/") { agent.agent.id } else { Uuid::now_v7() };
        let url =
            market.url.join(&format!("api/v1{}", path.replace("{id}", &id.to_string()).replace("{transfer_id}", "1"))).unwrap();
        let ask = || reqwest::Client::new().request(method.clone(), url.clone()).json(&json!({}));
        let mut admitted = String::new();
        let proof = market.wallet_proof(BUYER).await;
        for (letter, credentials) in [('w', Some(proof))].into_iter().chain(principals.clone()) {
            let request = credentials.iter().fold(ask(), |request, value| request.header("authorization", value));
            if is_admitted(request).await {
                admitted.push(letter);
            }
        }
        found
            .push((format!("{method} {path}"), "narwcs".chars().filter(|letter| admitted.contains(*letter)).collect::<String>()));
    }
    let mut expected: Vec<(String, String)> = ADMITTED.iter().map(|(what, who)| ((*what).into(), (*who).into())).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

async fn is_admitted(request: RequestBuilder) -> bool {
    let answer = request.send().await.unwrap();
    assert!(answer.status() != StatusCode::INTERNAL_SERVER_ERROR, "{answer:?}");
    !matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

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
    let (one, two) = (Market::start(config()).await, Market::start(config()).await);
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
