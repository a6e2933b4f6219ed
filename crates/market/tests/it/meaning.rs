//! Searches by meaning, with an endpoint that answers as OpenAI's does, or does not.

use std::{
    fmt::Write as _,
    future,
    sync::{Arc, Mutex, Once},
    time::{Duration, Instant},
};

use api::{AgentType, Category, Code, Discover, Discovered, UpdateListing};
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use market::Config;
use serde::Deserialize;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::net::TcpListener;
use tracing::{Event, Metadata, Subscriber, field::Field, span};
use url::Url;
use uuid::Uuid;

use crate::{
    demand::until,
    harness::{METRICS, Market, Member, PRICE, SELLER, WAIT, World, because, goods, refusal},
};

const KEY: &str = "sk-nobody-may-read-this";
/// What the endpoint refuses whatever comes with it.
const POISON: &str = "untellable";
/// The axes of what can be meant.
const AXES: [&[&str]; 2] =
    [&["weather", "forecast", "rain", "climate"], &["traffic", "cars", "roads", "jams", "lanes", "trucks", "buses"]];

/// How the endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    /// It answers never.
    Late,
    /// It fails, and tells the key.
    Broken,
    /// It answers with what is none.
    Babbling,
    /// Its vectors are longer than they were.
    Other,
}

#[derive(Clone)]
struct Endpoint {
    url: Url,
    mood: Arc<Mutex<Mood>>,
    /// The texts of each question.
    asked: Arc<Mutex<Vec<Vec<String>>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    model: String,
    input: Vec<String>,
}

impl Endpoint {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/", listener.local_addr().unwrap()).parse().unwrap();
        let endpoint = Self { url, mood: Arc::new(Mutex::new(Mood::Well)), asked: Arc::default() };
        let router = Router::new().route("/v1/embeddings", post(embeddings)).with_state(endpoint.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        endpoint
    }

    fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn asked(&self) -> Vec<Vec<String>> {
        self.asked.lock().unwrap().clone()
    }

    /// A market that asks it.
    async fn market(&self, world: &World) -> Market {
        let config = Config {
            embedding_url: Some(self.url.clone()),
            embedding_model: "axes".into(),
            embedding_key: Some(KEY.into()),
            ..world.config()
        };
        Market::alone(config, because::MEMORY).await
    }
}

async fn embeddings(State(endpoint): State<Endpoint>, headers: HeaderMap, Json(question): Json<Question>) -> Response {
    if headers["authorization"] != format!("Bearer {KEY}") || question.model != "axes" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    endpoint.asked.lock().unwrap().push(question.input.clone());
    if question.input.iter().any(|text| text.contains(POISON)) {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let mood = *endpoint.mood.lock().unwrap();
    match mood {
        Mood::Late => future::pending().await,
        Mood::Broken => (StatusCode::INTERNAL_SERVER_ERROR, format!("no luck with {KEY}")).into_response(),
        Mood::Babbling => format!("{{\"data\": [\"{KEY}\"").into_response(),
        Mood::Well | Mood::Other => {
            let len = if mood == Mood::Well { 8 } else { 16 };
            let vectors = question.input.iter().map(|text| vector(text, len)).enumerate();
            // In an order of its own.
            let data: Vec<_> = vectors.rev().map(|(index, embedding)| json!({"index": index, "embedding": embedding})).collect();
            Json(json!({"object": "list", "model": question.model, "data": data})).into_response()
        }
    }
}

/// How many different words a text has of each axis.
fn vector(text: &str, len: usize) -> Vec<f32> {
    let text = text.to_lowercase();
    let words: Vec<_> = text.split(|c: char| !c.is_alphanumeric()).collect();
    let mut vector: Vec<f32> = AXES.iter().map(|axis| axis.iter().filter(|word| words.contains(word)).count() as f32).collect();
    vector.resize(len, 0.0);
    if vector.iter().all(|x| *x == 0.0) {
        vector[len - 1] = 1.0;
    }
    vector
}

/// All that the market logs, of every market in this process.
static LOG: Mutex<String> = Mutex::new(String::new());

struct Log;

impl Log {
    fn start() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| tracing::subscriber::set_global_default(Self).unwrap());
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && ["market", "reqwest", "hyper_util"].iter().any(|of| metadata.target().starts_with(of))
    }

    fn event(&self, event: &Event<'_>) {
        let mut log = LOG.lock().unwrap();
        event.record(&mut |field: &Field, value: &dyn std::fmt::Debug| {
            let _ = writeln!(log, "{field}: {value:?}");
        });
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn search(q: &str) -> Discover {
    Discover { q: Some(q.into()), ..Discover::default() }
}

fn titles(found: &Discovered) -> Vec<&str> {
    found.data.iter().map(|listing| listing.title.as_str()).collect()
}

/// Waits until a search finds these, of which so many are near.
async fn finds(market: &Market, q: &str, wanted: &[&str], near: u32) {
    let found = until(async || {
        let found = market.client.discover(&search(q)).await.unwrap();
        (titles(&found) == wanted && found.near == near).then_some(())
    });
    tokio::time::timeout(WAIT / 2, found).await.unwrap_or_else(|_| panic!("{q:?} does not find {wanted:?}"));
}

async fn kept(world: &World) -> i64 {
    let mut conn = PgConnection::connect(world.stack.database_url()).await.unwrap();
    sqlx::query_scalar("SELECT count(*) FROM market.listing_meanings").fetch_one(&mut conn).await.unwrap()
}

const CALM: &str = "Forecast of weather";
/// It has the word more often, and is about something else.
const LOUD: &str = "Forecast forecast forecast: traffic, cars, roads, jams, lanes";

/// By words alone, LOUD comes before CALM.
async fn offer(market: &Market) -> (Member, [Uuid; 2]) {
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let mut ids = Vec::new();
    for title in [CALM, LOUD] {
        ids.push(seller.client.create_listing(&goods(title, PRICE, Some(title.as_bytes()))).await.unwrap().id);
    }
    (seller, ids.try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_means_the_same_is_found_and_comes_first() {
    let (world, endpoint) = (World::new().await, Endpoint::start().await);
    let plain = world.alone(because::MEMORY).await;
    let (seller, [calm, loud]) = offer(&plain).await;
    let by_words = plain.client.discover(&search("forecast")).await.unwrap();
    assert_eq!((titles(&by_words), by_words.near), (vec![LOUD, CALM], 0));
    assert!(plain.client.discover(&search("climate")).await.unwrap().data.is_empty());

    let market = endpoint.market(&world).await;
    finds(&market, "forecast", &[CALM, LOUD], 0).await;
    finds(&market, "climate", &[CALM], 1).await;
    finds(&market, "trucks", &[LOUD], 1).await;
    let strict = market.client.discover(&search("\"trucks\"")).await.unwrap();
    assert!(strict.data.is_empty(), "nothing but these words will do");
    let elsewhere = Discover { category: Some(Category::WebSearch), ..search("climate") };
    assert!(market.client.discover(&elsewhere).await.unwrap().data.is_empty(), "filters hold for what is near, too");

    let first = market.client.discover(&Discover { limit: Some(1), ..search("forecast") }).await.unwrap();
    assert_eq!(titles(&first), [CALM]);
    endpoint.is(Mood::Late);
    let next = Discover { limit: Some(1), cursor: first.next_cursor, ..search("forecast") };
    let second = market.client.discover(&next).await.unwrap();
    assert_eq!((titles(&second), &second.next_cursor), (vec![LOUD], &None), "the order of the first page, without the endpoint");
    assert_eq!(refusal(plain.client.discover(&next).await), Code::InvalidRequest, "this market cannot go on in that order");
    endpoint.is(Mood::Well);

    let change = UpdateListing { title: Some("Trucks and buses".into()), ..UpdateListing::default() };
    seller.client.update_listing(calm, &change).await.unwrap();
    finds(&market, "jams", &[LOUD, "Trucks and buses"], 1).await;
    finds(&market, "climate", &[], 0).await;
    let times = |part: &str| endpoint.asked().iter().flatten().filter(|text| text.starts_with(part)).count();
    assert_eq!((times(LOUD), times("Trucks and buses")), (1, 1), "only what changed is read again");
    seller.client.update_listing(loud, &UpdateListing { price: Some(PRICE), ..UpdateListing::default() }).await.unwrap();
    seller.client.delist(calm).await.unwrap();
    until(async || (kept(&world).await == 1).then_some(())).await;
    assert_eq!(times(LOUD), 1, "a price has no meaning");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_fails_leaves_searches_as_they_are_and_nobody_reads_its_key() {
    Log::start();
    let (world, endpoint) = (World::new().await, Endpoint::start().await);
    let market = endpoint.market(&world).await;
    offer(&market).await;
    finds(&market, "climate", &[CALM], 1).await;
    market.stop().await;
    for mood in [Mood::Late, Mood::Broken, Mood::Babbling, Mood::Other] {
        endpoint.is(mood);
        let before = endpoint.asked().len();
        let market = endpoint.market(&world).await;
        let begun = Instant::now();
        let found = market.client.discover(&search("forecast")).await.unwrap();
        // It waits 0.3 seconds; the rest is for a machine that is busy.
        assert!(begun.elapsed() < Duration::from_secs(3), "{mood:?}: {:?}", begun.elapsed());
        assert_eq!((titles(&found), found.near), (vec![LOUD, CALM], 0), "{mood:?}");
        assert!(market.client.discover(&search("climate")).await.unwrap().data.is_empty(), "{mood:?}");
        if mood != Mood::Other {
            assert_eq!(endpoint.asked().len() - before, 1, "{mood:?}: after a failure searches do not wait for it");
            let metrics = reqwest::Client::new().get(market.url.join("metrics").unwrap()).bearer_auth(METRICS);
            let metrics = metrics.send().await.unwrap().text().await.unwrap();
            assert!(metrics.contains("market_embeddings_failed_total 1\n") && !metrics.contains(KEY), "{metrics}");
        }
        market.stop().await;
    }
    let nowhere =
        Config { embedding_url: Some("http://127.0.0.1:1".parse().unwrap()), embedding_key: Some(KEY.into()), ..world.config() };
    assert!(!format!("{nowhere:?}").contains(KEY));
    let market = Market::alone(nowhere, because::MEMORY).await;
    assert_eq!(titles(&market.client.discover(&search("forecast")).await.unwrap()), [LOUD, CALM]);
    let log = LOG.lock().unwrap();
    assert!(log.contains("the embedding endpoint fails") && !log.contains(KEY), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_the_endpoint_refuses_keeps_no_other_from_being_read() {
    let (world, endpoint) = (World::new().await, Endpoint::start().await);
    let markets = [endpoint.market(&world).await, endpoint.market(&world).await];
    let seller = markets[0].join("seller", SELLER, AgentType::Seller).await;
    for title in ["Rain", "Climate", POISON, "Cars", "Lanes"] {
        seller.client.create_listing(&goods(title, PRICE, Some(title.as_bytes()))).await.unwrap();
    }
    until(async || (kept(&world).await == 4).then_some(())).await;
    let mut conn = PgConnection::connect(world.stack.database_url()).await.unwrap();
    until(async || {
        let due: i64 = sqlx::query_scalar("SELECT count(*) FROM market.meanings_due").fetch_one(&mut conn).await.unwrap();
        (due == 0).then_some(())
    })
    .await;
    let before = endpoint.asked().len();
    for q in [POISON, "rain"] {
        markets[0].client.discover(&search(q)).await.unwrap();
    }
    assert_eq!(endpoint.asked().len() - before, 2, "a search that is refused keeps no other from being understood");
}
