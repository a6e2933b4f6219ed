//! Instances of the market in this process: one that serves, or two of which one or the other dies all the time.

use std::{
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use market::Config;
use rand::Rng;
use sqlx::{Connection, PgConnection};
use tokio::{net::TcpListener, runtime::Runtime, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{front::Front, harness::WAIT};

/// Between a death and the next.
const PAUSE_MS: Range<u64> = 100..2_000;

/// How many instances the tests ask for that do not say so themselves: `FLORIN_TEST_INSTANCES`, 1 or 2.
pub(crate) fn asked_for() -> usize {
    match std::env::var("FLORIN_TEST_INSTANCES").as_deref() {
        Err(_) | Ok("1") => 1,
        Ok("2") => 2,
        Ok(other) => panic!("FLORIN_TEST_INSTANCES is {other}: say 1 or 2"),
    }
}

/// One that serves.
pub(crate) struct Instance {
    pub(crate) at: SocketAddr,
    task: JoinHandle<Result<(), market::Error>>,
    shutdown: CancellationToken,
    /// Of its own, so that all of it can die at once.
    runtime: Option<Runtime>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn bind() -> (std::net::TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    (listener.into_std().unwrap(), at)
}

impl Instance {
    pub(crate) async fn start(config: Config) -> Result<Self, market::Error> {
        let (listener, at) = bind().await;
        let (shutdown, runtime) = (CancellationToken::new(), runtime());
        let token = shutdown.clone();
        let task = runtime.spawn(async move { market::serve(config, TcpListener::from_std(listener).unwrap(), token).await });
        let mut instance = Self { at, task, shutdown, runtime: Some(runtime) };
        while !instance.answers().await {
            if instance.task.is_finished() {
                return Err((&mut instance.task).await.unwrap().unwrap_err());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(instance)
    }

    /// Whoever is asked too often answers, too.
    async fn answers(&self) -> bool {
        let answer = reqwest::get(format!("http://{}/health", self.at)).await;
        answer.is_ok_and(|answer| answer.status().is_success() || answer.status().as_u16() == 429)
    }

    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        (&mut self.task).await.unwrap().unwrap();
    }
}

/// Two with one database and one configuration behind a round-robin proxy. At random moments one is killed and started again, never both.
///
/// It dies as hard as can be without killing a process: all that it does in the background is dropped wherever it is, and so are WebSockets,
/// event streams and whatever goes on after its request was answered. Requests are the exception: the proxy gives it no new ones and it dies when those
/// under way have their answers, because a client without an `Idempotency-Key` cannot know what became of a request that was abandoned.
/// Requests that are abandoned, and repeated with their keys, are what `fire.rs` is for.
pub(crate) struct Pair {
    pub(crate) url: Url,
    deaths: Arc<AtomicUsize>,
    /// No more of them die.
    enough: CancellationToken,
    lives: Option<JoinHandle<[Option<Instance>; 2]>>,
    /// The proxy's, and of who kills.
    runtime: Option<Runtime>,
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Pair {
    pub(crate) async fn start(mut config: Config) -> Self {
        let (listener, at) = bind().await;
        let url: Url = format!("http://{at}").parse().unwrap();
        config.proxies += 1;
        if config.token_secrets.is_empty() {
            config.token_secrets.push(rand::random::<[u8; 32]>().into());
        }
        let kind = Kind { config, url: url.clone() };
        let (one, two) = tokio::join!(kind.start(), kind.start());
        let instances = [one.unwrap(), two.unwrap()];
        let front = Front::before([instances[0].at, instances[1].at]);
        let (deaths, enough, runtime) = (Arc::<AtomicUsize>::default(), CancellationToken::new(), runtime());
        let serving = front.clone();
        runtime.spawn(async move { serving.serve(TcpListener::from_std(listener).unwrap()).await });
        let lives = runtime.spawn(live(kind, front, instances, deaths.clone(), enough.clone()));
        Self { url, deaths, enough, lives: Some(lives), runtime: Some(runtime) }
    }

    pub(crate) fn deaths(&self) -> usize {
        self.deaths.load(Ordering::Relaxed)
    }

    pub(crate) async fn stop(mut self) {
        self.enough.cancel();
        let instances = tokio::time::timeout(WAIT, self.lives.take().unwrap()).await.expect("both are alive").unwrap();
        join_all(instances.into_iter().flatten().map(Instance::stop)).await;
    }
}

/// Kills one of two and starts it again, at random, until it is enough.
async fn live(
    kind: Kind,
    front: Arc<Front>,
    instances: [Instance; 2],
    deaths: Arc<AtomicUsize>,
    enough: CancellationToken,
) -> [Option<Instance>; 2] {
    let mut instances = instances.map(Some);
    loop {
        let pause = Duration::from_millis(rand::rng().random_range(PAUSE_MS));
        if enough.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return instances;
        }
        let which = usize::from(rand::random::<bool>());
        if !front.close(which).await {
            continue;
        }
        instances[which] = None;
        deaths.fetch_add(1, Ordering::Relaxed);
        let born = loop {
            match kind.start().await {
                Ok(born) => break born,
                // At the end of a test its database may be gone before its market.
                Err(error) => eprintln!("an instance does not start again: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        front.open(which, born.at);
        instances[which] = Some(born);
    }
}

/// What instances of a pair have in common.
struct Kind {
    config: Config,
    /// Where clients reach them.
    url: Url,
}

impl Kind {
    async fn start(&self) -> Result<Instance, market::Error> {
        loop {
            match Instance::start(self.named().await?).await {
                // Another pair of the same world named its own address meanwhile.
                Err(market::Error::PublicUrl { .. }) => {}
                started => return started,
            }
        }
    }

    /// With the proxy's address, unless the test names one. Whoever starts a market anew has another, so each start moves it from where it was.
    async fn named(&self) -> Result<Config, market::Error> {
        let config = self.config.clone();
        if config.public_url.is_some() {
            return Ok(config);
        }
        market::migrate(&config.database_url).await?;
        let mut conn = PgConnection::connect(&config.database_url).await?;
        let kept: Option<String> = sqlx::query_scalar("SELECT public_url FROM market.settings").fetch_optional(&mut conn).await?;
        conn.close().await?;
        let moved_from = kept.map(|kept| kept.parse().unwrap());
        Ok(Config { public_url: Some(self.url.clone()), moved_from, ..config })
    }
}
