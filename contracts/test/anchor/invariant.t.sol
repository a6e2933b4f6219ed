// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { Test } from "forge-std/Test.sol";
import { LedgerAnchor } from "../../src/LedgerAnchor.sol";

/// Three operators who append anything under any number, and a record of what was accepted.
contract AnchorHandler is Test {
    struct Batch {
        bytes32 root;
        uint64 entryCount;
    }

    LedgerAnchor private immutable ANCHOR;
    mapping(address operator => Batch[]) private _batches;
    mapping(address operator => uint256) public entries;
    /// Batches accepted under another number than the next. Never.
    uint256 public outOfOrder;

    constructor(LedgerAnchor anchor) {
        ANCHOR = anchor;
    }

    function operatorAt(uint256 seed) public pure returns (address) {
        return address(uint160(0xa11ce + seed % 3));
    }

    function batchesOf(address operator) external view returns (Batch[] memory) {
        return _batches[operator];
    }

    function append(uint256 seed, uint64 sequence, bytes32 root, uint64 entryCount) external {
        address operator = operatorAt(seed);
        uint256 next = _batches[operator].length + 1;
        sequence = uint64(bound(sequence, next < 2 ? 0 : next - 2, next + 1));
        entryCount = uint64(bound(entryCount, 0, 1e6));
        vm.prank(operator);
        try ANCHOR.append(sequence, root, entryCount) {
            if (sequence != next) ++outOfOrder;
            _batches[operator].push(Batch(root, entryCount));
            entries[operator] += entryCount;
        } catch { }
    }
}

contract AnchorInvariantTest is Test {
    LedgerAnchor private anchor = new LedgerAnchor();
    AnchorHandler private handler = new AnchorHandler(anchor);

    function setUp() public {
        targetContract(address(handler));
    }

    /// Per operator: the head is the number of batches accepted and the sum of their entries; each of them, the oldest too, is still what it
    /// was when it was accepted.
    function invariant_anchorsOnlyGrow() public view {
        assertEq(handler.outOfOrder(), 0);
        for (uint256 i = 0; i < 3; ++i) {
            address operator = handler.operatorAt(i);
            AnchorHandler.Batch[] memory batches = handler.batchesOf(operator);
            assertEq(anchor.headOf(operator).sequence, batches.length);
            assertEq(anchor.headOf(operator).entries, handler.entries(operator));
            for (uint64 j = 0; j < batches.length; ++j) {
                assertTrue(anchor.isAnchored(operator, j + 1, batches[j].root, batches[j].entryCount));
            }
        }
    }
}
