// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { AnchorTest } from "./AnchorTest.sol";

contract VerifyTest is AnchorTest {
    string private _vectors;

    function setUp() public override {
        super.setUp();
        _vectors = vm.readFile("contracts/test/anchor/vectors.json");
    }

    function verify(uint64 sequence, uint64 count, bytes memory entry, uint256 index, bytes32[] memory path)
        private
        view
        returns (bool)
    {
        return anchor.verify(operator, sequence, count, entry, uint64(index), path);
    }

    function test_every_golden_proof_holds_and_only_at_its_place() external {
        for (uint64 i = 0; i < 10; ++i) {
            string memory tree = string.concat(".trees[", vm.toString(i), "]");
            uint64 size = uint64(vm.parseJsonUint(_vectors, string.concat(tree, ".size")));
            append(i + 1, vm.parseJsonBytes32(_vectors, string.concat(tree, ".root")), size);
            uint256[] memory indexes = vm.parseJsonUintArray(_vectors, string.concat(tree, ".indexes"));
            assertEq(indexes.length, size < 10 ? size : 10);
            for (uint256 j = 0; j < indexes.length; ++j) {
                string memory key = string.concat(tree, ".paths[", vm.toString(j), "]");
                checkPlace(i + 1, size, indexes[j], vm.parseJsonBytes32Array(_vectors, key));
            }
        }
    }

    function checkPlace(uint64 sequence, uint64 size, uint256 index, bytes32[] memory path) private view {
        for (uint256 place = 0; place <= size; ++place) {
            assertEq(verify(sequence, size, entryAt(index), place, path), place == index);
        }
    }

    function test_the_tree_is_that_of_certificate_transparency() external {
        bytes[] memory entries = vm.parseJsonBytesArray(_vectors, ".ct.entries");
        bytes32[] memory roots = vm.parseJsonBytes32Array(_vectors, ".ct.roots");
        for (uint64 size = 1; size <= entries.length; ++size) {
            append(size, roots[size - 1], size);
            for (uint256 i = 0; i < size; ++i) {
                assertTrue(verify(size, size, entries[i], i, pathTo(entries, i, 0, size)));
            }
        }
    }

    function testFuzz_an_entry_is_proven_in_a_tree_of_any_size(uint64 size, uint256 index) external {
        (size, index) = anchored(size, index);
        assertTrue(verify(1, size, entryAt(index), index, pathTo(index, size)));
    }

    function testFuzz_another_entry_is_not_proven(uint64 size, uint256 index, bytes calldata entry) external {
        (size, index) = anchored(size, index);
        vm.assume(keccak256(entry) != keccak256(entryAt(index)));
        assertFalse(verify(1, size, entry, index, pathTo(index, size)));
    }

    /// Index, count, sequence and operator are all bound.
    function testFuzz_the_proof_serves_nowhere_else(uint64 size, uint256 index, uint64 other) external {
        (size, index) = anchored(size, index);
        append(2, keccak256("another batch"), size);
        bytes32[] memory path = pathTo(index, size);
        if (other != index) assertFalse(verify(1, size, entryAt(index), other, path));
        if (other != size) assertFalse(verify(1, other, entryAt(index), index, path));
        assertFalse(verify(2, size, entryAt(index), index, path));
        assertFalse(anchor.verify(address(this), 1, size, entryAt(index), uint64(index), path));
    }

    function testFuzz_a_path_of_another_length_fails(uint64 size, uint256 index, bytes32 extra) external {
        (size, index) = anchored(size, index);
        bytes32[] memory path = pathTo(index, size);
        bytes32[] memory longer = new bytes32[](path.length + 1);
        for (uint256 i = 0; i < path.length; ++i) {
            longer[i] = path[i];
        }
        longer[path.length] = extra;
        assertFalse(verify(1, size, entryAt(index), index, longer));
        if (path.length == 0) return;
        assembly {
            mstore(path, sub(mload(path), 1))
        }
        assertFalse(verify(1, size, entryAt(index), index, path));
    }

    function test_a_node_does_not_pass_for_an_entry() external {
        append(1, treeOf(4), 4);
        bytes32[] memory path = pathTo(0, 4);
        bytes memory node = abi.encodePacked(sha256(abi.encodePacked(hex"00", entryAt(0))), path[0]);
        bytes32[] memory shorter = new bytes32[](1);
        shorter[0] = path[1];
        assertFalse(verify(1, 4, node, 0, shorter));
        assertFalse(verify(1, 2, node, 0, shorter));
    }

    /// An operator who lies about the count makes its tree prove nothing, rather than an entry at two places.
    function test_a_count_that_is_not_the_trees_proves_nothing() external {
        append(1, treeOf(2), 4);
        assertFalse(verify(1, 4, entryAt(0), 0, pathTo(0, 2)));
        append(2, treeOf(4), 2);
        assertFalse(verify(2, 2, entryAt(3), 1, pathTo(3, 4)));
    }

    // Helpers

    function anchored(uint64 size, uint256 index) private returns (uint64, uint256) {
        size = uint64(bound(size, 1, 70));
        append(1, treeOf(size), size);
        return (size, bound(index, 0, size - 1));
    }

    function pathTo(uint256 index, uint256 size) private pure returns (bytes32[] memory) {
        bytes[] memory entries = new bytes[](size);
        for (uint256 i = 0; i < size; ++i) {
            entries[i] = entryAt(i);
        }
        return pathTo(entries, index, 0, size);
    }

    /// The inclusion proof of RFC 9162, section 2.1.3.1.
    function pathTo(bytes[] memory entries, uint256 index, uint256 from, uint256 to)
        private
        pure
        returns (bytes32[] memory path)
    {
        if (to - from == 1) return path;
        uint256 middle = from + leftOf(to - from);
        bool left = index < middle;
        bytes32[] memory below = left ? pathTo(entries, index, from, middle) : pathTo(entries, index, middle, to);
        path = new bytes32[](below.length + 1);
        for (uint256 i = 0; i < below.length; ++i) {
            path[i] = below[i];
        }
        path[below.length] = left ? treeHash(entries, middle, to) : treeHash(entries, from, middle);
    }
}
