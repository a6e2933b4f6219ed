// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { ILedgerAnchor } from "../../src/interfaces/ILedgerAnchor.sol";
import { AnchorTest } from "./AnchorTest.sol";

contract AppendTest is AnchorTest {
    function test_batches_are_numbered_from_one_and_counted() external {
        vm.expectEmit(address(anchor));
        emit ILedgerAnchor.BatchAnchored(operator, 1, keccak256("a"), 3, 3);
        append(1, keccak256("a"), 3);
        vm.expectEmit(address(anchor));
        emit ILedgerAnchor.BatchAnchored(operator, 2, keccak256("b"), 5, 8);
        append(2, keccak256("b"), 5);
        assertEq(anchor.headOf(operator).sequence, 2);
        assertEq(anchor.headOf(operator).entries, 8);
        assertTrue(anchor.isAnchored(operator, 1, keccak256("a"), 3));
        assertTrue(anchor.isAnchored(operator, 2, keccak256("b"), 5));
    }

    function testFuzz_no_number_is_skipped_or_used_twice(uint64 sequence) external {
        append(1, keccak256("a"), 3);
        append(2, keccak256("b"), 3);
        vm.assume(sequence != 3);
        vm.expectRevert(abi.encodeWithSelector(ILedgerAnchor.SequenceInvalid.selector, sequence, 3));
        append(sequence, keccak256("rewritten"), 3);
        assertTrue(anchor.isAnchored(operator, 1, keccak256("a"), 3));
    }

    function test_nobody_appends_for_an_operator() external {
        append(1, keccak256("a"), 3);
        vm.prank(makeAddr("stranger"));
        anchor.append(1, keccak256("forged"), 3);
        assertFalse(anchor.isAnchored(operator, 1, keccak256("forged"), 3));
        assertEq(anchor.headOf(operator).sequence, 1);
    }

    function test_a_batch_without_entries_is_refused() external {
        vm.expectRevert(abi.encodeWithSelector(ILedgerAnchor.BatchEmpty.selector, 1));
        append(1, keccak256("a"), 0);
    }

    function test_the_count_belongs_to_the_anchor() external {
        append(1, keccak256("a"), 3);
        assertFalse(anchor.isAnchored(operator, 1, keccak256("a"), 4));
        assertFalse(anchor.isAnchored(operator, 2, bytes32(0), 0), "what was never anchored is not");
    }
}

/// forge-config: default.isolate = true
contract AnchorGasTest is AnchorTest {
    function test_gas() external {
        append(1, keccak256("a"), 1000);
        append(2, keccak256("b"), 1000);
        vm.snapshotGasLastCall("LedgerAnchor", "append");
    }
}
