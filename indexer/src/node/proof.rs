use alloy::{
    consensus::proofs::ordered_trie_root_with_encoder,
    primitives::{B256, Bloom},
    rpc::types::Header as RpcHeader,
};
use serde::Deserialize;

use super::{Error, Receipt};

/// A block's header. Its hash commits to everything that is mirrored of the block.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Header(RpcHeader);

impl From<RpcHeader> for Header {
    fn from(header: RpcHeader) -> Self {
        Self(header)
    }
}

impl Header {
    pub(crate) fn number(&self) -> u64 {
        self.0.inner.number
    }

    pub(crate) fn hash(&self) -> B256 {
        self.0.hash
    }

    pub(crate) fn parent_hash(&self) -> B256 {
        self.0.inner.parent_hash
    }

    /// Unix seconds.
    pub(crate) fn timestamp(&self) -> u64 {
        self.0.inner.timestamp
    }

    pub(crate) fn bloom(&self) -> &Bloom {
        &self.0.inner.logs_bloom
    }

    /// The header, once its fields are known to be those that its hash commits to.
    pub(super) fn proved(self) -> Result<Self, Error> {
        if self.0.inner.hash_slow() == self.0.hash {
            return Ok(self);
        }
        Err(Error::Unproved { block: self.number(), reason: "the header's hash is not that of its fields" })
    }

    /// Whether these are all receipts of the block, none changed, dropped, added or moved.
    pub(super) fn prove_receipts(&self, receipts: &[Receipt]) -> Result<(), Error> {
        if ordered_trie_root_with_encoder(receipts, Receipt::encode_leaf) == self.0.inner.receipts_root {
            return Ok(());
        }
        Err(Error::Unproved { block: self.number(), reason: "the receipts root is not that of its receipts" })
    }
}
