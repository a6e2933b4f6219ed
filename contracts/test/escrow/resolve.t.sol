// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { EscrowTest } from "./EscrowTest.sol";

contract ResolveTest is EscrowTest {
    function resolve(uint256 toSeller) private {
        vm.prank(arbiter);
        escrow.resolve(terms, toSeller);
    }

    function testFuzz_the_arbiter_splits_exactly(uint256 released, uint256 toSeller) external {
        released = bound(released, 0, AMOUNT - 1);
        toSeller = bound(toSeller, 0, AMOUNT - released);
        bytes32 id = fundAndDeliver();
        vm.startPrank(buyer);
        if (released != 0) escrow.releaseUpTo(terms, released);
        escrow.dispute(terms);
        vm.stopPrank();
        uint256 toBuyer = AMOUNT - released - toSeller;
        uint256 bond = toBuyer == 0 ? BOND : 0;
        uint256 fee = (released + toSeller) * 250 / 10_000;
        uint256 feeNow = fee - released * 250 / 10_000;
        vm.expectEmit(address(escrow));
        emit IEscrow.AgreementResolved(id, arbiter, toSeller, toBuyer, feeNow, toBuyer == 0 ? seller : buyer);
        resolve(toSeller);
        assertBalances(WALLET - released - toSeller - bond, released + toSeller - fee + bond, fee, 0);
        assertStatus(IEscrow.Status.Resolved);
        assertEq(escrow.agreementOf(id).released, released + toSeller);
    }

    function test_the_bond_is_the_sellers_only_if_the_buyer_gets_nothing() external {
        openDispute();
        uint256 snapshot = vm.snapshotState();
        resolve(AMOUNT - 1);
        assertEq(usdc.balanceOf(buyer), WALLET - AMOUNT + 1);
        vm.revertToState(snapshot);
        resolve(AMOUNT);
        assertEq(usdc.balanceOf(buyer), WALLET - AMOUNT - BOND);
        assertEq(usdc.balanceOf(seller), AMOUNT - FEE + BOND);
    }

    function test_a_ruling_is_remembered_as_one() external {
        bytes32 id = openDispute();
        assertFalse(escrow.agreementOf(id).ruled);
        resolve(1);
        assertTrue(escrow.agreementOf(id).ruled);
    }

    function test_only_the_arbiter() external {
        openDispute();
        address[3] memory others = [buyer, seller, stranger];
        for (uint256 i = 0; i < others.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IEscrow.NotArbiter.selector, others[i], arbiter));
            vm.prank(others[i]);
            escrow.resolve(terms, 0);
        }
    }

    function test_the_bond_is_not_the_arbiters_to_give() external {
        openDispute();
        vm.expectRevert(abi.encodeWithSelector(IEscrow.MoreThanFunded.selector, AMOUNT + 1, AMOUNT));
        resolve(AMOUNT + 1);
    }

    function test_until_the_second_before_the_arbitration_ends() external {
        openDispute();
        uint256 ends = block.timestamp + terms.arbitrationPeriod;
        uint256 snapshot = vm.snapshotState();
        vm.warp(ends - 1);
        resolve(0);
        for (uint256 late = ends; late <= ends + 1; ++late) {
            vm.revertToState(snapshot);
            vm.warp(late);
            vm.expectRevert(abi.encodeWithSelector(IEscrow.ArbitrationOver.selector, late, ends));
            resolve(0);
        }
    }

    function test_once_and_only_what_is_disputed() external {
        expectRefusedOutside(only(IEscrow.Status.Disputed), arbiter, escrow.resolve.selector, abi.encode(1));
    }
}
