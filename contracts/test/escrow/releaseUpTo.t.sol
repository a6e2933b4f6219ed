// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { EscrowTest } from "./EscrowTest.sol";

contract ReleaseUpToTest is EscrowTest {
    function releaseUpTo(uint256 total) private {
        vm.prank(buyer);
        escrow.releaseUpTo(terms, total);
    }

    function testFuzz_slicing_a_release_does_not_round_the_fee_away(uint256 first, uint256 second) external {
        bytes32 id = fund();
        first = bound(first, 1, AMOUNT - 2);
        second = bound(second, first + 1, AMOUNT - 1);
        releaseUpTo(first);
        uint256 fee = second * 250 / 10_000 - first * 250 / 10_000;
        vm.expectEmit(address(escrow));
        emit IEscrow.AgreementReleased(id, buyer, second - first, fee, second);
        releaseUpTo(second);
        assertStatus(IEscrow.Status.Funded);
        releaseUpTo(AMOUNT);
        assertStatus(IEscrow.Status.Released);
        assertBalances(WALLET - AMOUNT, AMOUNT - FEE, FEE, 0);
    }

    function test_the_rest_stays_and_can_be_refunded() external {
        fund();
        releaseUpTo(AMOUNT / 4);
        vm.prank(seller);
        escrow.refund(terms);
        assertBalances(WALLET - AMOUNT / 4, AMOUNT / 4 - FEE / 4, FEE / 4, 0);
    }

    function test_a_total_never_falls_and_never_exceeds_what_is_funded() external {
        fund();
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NothingToRelease.selector, 0, 0));
        releaseUpTo(0);
        releaseUpTo(2);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NothingToRelease.selector, 2, 2));
        releaseUpTo(2);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NothingToRelease.selector, 1, 2));
        releaseUpTo(1);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.MoreThanFunded.selector, AMOUNT + 1, AMOUNT));
        releaseUpTo(AMOUNT + 1);
    }

    function test_only_the_buyer() external {
        fund();
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NotBuyer.selector, seller, buyer));
        vm.prank(seller);
        escrow.releaseUpTo(terms, 1);
    }

    function test_only_while_the_agreement_runs() external {
        uint256 running = only(IEscrow.Status.Funded) | only(IEscrow.Status.Delivered);
        expectRefusedOutside(running, buyer, escrow.releaseUpTo.selector, abi.encode(1));
    }
}
