//! Content by its SHA-256: objects in a store, the small and wanted ones in memory.

mod range;
mod store;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use alloy::primitives::B256;
use api::{CacheTier, ContentHealth};
use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::Stream;
use moka::future::Cache;
use object_store::GetResult;
use sha2::{Digest, Sha256};

use range::Wanted;
pub use store::ContentAt;
pub(crate) use store::PutError;
use store::Store;

/// Largest content.
pub(crate) const CONTENT_LEN_MAX_BYTES: u64 = 100 * 1024 * 1024;
/// What is larger is streamed from the store and never held in memory.
const CACHED_LEN_MAX_BYTES: u64 = 8 * 1024 * 1024;
/// Memory for content.
const CACHE_LEN_MAX_BYTES: u64 = 256 * 1024 * 1024;
/// What nobody asks for leaves the memory.
const CACHE_IDLE: Duration = Duration::from_secs(600);

/// All content there is.
#[derive(Clone, Debug)]
pub(crate) struct Contents {
    store: Store,
    hot: Cache<B256, Bytes>,
    counts: Arc<Counts>,
}

/// Since the start.
#[derive(Debug, Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    streamed: AtomicU64,
    evicted: AtomicU64,
}

/// Content that is certain to be there, ready to be sent.
#[derive(Debug)]
pub(crate) struct Blob {
    store: Store,
    source: Source,
    hash: B256,
    len: u64,
    hit: bool,
}

#[derive(Debug)]
enum Source {
    Memory(Bytes),
    Object(Box<GetResult>),
}

impl Contents {
    pub(crate) async fn open(at: &ContentAt) -> io::Result<Self> {
        let weigh = |_: &B256, bytes: &Bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let counts = Arc::<Counts>::default();
        let hot = Cache::builder().max_capacity(CACHE_LEN_MAX_BYTES).weigher(weigh).time_to_idle(CACHE_IDLE);
        let listener = Arc::clone(&counts);
        let hot = hot.eviction_listener(move |_, _, _| count(&listener.evicted));
        Ok(Self { store: Store::open(at).await?, hot: hot.build(), counts })
    }

    /// Stores what `body` brings. When this returns, it survives a power cut.
    pub(crate) async fn put<E>(&self, body: impl Stream<Item = Result<Bytes, E>>) -> Result<(B256, u64), PutError> {
        self.store.put(body, CONTENT_LEN_MAX_BYTES).await
    }

    /// Opens content of `len` bytes. However many ask at once, it is read once.
    pub(crate) async fn get(&self, hash: B256, len: u64) -> io::Result<Blob> {
        let blob = |source, hit| Blob { store: self.store.clone(), source, hash, len, hit };
        if len > CACHED_LEN_MAX_BYTES {
            count(&self.counts.streamed);
            let object = self.store.open_object(hash, None).await?;
            return match object.meta.size {
                found if found == len => Ok(blob(Source::Object(Box::new(object)), false)),
                found => Err(damaged(hash, &format!("it has {found} bytes instead of {len}"))),
            };
        }
        let entry = self.hot.entry(hash).or_try_insert_with(self.read(hash)).await;
        let entry = entry.map_err(|e: Arc<io::Error>| io::Error::new(e.kind(), e))?;
        let hit = !entry.is_fresh();
        count(if hit { &self.counts.hits } else { &self.counts.misses });
        Ok(blob(Source::Memory(entry.into_value()), hit))
    }

    /// How content was served since the start.
    pub(crate) fn health(&self) -> ContentHealth {
        let Counts { hits, misses, streamed, evicted } = &*self.counts;
        let [hits, misses, streamed, evicted] = [hits, misses, streamed, evicted].map(|count| count.load(Ordering::Relaxed));
        let hit_rate = (u128::from(hits) * 10_000).checked_div(u128::from(hits) + u128::from(misses));
        let memory = CacheTier {
            name: "memory".into(),
            served: hits,
            blobs: Some(self.hot.entry_count()),
            bytes: Some(self.hot.weighted_size()),
            bytes_max: Some(CACHE_LEN_MAX_BYTES),
            evicted: Some(evicted),
        };
        let store = CacheTier {
            name: "store".into(),
            served: misses + streamed,
            blobs: None,
            bytes: None,
            bytes_max: None,
            evicted: None,
        };
        ContentHealth { hit_rate_bps: hit_rate.and_then(|bps| u16::try_from(bps).ok()), tiers: vec![memory, store] }
    }

    async fn read(&self, hash: B256) -> io::Result<Bytes> {
        let bytes = self.store.read(hash).await?;
        if Sha256::digest(&bytes).as_slice() == hash.as_slice() { Ok(bytes) } else { Err(damaged(hash, "its hash differs")) }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn damaged(hash: B256, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("content {hash} is damaged: {what}"))
}

impl Blob {
    /// All of it, whatever was asked for: the answer to a purchase.
    pub(crate) fn whole(self, content_type: &str) -> Response {
        let (mut headers, len) = (self.headers(content_type), self.len);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
        let body = match self.source {
            Source::Memory(bytes) => Body::from(bytes),
            Source::Object(object) => Body::from_stream(object.into_stream()),
        };
        answer(StatusCode::OK, headers, len, body)
    }

    /// What the request asks for of content that its sender owns: nothing when it is known, a range, or all. From memory without a copy.
    pub(crate) async fn asked(self, content_type: &str, request: &HeaderMap) -> io::Result<Response> {
        let mut headers = self.headers(content_type);
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        match range::wanted(request, &self.tag(), self.len) {
            Wanted::All => {
                let mut response = self.whole(content_type);
                response.headers_mut().extend(headers);
                Ok(response)
            }
            Wanted::Nothing => Ok((StatusCode::NOT_MODIFIED, headers).into_response()),
            Wanted::Beyond => {
                headers.insert(header::CONTENT_RANGE, value(format!("bytes */{}", self.len)));
                headers.remove(header::CONTENT_TYPE);
                Ok((StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response())
            }
            Wanted::Part(part) => {
                let (len, all) = (part.end - part.start, self.len);
                headers.insert(header::CONTENT_RANGE, value(format!("bytes {}-{}/{all}", part.start, part.end - 1)));
                let body = match self.source {
                    Source::Memory(bytes) => Body::from(bytes.slice(part.start as usize..part.end as usize)),
                    Source::Object(_) => Body::from_stream(self.store.open_object(self.hash, Some(part)).await?.into_stream()),
                };
                Ok(answer(StatusCode::PARTIAL_CONTENT, headers, len, body))
            }
        }
    }

    fn tag(&self) -> String {
        format!("\"sha256-{}\"", alloy::hex::encode(self.hash))
    }

    /// It comes from a stranger: a browser must neither guess its type nor run it here.
    fn headers(&self, content_type: &str) -> HeaderMap {
        let cache = if self.hit { "hit" } else { "miss" };
        let all = [
            (header::CACHE_CONTROL, value("private, no-cache".into())),
            (header::CONTENT_DISPOSITION, value("attachment".into())),
            (header::X_CONTENT_TYPE_OPTIONS, value("nosniff".into())),
            (header::CONTENT_TYPE, value(content_type.into())),
            (header::ETAG, value(self.tag())),
            (HeaderName::from_static(api::header::CACHE), value(cache.into())),
        ];
        all.into_iter().collect()
    }
}

fn answer(status: StatusCode, mut headers: HeaderMap, len: u64, body: Body) -> Response {
    headers.insert(header::CONTENT_LENGTH, len.into());
    (status, headers, body).into_response()
}

/// Media types were checked to be ASCII when they came in; the rest is ours.
fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}
