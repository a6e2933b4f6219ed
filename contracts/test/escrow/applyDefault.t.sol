// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { EscrowTest } from "./EscrowTest.sol";

contract ApplyDefaultTest is EscrowTest {
    function test_refunds_the_buyer_where_the_terms_say_so() external {
        bytes32 id = openDispute();
        vm.warp(block.timestamp + terms.arbitrationPeriod);
        vm.expectEmit(address(escrow));
        emit IEscrow.AgreementResolved(id, stranger, 0, AMOUNT, 0, buyer);
        vm.prank(stranger);
        escrow.applyDefault(terms);
        assertBalances(WALLET, 0, 0, 0);
        assertStatus(IEscrow.Status.Resolved);
    }

    function test_pays_the_seller_where_the_terms_say_so_and_gives_the_bond_back() external {
        terms.defaultOutcome = IEscrow.DefaultOutcome.ReleaseSeller;
        bytes32 id = openDispute();
        vm.warp(block.timestamp + terms.arbitrationPeriod);
        vm.expectEmit(address(escrow));
        emit IEscrow.AgreementResolved(id, stranger, AMOUNT, 0, FEE, buyer);
        vm.prank(stranger);
        escrow.applyDefault(terms);
        assertBalances(WALLET - AMOUNT, AMOUNT - FEE, FEE, 0);
    }

    function testFuzz_concerns_only_what_is_left(uint256 released, bool toSeller) external {
        released = bound(released, 1, AMOUNT - 1);
        if (toSeller) terms.defaultOutcome = IEscrow.DefaultOutcome.ReleaseSeller;
        fundAndDeliver();
        vm.startPrank(buyer);
        escrow.releaseUpTo(terms, released);
        escrow.dispute(terms);
        vm.stopPrank();
        vm.warp(block.timestamp + terms.arbitrationPeriod);
        escrow.applyDefault(terms);
        uint256 gross = toSeller ? AMOUNT : released;
        uint256 fee = gross * 250 / 10_000;
        assertBalances(WALLET - gross, gross - fee, fee, 0);
    }

    function test_is_no_ruling() external {
        bytes32 id = openDispute();
        vm.warp(block.timestamp + terms.arbitrationPeriod);
        escrow.applyDefault(terms);
        assertFalse(escrow.agreementOf(id).ruled);
    }

    /// Until then the arbiter may rule, from then on not: see resolve.t.sol.
    function test_from_the_second_the_arbitration_ends() external {
        openDispute();
        uint256 ends = block.timestamp + terms.arbitrationPeriod;
        uint256 snapshot = vm.snapshotState();
        vm.warp(ends - 1);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.ArbitrationNotOver.selector, ends - 1, ends));
        escrow.applyDefault(terms);
        for (uint256 time = ends; time <= ends + 1; ++time) {
            vm.revertToState(snapshot);
            vm.warp(time);
            escrow.applyDefault(terms);
            assertStatus(IEscrow.Status.Resolved);
        }
    }

    function test_only_what_is_disputed() external {
        expectRefusedOutside(only(IEscrow.Status.Disputed), stranger, escrow.applyDefault.selector, "");
    }
}
