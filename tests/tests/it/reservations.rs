//! Reservations in memory, Postgres and Redis: one state machine, and one proof serves once across instances.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alloy::primitives::{Address, B256, U256};
use axum::{Json, Router, routing::post};
use bytes::Bytes;
use futures::future::join_all;
use http::{HeaderMap, HeaderValue, StatusCode};
use proptest::{prelude::*, sample::Index};
use sqlx::PgPool;
use stack::{Postgres, Redis};
use tokio::runtime::Runtime;
use url::Url;
use x402::{
    Eip3009Authorization, Eip3009Payload, ExactPayload, FacilitatorClient, Network, PaymentPayload, PaymentRequest,
    PaymentRequirements, SettleResponse, Token, TokenAmount, V2, VerifyResponse, header,
    server::{
        Claim, Gate, Kept, Lease, MemoryReservations, PaidLayer, PostgresReservations, Pricing, RedisReservations,
        ReservationError, Reservations, Served, Work,
    },
};

/// What tests call at random. The keys and fingerprints are few, so that calls meet.
#[derive(Clone, Debug)]
enum Call {
    Find { key: u8, fingerprint: u8, crash: bool },
    Reserve { key: u8, fingerprint: u8, crash: bool },
    Keep { lease: Index, work: Option<Vec<u8>>, crash: bool },
    Renew { lease: Index, crash: bool },
    Suspend { lease: Index },
    Spend { lease: Index, work: Option<Vec<u8>> },
    Release { lease: Index },
    Remember { name: u8, value: u8 },
    Recall { name: u8 },
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let work = || prop::option::of(prop::collection::vec(any::<u8>(), 0..20));
    let call = prop_oneof![
        3 => (0..2_u8, 0..2_u8, any::<bool>()).prop_map(|(key, fingerprint, crash)| Call::Find { key, fingerprint, crash }),
        4 => (0..2_u8, 0..2_u8, any::<bool>()).prop_map(|(key, fingerprint, crash)| Call::Reserve { key, fingerprint, crash }),
        4 => (any::<Index>(), work(), any::<bool>()).prop_map(|(lease, work, crash)| Call::Keep { lease, work, crash }),
        2 => (any::<Index>(), any::<bool>()).prop_map(|(lease, crash)| Call::Renew { lease, crash }),
        2 => any::<Index>().prop_map(|lease| Call::Suspend { lease }),
        1 => (any::<Index>(), work()).prop_map(|(lease, work)| Call::Spend { lease, work }),
        1 => any::<Index>().prop_map(|lease| Call::Release { lease }),
        1 => (0..2_u8, any::<u8>()).prop_map(|(name, value)| Call::Remember { name, value }),
        1 => (0..2_u8).prop_map(|name| Call::Recall { name }),
    ];
    prop::collection::vec(call, 1..40)
}

/// What every store must do: the state of each key, and whose it is. A crash is a lease that lapses at once.
#[derive(Default)]
struct Model {
    keys: HashMap<u8, State>,
    memos: HashMap<u8, u8>,
    leases: usize,
}

#[derive(Clone)]
struct State {
    fingerprint: u8,
    /// The number of the lease, unless it lapsed.
    holder: Option<usize>,
    kept: Option<Kept>,
    spent: Option<Served>,
}

#[expect(clippy::large_enum_variant, reason = "one at a time")]
#[derive(Debug, PartialEq)]
enum Found {
    Nothing,
    New,
    Busy,
    Resume(Kept),
    Spent(Served),
}

impl Model {
    fn ask(&mut self, key: u8, fingerprint: u8, create: bool, crash: bool) -> Found {
        let state = self.keys.get(&key).cloned().filter(|state| create || state.fingerprint == fingerprint);
        let holder = (!crash).then_some(self.leases);
        match state {
            Some(State { spent: Some(served), .. }) => return Found::Spent(served),
            Some(State { holder: Some(_), .. }) => return Found::Busy,
            Some(State { kept: Some(kept), fingerprint: of, .. }) => {
                if of != fingerprint {
                    return Found::Busy;
                }
                self.keys.insert(key, State { fingerprint, holder, kept: Some(kept.clone()), spent: None });
                self.leases += 1;
                return Found::Resume(kept);
            }
            _ if !create => return Found::Nothing,
            _ => {}
        }
        self.keys.insert(key, State { fingerprint, holder, kept: None, spent: None });
        self.leases += 1;
        Found::New
    }

    fn held(&mut self, lease: usize) -> Option<&mut State> {
        self.keys.values_mut().find(|state| state.holder == Some(lease))
    }
}

fn work(body: Option<Vec<u8>>) -> Option<Work> {
    let mut headers = HeaderMap::new();
    headers.append("x-any", HeaderValue::from_bytes(b"\xff,\"").unwrap());
    headers.append("x-any", HeaderValue::from_static("twice"));
    body.map(|body| Work { status: StatusCode::CREATED, headers, body: Bytes::from(body) })
}

fn receipt() -> SettleResponse {
    SettleResponse::settled(Network::evm(84532), Address::repeat_byte(7), B256::repeat_byte(9))
}

/// Two handles on one store: the leases of the second lapse at once, as if whoever takes them crashed.
struct Store {
    healthy: Arc<dyn Reservations>,
    crashing: Arc<dyn Reservations>,
}

impl Store {
    fn memory() -> Self {
        let store = MemoryReservations::default();
        Self { healthy: Arc::new(store.clone()), crashing: Arc::new(store.lease(Duration::ZERO)) }
    }

    async fn postgres(url: &str) -> Self {
        let store = PostgresReservations::new(PgPool::connect(url).await.unwrap()).await.unwrap();
        Self { healthy: Arc::new(store.clone()), crashing: Arc::new(store.lease(Duration::ZERO)) }
    }

    async fn redis(url: &str) -> Self {
        let store = RedisReservations::new(url).await.unwrap();
        Self { healthy: Arc::new(store.clone()), crashing: Arc::new(store.lease(Duration::ZERO)) }
    }

    fn choose(&self, crash: bool) -> &dyn Reservations {
        if crash { &*self.crashing } else { &*self.healthy }
    }

    /// Plays the calls on the store and on the model, and compares what they say.
    async fn play(&self, calls: Vec<Call>) {
        let seed: B256 = alloy::signers::local::PrivateKeySigner::random().to_bytes();
        let name = |byte: u8| B256::from_slice(&[&[byte], &seed[1..]].concat());
        let (mut model, mut leases) = (Model::default(), Vec::<Lease>::new());
        for call in calls {
            let pick = |index: Index| (!leases.is_empty()).then(|| index.index(leases.len()));
            match call.clone() {
                Call::Find { key, fingerprint, crash } => {
                    let claim = self.choose(crash).find(name(key), name(fingerprint)).await.unwrap();
                    assert_eq!(found(claim, &mut leases), model.ask(key, fingerprint, false, crash), "{call:?}");
                }
                Call::Reserve { key, fingerprint, crash } => {
                    let claim = self.choose(crash).reserve(name(key), name(fingerprint)).await.unwrap();
                    assert_eq!(found(Some(claim), &mut leases), model.ask(key, fingerprint, true, crash), "{call:?}");
                }
                Call::Keep { lease, work: body, crash } => {
                    let Some(lease) = pick(lease) else { continue };
                    let charge = Some(TokenAmount(U256::from(50_000)));
                    let deposit = body.is_none().then(receipt);
                    let kept = Kept { work: work(body), charge, deposit, receipt: crash.then(receipt) };
                    let done = self.choose(crash).keep(leases[lease], kept.clone()).await;
                    let state = model.held(lease).map(|state| {
                        state.kept = Some(kept);
                        state.holder = state.holder.filter(|_| !crash);
                    });
                    same(done, state, &call);
                }
                Call::Renew { lease, crash } => {
                    let Some(lease) = pick(lease) else { continue };
                    let done = self.choose(crash).renew(leases[lease]).await;
                    same(done, model.held(lease).map(|state| state.holder = state.holder.filter(|_| !crash)), &call);
                }
                Call::Suspend { lease } => {
                    let Some(lease) = pick(lease) else { continue };
                    let done = self.healthy.suspend(leases[lease]).await;
                    same(done, model.held(lease).map(|state| state.holder = None), &call);
                }
                Call::Spend { lease, work: body } => {
                    let Some(lease) = pick(lease) else { continue };
                    let served = Served { receipt: receipt(), work: work(body) };
                    let done = self.healthy.spend(leases[lease], served.clone()).await;
                    let state = model.held(lease).map(|state| (state.holder, state.spent) = (None, Some(served)));
                    same(done, state, &call);
                }
                Call::Release { lease } => {
                    let Some(lease) = pick(lease) else { continue };
                    let done = self.healthy.release(leases[lease]).await;
                    let held = model.held(lease).map(|_| ());
                    model.keys.retain(|_, state| state.holder != Some(lease));
                    same(done, held, &call);
                }
                Call::Remember { name: memo, value } => {
                    let known = *model.memos.entry(memo).or_insert(value);
                    let told = self.healthy.remember(name(memo), name(value), Duration::from_secs(60)).await.unwrap();
                    assert_eq!(told, name(known), "{call:?}");
                }
                Call::Recall { name: memo } => {
                    let told = self.healthy.recall(name(memo)).await.unwrap();
                    assert_eq!(told, model.memos.get(&memo).map(|value| name(*value)), "{call:?}");
                }
            }
        }
    }
}

fn found(claim: Option<Claim>, leases: &mut Vec<Lease>) -> Found {
    match claim {
        None => Found::Nothing,
        Some(Claim::Busy) => Found::Busy,
        Some(Claim::Spent(served)) => Found::Spent(*served),
        Some(Claim::New(lease)) => {
            leases.push(lease);
            Found::New
        }
        Some(Claim::Resume(lease, kept)) => {
            leases.push(lease);
            Found::Resume(*kept)
        }
    }
}

fn same(done: Result<(), ReservationError>, held: Option<()>, call: &Call) {
    let expected = match &done {
        Ok(()) => Some(()),
        Err(ReservationError::Lost) => None,
        Err(error) => panic!("{call:?}: {error}"),
    };
    assert_eq!(expected, held, "{call:?}: {done:?}");
}

fn check(runtime: &Runtime, store: &Store) {
    let config = ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(calls in calls())| runtime.block_on(store.play(calls)));
}

#[test]
fn memory_keeps_to_the_model() {
    check(&Runtime::new().unwrap(), &Store::memory());
}

#[test]
fn postgres_keeps_to_the_model() {
    let runtime = Runtime::new().unwrap();
    let (_server, store) = runtime.block_on(async {
        let server = Postgres::start(None).await.unwrap();
        let url = server.create("reservations", None).await.unwrap().url;
        (server, Store::postgres(&url).await)
    });
    check(&runtime, &store);
}

#[test]
fn redis_keeps_to_the_model() {
    let runtime = Runtime::new().unwrap();
    let (_server, store) = runtime.block_on(async {
        let server = Redis::start().await.unwrap();
        let store = Store::redis(server.url()).await;
        (server, store)
    });
    check(&runtime, &store);
}

/// A copy of a shop with a gate of its own.
async fn instance(store: Arc<dyn Reservations>, facilitator: &Url, served: &Arc<AtomicUsize>) -> Url {
    let gate = Gate::new(FacilitatorClient::new(facilitator.clone()).unwrap()).reservations(store);
    let served = served.clone();
    let report = move || async move {
        served.fetch_add(1, Ordering::SeqCst);
        "the report"
    };
    let layer = PaidLayer::new(gate, Pricing::offers(vec![offer()])).public_url("http://shop".parse().unwrap());
    listen(Router::new().route("/report", axum::routing::get(report)).layer(layer)).await
}

pub(crate) fn offer() -> PaymentRequirements {
    let token = Token::usdc(&Network::evm(84532)).unwrap();
    PaymentRequirements::exact(&token, money::Usdc::from_base_units(50_000), Address::repeat_byte(0xaa), 60)
}

pub(crate) fn payment_from(from: Address) -> String {
    let authorization = Eip3009Authorization {
        from,
        to: Address::repeat_byte(0xaa),
        value: offer().amount,
        valid_after: TokenAmount::ZERO,
        valid_before: 4_000_000_000_u64.into(),
        nonce: B256::repeat_byte(3),
    };
    let payload = ExactPayload::Eip3009(Eip3009Payload { signature: vec![1; 65].into(), authorization }).to_json();
    header::encode(&PaymentPayload { x402_version: V2, resource: None, accepted: offer(), payload, extensions: None }).unwrap()
}

async fn listen(router: Router) -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// A facilitator that agrees to everything and counts settlements.
pub(crate) async fn facilitator(settlements: &Arc<AtomicUsize>) -> Url {
    let counter = settlements.clone();
    let settle = move |Json(request): Json<PaymentRequest>| async move {
        counter.fetch_add(1, Ordering::SeqCst);
        let key = request.payment_payload.key().unwrap();
        Json(SettleResponse::settled(key.network, key.payer, B256::repeat_byte(1)))
    };
    let verify = |Json(request): Json<PaymentRequest>| async move {
        Json(VerifyResponse::valid(request.payment_payload.key().unwrap().payer))
    };
    listen(Router::new().route("/verify", post(verify)).route("/settle", post(settle))).await
}

/// Two instances, each with its own connection to the store, get one proof a hundred times at once.
async fn one_proof_is_served_once(stores: [Arc<dyn Reservations>; 2]) {
    let settlements = Arc::new(AtomicUsize::new(0));
    let facilitator = facilitator(&settlements).await;
    let served = Arc::new(AtomicUsize::new(0));
    let instances = join_all(stores.map(|store| instance(store, &facilitator, &served))).await;
    let client = reqwest::Client::new();
    let statuses = join_all((0..100).map(|index| {
        let request = client
            .get(instances[index % 2].join("report").unwrap())
            .header(header::PAYMENT_SIGNATURE, payment_from(Address::repeat_byte(7)));
        async { request.send().await.unwrap().status().as_u16() }
    }))
    .await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 409, 503].contains(status)), "nobody is asked to pay again: {statuses:?}");
    assert_eq!((served.load(Ordering::SeqCst), settlements.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_that_share_postgres_serve_one_proof_once() {
    let server = Postgres::start(None).await.unwrap();
    let url = server.create("shared", None).await.unwrap().url;
    // Both at once: the first start of two instances makes the tables once.
    let (first, second) = tokio::join!(Store::postgres(&url), Store::postgres(&url));
    one_proof_is_served_once([first.healthy, second.healthy]).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_that_share_redis_serve_one_proof_once() {
    let server = Redis::start().await.unwrap();
    let (first, second) = tokio::join!(Store::redis(server.url()), Store::redis(server.url()));
    one_proof_is_served_once([first.healthy, second.healthy]).await;
    server.stop().await;
}

const SHORT: Duration = Duration::from_millis(900);

/// A seller dies while it asks to settle. Its client sends the same payment to another copy: refused for as long as the seller lives, and
/// served soon after it died, with the work that was kept and by the settlement that was begun.
async fn a_payment_outlives_its_seller<F>(store: impl Fn() -> F)
where
    F: Future<Output = Arc<dyn Reservations>> + Send + 'static,
{
    let (settlements, served) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counter = settlements.clone();
    let settle = move |Json(request): Json<PaymentRequest>| async move {
        if counter.fetch_add(1, Ordering::SeqCst) == 0 {
            std::future::pending::<()>().await;
        }
        let key = request.payment_payload.key().unwrap();
        Json(SettleResponse::settled(key.network, key.payer, B256::repeat_byte(1)))
    };
    let verify = |Json(request): Json<PaymentRequest>| async move {
        Json(VerifyResponse::valid(request.payment_payload.key().unwrap().payer))
    };
    let facilitator = listen(Router::new().route("/verify", post(verify)).route("/settle", post(settle))).await;
    let process = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let first = {
        let (store, facilitator, served) = (store(), facilitator.clone(), served.clone());
        process.spawn(async move { instance(store.await, &facilitator, &served).await }).await.unwrap()
    };
    let second = instance(store().await, &facilitator, &served).await;
    let send = |to: &Url| {
        let payment = payment_from(Address::repeat_byte(7));
        reqwest::Client::new().get(to.join("report").unwrap()).header(header::PAYMENT_SIGNATURE, payment).send()
    };
    let lives = async {
        while settlements.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Longer than a lease that is not renewed.
        for _ in 0..3 {
            tokio::time::sleep(SHORT / 2).await;
            assert_eq!(send(&second).await.unwrap().status(), 503, "it is being served");
        }
        tokio::task::spawn_blocking(move || process.shutdown_timeout(Duration::from_secs(5))).await.unwrap();
    };
    let (nothing, ()) = tokio::join!(send(&first), lives);
    assert!(nothing.is_err(), "{nothing:?}");
    let again = async {
        loop {
            let answer = send(&second).await.unwrap();
            if answer.status() != 503 {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(20), again).await.expect("its lease lapses");
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "the report"));
    assert_eq!((served.load(Ordering::SeqCst), settlements.load(Ordering::SeqCst)), (1, 2), "the work was done once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_outlives_a_seller_that_keeps_it_in_postgres() {
    let server = Postgres::start(None).await.unwrap();
    let url = server.create("dying", None).await.unwrap().url;
    a_payment_outlives_its_seller(|| {
        let url = url.clone();
        async move {
            let store = PostgresReservations::new(PgPool::connect(&url).await.unwrap()).await.unwrap();
            Arc::new(store.lease(SHORT)) as Arc<dyn Reservations>
        }
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_outlives_a_seller_that_keeps_it_in_redis() {
    let server = Redis::start().await.unwrap();
    a_payment_outlives_its_seller(|| {
        let url = server.url().to_owned();
        async move {
            let store = RedisReservations::new(&url).await.unwrap();
            Arc::new(store.lease(SHORT)) as Arc<dyn Reservations>
        }
    })
    .await;
    server.stop().await;
}
