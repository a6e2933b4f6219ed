//! Webhooks: what a receiver that fails, hides or goes away is sent, and what it is not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use api::{
    AgentType, AuditFilter, Code, DeliveryFilter, DeliveryState, EventType, RegisterWebhook, ReplayWebhook, Role, Topic,
    WebhookSecret,
    ledger::{Asset, Send},
};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use market::feed::{self, Audience, Event};
use rand::Rng;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use tokio::net::TcpListener;

use crate::{
    demand::until,
    harness::{BUYER, Market, SELLER, World, because, refusal},
};

/// HMAC-SHA256 as RFC 2104 writes it, by nobody's library.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let padded = |byte: u8| block.map(|of_key| of_key ^ byte);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec()
}

/// A message as it came.
#[derive(Clone, Debug)]
struct Came {
    headers: HeaderMap,
    body: String,
}

impl Came {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    fn id(&self) -> String {
        self.header("webhook-id").to_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// How many of its signatures are by this secret, and how many there are.
    fn signed_by(&self, secret: &str) -> (usize, usize) {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let signed = format!("{}.{}.{}", self.header("webhook-id"), self.header("webhook-timestamp"), self.body);
        let expected = format!("v1,{}", STANDARD.encode(hmac(&key, signed.as_bytes())));
        let all: Vec<_> = self.header("webhook-signature").split(' ').collect();
        (all.iter().filter(|signature| **signature == expected).count(), all.len())
    }
}

/// A receiver that keeps what it is sent and answers what it is told to.
#[derive(Clone, Default)]
struct Receiver {
    answer: Arc<AtomicU16>,
    /// Of a hundred, so many fail anyhow.
    failing: Arc<AtomicUsize>,
    /// Milliseconds before it answers.
    thinks: Arc<AtomicU64>,
    came: Arc<Mutex<Vec<(Came, bool)>>>,
}

impl Receiver {
    async fn start() -> (Self, RegisterWebhook) {
        let receiver = Self { answer: Arc::new(204.into()), ..Self::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap()).parse().unwrap();
        let router = Router::new().route("/hook", post(Self::take)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let register =
            RegisterWebhook { url, topics: None, event_types: None, categories: None, min_urgency_bps: None, bearer_token: None };
        (receiver, register)
    }

    async fn take(State(receiver): State<Self>, headers: HeaderMap, body: Bytes) -> StatusCode {
        let fails = rand::rng().random_range(0..100) < receiver.failing.load(Ordering::Relaxed);
        let status = if fails { 500 } else { receiver.answer.load(Ordering::Relaxed) };
        let came = Came { headers, body: String::from_utf8(body.to_vec()).unwrap() };
        receiver.came.lock().unwrap().push((came, status < 300));
        tokio::time::sleep(Duration::from_millis(receiver.thinks.load(Ordering::Relaxed))).await;
        StatusCode::from_u16(status).unwrap()
    }

    fn answers(&self, status: u16) {
        self.answer.store(status, Ordering::Relaxed);
    }

    /// What it took, by id.
    fn taken(&self) -> BTreeMap<String, Came> {
        self.came.lock().unwrap().iter().filter(|(_, took)| *took).map(|(came, _)| (came.id(), came.clone())).collect()
    }

    /// How often something came.
    fn count(&self) -> usize {
        self.came.lock().unwrap().len()
    }
}

fn config(world: &World) -> market::Config {
    market::Config { webhook_loopback: true, token_secrets: vec![[7; 32].into()], ..world.config() }
}

async fn start(world: &World) -> Market {
    Market::start(config(world)).await
}

async fn tell(pool: &PgPool, count: u64) {
    for n in 0..count {
        let mut conn = pool.acquire().await.unwrap();
        let event = Event::public(EventType::CatalogUpdate, Audience::Market, json!({"n": n}));
        feed::emit(&mut conn, event).await.unwrap();
    }
}

fn updates(register: &RegisterWebhook) -> RegisterWebhook {
    RegisterWebhook { event_types: Some(vec![EventType::CatalogUpdate]), ..register.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_at_random_gets_everything_or_it_is_a_dead_letter() {
    const EVENTS: u64 = 150;
    let world = World::new().await;
    let (one, two) = (start(&world).await, start(&world).await);
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let agent = one.join("agent", SELLER, AgentType::Both).await;
    let agent_at_two = agent.client.at(two.url.clone());
    let (receiver, register) = Receiver::start().await;
    receiver.failing.store(50, Ordering::Relaxed);
    let WebhookSecret { webhook, secret, .. } = agent.client.register_webhook(&updates(&register)).await.unwrap();
    tell(&pool, EVENTS / 2).await;
    until(async || (receiver.count() > 20).then_some(())).await;
    // In the middle of it one instance dies.
    one.kill();
    tell(&pool, EVENTS / 2).await;
    let dead = until(async || {
        // Also what the one that died had taken, which would be due again after a minute.
        let due = "UPDATE webhook_deliveries SET due_at = now() WHERE due_at > now()";
        sqlx::query(due).execute(&pool).await.unwrap();
        let now = agent_at_two.webhooks().await.unwrap().data.remove(0);
        let over = now.waiting == 0 && receiver.taken().len() as u64 + now.dead >= EVENTS;
        over.then_some(now.dead)
    });
    let dead = dead.await;
    let taken = receiver.taken();
    let numbers: BTreeSet<u64> = taken.values().map(|came| came.json()["data"]["seq"].as_u64().unwrap()).collect();
    let ids = "SELECT count(*) FROM feed_events AS e WHERE event_type = 'catalog_update' AND NOT EXISTS (
             SELECT FROM webhook_deliveries AS d WHERE d.seq = e.seq AND (d.delivered_at IS NOT NULL OR d.due_at IS NULL))";
    assert_eq!(sqlx::query_scalar::<_, i64>(ids).fetch_one(&pool).await.unwrap(), 0, "none is forgotten");
    assert_eq!(numbers.len() as u64 + dead, EVENTS, "{dead} dead letters");
    let came: Vec<_> = receiver.came.lock().unwrap().iter().map(|(came, _)| came.clone()).collect();
    for message in &came {
        assert_eq!(message.signed_by(&secret), (1, 1));
        let json = message.json();
        assert_eq!((&json["type"], &json["data"]["event_type"]), (&json!("catalog_update"), &json!("catalog_update")));
        assert_eq!(json["timestamp"], json["data"]["occurred_at"]);
        let id = json["data"]["event_id"].as_str().unwrap().replace('-', "");
        assert_eq!(message.id(), format!("msg_{id}"), "the same at every attempt");
    }
    assert!(came.len() > taken.len(), "nothing failed");
    let filter = DeliveryFilter { state: Some(DeliveryState::Delivered), limit: Some(100), ..DeliveryFilter::default() };
    let shown = agent_at_two.webhook_deliveries(webhook.id, &filter).await.unwrap();
    assert_eq!((shown.data.len(), shown.next_cursor.is_some()), (100, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_is_shown_pauses_the_webhook_and_is_sent_again_when_asked_for() {
    let world = World::new().await;
    let market = Market::alone(config(&world), because::ATTEMPTS).await;
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let agent = market.join("agent", SELLER, AgentType::Both).await;
    let (receiver, register) = Receiver::start().await;
    receiver.answers(503);
    let webhook = agent.client.register_webhook(&updates(&register)).await.unwrap().webhook;
    tell(&pool, 12).await;
    let failed = "SELECT count(*) FROM webhook_deliveries WHERE last_error IS NOT NULL";
    until(async || (sqlx::query_scalar::<_, i64>(failed).fetch_one(&pool).await.unwrap() == 12).then_some(())).await;
    let last = "UPDATE webhook_deliveries SET attempts = 9, due_at = now()";
    sqlx::query(last).execute(&pool).await.unwrap();
    let shown = async || agent.client.webhooks().await.unwrap().data.remove(0);
    let paused = until(async || {
        let now = shown().await;
        (now.dead == 12).then_some(now)
    });
    let paused = paused.await;
    assert!(paused.paused.is_some(), "{paused:?}");
    let dead = DeliveryFilter { state: Some(DeliveryState::Dead), ..DeliveryFilter::default() };
    let letter = agent.client.webhook_deliveries(webhook.id, &dead).await.unwrap().data.remove(0);
    assert!(letter.last_error.as_ref().unwrap().contains("503"), "{letter:?}");
    assert_eq!((letter.attempts, letter.next_attempt_at), (10, None));
    assert_eq!(refusal(agent.client.test_webhook(webhook.id).await), Code::WrongState);

    // What happens while it is paused is sent by a replay of the range.
    let before = receiver.count();
    tell(&pool, 3).await;
    let last_seq = "SELECT f.last_seq FROM feed AS f, webhook_cursor AS c WHERE c.seq = f.last_seq AND f.last_seq >= 15";
    until(async || sqlx::query_scalar::<_, i64>(last_seq).fetch_optional(&pool).await.unwrap()).await;
    assert_eq!(receiver.count(), before);
    receiver.answers(200);
    let again = agent.client.replay_webhook(webhook.id, &ReplayWebhook::default()).await.unwrap();
    assert_eq!((again.deliveries, again.next_seq), (12, None));
    until(async || (receiver.taken().len() == 12).then_some(())).await;
    let from = ReplayWebhook { from_seq: paused.paused_after_seq.map(|seq| seq + 1), ..ReplayWebhook::default() };
    assert_eq!(agent.client.replay_webhook(webhook.id, &from).await.unwrap().deliveries, 3);
    until(async || (receiver.taken().len() == 15).then_some(())).await;

    // The same range once more is the same deliveries, as far as they may wait.
    let over = async || until(async || (shown().await.waiting == 0).then_some(())).await;
    over().await;
    let before = receiver.count();
    assert_eq!(agent.client.replay_webhook(webhook.id, &from).await.unwrap().deliveries, 3);
    until(async || (receiver.count() == before + 3).then_some(())).await;
    over().await;
    let rows = "SELECT count(*) FROM webhook_deliveries";
    let rows: i64 = sqlx::query_scalar(rows).fetch_one(&pool).await.unwrap();
    assert_eq!((receiver.taken().len(), rows), (15, 15), "with the ids they had");
    let many = "INSERT INTO webhook_deliveries (id, webhook_id, seq, event_id, event_type, due_at)
         SELECT gen_random_uuid(), $1, 1000000 + n, gen_random_uuid(), 'catalog_update', now() + interval '1 hour' FROM generate_series(1, 9998) AS n";
    sqlx::query(many).bind(webhook.id).execute(&pool).await.unwrap();
    let cut = agent.client.replay_webhook(webhook.id, &from).await.unwrap();
    assert_eq!((cut.deliveries, cut.next_seq.is_some()), (2, true));
    sqlx::query("DELETE FROM webhook_deliveries WHERE seq > 1000000").execute(&pool).await.unwrap();
    over().await;

    let first = ReplayWebhook { delivery_id: Some(letter.id), ..ReplayWebhook::default() };
    let before = receiver.count();
    assert_eq!(agent.client.replay_webhook(webhook.id, &first).await.unwrap().deliveries, 1);
    until(async || (receiver.count() == before + 1).then_some(())).await;
    assert_eq!(receiver.taken().len(), 15, "with the id it had");
    until(async || (shown().await.waiting == 0).then_some(())).await;
    let now = shown().await;
    assert_eq!((now.paused, now.dead), (None, 0));
    assert!(now.last_delivered_at.is_some());

    receiver.answers(410);
    agent.client.test_webhook(webhook.id).await.unwrap();
    let gone = until(async || shown().await.paused).await;
    assert!(gone.contains("410"), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_replaced_without_a_message_that_neither_signs() {
    let world = World::new().await;
    let market = start(&world).await;
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let agent = market.join("agent", SELLER, AgentType::Both).await;
    let (receiver, register) = Receiver::start().await;
    let register = RegisterWebhook { bearer_token: Some("let-me-in".into()), ..register };
    let first = agent.client.register_webhook(&register).await.unwrap();
    let id = first.webhook.id;
    let tested = async || {
        let event = agent.client.test_webhook(id).await.unwrap().event_id;
        let name = format!("msg_{}", event.simple());
        until(async || receiver.taken().remove(&name)).await
    };
    let message = tested().await;
    assert_eq!((message.signed_by(&first.secret), message.header("authorization")), ((1, 1), "Bearer let-me-in"));
    assert_eq!(message.json()["type"], "webhook_test");
    let second = agent.client.rotate_webhook(id).await.unwrap();
    let message = tested().await;
    assert_eq!((message.signed_by(&first.secret), message.signed_by(&second.secret)), ((1, 2), (1, 2)));
    sqlx::query("UPDATE webhooks SET previous_until = now()").execute(&pool).await.unwrap();
    let message = tested().await;
    assert_eq!((message.signed_by(&first.secret), message.signed_by(&second.secret)), ((0, 1), (1, 1)));

    // Who has the secret sees all that is posted, so who changed it is known.
    agent.client.remove_webhook(id).await.unwrap();
    let support = market.client.with_api_key(&market.staff(world.stack.database_url(), Role::Support).await);
    let filter = AuditFilter { subject: Some(id), ..AuditFilter::default() };
    let noted = support.audit_events(&filter).await.unwrap().data;
    let noted: Vec<_> = noted.into_iter().map(|entry| (entry.event.event_type, entry.event.actor)).collect();
    let by_agent = |what: &str| (what.to_owned(), Some(agent.agent.id));
    assert_eq!(noted, ["webhook_removed", "webhook_rotated", "webhook_registered"].map(by_agent));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_slowly_has_not_the_places_of_who_answers_at_once() {
    let world = World::new().await;
    let market = start(&world).await;
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let ((slow, to_slow), (quick, to_quick)) = (Receiver::start().await, Receiver::start().await);
    for (name, account) in [("one", SELLER), ("two", BUYER)] {
        let agent = market.join(name, account, AgentType::Both).await;
        for _ in 0..8 {
            agent.client.register_webhook(&updates(&to_slow)).await.unwrap();
        }
    }
    let agent = market.join("three", 7, AgentType::Both).await;
    agent.client.register_webhook(&updates(&to_quick)).await.unwrap();
    sqlx::query("UPDATE webhooks SET created_at = now() - interval '1 hour'").execute(&pool).await.unwrap();
    slow.thinks.store(1_200, Ordering::Relaxed);
    tell(&pool, 1).await;
    until(async || {
        let known = "SELECT count(slow_at), count(last_delivered_at) FROM webhooks";
        (sqlx::query_as::<_, (i64, i64)>(known).fetch_one(&pool).await.unwrap() == (16, 17)).then_some(())
    })
    .await;

    // More than all places of the slow ones alone, and they hold what they have.
    slow.thinks.store(60_000, Ordering::Relaxed);
    let before = slow.count();
    let mut tx = pg::begin(&pool).await.unwrap();
    for n in 0..20 {
        feed::emit(&mut tx, Event::public(EventType::CatalogUpdate, Audience::Market, json!({"n": n}))).await.unwrap();
    }
    tx.commit().await.unwrap();
    until(async || (quick.taken().len() == 21 && slow.count() - before >= 128).then_some(())).await;
    assert_eq!(slow.count() - before, 128, "half of all places");
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_their_agents_and_so_is_what_they_are_sent() {
    let world = World::new().await;
    let market = start(&world).await;
    let mine = market.join("mine", SELLER, AgentType::Both).await;
    let other = market.join("other", BUYER, AgentType::Both).await;
    let third = market.join("third", 7, AgentType::Both).await;
    let ((of_mine, register), (of_third, register_third)) = (Receiver::start().await, Receiver::start().await);
    let private = |register: &RegisterWebhook| RegisterWebhook { topics: Some(vec![Topic::Agent]), ..register.clone() };
    let hook = mine.client.register_openclaw(&private(&register)).await.unwrap().webhook;
    let of_other = third.client.register_webhook(&private(&register_third)).await.unwrap().webhook;
    let send = |to| Send { to_agent_id: to, asset: Asset::Ard, amount: "1".parse().unwrap(), memo: None };
    other.client.send_money(&send(mine.agent.id), "one").await.unwrap();
    other.client.send_money(&send(third.agent.id), "two").await.unwrap();
    let to = |receiver: &Receiver| {
        let taken = receiver.taken();
        taken.values().map(|came| came.json()["data"]["data"]["to_agent_id"].clone()).collect::<Vec<_>>()
    };
    // The second comes after the first, so what is not there by then does not come.
    until(async || (!to(&of_third).is_empty()).then_some(())).await;
    until(async || (!to(&of_mine).is_empty()).then_some(())).await;
    assert_eq!((to(&of_mine), to(&of_third)), (vec![json!(mine.agent.id)], vec![json!(third.agent.id)]));

    assert!(mine.client.webhooks().await.unwrap().data.is_empty(), "the one for OpenClaw is not among them");
    let status = mine.client.openclaw_status().await.unwrap();
    assert_eq!((status.connected, status.webhooks, status.dead), (true, 1, 0));
    assert_eq!(refusal(mine.client.remove_webhook(hook.id).await), Code::NotFound);
    for refused in [
        refusal(mine.client.remove_webhook(of_other.id).await),
        refusal(mine.client.rotate_webhook(of_other.id).await),
        refusal(mine.client.test_webhook(of_other.id).await),
        refusal(mine.client.replay_webhook(of_other.id, &ReplayWebhook::default()).await),
        refusal(mine.client.webhook_deliveries(of_other.id, &DeliveryFilter::default()).await),
    ] {
        assert_eq!(refused, Code::NotFound);
    }
    for _ in 1..10 {
        mine.client.register_webhook(&register).await.unwrap();
    }
    assert_eq!(refusal(mine.client.register_webhook(&register).await), Code::OverLimit);
    third.client.remove_webhook(of_other.id).await.unwrap();
    assert!(third.client.webhooks().await.unwrap().data.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_sent_to_a_neighbour_of_ours_by_address_or_by_name() {
    let world = World::new().await;
    let market = world.market().await;
    let agent = market.join("agent", SELLER, AgentType::Both).await;
    let (_, register) = Receiver::start().await;
    let at = |url: &str| RegisterWebhook { url: url.parse().unwrap(), ..register.clone() };
    for url in [
        "http://example.com/",
        "https://127.0.0.1/",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:192.168.0.1]/",
        "https://2130706433/",
        "https://user:word@example.com/",
    ] {
        assert_eq!(refusal(agent.client.register_webhook(&at(url)).await), Code::InvalidRequest, "{url}");
    }
    let long = format!("https://example.com/{}", "x".repeat(2_000));
    assert_eq!(refusal(agent.client.register_webhook(&at(&long)).await), Code::InvalidRequest);

    // A name says nothing until it is looked up, which is when the connection is made.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let webhook = agent.client.register_webhook(&at(&format!("https://localhost:{port}/"))).await.unwrap().webhook;
    agent.client.test_webhook(webhook.id).await.unwrap();
    let tried = until(async || {
        let mut deliveries = agent.client.webhook_deliveries(webhook.id, &DeliveryFilter::default()).await.unwrap().data;
        deliveries.pop().and_then(|delivery| delivery.last_error)
    });
    let error = tried.await;
    assert!(error.contains("no address on the public internet"), "{error}");
    let connected = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
    assert!(connected.is_err(), "somebody connected");
}
