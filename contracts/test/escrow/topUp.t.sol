// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { EscrowTest } from "./EscrowTest.sol";

contract TopUpTest is EscrowTest {
    function topUp(uint256 amount) private {
        vm.prank(buyer);
        escrow.topUp(terms, amount);
    }

    function testFuzz_adds_to_what_is_released_in_the_end(uint256 first, uint256 second) external {
        first = bound(first, 1, WALLET - AMOUNT - 1);
        second = bound(second, 1, WALLET - AMOUNT - first);
        bytes32 id = fund();
        topUp(first);
        vm.expectEmit(address(escrow));
        emit IEscrow.AgreementToppedUp(id, second, AMOUNT + first + second);
        topUp(second);
        uint256 funded = AMOUNT + first + second;
        assertEq(escrow.agreementOf(id).funded, funded);
        vm.prank(buyer);
        escrow.release(terms);
        uint256 fee = funded * 250 / 10_000;
        assertBalances(WALLET - funded, funded - fee, fee, 0);
    }

    function test_after_a_partial_release_and_after_delivery() external {
        bytes32 id = fund();
        vm.prank(buyer);
        escrow.releaseUpTo(terms, AMOUNT / 2);
        topUp(1);
        deliver();
        topUp(1);
        assertEq(escrow.agreementOf(id).funded, AMOUNT + 2);
        assertEq(escrow.agreementOf(id).released, AMOUNT / 2);
    }

    function test_only_the_buyer() external {
        fund();
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NotBuyer.selector, seller, buyer));
        vm.prank(seller);
        escrow.topUp(terms, 1);
    }

    function test_nothing_is_no_top_up() external {
        fund();
        vm.expectRevert(IEscrow.AmountZero.selector);
        topUp(0);
    }

    function test_the_sum_stays_within_96_bits() external {
        fund();
        uint256 max = type(uint96).max;
        uint256 amount = max - AMOUNT + 1;
        vm.expectRevert(abi.encodeWithSelector(IEscrow.AmountTooLarge.selector, max + 1, max));
        topUp(amount);
    }

    function test_only_while_the_agreement_runs() external {
        uint256 running = only(IEscrow.Status.Funded) | only(IEscrow.Status.Delivered);
        expectRefusedOutside(running, buyer, escrow.topUp.selector, abi.encode(1));
    }
}
