// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { IPayouts } from "../../src/interfaces/IPayouts.sol";
import { EscrowTest } from "./EscrowTest.sol";

contract ReleaseTest is EscrowTest {
    function test_pays_seller_and_fee_to_the_unit() external {
        bytes32 id = fundAndDeliver();
        vm.expectEmit(address(escrow));
        emit IEscrow.AgreementReleased(id, buyer, AMOUNT, FEE, AMOUNT);
        vm.prank(buyer);
        escrow.release(terms);
        assertBalances(WALLET - AMOUNT, AMOUNT - FEE, FEE, 0);
        assertStatus(IEscrow.Status.Released);
        assertEq(escrow.agreementOf(id).released, AMOUNT);
    }

    function test_a_buyer_who_is_content_need_not_wait_for_the_delivery() external {
        fund();
        vm.prank(buyer);
        escrow.release(terms);
        assertStatus(IEscrow.Status.Released);
    }

    function test_even_after_the_review() external {
        fundAndDeliver();
        vm.warp(block.timestamp + terms.reviewPeriod + 1);
        vm.prank(buyer);
        escrow.release(terms);
        assertStatus(IEscrow.Status.Released);
    }

    function testFuzz_the_fee_is_rounded_down_and_nothing_is_lost(uint256 amount, uint16 feeBps) external {
        terms.amount = bound(amount, 1, WALLET);
        terms.feeBps = uint16(bound(feeBps, 0, 10_000));
        fund();
        vm.prank(buyer);
        escrow.release(terms);
        uint256 fee = terms.amount * terms.feeBps / 10_000;
        assertBalances(WALLET - terms.amount, terms.amount - fee, fee, 0);
    }

    function test_only_the_buyer() external {
        fundAndDeliver();
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NotBuyer.selector, seller, buyer));
        vm.prank(seller);
        escrow.release(terms);
    }

    function test_only_while_the_agreement_runs() external {
        uint256 running = only(IEscrow.Status.Funded) | only(IEscrow.Status.Delivered);
        expectRefusedOutside(running, buyer, escrow.release.selector, "");
    }

    /// Below the floor a transfer that merely ran out of gas would pass for one that the token refused.
    function test_too_little_gas_is_no_refusal_of_the_token() external {
        fund();
        vm.expectPartialRevert(IPayouts.InsufficientGas.selector);
        vm.prank(buyer);
        escrow.release{ gas: 150_000 }(terms);
        assertEq(escrow.withdrawable(address(usdc), seller), 0);
    }
}
