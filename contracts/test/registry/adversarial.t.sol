// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import { ServiceRegistry } from "../../src/ServiceRegistry.sol";
import { IPayouts } from "../../src/interfaces/IPayouts.sol";
import { IServiceRegistry } from "../../src/interfaces/IServiceRegistry.sol";
import { ReentrantToken, TaxingToken } from "./ReentrantToken.sol";
import { RegistryTest } from "./RegistryTest.sol";

/// What somebody would try, by name.
contract RegistryAdversarialTest is RegistryTest {
    address private accomplice = makeAddr("accomplice");

    function test_an_owner_who_unbonds_after_a_bad_deal_is_still_slashed() external {
        disputed(EARLY);
        beginUnbonding(STAKE);
        vm.prank(arbiter);
        escrow.resolve(terms, 0);
        slash(RECEIVED);
        assertStake(0, STAKE - RECEIVED);
    }

    function test_what_waits_to_be_withdrawn_is_slashed_until_it_is_gone() external {
        ruled(EARLY, 0);
        beginUnbonding(STAKE);
        vm.warp(block.timestamp + DELAY);
        slash(RECEIVED);
        vm.prank(owner);
        assertEq(registry.withdrawStake(service, owner), STAKE - RECEIVED);
    }

    function test_an_accomplice_as_arbiter_is_no_quicker_than_unbonding() external {
        ruled(EARLY, 0);
        announce(payee, accomplice);
        uint256 changesAt = block.timestamp + DELAY;
        beginUnbonding(STAKE);
        assertEq(found().unbondsAt, changesAt);
        vm.warp(changesAt - 1);
        terms.deliverBy = uint64(changesAt);
        terms.arbiter = accomplice;
        ruled(EARLY, 0);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.ArbiterMismatch.selector, accomplice, arbiter));
        slash(RECEIVED);
        vm.warp(changesAt);
        slash(RECEIVED);
    }

    function test_no_change_of_arbiter_is_kept_ready_for_the_day_it_is_needed() external {
        announce(payee, accomplice);
        vm.warp(block.timestamp + DELAY);
        assertEq(found().arbiter, accomplice, "whoever looks before buying sees who rules");
        announce(payee, arbiter);
        assertEq(found().arbiter, accomplice);
    }

    function test_another_payee_does_not_leave_old_agreements_behind_before_the_delay() external {
        ruled(EARLY, 0);
        announce(makeAddr("other payee"), arbiter);
        vm.warp(block.timestamp + DELAY - 1);
        slash(RECEIVED);
    }

    /// Buyer, arbiter and the fee's recipient are one, and the seller delivered on such terms nevertheless.
    function testFuzz_buyer_arbiter_and_fee_recipient_together_gain_nothing(uint256 early, uint16 feeBps) external {
        terms.feeRecipient = buyer;
        terms.feeBps = uint16(bound(feeBps, 0, 10_000));
        early = bound(early, 1, AMOUNT - 1);
        for (uint256 i = 0; i < 5; ++i) {
            terms.salt = bytes32(i);
            ruled(early, 0);
            uint256 most = registry.slashable(service, terms);
            if (most != 0) slash(most);
        }
        assertLe(usdc.balanceOf(buyer), 10 * AMOUNT);
        assertGe(usdc.balanceOf(payee) + found().stake, STAKE, "the service has what it began with");
    }

    function test_money_topped_up_and_given_back_adds_no_weight() external {
        fund();
        deliver();
        vm.startPrank(buyer);
        escrow.topUp(terms, 8 * AMOUNT);
        escrow.dispute(terms);
        vm.stopPrank();
        vm.prank(arbiter);
        escrow.resolve(terms, 0);
        rate(0);
        assertReputation(0, 1, AMOUNT, 0);
    }

    function test_feedback_for_one_registry_or_chain_does_not_count_in_another() external {
        pay(buyer, "id", payee, AMOUNT);
        ServiceRegistry second = new ServiceRegistry(usdc, escrow, router);
        vm.prank(owner);
        second.register(SALT, payee, arbiter, defaultOffer());
        bytes32 key = registry.paymentKey(buyer, "id");
        bytes memory signature = sign(BUYER_KEY, registry.feedbackDigest(feedback(80), key));
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.SignatureInvalid.selector, buyer));
        second.ratePayment(feedback(80), buyer, "id", AMOUNT, signature);
        uint256 chainId = block.chainid;
        vm.chainId(chainId + 1);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.SignatureInvalid.selector, buyer));
        registry.ratePayment(feedback(80), buyer, "id", AMOUNT, signature);
        vm.chainId(chainId);
        registry.ratePayment(feedback(80), buyer, "id", AMOUNT, signature);
    }

    function test_a_token_that_calls_back_while_it_is_withdrawn_gets_nothing_twice() external {
        ReentrantToken token = new ReentrantToken();
        registry = new ServiceRegistry(IERC20(token), escrow, router);
        // The token is the owner of the service, so that its call is allowed but for the guard.
        service = abi.decode(
            token.execute(address(registry), abi.encodeCall(registry.register, (SALT, payee, arbiter, defaultOffer()))),
            (bytes32)
        );
        token.mint(address(this), 2 * STAKE);
        token.approve(address(registry), 2 * STAKE);
        token.arm(address(registry), abi.encodeCall(registry.beginUnbonding, (service, STAKE)));
        registry.addStake(service, STAKE);
        assertGuarded(token);
        assertStake(STAKE, 0);
        token.execute(address(registry), abi.encodeCall(registry.beginUnbonding, (service, STAKE)));
        vm.warp(block.timestamp + DELAY);
        bytes memory withdrawal = abi.encodeCall(registry.withdrawStake, (service, stranger));
        token.arm(address(registry), withdrawal);
        token.execute(address(registry), withdrawal);
        assertGuarded(token);
        assertEq(token.balanceOf(stranger), STAKE);
    }

    function assertGuarded(ReentrantToken token) private view {
        assertFalse(token.succeeded());
        assertEq(bytes4(token.answer()), ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
    }

    function test_a_token_that_keeps_a_part_is_not_staked() external {
        TaxingToken token = new TaxingToken();
        registry = new ServiceRegistry(IERC20(token), escrow, router);
        register(owner, SALT, payee, arbiter);
        token.mint(address(this), 100);
        token.approve(address(registry), 100);
        vm.expectRevert(abi.encodeWithSelector(IPayouts.TokenMovedOtherAmount.selector, address(token), 99, 100));
        registry.addStake(service, 100);
    }
}
