//! What can be known of a content before it is bought, without trust in its seller or in the market.
//!
//! A [`ContentCommitment`] follows from the content alone: whoever has the content makes the same one ([`ContentCommitment::of`]), with no secret of
//! anybody. Before a purchase, a proof shows that something follows from the commitment. That the commitment is the content's shows after it: a market
//! that committed to something else is convicted by its own signature, the content, and its hash.
//!
//! The functions that verify and prove come with the feature `proofs`. They take nobody's word, read no network, and answer to hostile proofs of any
//! form with an error.

#[cfg(feature = "proofs")]
mod commit;
#[cfg(feature = "proofs")]
mod count;
#[cfg(feature = "proofs")]
mod read;
#[cfg(feature = "proofs")]
mod set;
#[cfg(all(test, feature = "proofs"))]
mod tests;
#[cfg(feature = "proofs")]
mod verify;
mod wire;

use std::collections::BTreeSet;

use alloy::primitives::B256;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

#[cfg(feature = "proofs")]
pub use commit::{Committer, OpenChunk, Prover, Witness};
#[cfg(feature = "proofs")]
pub use read::word;
#[cfg(feature = "proofs")]
pub use verify::{
    ProofError, verify_absent, verify_at_least, verify_chunks, verify_fewer_than, verify_field, verify_field_absent,
    verify_keyword,
};
pub use wire::{
    CheckDelivery, ChunkProof, ContentProofs, ContentVerified, CountChecked, Delivery, Evaluation, FieldChecked, KeywordChecked,
    KeywordQuery, SetLeaf, SetPath, SetPlace, SetProof, VerifyContent,
};

/// The form of commitments that is made now.
pub const VERSION: u32 = 1;
/// Bytes of a chunk; the last one of a content may have fewer.
pub const CHUNK_LEN_BYTES: u64 = 512;
/// One in so many chunks is shown to whoever has not bought, rounded down: never more than 2 % of a content.
pub const CHUNKS_PER_OPEN: u64 = 50;
/// Chunks of one content that are ever shown to whoever has not bought.
pub const OPEN_MAX: u64 = 64;
/// Chunks shown for one nonce.
pub const SAMPLE_MAX: u64 = 16;
/// Content up to this length that is UTF-8 has proofs of words and counts, and of fields when it is JSON. What is longer has chunks and size alone.
pub const TEXT_LEN_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Different words of a content that has proofs of words.
pub const WORDS_MAX: usize = 20_000;
/// Longest word that counts as one.
pub const WORD_LEN_MAX_BYTES: usize = 64;
/// Different fields, each with a type, of a content that has proofs of fields.
pub const FIELDS_MAX: usize = 4_096;
/// Longest path of a field in such a content.
pub const PATH_LEN_MAX_BYTES: usize = 512;
/// Deepest JSON that is read as JSON.
pub const DEPTH_MAX: usize = 64;

/// A Merkle tree (RFC 9162, SHA-256).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tree {
    /// Its leaves.
    pub count: u64,
    /// Its tree hash; zeros for no leaves.
    #[schemars(with = "crate::schema::Hash")]
    pub root: B256,
}

/// What a content is committed to by. It follows from the content alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContentCommitment {
    /// Its form: 1.
    pub version: u32,
    /// SHA-256 of the content, as the listing and the terms of the escrow have it.
    #[schemars(with = "crate::schema::Hash")]
    pub content_hash: B256,
    /// Bytes of the content.
    pub content_size: u64,
    /// The chunks of 512 bytes, in their order. A leaf is a salt, which the content makes, and the SHA-256 of a chunk.
    pub chunks: Tree,
    /// A public key (Ristretto). What it makes of words and fields are the leaves of the two trees, so that a leaf tells nobody of what it is.
    #[schemars(with = "crate::schema::Hash")]
    pub key: B256,
    /// All words of a text. Absent for what is no text, or too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<Tree>,
    /// All fields of a JSON text, each with its type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Tree>,
    /// How many records there are, hidden in a Pedersen commitment (Ristretto): the elements of a JSON array, else the lines of a text that are not
    /// blank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Hash>")]
    pub records: Option<B256>,
    /// How many words there are, repeated ones counted, hidden in the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Hash>")]
    pub word_total: Option<B256>,
}

/// The type of a value in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JsonType {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// A number.
    Number,
    /// A text.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// A place in JSON where a value of a type is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// A JSON Pointer (RFC 6901) in which `*` stands for every index of an array: `/items/*/price`. A key `*` is written `~2`. Empty for all of it.
    pub path: String,
    /// The type of a value that is there. There may be values of other types, too.
    #[serde(rename = "type")]
    pub json_type: JsonType,
}

/// What is counted and hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Counted {
    /// The elements of a JSON array, else the lines of a text that are not blank.
    Records,
    /// The words of a text, repeated ones counted.
    Words,
}

impl ContentCommitment {
    /// Names all of it: what a market signs.
    pub fn id(&self) -> B256 {
        let mut hash = Sha256::new_with_prefix(b"florin content commitment");
        hash.update(self.version.to_be_bytes());
        hash.update(self.content_hash);
        hash.update(self.content_size.to_be_bytes());
        for tree in [Some(self.chunks), self.words, self.fields] {
            hash.update([u8::from(tree.is_some())]);
            if let Some(Tree { count, root }) = tree {
                hash.update(count.to_be_bytes());
                hash.update(root);
            }
        }
        for point in [Some(self.key), self.records, self.word_total] {
            hash.update([u8::from(point.is_some())]);
            hash.update(point.unwrap_or_default());
        }
        B256::from_slice(&hash.finalize())
    }

    /// The chunks that are ever shown to whoever has not bought, in order: drawn by the commitment, so that neither seller nor market shows others, and
    /// all who ask together see no more. None of fewer than 50.
    pub fn open_chunks(&self) -> Vec<u64> {
        let open = (self.chunks.count / CHUNKS_PER_OPEN).min(OPEN_MAX);
        draw(Sha256::new_with_prefix(b"florin open chunks 1").chain_update(self.id()), self.chunks.count, open)
    }

    /// Those of them that a nonce picks, in order.
    pub fn sample(&self, nonce: B256) -> Vec<u64> {
        let open = self.open_chunks();
        let seed = Sha256::new_with_prefix(b"florin chunk sample 1").chain_update(self.id()).chain_update(nonce);
        let count = open.len() as u64;
        draw(seed, count, count.min(SAMPLE_MAX)).into_iter().map(|at| open[at as usize]).collect()
    }

    /// Bytes of a chunk; nothing when there is no such chunk.
    pub fn chunk_len(&self, index: u64) -> u64 {
        let start = index.saturating_mul(CHUNK_LEN_BYTES);
        self.content_size.saturating_sub(start).min(CHUNK_LEN_BYTES)
    }

    /// The Pedersen commitment of a count.
    pub fn counted(&self, counted: Counted) -> Option<B256> {
        match counted {
            Counted::Records => self.records,
            Counted::Words => self.word_total,
        }
    }
}

/// So many different numbers below `below`, in order. `wanted` is small and not more than there are.
fn draw(seed: Sha256, below: u64, wanted: u64) -> Vec<u64> {
    let (mut drawn, mut counter) = (BTreeSet::new(), 0_u64);
    while (drawn.len() as u64) < wanted {
        let hash = seed.clone().chain_update(counter.to_be_bytes()).finalize();
        // For as many chunks as a content has, a remainder is favoured by less than one in 2^46.
        drawn.insert(u64::from_be_bytes(hash[..8].try_into().expect("a digest has more than eight bytes")) % below);
        counter += 1;
    }
    drawn.into_iter().collect()
}

/// What the market proves bounds at: 1, 2 or 5 times a power of ten, at most 2,000,000,000. A count is narrowed down no further by asking.
pub fn is_round(count: u64) -> bool {
    let mut rest = count;
    while rest != 0 && rest.is_multiple_of(10) {
        rest /= 10;
    }
    count <= 2_000_000_000 && matches!(rest, 1 | 2 | 5)
}
