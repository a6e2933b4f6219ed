// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { Test } from "forge-std/Test.sol";
import { LedgerAnchor } from "../../src/LedgerAnchor.sol";

/// Trees of the entries 0, 1, 2, ... of eight bytes each, computed as RFC 9162 defines them: by halves, not by the walk that the contract does.
abstract contract AnchorTest is Test {
    LedgerAnchor internal anchor;
    address internal operator = makeAddr("operator");

    function setUp() public virtual {
        anchor = new LedgerAnchor();
    }

    function append(uint64 sequence, bytes32 root, uint64 entryCount) internal {
        vm.prank(operator);
        anchor.append(sequence, root, entryCount);
    }

    function entryAt(uint256 index) internal pure returns (bytes memory) {
        return abi.encodePacked(uint64(index));
    }

    function treeOf(uint256 size) internal pure returns (bytes32) {
        bytes[] memory entries = new bytes[](size);
        for (uint256 i = 0; i < size; ++i) {
            entries[i] = entryAt(i);
        }
        return treeHash(entries, 0, size);
    }

    /// The Merkle tree hash of entries `from` to `to`, without `to`.
    function treeHash(bytes[] memory entries, uint256 from, uint256 to) internal pure returns (bytes32) {
        if (to - from == 1) return sha256(abi.encodePacked(hex"00", entries[from]));
        uint256 middle = from + leftOf(to - from);
        return sha256(abi.encodePacked(hex"01", treeHash(entries, from, middle), treeHash(entries, middle, to)));
    }

    /// How many of `count` entries are in the left half: the largest power of two below it.
    function leftOf(uint256 count) internal pure returns (uint256 left) {
        left = 1;
        while (left * 2 < count) left *= 2;
    }
}
