//! Committed sets whose leaves tell nothing. A leaf is what a key makes of a word, and only who has the key, which is made of the content, can say what
//! that is: whoever reads a proof has a word's leaf when the market gave it, and cannot try a dictionary on the leaves around it. That the market gave
//! the right one is proved with the public key (Chaum and Pedersen: the same scalar is behind both). A verifiable random function, in other words.

use alloy::primitives::B256;
use curve25519_dalek::{
    RistrettoPoint, Scalar, constants::RISTRETTO_BASEPOINT_TABLE, ristretto::CompressedRistretto, traits::IsIdentity,
};
use sha2::{Digest, Sha256, Sha512};

use super::{
    Tree,
    verify::ProofError,
    wire::{Evaluation, SetLeaf, SetPath, SetPlace, SetProof},
};
use crate::ledger::merkle::{self, Nodes};

/// What the content alone makes: whoever has it has this, too. From the hash that everybody has, it cannot be told.
#[derive(Clone)]
pub(super) struct Secret(pub(super) [u8; 64]);

/// What a set is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Word = 1,
    Field = 2,
}

impl Secret {
    /// The beginning of the hash that makes it of a content.
    pub(super) fn hasher() -> Sha512 {
        Sha512::new_with_prefix(b"florin content secret 1")
    }

    /// The scalar that is for one purpose.
    pub(super) fn scalar(&self, purpose: &[u8]) -> Scalar {
        let hash = Sha512::new_with_prefix(b"florin content scalar 1").chain_update(self.0).chain_update(purpose);
        Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
    }

    /// What the hash of a chunk stands behind.
    pub(super) fn salt(&self, chunk: u64) -> B256 {
        let hash = Sha256::new_with_prefix(b"florin chunk salt 1").chain_update(self.0).chain_update(chunk.to_be_bytes());
        B256::from_slice(&hash.finalize())
    }

    fn key(&self) -> Scalar {
        self.scalar(b"key")
    }

    pub(super) fn public_key(&self) -> B256 {
        encode(&(&self.key() * RISTRETTO_BASEPOINT_TABLE))
    }

    /// What the key makes of something: the leaf for it.
    pub(super) fn leaf(&self, kind: Kind, label: &str) -> B256 {
        leaf(encode(&(self.key() * point_of(kind, label))))
    }

    fn evaluate(&self, kind: Kind, label: &str) -> Evaluation {
        let (key, point) = (self.key(), point_of(kind, label));
        let output = encode(&(key * point));
        // The same for the same point, and so never one for two challenges.
        let nonce = self.scalar(&[b"nonce".as_slice(), encode(&point).as_slice()].concat());
        let sent = [encode(&(&nonce * RISTRETTO_BASEPOINT_TABLE)), encode(&(nonce * point))];
        let challenge = challenge(self.public_key(), &point, output, sent);
        let response = nonce + challenge * key;
        Evaluation { output, challenge: challenge.to_bytes().into(), response: response.to_bytes().into() }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

fn point_of(kind: Kind, label: &str) -> RistrettoPoint {
    let hash = Sha512::new_with_prefix(b"florin content set 1").chain_update([kind as u8]).chain_update(label);
    RistrettoPoint::from_uniform_bytes(&hash.finalize().into())
}

fn leaf(output: B256) -> B256 {
    B256::from_slice(&Sha256::new_with_prefix(b"florin content leaf 1").chain_update(output).finalize())
}

fn challenge(key: B256, point: &RistrettoPoint, output: B256, sent: [B256; 2]) -> Scalar {
    let mut hash = Sha512::new_with_prefix(b"florin content challenge 1").chain_update(key).chain_update(encode(point));
    hash.update(output);
    sent.iter().for_each(|sent| hash.update(sent));
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

pub(super) fn encode(point: &RistrettoPoint) -> B256 {
    point.compress().to_bytes().into()
}

/// A point that is not the neutral one, which would be the same for all keys.
pub(super) fn decode(bytes: B256, what: &'static str) -> Result<RistrettoPoint, ProofError> {
    let point = CompressedRistretto(bytes.0).decompress().filter(|point| !point.is_identity());
    point.ok_or(ProofError::Unreadable { what })
}

fn decode_scalar(bytes: B256) -> Result<Scalar, ProofError> {
    Option::from(Scalar::from_canonical_bytes(bytes.0)).ok_or(ProofError::Unreadable { what: "an evaluation" })
}

/// A set as who proves has it: leaves in order, and all nodes above them.
#[derive(Clone, Debug)]
pub(super) struct Set {
    leaves: Vec<B256>,
    nodes: Nodes,
}

impl Set {
    /// Of leaves in order.
    pub(super) fn new(leaves: Vec<B256>) -> Self {
        let nodes = Nodes::new(leaves.iter().map(|leaf| merkle::leaf(leaf.as_slice())).collect());
        Self { leaves, nodes }
    }

    pub(super) fn tree(&self) -> Tree {
        Tree { count: self.nodes.count(), root: self.nodes.root().unwrap_or_default() }
    }

    /// The proof that something is in the set, or that it is not, and which it is.
    pub(super) fn prove(&self, secret: &Secret, kind: Kind, label: &str) -> (bool, SetProof) {
        let evaluation = secret.evaluate(kind, label);
        let place = match self.leaves.binary_search(&leaf(evaluation.output)) {
            Ok(at) => SetPlace::Present(self.path(at)),
            Err(at) => SetPlace::Absent { before: at.checked_sub(1).and_then(|at| self.leaf(at)), after: self.leaf(at) },
        };
        (matches!(place, SetPlace::Present(_)), SetProof { evaluation, place })
    }

    fn leaf(&self, at: usize) -> Option<SetLeaf> {
        Some(SetLeaf { leaf: *self.leaves.get(at)?, at: self.path(at) })
    }

    fn path(&self, at: usize) -> SetPath {
        SetPath { index: at as u64, path: self.nodes.path(at).unwrap_or_default() }
    }
}

/// Whether something is in a set, as a proof shows.
pub(super) fn is_in(set: Tree, key: B256, (kind, label): (Kind, &str), proof: &SetProof) -> Result<bool, ProofError> {
    let sought = leaf_shown(key, &point_of(kind, label), &proof.evaluation)?;
    match &proof.place {
        SetPlace::Present(at) => in_tree(set, sought, at).map(|()| true),
        SetPlace::Absent { before, after } => {
            for leaf in before.iter().chain(after) {
                in_tree(set, leaf.leaf, &leaf.at)?;
            }
            // Where it would be: nothing may be between the two, before the first or after the last.
            let from = before.as_ref().map_or(Some(0), |before| before.at.index.checked_add(1));
            let to = after.as_ref().map_or(set.count, |after| after.at.index);
            let is_between = before.as_ref().is_none_or(|before| before.leaf < sought)
                && after.as_ref().is_none_or(|after| sought < after.leaf);
            if from == Some(to) && is_between { Ok(false) } else { Err(ProofError::NotNeighbours) }
        }
    }
}

/// The leaf for a point, if the key's owner shows that it is.
fn leaf_shown(key: B256, point: &RistrettoPoint, shown: &Evaluation) -> Result<B256, ProofError> {
    let (public_key, output) = (decode(key, "the key")?, decode(shown.output, "an evaluation")?);
    let (claimed, response) = (decode_scalar(shown.challenge)?, decode_scalar(shown.response)?);
    let sent = [
        encode(&RistrettoPoint::vartime_double_scalar_mul_basepoint(&-claimed, &public_key, &response)),
        encode(&(response * point - claimed * output)),
    ];
    if challenge(key, point, shown.output, sent) == claimed { Ok(leaf(shown.output)) } else { Err(ProofError::NotByTheKey) }
}

fn in_tree(tree: Tree, leaf: B256, at: &SetPath) -> Result<(), ProofError> {
    let root = merkle::root_from_path(merkle::leaf(leaf.as_slice()), at.index, tree.count, &at.path);
    if root == Some(tree.root) { Ok(()) } else { Err(ProofError::NotInTree { what: "a leaf" }) }
}
