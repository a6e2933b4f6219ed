//! What is asked and answered.

use alloy::primitives::{Address, B256, Bytes, Signature};
use money::Bps;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{ContentCommitment, Counted, Field};

/// What is proved of a listing's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContentProofs {
    /// The listing.
    #[schemars(with = "crate::schema::Id")]
    pub listing_id: Uuid,
    /// What its content is committed to by. Keep it: all proofs are checked against it, and after the purchase the content is.
    pub commitment: ContentCommitment,
    /// Names the commitment.
    #[schemars(with = "crate::schema::Hash")]
    pub commitment_id: B256,
    /// The market's signature of that id, if it has a key, the one that signs the ledger's seals: EIP-191 over its 32 bytes, 65 bytes r, s, v.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Hex>")]
    pub signature: Option<Bytes>,
    /// The chunks that are ever shown to whoever has not bought; a nonce picks some of them.
    pub open_chunks: Vec<u64>,
}

impl ContentProofs {
    /// Who signed the commitment; `None` when nobody did or it cannot be told. It is computed from the commitment and not from what names it here.
    pub fn signer(&self) -> Option<Address> {
        Signature::from_raw(self.signature.as_ref()?).ok()?.recover_address_from_msg(self.commitment.id()).ok()
    }
}

/// What is to be proved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyContent {
    /// Words that must be in the text, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<String>,
    /// Fields that must be in the JSON, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schema_has_fields: Vec<Field>,
    /// Bytes that there must be. They are public, and part of the commitment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_size: Option<u64>,
    /// How good it must be judged. That is a moderator's word, and nothing proves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::BasisPoints>")]
    pub min_quality: Option<Bps>,
    /// Records that there must be: 1, 2 or 5 times a power of ten, at most 2,000,000,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_records: Option<u64>,
    /// Words that there must be, repeated ones counted: in the same steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_words: Option<u64>,
    /// 32 bytes that the caller made up: they pick the chunks that are shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Hash>")]
    pub nonce: Option<B256>,
}

impl VerifyContent {
    /// The counts that are asked for.
    pub fn counts(&self) -> impl Iterator<Item = (Counted, u64)> {
        let [records, words] = [(Counted::Records, self.min_records), (Counted::Words, self.min_words)];
        [records, words].into_iter().filter_map(|(counted, min)| Some((counted, min?)))
    }
}

/// What was asked for, each with its proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContentVerified {
    /// The commitment that the proofs are against.
    #[schemars(with = "crate::schema::Hash")]
    pub commitment_id: B256,
    /// Whether all that was asked for is so.
    pub passed: bool,
    /// The words, in the order in which they were asked for.
    pub keywords: Vec<KeywordChecked>,
    /// The fields, in the order in which they were asked for.
    pub fields: Vec<FieldChecked>,
    /// The counts: records before words.
    pub counts: Vec<CountChecked>,
    /// Whether there are as many bytes; absent when that was not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_size: Option<bool>,
    /// Whether it was judged as good, as the market says; absent when that was not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_quality: Option<bool>,
    /// The chunks that the nonce picks.
    pub chunks: Vec<ChunkProof>,
}

/// A word that is in the text or is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeywordChecked {
    /// The commitment that the proof is against.
    #[schemars(with = "crate::schema::Hash")]
    pub commitment_id: B256,
    /// The word.
    pub word: String,
    /// Whether it is there.
    pub present: bool,
    /// The proof of either.
    pub proof: SetProof,
}

/// A field that is in the JSON or is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldChecked {
    /// The field.
    pub field: Field,
    /// Whether it is there.
    pub present: bool,
    /// The proof of either.
    pub proof: SetProof,
}

/// A count that is enough or is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CountChecked {
    /// What was counted.
    pub counted: Counted,
    /// What there must be.
    pub at_least: u64,
    /// Whether there is.
    pub passed: bool,
    /// The range proof (Bulletproofs, 32 bits) of either: that there are as many, or that there are fewer.
    #[schemars(with = "crate::schema::Hex")]
    pub proof: Bytes,
}

/// That something is in a committed set, or is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SetProof {
    /// What the key makes of it.
    pub evaluation: Evaluation,
    /// Where that is among the leaves, or would be.
    pub place: SetPlace,
}

/// What the commitment's key makes of something, and the proof that it is nothing else (Chaum and Pedersen).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evaluation {
    /// What it makes of it: a point (Ristretto).
    #[schemars(with = "crate::schema::Hash")]
    pub output: B256,
    /// The challenge: a scalar.
    #[schemars(with = "crate::schema::Hash")]
    pub challenge: B256,
    /// The response: a scalar.
    #[schemars(with = "crate::schema::Hash")]
    pub response: B256,
}

/// A place in the order of leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SetPlace {
    /// It is a leaf.
    Present(SetPath),
    /// It is between two leaves that are next to each other; one is absent at an end, and both in an empty set.
    Absent {
        /// The leaf before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<SetLeaf>,
        /// The leaf after.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<SetLeaf>,
    },
}

/// The way from a leaf to the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SetPath {
    /// Which leaf, from 0.
    pub index: u64,
    /// Hashes of the siblings, leaf first.
    #[schemars(with = "Vec<crate::schema::Hash>")]
    pub path: Vec<B256>,
}

/// A leaf, and the way from it to the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SetLeaf {
    /// The leaf's 32 bytes. Nobody who has not the content can tell of what they are.
    #[schemars(with = "crate::schema::Hash")]
    pub leaf: B256,
    /// The way.
    pub at: SetPath,
}

/// A chunk of the content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChunkProof {
    /// Which, from 0.
    pub index: u64,
    /// Its bytes.
    #[schemars(with = "crate::schema::Hex")]
    pub chunk: Bytes,
    /// What stands before its hash in the leaf.
    #[schemars(with = "crate::schema::Hash")]
    pub salt: B256,
    /// Hashes of the siblings, leaf first.
    #[schemars(with = "Vec<crate::schema::Hash>")]
    pub path: Vec<B256>,
}

/// Which word.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeywordQuery {
    /// The word.
    pub word: String,
}

/// Compares what was delivered with what was agreed on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckDelivery {
    /// A purchase or an escrowed transaction of the caller.
    #[schemars(with = "crate::schema::Id")]
    pub purchase_id: Uuid,
    /// What was delivered, as standard base64, up to 4 MiB decoded.
    pub content_base64: String,
}

/// The record of such a comparison: what one party of a purchase showed as its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Delivery {
    /// The purchase.
    #[schemars(with = "crate::schema::Id")]
    pub purchase_id: Uuid,
    /// SHA-256 of the content that was agreed on.
    #[schemars(with = "crate::schema::Hash")]
    pub expected_hash: B256,
    /// SHA-256 of what the caller showed.
    #[schemars(with = "crate::schema::Hash")]
    pub actual_hash: B256,
    /// Whether they are the same.
    pub verified: bool,
    /// When it was compared.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub verified_at: OffsetDateTime,
}
