use std::{fmt, io, path::PathBuf, pin::pin, str::FromStr, sync::Arc};

use alloy::primitives::B256;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use object_store::{
    GetResult, ObjectStore, ObjectStoreExt, WriteMultipart, local::LocalFileSystem, memory::InMemory, path::Path,
};
use sha2::{Digest, Sha256};
use url::Url;
use uuid::Uuid;

/// Bytes of one part of an upload, of which two are in memory at a time.
const PART_LEN_BYTES: usize = 5 * 1024 * 1024;

/// Where content is kept.
#[derive(Clone, PartialEq, Eq)]
pub enum ContentAt {
    /// In files below this directory, each written through to the disk.
    Directory(PathBuf),
    /// At an object store that this URL names, with the environment's settings: `s3://bucket/prefix`; what stands in its query goes before the
    /// environment: `?endpoint=https://…&region=…`. Or `memory:///`, for trying things.
    Url(Url),
}

impl FromStr for ContentAt {
    type Err = url::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains("://") { text.parse().map(Self::Url) } else { Ok(Self::Directory(text.into())) }
    }
}

impl From<PathBuf> for ContentAt {
    fn from(directory: PathBuf) -> Self {
        Self::Directory(directory)
    }
}

/// Leaves out the query, as [`fmt::Display`] does.
impl fmt::Debug for ContentAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for ContentAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => directory.display().fmt(f),
            // The query may hold a secret.
            Self::Url(url) => url.as_str().split('?').next().unwrap_or_default().fmt(f),
        }
    }
}

/// Objects named by their SHA-256, below two levels of folders.
#[derive(Clone, Debug)]
pub(super) struct Store {
    objects: Arc<dyn ObjectStore>,
    root: Path,
}

/// Why content was not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PutError {
    /// More than allowed came.
    #[error("content has at most {max} bytes")]
    TooLarge {
        /// Allowed.
        max: u64,
    },
    /// Nothing came.
    #[error("the content is empty")]
    Empty,
    /// The sender broke off.
    #[error("the upload broke off: send it again")]
    BrokenOff,
    /// The store failed.
    #[error("content could not be stored: {0}")]
    Store(#[from] io::Error),
}

impl From<object_store::Error> for PutError {
    fn from(error: object_store::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Store {
    pub(super) async fn open(at: &ContentAt) -> io::Result<Self> {
        let (objects, root): (Arc<dyn ObjectStore>, _) = match at {
            ContentAt::Directory(directory) => {
                tokio::fs::create_dir_all(directory).await?;
                (Arc::new(LocalFileSystem::new_with_prefix(directory)?.with_fsync(true)), Path::default())
            }
            ContentAt::Url(url) if url.scheme() == "memory" => (Arc::new(InMemory::new()), Path::default()),
            ContentAt::Url(url) => {
                let (mut place, said) = (url.clone(), url.query_pairs().into_owned());
                place.set_query(None);
                let (objects, root) = object_store::parse_url_opts(&place, std::env::vars().chain(said))?;
                (objects.into(), root)
            }
        };
        Ok(Self { objects, root })
    }

    /// Its hash is known at the end only, so it is written aside first. What breaks off is removed, or never becomes an object.
    pub(super) async fn put<E>(&self, body: impl Stream<Item = Result<Bytes, E>>, len_max: u64) -> Result<(B256, u64), PutError> {
        let partial = self.root.clone().join("partial").join(Uuid::now_v7().to_string());
        let upload = self.objects.put_multipart(&partial).await?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, PART_LEN_BYTES);
        let (hash, len) = match copy(body, &mut writer, len_max).await {
            Ok(copied) => copied,
            Err(error) => {
                writer.abort().await?;
                return Err(error);
            }
        };
        writer.finish().await?;
        self.objects.rename(&partial, &self.path(hash)).await?;
        Ok((hash, len))
    }

    /// Opens content, or a part of it, to be streamed.
    pub(super) async fn open_object(&self, hash: B256, range: Option<std::ops::Range<u64>>) -> io::Result<GetResult> {
        let options = object_store::GetOptions { range: range.map(object_store::GetRange::Bounded), ..Default::default() };
        Ok(self.objects.get_opts(&self.path(hash), options).await?)
    }

    fn path(&self, hash: B256) -> Path {
        let name = alloy::hex::encode(hash);
        self.root.clone().join("sha256").join(&name[..2]).join(&name[2..4]).join(name)
    }
}

async fn copy<E>(
    body: impl Stream<Item = Result<Bytes, E>>,
    writer: &mut WriteMultipart,
    len_max: u64,
) -> Result<(B256, u64), PutError> {
    let (mut hasher, mut len, mut body) = (Sha256::new(), 0_u64, pin!(body));
    while let Some(part) = body.next().await {
        let part = part.map_err(|_| PutError::BrokenOff)?;
        len += part.len() as u64;
        if len > len_max {
            return Err(PutError::TooLarge { max: len_max });
        }
        hasher.update(&part);
        writer.wait_for_capacity(1).await?;
        // Copies: many small parts that were kept as they came could take much more memory than their bytes.
        writer.write(&part);
    }
    if len == 0 { Err(PutError::Empty) } else { Ok((B256::from_slice(&hasher.finalize()), len)) }
}
