//! The Merkle tree of RFC 9162 with SHA-256, in which ledgers are anchored.

use alloy::primitives::B256;
use sha2::{Digest, Sha256};

/// The tree hash of entries; `None` of no entries.
pub(crate) fn root(entries: &[&[u8]]) -> Option<B256> {
    match entries {
        [] => None,
        [entry] => Some(hash(0, entry, &[])),
        _ => {
            let (left, right) = entries.split_at(split(entries.len()));
            Some(hash(1, root(left)?.as_slice(), root(right)?.as_slice()))
        }
    }
}

/// The inclusion proof of the entry at `index`, leaf first; `None` when there is no such entry.
pub(crate) fn path(entries: &[&[u8]], index: usize) -> Option<Vec<B256>> {
    if index >= entries.len() {
        return None;
    }
    if entries.len() == 1 {
        return Some(Vec::new());
    }
    let at = split(entries.len());
    let (left, right) = entries.split_at(at);
    let (mut proof, sibling) =
        if index < at { (path(left, index)?, root(right)?) } else { (path(right, index - at)?, root(left)?) };
    proof.push(sibling);
    Some(proof)
}

/// The largest power of two below `count`, which is at least two.
const fn split(count: usize) -> usize {
    1 << (count - 1).ilog2()
}

/// Leaves are hashed behind 0 and nodes behind 1, so that none passes for the other.
fn hash(kind: u8, left: &[u8], right: &[u8]) -> B256 {
    let digest = Sha256::new().chain_update([kind]).chain_update(left).chain_update(right).finalize();
    B256::from_slice(&digest)
}
