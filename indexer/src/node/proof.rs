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
pub(crate) struct Header {
    header: RpcHeader,
    /// Whether it is believed without proof, and with it its receipts.
    #[serde(skip)]
    told: bool,
}

/// Whether two endpoints tell the same, whatever the size that each works out.
impl PartialEq for Header {
    fn eq(&self, other: &Self) -> bool {
        (self.header.hash, &self.header.inner) == (other.header.hash, &other.header.inner)
    }
}

impl From<RpcHeader> for Header {
    fn from(header: RpcHeader) -> Self {
        Self { header, told: false }
    }
}

impl Header {
    pub(crate) fn number(&self) -> u64 {
        self.header.inner.number
    }

    pub(crate) fn hash(&self) -> B256 {
        self.header.hash
    }

    pub(crate) fn parent_hash(&self) -> B256 {
        self.header.inner.parent_hash
    }

    /// Unix seconds.
    pub(crate) fn timestamp(&self) -> u64 {
        self.header.inner.timestamp
    }

    pub(crate) fn bloom(&self) -> &Bloom {
        &self.header.inner.logs_bloom
    }

    /// Whether nothing of it was proved.
    pub(crate) fn is_told(&self) -> bool {
        self.told
    }

    /// The header, once its fields are known to be those that its hash commits to; at once where the node is trusted.
    pub(super) fn proved(mut self, trusting: bool) -> Result<Self, Error> {
        self.told = trusting;
        if trusting || self.header.inner.hash_slow() == self.header.hash {
            return Ok(self);
        }
        Err(Error::Unproved {
            block: self.number(),
            reason: "the header's hash is not that of its fields (a chain on which it never is can be mirrored with --trust-node)",
        })
    }

    /// Whether these are all receipts of the block, none changed, dropped, added or moved.
    pub(super) fn prove_receipts(&self, receipts: &[Receipt]) -> Result<(), Error> {
        if self.told || ordered_trie_root_with_encoder(receipts, Receipt::encode_leaf) == self.header.inner.receipts_root {
            return Ok(());
        }
        Err(Error::Unproved { block: self.number(), reason: "the receipts root is not that of its receipts" })
    }
}
