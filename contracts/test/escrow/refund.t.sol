// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { EscrowTest } from "./EscrowTest.sol";

contract RefundTest is EscrowTest {
    function test_a_seller_who_does_nothing_cannot_keep_the_money() external {
        bytes32 id = fund();
        vm.warp(terms.deliverBy);
        vm.expectEmit(address(escrow));
        emit IEscrow.AgreementRefunded(id, stranger, AMOUNT);
        vm.prank(stranger);
        escrow.refund(terms);
        assertBalances(WALLET, 0, 0, 0);
        assertStatus(IEscrow.Status.Refunded);
    }

    function test_the_seller_gives_back_at_any_time_before_a_dispute() external {
        bytes32 id = fund();
        uint256 snapshot = vm.snapshotState();
        vm.expectEmit(address(escrow));
        emit IEscrow.AgreementRefunded(id, seller, AMOUNT);
        vm.prank(seller);
        escrow.refund(terms);
        assertBalances(WALLET, 0, 0, 0);
        vm.revertToState(snapshot);
        deliver();
        vm.warp(block.timestamp + terms.reviewPeriod + 1);
        vm.prank(seller);
        escrow.refund(terms);
        assertBalances(WALLET, 0, 0, 0);
    }

    function testFuzz_gives_back_what_was_not_released(uint256 released, uint256 added) external {
        released = bound(released, 1, AMOUNT - 1);
        added = bound(added, 1, WALLET - AMOUNT);
        fund();
        vm.startPrank(buyer);
        escrow.releaseUpTo(terms, released);
        escrow.topUp(terms, added);
        vm.stopPrank();
        vm.warp(terms.deliverBy);
        escrow.refund(terms);
        uint256 fee = released * 250 / 10_000;
        assertBalances(WALLET - released, released - fee, fee, 0);
    }

    /// Until then the seller may deliver, from then on not: see markDelivered.t.sol.
    function test_without_the_seller_from_the_second_delivery_was_due() external {
        fund();
        uint256 due = terms.deliverBy;
        uint256 snapshot = vm.snapshotState();
        vm.warp(due - 1);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.TooEarly.selector, due - 1, due));
        vm.prank(buyer);
        escrow.refund(terms);
        for (uint256 time = due; time <= due + 1; ++time) {
            vm.revertToState(snapshot);
            vm.warp(time);
            vm.prank(buyer);
            escrow.refund(terms);
            assertBalances(WALLET, 0, 0, 0);
        }
    }

    function test_a_delivery_takes_the_buyers_refund_away() external {
        fundAndDeliver();
        vm.warp(terms.deliverBy);
        vm.expectRevert(wrongStatus(IEscrow.Status.Delivered));
        vm.prank(buyer);
        escrow.refund(terms);
    }

    function test_only_while_the_agreement_runs() external {
        uint256 running = only(IEscrow.Status.Funded) | only(IEscrow.Status.Delivered);
        expectRefusedOutside(running, seller, escrow.refund.selector, "");
    }
}
