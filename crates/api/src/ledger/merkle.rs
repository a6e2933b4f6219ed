//! The Merkle tree of RFC 9162 with SHA-256, in which ledgers are sealed and anchored, and contents committed to.

use alloy::primitives::B256;
use sha2::{Digest, Sha256};

/// The hash of an entry: behind a zero byte, so that no node passes for one.
pub fn leaf(entry: &[u8]) -> B256 {
    B256::from_slice(&Sha256::new_with_prefix([0]).chain_update(entry).finalize())
}

/// The hash of a node.
pub fn node(left: B256, right: B256) -> B256 {
    B256::from_slice(&Sha256::new_with_prefix([1]).chain_update(left).chain_update(right).finalize())
}

/// A tree that grows to the right, of which only the roots of its full subtrees are kept.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Largest first; the sizes are the bits of `count`.
    full: Vec<B256>,
    count: u64,
}

impl Tree {
    /// Adds a leaf.
    pub fn push(&mut self, leaf: B256) {
        let mut hash = leaf;
        for _ in 0..self.count.trailing_ones() {
            hash = node(self.full.pop().expect("a full subtree for every bit of the count"), hash);
        }
        self.full.push(hash);
        self.count += 1;
    }

    /// The tree hash; `None` of no leaves.
    pub fn root(&self) -> Option<B256> {
        self.full.iter().rev().copied().reduce(|right, left| node(left, right))
    }
}

/// The tree hash of leaves; `None` of none.
pub fn root(leaves: &[B256]) -> Option<B256> {
    let mut tree = Tree::default();
    leaves.iter().for_each(|leaf| tree.push(*leaf));
    tree.root()
}

/// A tree of which all nodes are kept, to prove many of its leaves.
#[derive(Clone, Debug)]
pub struct Nodes {
    /// From the leaves up to the root; one empty level of no leaves.
    levels: Vec<Vec<B256>>,
}

impl Nodes {
    /// The tree of these leaves.
    pub fn new(leaves: Vec<B256>) -> Self {
        let mut levels = vec![leaves];
        while let Some(level) = levels.last().filter(|level| level.len() > 1) {
            // The last one has no sibling and goes up as it is.
            let above = level.chunks(2).map(|pair| pair.iter().copied().reduce(node).expect("a chunk is not empty")).collect();
            levels.push(above);
        }
        Self { levels }
    }

    /// The tree hash; `None` of no leaves.
    pub fn root(&self) -> Option<B256> {
        self.levels.last()?.first().copied()
    }

    /// How many leaves there are.
    pub fn count(&self) -> u64 {
        self.levels[0].len() as u64
    }

    /// The inclusion proof of the leaf at `index`, its sibling first; `None` when there is no such leaf.
    pub fn path(&self, index: usize) -> Option<Vec<B256>> {
        self.levels[0].get(index)?;
        let siblings = self.levels.iter().enumerate().filter_map(|(height, level)| level.get((index >> height) ^ 1));
        Some(siblings.copied().collect())
    }
}

/// The inclusion proof of the leaf at `index`, its sibling first; `None` when there is no such leaf.
pub fn path(leaves: &[B256], index: usize) -> Option<Vec<B256>> {
    Nodes::new(leaves.to_vec()).path(index)
}

/// The root that a path leads to from a leaf at `index` of `count`; `None` when the path is too short or too long for that place. RFC 9162,
/// section 2.1.3.2.
pub fn root_from_path(leaf: B256, index: u64, count: u64, path: &[B256]) -> Option<B256> {
    let mut last = count.checked_sub(1).filter(|last| index <= *last)?;
    let (mut index, mut hash) = (index, leaf);
    for sibling in path {
        if last == 0 {
            return None;
        }
        if index % 2 == 1 || index == last {
            hash = node(*sibling, hash);
            while index.is_multiple_of(2) && index != 0 {
                index /= 2;
                last /= 2;
            }
        } else {
            hash = node(hash, *sibling);
        }
        index /= 2;
        last /= 2;
    }
    (last == 0).then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaves(count: u64) -> Vec<B256> {
        (0..count).map(|i| leaf(&i.to_be_bytes())).collect()
    }

    /// The definition of RFC 9162, section 2.1.1, word by word.
    fn defined(leaves: &[B256]) -> B256 {
        match leaves {
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(1 << (leaves.len() - 1).ilog2());
                node(defined(left), defined(right))
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_leaf_is_proved_and_no_other_place_or_leaf(count in 1_u64..70, at in 0_u64..70, other in 0_u64..70) {
            let (at, other) = (at % count, other % count);
            let all = leaves(count);
            prop_assert_eq!(root(&all), Some(defined(&all)));
            let path = path(&all, at as usize).unwrap();
            prop_assert_eq!(root_from_path(all[at as usize], at, count, &path), root(&all));
            if other != at {
                prop_assert_ne!(root_from_path(all[other as usize], at, count, &path), root(&all));
                prop_assert_ne!(root_from_path(all[at as usize], other, count, &path), root(&all));
            }
            let mut longer = path.clone();
            longer.push(B256::ZERO);
            prop_assert_ne!(root_from_path(all[at as usize], at, count, &longer), root(&all));
            if count > 1 {
                prop_assert_ne!(root_from_path(all[at as usize], at, count, &path[1..]), root(&all));
            }
        }
    }

    #[test]
    fn nothing_is_in_an_empty_tree() {
        assert_eq!((root(&[]), path(&[], 0)), (None, None));
        assert_eq!(root_from_path(B256::ZERO, 0, 0, &[]), None);
    }
}
