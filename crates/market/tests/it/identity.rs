use std::time::{Duration, Instant};

use alloy::signers::SignerSync;
use api::{
    AgentFilter, AgentType, Availability, ChangePassword, Code, CreateApiKey, Login, PageQuery, Role, Scope, TokenRequest,
    UpdateAgent, UpdateCreator,
};
use stack::Account;
use x402::{SignIn, SignInInfo};

use crate::{
    funds::until,
    harness::{BUYER, Market, PASSWORD, SELLER, World, because, refusal},
};

fn key(name: &str, scopes: &[Scope]) -> CreateApiKey {
    CreateApiKey { name: name.into(), scopes: scopes.into(), expires_at: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_allows_what_it_names_and_ends_with_the_tokens_it_got() {
    let world = World::new().await;
    let market = world.market().await;
    let agent = market.join("agent", SELLER, AgentType::Both).await;
    let made = agent.client.create_api_key(&key("robot", &[Scope::Read, Scope::Manage])).await.unwrap();
    assert!(made.api_key.starts_with(&made.key.prefix) && made.key.last_used_at.is_none());
    let robot = market.client.with_api_key(&made.api_key);
    assert!(robot.wallet().await.is_ok());
    // No key makes one that allows more, whether it is asked as a key or as a token.
    assert_eq!(refusal(robot.create_api_key(&key("more", &[Scope::Transfer])).await), Code::Forbidden);
    let token = robot.token(&TokenRequest { agent_id: None, scopes: Some(vec![Scope::Read]) }).await.unwrap();
    assert_eq!(token.scope, "read");
    let by_token = market.client.with_token(&token);
    assert!(by_token.wallet().await.is_ok());
    assert_eq!(refusal(by_token.api_keys(&PageQuery::default()).await), Code::Forbidden);
    assert_eq!(refusal(by_token.token(&TokenRequest::default()).await), Code::Forbidden);
    let wider = TokenRequest { agent_id: None, scopes: Some(vec![Scope::Sell]) };
    assert_eq!(refusal(robot.token(&wider).await), Code::Forbidden);

    let keys = agent.client.api_keys(&PageQuery::default()).await.unwrap().data;
    assert_eq!(keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["robot", "registration"]);
    assert!(keys.iter().all(|key| key.last_used_at.is_some()));
    let other = market.join("other", BUYER, AgentType::Both).await;
    assert_eq!(refusal(other.client.revoke_api_key(made.key.id).await), Code::NotFound);
    assert!(agent.client.revoke_api_key(made.key.id).await.unwrap().revoked_at.is_some());
    for client in [&robot, &by_token] {
        market.soon("it ended", async || is_refused(client.wallet().await)).await;
    }

    let later = time::OffsetDateTime::now_utc() + time::Duration::hours(1);
    let brief = CreateApiKey { expires_at: Some(later), ..key("brief", &[Scope::Read]) };
    let brief = agent.client.create_api_key(&brief).await.unwrap();
    assert!(market.client.with_api_key(&brief.api_key).wallet().await.is_ok());
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    sqlx::query("UPDATE api_keys SET expires_at = now() WHERE id = $1").bind(brief.key.id).execute(&pool).await.unwrap();
    // At another instance, which does not remember the key.
    let other = world.market().await;
    assert_eq!(refusal(other.client.with_api_key(&brief.api_key).wallet().await), Code::Unauthenticated);
}

/// Whether the credentials are good no more.
fn is_refused<T>(answer: Result<T, api::ClientError>) -> bool {
    answer.is_err_and(|error| error.code() == Some(&Code::Unauthenticated))
}

/// Without news of it an instance believes for two and a half seconds at least who was let in just now.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_instance_revokes_another_soon_refuses() {
    let world = World::new().await;
    let config = || {
        let public_url = Some("https://market.example/".parse().unwrap());
        market::Config { token_secrets: vec![[7; 32].into()], public_url, ..world.config() }
    };
    let (one, two) = (Market::alone(config(), because::OWN).await, Market::alone(config(), because::OWN).await);
    let agent = one.join("agent", SELLER, AgentType::Both).await;
    let made = agent.client.create_api_key(&key("robot", &[Scope::Read])).await.unwrap();
    let session = one.creator("me@example.com").await;
    let (robot, me) = (two.client.with_api_key(&made.api_key), two.client.with_token(&session.access));
    assert!(robot.wallet().await.is_ok() && me.creator().await.is_ok());
    let begun = Instant::now();
    agent.client.revoke_api_key(made.key.id).await.unwrap();
    one.client.end_session(&session.refresh_token).await.unwrap();
    until("both are refused", async || is_refused(robot.wallet().await) && is_refused(me.creator().await)).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "only because nobody remembers for longer");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_one_instance_are_good_at_another_that_shares_the_secret() {
    let world = World::new().await;
    let with = |secrets: Vec<[u8; 32]>| {
        let token_secrets = secrets.into_iter().map(Into::into).collect();
        let public_url = Some("https://market.example/".parse().unwrap());
        market::Config { token_secrets, public_url, ..world.config() }
    };
    let alone = |config| Market::alone(config, because::OWN);
    // One names the market's address, which is the others' too; who names another does not start.
    let unnamed = |config: market::Config| market::Config { public_url: None, ..config };
    let elsewhere =
        |config: market::Config| market::Config { public_url: Some("https://other.example/".parse().unwrap()), ..config };
    let (one, two) = (alone(with(vec![[1; 32]])).await, alone(unnamed(with(vec![[2; 32], [1; 32]]))).await);
    let three = alone(with(vec![[2; 32]])).await;
    let agent = one.join("agent", SELLER, AgentType::Both).await;
    let token = agent.client.token(&TokenRequest::default()).await.unwrap();
    assert!(two.client.with_token(&token).wallet().await.is_ok(), "a secret that was replaced is believed");
    assert_eq!(refusal(three.client.with_token(&token).wallet().await), Code::Unauthenticated);
    let start = async |config: market::Config| {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        market::serve(config, listener, tokio_util::sync::CancellationToken::new()).await.unwrap_err().to_string()
    };
    let refused = start(elsewhere(with(vec![[2; 32]]))).await;
    assert!(refused.contains("--moved-from https://market.example/"), "{refused}");
    let keys: serde_json::Value =
        reqwest::get(one.url.join(".well-known/jwks.json").unwrap()).await.unwrap().json().await.unwrap();
    let moved = market::Config { moved_from: Some("https://market.example/".parse().unwrap()), ..elsewhere(with(vec![[1; 32]])) };
    alone(moved.clone()).await.stop().await;
    alone(moved).await.stop().await;
    assert!(start(with(vec![[1; 32]])).await.contains("https://other.example/"));
    assert!(keys["keys"].as_array().unwrap().iter().all(|key| key["kty"] == "OKP" && key.get("d").is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_signs_in_with_x_once_and_gets_a_token_of_its_agent() {
    let world = World::new().await;
    let market = world.market().await;
    let agent = market.join("agent", SELLER, AgentType::Both).await;
    let account = Account::at(SELLER);
    let signed = |origin: &url::Url| {
        let issued_at = time::OffsetDateTime::now_utc().format(&time::format_description::well_known::Rfc3339).unwrap();
        let info = SignInInfo {
            domain: origin.authority().into(),
            uri: origin.to_string(),
            statement: None,
            version: "1".into(),
            nonce: format!("{:032x}", rand::random::<u128>()),
            issued_at,
            expiration_time: None,
            not_before: None,
            request_id: None,
            resources: None,
        };
        let address = account.address.to_checksum(None);
        let chain = world.stack.deployment().chain_id;
        let signature = account.signer.sign_message_sync(info.message(&address, chain).as_bytes()).unwrap();
        let signature = alloy::hex::encode_prefixed(signature.as_bytes());
        let (chain_id, kind) = (format!("eip155:{chain}"), "eip191".into());
        x402::header::encode(&SignIn { info, address, chain_id, kind, signature_scheme: None, signature }).unwrap()
    };
    let ask = |header: String| {
        let request = reqwest::Client::new().post(market.url.join("api/v1/agents/token").unwrap());
        request.header("sign-in-with-x", header).json(&TokenRequest::default()).send()
    };
    let header = signed(&market.url);
    let token = ask(header.clone()).await.unwrap().json::<api::AccessToken>().await.unwrap();
    assert_eq!(market.client.with_token(&token).wallet().await.unwrap().agent_id, agent.agent.id);
    assert_eq!(ask(header).await.unwrap().status(), 401, "a signature works once");
    assert_eq!(ask(signed(&"https://phisher.example/".parse().unwrap())).await.unwrap().status(), 401, "signed for another site");
    // A wallet without an agent gets none.
    assert_eq!(refusal(market.as_wallet(BUYER).await.token(&TokenRequest::default()).await), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_found_by_what_they_say_of_themselves() {
    let world = World::new().await;
    let market = world.market().await;
    for (name, account, cost) in [("cheap", SELLER, "0.01"), ("dear", BUYER, "5")] {
        let mut request = market.registration(name, account, AgentType::Both).await;
        (request.capabilities, request.cost_per_task) = (vec!["Translate".into(), "ocr".into()], Some(cost.parse().unwrap()));
        let agent = market.client.register(&request).await.unwrap();
        assert_eq!((agent.agent.capacity_per_hour, agent.agent.availability), (30, Availability::Online));
        assert_eq!(agent.agent.capabilities, ["ocr", "translate"]);
        let card: serde_json::Value = reqwest::get(agent.agent_card_url.clone()).await.unwrap().json().await.unwrap();
        assert_eq!((&card["name"], &card["skills"][1]["id"]), (&name.into(), &"translate".into()));
        if name == "dear" {
            let change =
                UpdateAgent { availability: Some(Availability::Busy), capacity_per_hour: Some(5), ..UpdateAgent::default() };
            let client = market.client.with_token(&agent.access);
            assert_eq!(client.update_agent(agent.agent.id, &change).await.unwrap().capacity_per_hour, 5);
            let none = UpdateAgent { capacity_per_hour: Some(0), ..UpdateAgent::default() };
            assert_eq!(refusal(client.update_agent(agent.agent.id, &none).await), Code::InvalidRequest);
        }
    }
    let mut bad = market.registration("bad", 7, AgentType::Both).await;
    bad.capabilities = vec!["no spaces".into()];
    assert_eq!(refusal(market.client.register(&bad).await), Code::InvalidRequest);
    let names = |filter| {
        let client = market.client.clone();
        async move { client.agents(&filter).await.unwrap().data.into_iter().map(|agent| agent.name).collect::<Vec<_>>() }
    };
    let capability = Some("TRANSLATE".to_owned());
    assert_eq!(
        names(AgentFilter { capability, max_cost: Some("1".parse().unwrap()), ..AgentFilter::default() }).await,
        ["cheap"]
    );
    assert_eq!(names(AgentFilter { availability: Some(Availability::Busy), ..AgentFilter::default() }).await, ["dear"]);
    assert_eq!(names(AgentFilter { agent_type: Some(AgentType::Seller), ..AgentFilter::default() }).await, ["dear", "cheap"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creator_claims_an_agent_by_its_wallet_and_sees_how_it_does() {
    let world = World::new().await;
    let market = world.market().await;
    let agent = market.join("agent", SELLER, AgentType::Both).await;
    let (mine, theirs) = (market.creator("me@example.com").await, market.creator("them@example.com").await);
    let (me, them) = (market.client.with_token(&mine.access), market.client.with_token(&theirs.access));
    // Another's wallet says nothing of it, and neither does a proof that was used.
    assert_eq!(refusal(them.claim_agent(agent.agent.id, &market.proof(BUYER).await).await), Code::WrongState);
    let proof = market.proof(SELLER).await;
    assert_eq!(me.claim_agent(agent.agent.id, &proof).await.unwrap().creator_id, Some(mine.creator.id));
    assert_eq!(refusal(them.claim_agent(agent.agent.id, &proof).await), Code::WalletNotProven);
    assert_eq!(refusal(them.claim_agent(agent.agent.id, &market.proof(SELLER).await).await), Code::WrongState);
    assert_eq!(me.creators_agents(&PageQuery::default()).await.unwrap().data.len(), 1);
    let (dashboard, wallet) = (me.dashboard().await.unwrap(), me.creator_wallet().await.unwrap());
    assert_eq!((dashboard.agents, dashboard.active_agents, dashboard.sales), (1, 1, 0));
    assert_eq!((wallet.agents.len(), wallet.balances.len()), (1, 2));
    let change = UpdateCreator { country: Some("PT".into()), ..UpdateCreator::default() };
    assert_eq!(me.update_creator(&change).await.unwrap().country.as_deref(), Some("PT"));
    let change = UpdateCreator { country: Some("Portugal".into()), ..UpdateCreator::default() };
    assert_eq!(refusal(me.update_creator(&change).await), Code::InvalidRequest);
    assert_eq!(refusal(me.grant_role(theirs.creator.id, Role::Finance).await), Code::Forbidden);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_refresh_token_ends_the_session_and_a_lost_answer_does_not() {
    let world = World::new().await;
    let market = world.market().await;
    let first = market.creator("me@example.com").await;
    let lost = market.client.refresh(&first.refresh_token).await.unwrap();
    // The answer was lost: the same request again.
    let second = market.client.refresh(&first.refresh_token).await.unwrap();
    assert_ne!(lost.refresh_token, second.refresh_token);
    let me = market.client.with_token(&second.access);
    assert!(me.creator().await.is_ok());
    // Whoever has the one that was replaced is not who has the session now, so neither is believed.
    assert_eq!(refusal(market.client.refresh(&lost.refresh_token).await), Code::Unauthenticated);
    assert_eq!(refusal(market.client.refresh(&second.refresh_token).await), Code::Unauthenticated);
    market.soon("it ended", async || is_refused(me.creator().await)).await;

    let login = |password: &str| Login::new("ME@example.com ", password);
    let session = market.client.login(&login(PASSWORD)).await.unwrap();
    market.client.end_session(&session.refresh_token).await.unwrap();
    let ended = market.client.with_token(&session.access);
    market.soon("it ended", async || is_refused(ended.creator().await)).await;
    let session = market.client.login(&login(PASSWORD)).await.unwrap();
    let me = market.client.with_token(&session.access);
    let change = |password: &str| ChangePassword { password: password.into(), new_password: "another good password".into() };
    assert_eq!(refusal(me.change_password(&change("not the password")).await), Code::Unauthenticated);
    let renewed = me.change_password(&change(PASSWORD)).await.unwrap();
    market.soon("it ended", async || is_refused(me.creator().await)).await;
    assert!(market.client.with_token(&renewed.access).creator().await.is_ok());
    assert_eq!(refusal(market.client.login(&login(PASSWORD)).await), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_lock_the_account_also_when_they_come_at_once() {
    let world = World::new().await;
    let market = world.market().await;
    market.creator("me@example.com").await;
    let again = market.client.register_creator(&market.creation("ME@example.com")).await;
    assert_eq!(refusal(again), Code::EmailTaken);
    let login = |email: &str, password: &str| {
        let (client, request) = (market.client.clone(), Login::new(email, password));
        async move { refusal(client.login(&request).await) }
    };
    assert_eq!(login("nobody@example.com", PASSWORD).await, Code::Unauthenticated);
    assert_eq!(login("no\0body@example.com", PASSWORD).await, Code::InvalidRequest);
    let tries = futures::future::join_all((0..12).map(|_| login("me@example.com", "a wrong password"))).await;
    assert_eq!(tries.iter().filter(|code| **code == Code::Unauthenticated).count(), 5);
    assert_eq!(login("me@example.com", PASSWORD).await, Code::TooManyRequests, "the right one does not help now");
}

/// Tries to sign in from an address that our proxy saw; the status of the answer.
async fn sign_in(market: &Market, from: &str, login: &Login) -> u16 {
    let request = reqwest::Client::new().post(market.url.join("api/v1/creators/login").unwrap());
    request.header("x-forwarded-for", from).json(login).send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_a_password_locks_out_nobody_who_signed_in_before() {
    let world = World::new().await;
    let config =
        || market::Config { proxies: 1, requests_per_minute_unknown: 0, token_secrets: vec![[7; 32].into()], ..world.config() };
    let (one, two) = (Market::start(config()).await, Market::start(config()).await);
    let created = one.client.register_creator(&one.creation("me@example.com")).await.unwrap();
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    sqlx::query("UPDATE sessions SET network = '203.0.113.0/24'").execute(&pool).await.unwrap();
    let (right, wrong) = (Login::new("me@example.com", PASSWORD), Login::new("me@example.com", "a wrong password"));
    let device = Login { device: Some(created.refresh_token.clone()), ..right.clone() };

    // From one address, whichever instance is asked, and for who is registered as for who is not.
    for email in ["me@example.com", "nobody@example.com"] {
        let wrong = Login { email: email.into(), ..wrong.clone() };
        let mut told = Vec::new();
        for turn in 0..7 {
            told.push(sign_in(if turn % 2 == 0 { &one } else { &two }, "198.51.100.1", &wrong).await);
        }
        assert_eq!(told, [401, 401, 401, 401, 401, 429, 429], "{email}");
    }
    assert_eq!(sign_in(&one, "198.51.100.1", &right).await, 429, "the right one does not help there");
    assert_eq!(sign_in(&one, "192.0.2.9", &right).await, 200, "elsewhere it does");
    assert_eq!(sign_in(&one, "198.51.100.1", &device).await, 200, "and there to who shows a session");

    // From everywhere: the account waits, but not where its owner was before.
    let everywhere = (0..130).map(|number| format!("10.{number}.0.1")).collect::<Vec<_>>();
    let mut told = Vec::new();
    for addresses in everywhere.chunks(10) {
        told.extend(futures::future::join_all(addresses.iter().map(|from| sign_in(&two, from, &wrong))).await);
    }
    let tried = told.iter().filter(|status| **status == 401).count();
    assert!((90..=100).contains(&tried) && told[120..].iter().all(|status| *status == 429), "{tried} of {told:?}");
    assert_eq!(sign_in(&one, "172.16.0.1", &right).await, 429);
    assert_eq!(sign_in(&one, "203.0.113.80", &right).await, 200);
    let made_up =
        Login { device: Some(api::RefreshToken(format!("florin_refresh_{}_{:064}", "1".repeat(32), 0))), ..right.clone() };
    assert_eq!(sign_in(&one, "172.16.0.1", &made_up).await, 429);
    assert_eq!(sign_in(&one, "172.16.0.1", &device).await, 200);
    let longest = "SELECT max(extract(epoch FROM locked_until - last_at))::bigint FROM login_tries";
    let longest: i64 = sqlx::query_scalar(longest).fetch_one(&pool).await.unwrap();
    assert!(longest <= 900, "{longest}");
    // It is over some time, and what was counted of it is little.
    sqlx::query("UPDATE login_tries SET locked_until = now()").execute(&pool).await.unwrap();
    assert_eq!(sign_in(&one, "172.16.7.1", &right).await, 200);
    let noted: i64 =
        sqlx::query_scalar("SELECT count(*) FROM audit_events WHERE event_type = 'login_failed'").fetch_one(&pool).await.unwrap();
    assert_eq!(noted, 3 + tried as i64, "the first of each address, and the last before it has to wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_seen_and_ended_one_by_one() {
    let world = World::new().await;
    let market = world.market().await;
    let (first, other) = (market.creator("me@example.com").await, market.creator("other@example.com").await);
    let second = market.client.login(&Login::new("me@example.com", PASSWORD)).await.unwrap();
    let me = market.client.with_token(&second.access);
    let sessions = me.sessions(&PageQuery::default()).await.unwrap().data;
    assert_eq!(sessions.iter().map(|session| session.is_current).collect::<Vec<_>>(), [true, false]);
    assert_eq!(sessions[1].network.as_deref(), Some("127.0.0.0/24"));
    let others = market.client.with_token(&other.access);
    assert_eq!(refusal(others.end_one_session(sessions[1].id).await), Code::NotFound);
    me.end_one_session(sessions[1].id).await.unwrap();
    let ended = market.client.with_token(&first.access);
    market.soon("it ended", async || is_refused(ended.creator().await)).await;
    assert_eq!(refusal(market.client.refresh(&first.refresh_token).await), Code::Unauthenticated);
    assert_eq!(refusal(me.end_one_session(sessions[1].id).await), Code::NotFound);
    assert_eq!(me.sessions(&PageQuery::default()).await.unwrap().data.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zero_character_within_payout_details_is_refused() {
    let world = World::new().await;
    let market = world.market().await;
    let session = market.creator("me@example.com").await;
    let person = market.client.with_token(&session.access);
    let details = |to: &str| UpdateCreator {
        payout_details: Some([("upi".into(), to.into())].into_iter().collect()),
        ..UpdateCreator::default()
    };
    assert_eq!(refusal(person.update_creator(&details("name\0@bank")).await), Code::InvalidRequest);
    assert!(person.creator().await.unwrap().payout_details.is_none());
    assert!(person.update_creator(&details("name@bank")).await.is_ok());
}
