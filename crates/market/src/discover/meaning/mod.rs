//! What listings and searches mean: an endpoint that speaks as OpenAI's does makes vectors of texts, and what is alike in meaning has vectors with
//! a small angle. Without an endpoint nothing of it runs, and no table of it is read.
//!
//! A search waits for it a moment at most, and is one by words when it does not answer. Listings are asked about beforehand (`follow`).

mod bits;
mod follow;

use std::{
    fmt::Write as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use moka::future::Cache;
use reqwest::redirect;
use serde::{Deserialize, Serialize};
use tokio::{sync::Semaphore, time};
use tracing::warn;
use url::Url;

use self::bits::{BITS, DIMENSION_MAX, bits};
pub(crate) use self::follow::follow;
use super::search::{Sense, bad_cursor};
use crate::{Config, problem::Problem};

/// How long a search waits to be understood, also by an answer to another, and how much shorter for one of its own.
const SEARCH_TIMEOUT: Duration = Duration::from_millis(300);
const ANSWER_TIMEOUT: Duration = Duration::from_millis(280);
/// After a failure, no search asks for so long.
const REST: Duration = Duration::from_secs(10);
const WARN_EVERY: Duration = Duration::from_secs(60);
/// Searches that are remembered, and those that ask at a time.
const KNOWN_MAX: u64 = 10_000;
const ASKING_MAX: usize = 32;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Of an answer, for each text: the numbers of the longest vector, and what stands between them.
const VECTOR_LEN_MAX_BYTES: usize = DIMENSION_MAX * 32;
/// Divides a cursor: its place in the order, and what the order is by.
const DIVIDER: char = '~';

/// The direction of a text among all that a model can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    dimension: i32,
    bits: [u8; BITS / 8],
}

/// The endpoint, as searches see it.
pub(crate) struct Meanings(Option<Endpoint>);

/// Asks for vectors.
pub(super) struct Endpoint {
    http: reqwest::Client,
    url: Url,
    key: Option<String>,
    pub(super) model: String,
    /// Bits that differ at most, of a listing without the words that is found all the same.
    far_max: i64,
    known: Cache<String, Meaning>,
    asking: Semaphore,
    rests_until: Mutex<Option<Instant>>,
    warned_at: Mutex<Option<Instant>>,
    asked: AtomicU64,
    failed: AtomicU64,
}

/// Why there is no vector. It says nothing of what was sent or answered: either may contain the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Unknown {
    #[error("it cannot be reached; is FLORIN_MARKET_EMBEDDING_URL right?")]
    Unreachable,
    #[error("it did not answer in time")]
    Late,
    #[error("it answered {0}; are FLORIN_MARKET_EMBEDDING_MODEL and FLORIN_MARKET_EMBEDDING_KEY right?")]
    Refused(u16),
    #[error("its answer is not one vector for each text, all of one length")]
    Unreadable,
    #[error("a vector of its answer is too long, or has no direction")]
    Meaningless,
    #[error("it failed a moment ago, or is asked for much else")]
    Resting,
}

impl Unknown {
    /// Whether another text may be answered.
    fn is_of_the_text(self) -> bool {
        matches!(self, Self::Refused(400 | 413 | 422) | Self::Meaningless)
    }
}

#[derive(Serialize)]
struct Question<'a> {
    model: &'a str,
    input: &'a [String],
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    index: Option<usize>,
    embedding: Vec<f32>,
}

impl Meanings {
    pub(crate) fn new(config: &Config) -> Self {
        Self(config.embedding_url.clone().map(|url| Endpoint::new(config, url)))
    }

    /// What a search means, if that can be known at once.
    pub(super) async fn of(&self, words: &str) -> Option<Meaning> {
        self.0.as_ref()?.known(words).await
    }

    /// A cursor's place in the order, and the meaning that the order is by: a next page goes on in the order of the first, whether or not the endpoint
    /// answers by then.
    pub(super) fn of_cursor<'a>(&self, cursor: &'a str) -> Result<(&'a str, Option<Meaning>), Problem> {
        let Some((place, meaning)) = cursor.split_once(DIVIDER) else { return Ok((cursor, None)) };
        let Some(meaning) = Meaning::read(meaning) else { return Err(bad_cursor()) };
        if self.0.is_none() {
            return Err(Problem::invalid("cursor is of an order by meaning, which is not told here any more: begin without it"));
        }
        Ok((place, Some(meaning)))
    }

    /// A meaning with the model whose it is.
    pub(super) fn sense(&self, meaning: Meaning) -> Option<Sense<'_>> {
        self.0.as_ref().map(|endpoint| Sense { model: &endpoint.model, meaning })
    }

    /// How many bits differ at most of what is found without the words.
    pub(super) fn far_max(&self) -> i64 {
        self.0.as_ref().map_or(0, |endpoint| endpoint.far_max)
    }

    /// Metrics with what they count.
    pub(crate) fn counts(&self) -> Vec<(&'static str, &'static str, u64)> {
        let Some(endpoint) = &self.0 else { return Vec::new() };
        vec![
            ("market_embeddings_asked_total", "questions to the embedding endpoint", endpoint.asked.load(Ordering::Relaxed)),
            ("market_embeddings_failed_total", "those that it did not answer", endpoint.failed.load(Ordering::Relaxed)),
        ]
    }
}

impl Endpoint {
    fn new(config: &Config, mut url: Url) -> Self {
        let path = format!("{}/embeddings", url.path().trim_end_matches('/'));
        url.set_path(&path);
        // The key is for this host alone.
        let http = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).redirect(redirect::Policy::none());
        Self {
            http: http.build().expect("TLS has been set up for the facilitator's client before"),
            url,
            key: config.embedding_key.clone(),
            model: config.embedding_model.clone(),
            far_max: i64::from(config.embedding_angle_max) * BITS as i64 / 180,
            known: Cache::new(KNOWN_MAX),
            asking: Semaphore::new(ASKING_MAX),
            rests_until: Mutex::new(None),
            warned_at: Mutex::new(None),
            asked: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    async fn known(&self, words: &str) -> Option<Meaning> {
        let look = async {
            let Ok(_turn) = self.asking.try_acquire() else { return Err(Unknown::Resting) };
            if lock(&self.rests_until).is_some_and(|until| Instant::now() < until) {
                return Err(Unknown::Resting);
            }
            let answer = self.ask(&[words.to_owned()], ANSWER_TIMEOUT).await;
            // What one search says must not end it for the others.
            if answer.as_ref().is_err_and(|why| !why.is_of_the_text()) {
                *lock(&self.rests_until) = Some(Instant::now() + REST);
            }
            answer?.first().copied().ok_or(Unknown::Unreadable)
        };
        // Whoever waits for another's question waits no longer than for their own, also when the other hangs up and it is asked again.
        let known: Result<_, Arc<Unknown>> =
            time::timeout(SEARCH_TIMEOUT, self.known.try_get_with_by_ref(words, look)).await.ok()?;
        known.ok()
    }

    /// The meanings of texts, in their order.
    async fn ask(&self, texts: &[String], timeout: Duration) -> Result<Vec<Meaning>, Unknown> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = time::timeout(timeout, self.ask_untimed(texts)).await.unwrap_or(Err(Unknown::Late));
        if let Err(why) = answer {
            self.failed.fetch_add(1, Ordering::Relaxed);
            let mut warned_at = lock(&self.warned_at);
            if warned_at.is_none_or(|at| at.elapsed() > WARN_EVERY) {
                *warned_at = Some(Instant::now());
                warn!(%why, "the embedding endpoint fails: searches go by words until it answers");
            }
        }
        answer
    }

    async fn ask_untimed(&self, texts: &[String]) -> Result<Vec<Meaning>, Unknown> {
        let mut request = self.http.post(self.url.clone()).json(&Question { model: &self.model, input: texts });
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let mut response = request.send().await.map_err(|_| Unknown::Unreachable)?;
        if !response.status().is_success() {
            return Err(Unknown::Refused(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|_| Unknown::Unreachable)? {
            if body.len() + chunk.len() > VECTOR_LEN_MAX_BYTES * texts.len() {
                return Err(Unknown::Unreadable);
            }
            body.extend_from_slice(&chunk);
        }
        read(&body, texts.len())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As many meanings as there are texts, all of one dimension.
fn read(body: &[u8], texts: usize) -> Result<Vec<Meaning>, Unknown> {
    let Answer { data } = serde_json::from_slice(body).map_err(|_| Unknown::Unreadable)?;
    let mut meanings = vec![None; texts];
    for (at, Vector { index, embedding }) in data.into_iter().enumerate() {
        let bits = bits(&embedding).ok_or(Unknown::Meaningless)?;
        let dimension = i32::try_from(embedding.len()).map_err(|_| Unknown::Meaningless)?;
        *meanings.get_mut(index.unwrap_or(at)).ok_or(Unknown::Unreadable)? = Some(Meaning { dimension, bits });
    }
    let meanings = meanings.into_iter().collect::<Option<Vec<_>>>().ok_or(Unknown::Unreadable)?;
    let is_one = meanings.windows(2).all(|two| two[0].dimension == two[1].dimension);
    is_one.then_some(meanings).ok_or(Unknown::Unreadable)
}

impl Meaning {
    pub(super) fn dimension(&self) -> i32 {
        self.dimension
    }

    /// As Postgres reads it.
    pub(super) fn bit_string(&self) -> String {
        format!("x{}", alloy::hex::encode(self.bits))
    }

    fn read(text: &str) -> Option<Self> {
        let (dimension, bits) = text.split_once(DIVIDER)?;
        Some(Self { dimension: dimension.parse().ok()?, bits: alloy::hex::decode(bits).ok()?.try_into().ok()? })
    }

    /// Completes a cursor.
    pub(super) fn write(&self, mut cursor: String) -> String {
        let _ = write!(cursor, "{DIVIDER}{}{DIVIDER}{}", self.dimension, alloy::hex::encode(self.bits));
        cursor
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_answers_are_read() {
        let one = r#"{"index":1,"embedding":[1,0]}"#;
        let answer = |rows: &str| read(format!(r#"{{"object":"list","data":[{rows}]}}"#).as_bytes(), 2);
        let both = answer(&format!(r#"{one},{{"index":0,"embedding":[0,1.5],"object":"embedding"}}"#)).unwrap();
        assert_eq!(both[1].bits, bits(&[1.0, 0.0]).unwrap(), "by its index");
        assert_eq!(answer(r#"{"embedding":[0,3]},{"embedding":[2,0]}"#).unwrap(), both, "else by its place");
        for bad in [
            String::new(),
            one.into(),
            format!("{one},{one}"),
            format!(r#"{one},{{"index":0,"embedding":[1,0,0]}}"#),
            format!(r#"{one},{{"index":2,"embedding":[1,0]}}"#),
            format!(r#"{one},{{"index":0,"embedding":["1",0]}}"#),
        ] {
            assert_eq!(answer(&bad), Err(Unknown::Unreadable), "{bad}");
        }
        for bad in ["0,0", ""] {
            let bad = answer(&format!(r#"{one},{{"index":0,"embedding":[{bad}]}}"#));
            assert_eq!(bad, Err(Unknown::Meaningless), "another text may have a meaning");
        }
    }

    #[test]
    fn a_cursor_carries_what_the_order_is_by() {
        let meaning = Meaning { dimension: 3, bits: bits(&[1.0, 2.0, 3.0]).unwrap() };
        let cursor = meaning.write("place".into());
        let (place, written) = cursor.split_once(DIVIDER).unwrap();
        assert_eq!((place, Meaning::read(written)), ("place", Some(meaning)));
        for bad in ["", "3", "3~", "3~00", "~", &written[1..], &written[..written.len() - 1]] {
            assert_eq!(Meaning::read(bad), None, "{bad}");
        }
    }
}
