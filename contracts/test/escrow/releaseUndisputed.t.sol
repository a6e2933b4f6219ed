// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { EscrowTest } from "./EscrowTest.sol";

contract ReleaseUndisputedTest is EscrowTest {
    function test_a_silent_buyer_cannot_strand_a_seller() external {
        bytes32 id = fundAndDeliver();
        vm.warp(block.timestamp + terms.reviewPeriod);
        vm.expectEmit(address(escrow));
        emit IEscrow.AgreementReleased(id, stranger, AMOUNT, FEE, AMOUNT);
        vm.prank(stranger);
        escrow.releaseUndisputed(terms);
        assertBalances(WALLET - AMOUNT, AMOUNT - FEE, FEE, 0);
        assertStatus(IEscrow.Status.Released);
    }

    function test_releases_what_is_left_and_what_was_added() external {
        fundAndDeliver();
        vm.startPrank(buyer);
        escrow.releaseUpTo(terms, AMOUNT / 2);
        escrow.topUp(terms, AMOUNT);
        vm.stopPrank();
        vm.warp(block.timestamp + terms.reviewPeriod);
        escrow.releaseUndisputed(terms);
        assertBalances(WALLET - 2 * AMOUNT, 2 * (AMOUNT - FEE), 2 * FEE, 0);
    }

    /// Until then the buyer may dispute, from then on not: see dispute.t.sol.
    function test_from_the_second_the_review_ends() external {
        fundAndDeliver();
        uint256 ends = block.timestamp + terms.reviewPeriod;
        uint256 snapshot = vm.snapshotState();
        vm.warp(ends - 1);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.ReviewNotOver.selector, ends - 1, ends));
        escrow.releaseUndisputed(terms);
        for (uint256 time = ends; time <= ends + 1; ++time) {
            vm.revertToState(snapshot);
            vm.warp(time);
            escrow.releaseUndisputed(terms);
            assertStatus(IEscrow.Status.Released);
        }
    }

    function test_only_what_is_delivered() external {
        expectRefusedOutside(only(IEscrow.Status.Delivered), stranger, escrow.releaseUndisputed.selector, "");
    }
}
