// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { EscrowTest } from "./EscrowTest.sol";

contract MarkDeliveredTest is EscrowTest {
    function test_starts_the_review() external {
        bytes32 id = fund();
        uint256 reviewEnds = block.timestamp + terms.reviewPeriod;
        vm.expectEmit(address(escrow));
        emit IEscrow.AgreementDelivered(id, DELIVERY, reviewEnds);
        deliver();
        IEscrow.Agreement memory expected =
            IEscrow.Agreement(IEscrow.Status.Delivered, uint40(reviewEnds), uint96(AMOUNT), 0, false);
        assertEq(abi.encode(escrow.agreementOf(id)), abi.encode(expected));
    }

    function test_keeps_what_was_released_before() external {
        bytes32 id = fund();
        vm.prank(buyer);
        escrow.releaseUpTo(terms, AMOUNT / 4);
        deliver();
        assertEq(escrow.agreementOf(id).released, AMOUNT / 4);
    }

    function test_only_the_seller() external {
        fund();
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NotSeller.selector, buyer, seller));
        vm.prank(buyer);
        escrow.markDelivered(terms, DELIVERY);
    }

    function test_until_the_second_before_it_is_due() external {
        fund();
        uint256 snapshot = vm.snapshotState();
        vm.warp(terms.deliverBy - 1);
        deliver();
        for (uint256 late = terms.deliverBy; late <= terms.deliverBy + 1; ++late) {
            vm.revertToState(snapshot);
            vm.warp(late);
            vm.expectRevert(abi.encodeWithSelector(IEscrow.DeadlinePassed.selector, late, terms.deliverBy));
            deliver();
        }
    }

    function test_the_longest_review_fits_its_slot() external {
        terms.reviewPeriod = type(uint32).max;
        bytes32 id = fundAndDeliver();
        assertEq(escrow.agreementOf(id).windowEnds, block.timestamp + type(uint32).max);
    }

    function test_once_and_only_what_is_funded() external {
        expectRefusedOutside(only(IEscrow.Status.Funded), seller, escrow.markDelivered.selector, abi.encode(DELIVERY));
    }
}
