//! Content by its SHA-256: files on disk, the small and wanted ones in memory.

mod store;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use alloy::primitives::B256;
use axum::{body::Body, http::HeaderName};
use bytes::Bytes;
use futures::Stream;
use moka::future::Cache;
use sha2::{Digest, Sha256};
use tokio_util::io::ReaderStream;

pub(crate) use store::PutError;
use store::Store;

/// Largest content.
pub(crate) const CONTENT_LEN_MAX_BYTES: u64 = 100 * 1024 * 1024;
/// What is larger is streamed from disk and never held in memory.
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
}

/// Content that is certain to be there, ready to be sent.
#[derive(Debug)]
pub(crate) struct Blob {
    source: Source,
    len: u64,
    hit: bool,
}

#[derive(Debug)]
enum Source {
    Memory(Bytes),
    File(tokio::fs::File),
}

impl Contents {
    pub(crate) async fn open(directory: PathBuf) -> io::Result<Self> {
        let weigh = |_: &B256, bytes: &Bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let hot = Cache::builder().max_capacity(CACHE_LEN_MAX_BYTES).weigher(weigh).time_to_idle(CACHE_IDLE).build();
        Ok(Self { store: Store::open(directory).await?, hot })
    }

    /// Stores what `body` brings. When this returns, it survives a power cut.
    pub(crate) async fn put<E>(&self, body: impl Stream<Item = Result<Bytes, E>>) -> Result<(B256, u64), PutError> {
        self.store.put(body, CONTENT_LEN_MAX_BYTES).await
    }

    /// Opens content of `len` bytes. However many ask at once, it is read once.
    pub(crate) async fn get(&self, hash: B256, len: u64) -> io::Result<Blob> {
        if len > CACHED_LEN_MAX_BYTES {
            let file = self.store.file(hash).await?;
            return match file.metadata().await?.len() {
                found if found == len => Ok(Blob { source: Source::File(file), len, hit: false }),
                found => Err(damaged(hash, &format!("it has {found} bytes instead of {len}"))),
            };
        }
        let entry = self.hot.entry(hash).or_try_insert_with(self.read(hash)).await;
        let entry = entry.map_err(|e: Arc<io::Error>| io::Error::new(e.kind(), e))?;
        let hit = !entry.is_fresh();
        Ok(Blob { source: Source::Memory(entry.into_value()), len, hit })
    }

    async fn read(&self, hash: B256) -> io::Result<Bytes> {
        let bytes = Bytes::from(self.store.read(hash).await?);
        if Sha256::digest(&bytes).as_slice() == hash.as_slice() { Ok(bytes) } else { Err(damaged(hash, "its hash differs")) }
    }
}

fn damaged(hash: B256, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("content {hash} is damaged: {what}"))
}

impl Blob {
    pub(crate) fn headers(&self) -> [(HeaderName, String); 2] {
        let cache = if self.hit { "hit" } else { "miss" };
        [(HeaderName::from_static(api::header::CACHE), cache.into()), (axum::http::header::CONTENT_LENGTH, self.len.to_string())]
    }

    /// The bytes; from memory without a copy.
    pub(crate) fn into_body(self) -> Body {
        match self.source {
            Source::Memory(bytes) => Body::from(bytes),
            Source::File(file) => Body::from_stream(ReaderStream::with_capacity(file, 64 * 1024)),
        }
    }
}
