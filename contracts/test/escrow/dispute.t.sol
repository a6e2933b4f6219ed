// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { IPayouts } from "../../src/interfaces/IPayouts.sol";
import { EscrowTest } from "./EscrowTest.sol";

contract DisputeTest is EscrowTest {
    function test_takes_the_bond_and_starts_the_arbitration() external {
        bytes32 id = fundAndDeliver();
        uint256 arbitrationEnds = block.timestamp + terms.arbitrationPeriod;
        vm.expectEmit(address(escrow));
        emit IEscrow.AgreementDisputed(id, BOND, arbitrationEnds);
        vm.prank(buyer);
        escrow.dispute(terms);
        assertBalances(WALLET - AMOUNT - BOND, 0, 0, AMOUNT + BOND);
        IEscrow.Agreement memory expected =
            IEscrow.Agreement(IEscrow.Status.Disputed, uint40(arbitrationEnds), uint96(AMOUNT), 0, false);
        assertEq(abi.encode(escrow.agreementOf(id)), abi.encode(expected));
    }

    function test_may_cost_nothing() external {
        terms.disputeBond = 0;
        openDispute();
        assertBalances(WALLET - AMOUNT, 0, 0, AMOUNT);
    }

    function test_without_the_bond_there_is_no_dispute() external {
        terms.disputeBond = WALLET;
        fundAndDeliver();
        vm.expectRevert("ERC20: transfer amount exceeds balance");
        vm.prank(buyer);
        escrow.dispute(terms);
    }

    function test_only_the_buyer() external {
        fundAndDeliver();
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NotBuyer.selector, seller, buyer));
        vm.prank(seller);
        escrow.dispute(terms);
    }

    function test_without_an_arbiter_there_is_nobody_to_ask() external {
        terms.arbiter = address(0);
        fundAndDeliver();
        vm.expectRevert(abi.encodeWithSelector(IPayouts.PartyInvalid.selector, address(0)));
        vm.prank(buyer);
        escrow.dispute(terms);
    }

    function test_until_the_second_before_the_review_ends() external {
        fundAndDeliver();
        uint256 ends = block.timestamp + terms.reviewPeriod;
        uint256 snapshot = vm.snapshotState();
        vm.warp(ends - 1);
        vm.prank(buyer);
        escrow.dispute(terms);
        for (uint256 late = ends; late <= ends + 1; ++late) {
            vm.revertToState(snapshot);
            vm.warp(late);
            vm.expectRevert(abi.encodeWithSelector(IEscrow.ReviewOver.selector, late, ends));
            vm.prank(buyer);
            escrow.dispute(terms);
        }
    }

    function test_only_what_is_delivered() external {
        expectRefusedOutside(only(IEscrow.Status.Delivered), buyer, escrow.dispute.selector, "");
    }
}
