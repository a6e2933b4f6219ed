use std::{
    io,
    path::{Path, PathBuf},
    pin::pin,
};

use alloy::primitives::B256;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use tokio::{
    fs::{self, File},
    io::AsyncWriteExt,
};
use uuid::Uuid;

/// Files named by their SHA-256, below two levels of folders.
#[derive(Clone, Debug)]
pub(super) struct Store {
    root: PathBuf,
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
    /// The disk failed.
    #[error("content could not be stored: {0}")]
    Disk(#[from] io::Error),
}

/// Removed unless it was moved into its place.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Store {
    pub(super) async fn open(root: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(root.join("partial")).await?;
        Ok(Self { root })
    }

    pub(super) async fn put<E>(&self, body: impl Stream<Item = Result<Bytes, E>>, len_max: u64) -> Result<(B256, u64), PutError> {
        let partial = Partial(self.root.join("partial").join(Uuid::now_v7().to_string()));
        let mut file = File::create(&partial.0).await?;
        let (mut hasher, mut len) = (Sha256::new(), 0_u64);
        let mut body = pin!(body);
        while let Some(part) = body.next().await {
            let part = part.map_err(|_| PutError::BrokenOff)?;
            len += part.len() as u64;
            if len > len_max {
                return Err(PutError::TooLarge { max: len_max });
            }
            hasher.update(&part);
            file.write_all(&part).await?;
        }
        if len == 0 {
            return Err(PutError::Empty);
        }
        file.flush().await?;
        file.sync_all().await?;
        let hash = B256::from_slice(&hasher.finalize());
        self.keep(&partial.0, hash).await?;
        Ok((hash, len))
    }

    /// Moves a complete file into its place. The name is durable when the folders are, up to one that was there before.
    async fn keep(&self, partial: &Path, hash: B256) -> io::Result<()> {
        let path = self.path(hash);
        let folder = path.parent().expect("the path has folders");
        fs::create_dir_all(folder).await?;
        fs::rename(partial, &path).await?;
        for folder in folder.ancestors().take_while(|folder| folder.starts_with(&self.root)) {
            File::open(folder).await?.sync_all().await?;
        }
        Ok(())
    }

    pub(super) async fn read(&self, hash: B256) -> io::Result<Vec<u8>> {
        fs::read(self.path(hash)).await
    }

    pub(super) async fn file(&self, hash: B256) -> io::Result<File> {
        File::open(self.path(hash)).await
    }

    fn path(&self, hash: B256) -> PathBuf {
        let name = format!("{hash:x}");
        let name = name.trim_start_matches("0x").to_owned();
        self.root.join("sha256").join(&name[..2]).join(&name[2..4]).join(name)
    }
}
