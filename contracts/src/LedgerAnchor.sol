// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { ILedgerAnchor } from "./interfaces/ILedgerAnchor.sol";

/// @title LedgerAnchor
/// @notice Fixes the batches of operators' off-chain ledgers.
///
/// Guarantees. An operator is whoever calls; it has one sequence of batches, numbered from 1 without a gap. What was anchored is never
/// rewritten, and one batch has one root and one count for everybody who asks. That the ledger behind it is honest is not promised: only
/// that an operator cannot show one history to some and another to others.
///
/// The tree is that of RFC 9162 (section 2.1) with SHA-256: a leaf is hashed behind 0x00, a node behind 0x01, so that no node passes for
/// an entry; a tree that is not full promotes nothing and repeats nothing, so that no two lists have one root. SHA-256 rather than
/// keccak256, because those who check a ledger have it at hand (browsers, databases and every certificate transparency verifier); on chain
/// it costs some 300 gas more per step of a proof, and anchoring hashes no tree. Every batch is a tree of its own, therefore there are no
/// consistency proofs between batches: their numbers and the head's count of entries leave nothing to prove.
///
/// Storage. One slot per batch: the hash of root and count, which whoever verifies names again. One slot per operator.
contract LedgerAnchor is ILedgerAnchor {
    mapping(address operator => Head head) private _heads;
    mapping(address operator => mapping(uint64 sequence => bytes32 anchor)) private _anchors;

    /// @inheritdoc ILedgerAnchor
    function append(uint64 sequence, bytes32 root, uint64 entryCount) external {
        Head storage head = _heads[msg.sender];
        uint64 expected = head.sequence + 1;
        if (sequence != expected) revert SequenceInvalid(sequence, expected);
        if (entryCount == 0) revert BatchEmpty(sequence);
        uint64 entries = head.entries + entryCount;
        head.sequence = sequence;
        head.entries = entries;
        _anchors[msg.sender][sequence] = _anchor(root, entryCount);
        emit BatchAnchored(msg.sender, sequence, root, entryCount, entries);
    }

    /// @inheritdoc ILedgerAnchor
    function verify(
        address operator,
        uint64 sequence,
        uint64 entryCount,
        bytes calldata entry,
        uint64 index,
        bytes32[] calldata path
    ) external view returns (bool) {
        if (index >= entryCount) return false;
        // RFC 9162, section 2.1.3.2. `node` is the position of `hash` on its level, `last` that of the level's last node.
        bytes32 hash = sha256(bytes.concat(hex"00", entry));
        uint256 node = index;
        uint256 last = entryCount - 1;
        for (uint256 i = 0; i < path.length; ++i) {
            if (last == 0) return false;
            if (node & 1 == 1 || node == last) {
                hash = sha256(bytes.concat(hex"01", path[i], hash));
                // The last node has no sibling on levels where its position is even: it stands there unhashed.
                while (node & 1 == 0 && node != 0) (node, last) = (node >> 1, last >> 1);
            } else {
                hash = sha256(bytes.concat(hex"01", hash, path[i]));
            }
            (node, last) = (node >> 1, last >> 1);
        }
        return last == 0 && isAnchored(operator, sequence, hash, entryCount);
    }

    /// @inheritdoc ILedgerAnchor
    function isAnchored(address operator, uint64 sequence, bytes32 root, uint64 entryCount) public view returns (bool) {
        return _anchors[operator][sequence] == _anchor(root, entryCount);
    }

    /// @inheritdoc ILedgerAnchor
    function headOf(address operator) external view returns (Head memory) {
        return _heads[operator];
    }

    function _anchor(bytes32 root, uint64 entryCount) private pure returns (bytes32) {
        return keccak256(abi.encode(root, entryCount));
    }
}
