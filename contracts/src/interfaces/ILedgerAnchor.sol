// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @title ILedgerAnchor
/// @notice Fixes the batches of operators' off-chain ledgers, so that no entry can be altered, added or left out afterwards.
interface ILedgerAnchor {
    /// @notice How far an operator's ledger is anchored.
    struct Head {
        /// @dev The newest batch; zero: none yet.
        uint64 sequence;
        /// @dev Entries of all batches together.
        uint64 entries;
    }

    /// @param root Merkle tree hash of the batch (RFC 9162, SHA-256)
    /// @param entryCount entries in this batch
    /// @param entries entries of all batches up to this one
    event BatchAnchored(
        address indexed operator, uint64 indexed sequence, bytes32 root, uint64 entryCount, uint64 entries
    );

    error SequenceInvalid(uint64 sequence, uint64 expected);
    error BatchEmpty(uint64 sequence);

    /// @notice The caller anchors its next batch. Batches are numbered from 1 without a gap and never rewritten.
    /// @param sequence number of the batch: that of the newest one plus 1
    function append(uint64 sequence, bytes32 root, uint64 entryCount) external;

    /// @notice Whether `entry` is in a batch of `operator`, at `index` of `entryCount`.
    /// @param entryCount entries in the batch, as anchored: another count fails, and so does an index outside it
    /// @param entry the bytes of the entry, not their hash
    /// @param path the inclusion proof of RFC 9162, section 2.1.3: hashes of the siblings, leaf first
    function verify(
        address operator,
        uint64 sequence,
        uint64 entryCount,
        bytes calldata entry,
        uint64 index,
        bytes32[] calldata path
    ) external view returns (bool);

    /// @notice Whether `operator` anchored exactly this batch.
    function isAnchored(address operator, uint64 sequence, bytes32 root, uint64 entryCount) external view returns (bool);

    function headOf(address operator) external view returns (Head memory);
}
