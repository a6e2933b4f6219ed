//! Content by its SHA-256: objects in a store, the small and wanted ones in memory.

mod range;
mod store;

use std::{io, ops::Range, time::Duration};

use alloy::primitives::B256;
use api::{CacheTier, ContentHealth};
use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use cache::{Found, Limits, Tier, TierUse, Tiers};
use futures::{Stream, TryStreamExt};
use object_store::GetResult;
use sha2::{Digest, Sha256};

use range::Wanted;
pub use store::ContentAt;
pub(crate) use store::PutError;
use store::Store;

/// Largest content.
pub(crate) const CONTENT_LEN_MAX_BYTES: u64 = 100 * 1024 * 1024;
/// Memory for content. What is larger than a blob in it may be is streamed from the store.
const MEMORY: Limits =
    Limits { budget_bytes: 256 * 1024 * 1024, blob_len_max_bytes: 8 * 1024 * 1024, warm_for: Duration::from_secs(300) };
/// Room for those of an answer, so that they are moved once.
const HEADERS: usize = 24;
const BYTES: HeaderValue = HeaderValue::from_static("bytes");

/// All content there is.
#[derive(Clone, Debug)]
pub(crate) struct Contents {
    store: Store,
    memory: Tiers,
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
        Ok(Self { store: Store::open(at).await?, memory: Tiers::new(MEMORY) })
    }

    /// Stores what `body` brings. When this returns, it survives a power cut.
    pub(crate) async fn put<E>(&self, body: impl Stream<Item = Result<Bytes, E>>) -> Result<(B256, u64), PutError> {
        let stored = self.store.put(body, CONTENT_LEN_MAX_BYTES).await?;
        self.memory.forget(&stored.0.0).await;
        Ok(stored)
    }

    /// Opens content of `len` bytes. However many ask at once, it is read once.
    pub(crate) async fn get(&self, hash: B256, len: u64) -> io::Result<Blob> {
        let blob = |source, hit| Blob { store: self.store.clone(), source, hash, len, hit };
        match self.memory.get(hash.0, len, self.read(hash, len)).await? {
            Found::Held(bytes, tier) => Ok(blob(Source::Memory(bytes), tier != Tier::Cold)),
            Found::Apart => Ok(blob(Source::Object(Box::new(self.open_object(hash, len).await?)), false)),
        }
    }

    /// All of it, if it is hot.
    pub(crate) fn get_hot(&self, hash: B256) -> Option<Bytes> {
        self.memory.get_hot(&hash.0)
    }

    /// Forgets that content could not be read: it was stored elsewhere meanwhile.
    pub(crate) async fn look_again(&self, hash: B256) {
        self.memory.look_again(&hash.0).await;
    }

    /// Streams content of `len` bytes from the store, whatever is in memory. Its hash is not checked.
    pub(crate) async fn stream(&self, hash: B256, len: u64) -> io::Result<impl Stream<Item = io::Result<Bytes>>> {
        Ok(self.open_object(hash, len).await?.into_stream().map_err(io::Error::from))
    }

    /// Reads a part of content from the store.
    pub(crate) async fn part(&self, hash: B256, part: Range<u64>) -> io::Result<Bytes> {
        Ok(self.store.open_object(hash, Some(part)).await?.bytes().await?)
    }

    /// How content was served since the start.
    pub(crate) fn health(&self) -> ContentHealth {
        let (hot, warm, fetched) = (self.memory.hot(), self.memory.warm(), self.memory.fetched());
        let hits = u128::from(hot.served + warm.served);
        let hit_rate = (hits * 10_000).checked_div(hits + u128::from(fetched));
        let tier = |name: &str, tier: TierUse| CacheTier {
            name: name.into(),
            served: tier.served,
            blobs: Some(tier.blobs),
            bytes: Some(tier.bytes),
            bytes_max: Some(tier.bytes_max),
            evicted: Some(tier.evicted),
        };
        let served = fetched + self.memory.apart();
        let cold = CacheTier { name: "cold".into(), served, blobs: None, bytes: None, bytes_max: None, evicted: None };
        let tiers = vec![tier("hot", hot), tier("warm", warm), cold];
        ContentHealth { hit_rate_bps: hit_rate.and_then(|bps| u16::try_from(bps).ok()), tiers }
    }

    async fn read(&self, hash: B256, len: u64) -> io::Result<Bytes> {
        let bytes = self.open_object(hash, len).await?.bytes().await?;
        if Sha256::digest(&bytes).as_slice() == hash.as_slice() { Ok(bytes) } else { Err(damaged(hash, "its hash differs")) }
    }

    async fn open_object(&self, hash: B256, len: u64) -> io::Result<GetResult> {
        let object = self.store.open_object(hash, None).await?;
        match object.meta.size {
            found if found == len => Ok(object),
            found => Err(damaged(hash, &format!("it has {found} bytes instead of {len}"))),
        }
    }
}

fn damaged(hash: B256, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("content {hash} is damaged: {what}"))
}

impl Blob {
    /// All of it, whatever was asked for: the answer to a purchase.
    pub(crate) fn whole(self, content_type: &str) -> Response {
        let mut headers = self.headers(content_type);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
        self.all(headers)
    }

    fn all(self, headers: HeaderMap) -> Response {
        let body = match self.source {
            Source::Memory(bytes) => Body::from(bytes),
            Source::Object(object) => Body::from_stream(object.into_stream()),
        };
        answer(StatusCode::OK, headers, self.len, body)
    }

    /// What the request asks for of content that its sender owns: nothing when it is known, a range, or all. From memory without a copy.
    pub(crate) async fn asked(self, content_type: &str, request: &HeaderMap) -> io::Result<Response> {
        let wanted = range::wanted(request, &self.tag(), self.len);
        let mut headers = self.headers(content_type);
        headers.insert(header::ACCEPT_RANGES, BYTES);
        match wanted {
            Wanted::All => Ok(self.all(headers)),
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
        tag(self.hash)
    }

    fn headers(&self, content_type: &str) -> HeaderMap {
        let mut headers = head(self.hit);
        headers.insert(header::CONTENT_TYPE, value(content_type.into()));
        headers.insert(header::ETAG, value(self.tag()));
        headers
    }
}

/// What is said of one content with every answer, ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    content_type: HeaderValue,
    tag: HeaderValue,
    len: HeaderValue,
}

impl Label {
    pub(crate) fn new(hash: B256, len: u64, content_type: &str) -> Self {
        Self { content_type: value(content_type.into()), tag: value(tag(hash)), len: len.into() }
    }

    /// Completes what [`head_again`] begins.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONTENT_TYPE, self.content_type.clone());
        headers.insert(header::ETAG, self.tag.clone());
        headers.insert(header::CONTENT_LENGTH, self.len.clone());
    }
}

/// What all answers have that bring all of a content from memory to who owns it.
pub(crate) fn head_again() -> HeaderMap {
    let mut headers = head(true);
    headers.insert(header::ACCEPT_RANGES, BYTES);
    headers
}

/// It comes from a stranger: a browser must neither guess its type nor run it here.
fn head(hit: bool) -> HeaderMap {
    const CACHE: HeaderName = HeaderName::from_static(api::header::CACHE);
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE, HeaderValue::from_static(if hit { "hit" } else { "miss" }));
    headers
}

fn tag(hash: B256) -> String {
    format!("\"sha256-{}\"", alloy::hex::encode(hash))
}

fn answer(status: StatusCode, mut headers: HeaderMap, len: u64, body: Body) -> Response {
    headers.insert(header::CONTENT_LENGTH, len.into());
    let mut response = Response::new(body);
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    response
}

/// Media types were checked to be ASCII when they came in; the rest is ours.
fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}
