// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { ITreasuryAdmin } from "../../src/interfaces/ITreasuryAdmin.sol";
import { TreasuryTest } from "./TreasuryTest.sol";

contract SubmitTest is TreasuryTest {
    /// @param amount anything up to the tier
    function testFuzz_atOrUnderTheTierASpendersPaymentExecutesAtOnce(uint256 amount) public {
        amount = bound(amount, 1, TIER);
        (, bool executed) = submit(payment(amount));
        assertTrue(executed);
        assertEq(usdc.balanceOf(payee), amount);
        assertEq(usdc.balanceOf(address(treasury)), FUNDS - amount);
    }

    /// @param amount anything above the tier that the policy permits at all
    function testFuzz_aboveTheTierItBecomesAProposalThatConsumesNothing(uint256 amount) public {
        amount = bound(amount, uint256(TIER) + 1, ORDER_MAX);
        Order memory order = payment(amount);
        vm.expectEmit(address(treasury));
        emit OrderProposed(treasury.orderId(order), spender, spender, order);
        (bytes32 id, bool executed) = submit(order);
        assertFalse(executed);
        assertEq(id, treasury.orderId(order));
        assertEq(usdc.balanceOf(payee), 0);
        assertFalse(treasury.isNonceUsed(spender, order.nonce));
        (uint256 total, uint256 withoutOwners) = treasury.remaining(spender, address(usdc));
        assertEq(total, DAILY_LIMIT);
        assertEq(withoutOwners, TIER);
    }

    function test_thePaymentIsToldWithCategoryInvoiceAndNonce() public {
        Order memory order = payment(5e6);
        bytes32 id = treasury.orderId(order);
        vm.expectEmit(address(treasury));
        emit OrderExecuted(id, spender, payee, address(usdc), 5e6, INVOICE, CATEGORY, order.nonce);
        submit(order);
    }

    function test_theTierIsFilledByEarlierPayments() public {
        submit(payment(TIER - 1));
        (, bool executed) = submit(payment(2));
        assertFalse(executed);
        (, executed) = submit(payment(1));
        assertTrue(executed);
    }

    function test_theTierIsFreeAgainWhenTheWindowHasPassed() public {
        submit(payment(TIER));
        vm.warp(vm.getBlockTimestamp() + 32 hours);
        (, bool executed) = submit(payment(TIER));
        assertTrue(executed);
    }

    function test_anOwnersOrderIsAProposalEvenUnderTheTier() public {
        Order memory order = payment(1);
        vm.prank(ownerList[0]);
        (, bool executed) = treasury.submit(order);
        assertFalse(executed);
    }

    function test_anOwnerWhoIsTheSpenderPaysAtOnceUnderTheTier() public {
        spender = ownerList[0];
        enactPolicy(defaultPolicy());
        (, bool executed) = submit(payment(TIER));
        assertTrue(executed);
    }

    function test_reverts_whenTheCallerIsNeitherSpenderNorOwner() public {
        Order memory order = payment(1);
        vm.expectRevert(abi.encodeWithSelector(NotSpenderOrOwner.selector, stranger, spender));
        vm.prank(stranger);
        treasury.submit(order);
    }

    function test_reverts_whenTheNonceIsUsed() public {
        Order memory order = payment(1);
        submit(order);
        vm.expectRevert(abi.encodeWithSelector(NonceUsed.selector, spender, order.nonce));
        submit(order);
    }

    function test_aNonceOfAnotherSpenderIsAnotherNonce() public {
        submit(payment(1));
        address other = makeAddr("other spender");
        uint256 nonce = nextNonce - 1;
        spender = other;
        enactPolicy(defaultPolicy());
        Order memory order = payment(1);
        order.nonce = nonce;
        (, bool executed) = submit(order);
        assertTrue(executed);
    }

    function test_executes_exactlyAtItsExpiry() public {
        Order memory order = payment(1);
        vm.warp(order.validUntil);
        (, bool executed) = submit(order);
        assertTrue(executed);
    }

    function test_reverts_oneSecondAfterItsExpiry() public {
        Order memory order = payment(1);
        vm.warp(order.validUntil + 1);
        vm.expectRevert(abi.encodeWithSelector(Expired.selector, order.validUntil, order.validUntil + 1));
        submit(order);
    }

    function test_reverts_whenThePolicyIsOfAnotherEpoch() public {
        Order memory order = payment(1);
        order.policyEpoch = 9;
        vm.expectRevert(abi.encodeWithSelector(PolicyStale.selector, 9, 1));
        submit(order);
    }

    function test_reverts_whenTheOwnersAreOfAnotherEpoch() public {
        Order memory order = payment(1);
        order.ownerEpoch = 9;
        vm.expectRevert(abi.encodeWithSelector(OwnersStale.selector, 9, 1));
        submit(order);
    }

    function test_reverts_whenTheSpenderHasNoPolicyForTheToken() public {
        Order memory order = payment(1);
        order.token = address(deployUsdc());
        vm.expectRevert(abi.encodeWithSelector(PolicyInactive.selector, spender, order.token));
        submit(order);
    }

    function test_reverts_whenTheOrderIsAboveItsMaximum() public {
        Order memory order = payment(uint256(ORDER_MAX) + 1);
        vm.expectRevert(abi.encodeWithSelector(OrderMaxExceeded.selector, uint256(ORDER_MAX) + 1, ORDER_MAX));
        submit(order);
    }

    function test_reverts_whenThePayeeIsNobodyTheTreasuryOrTheToken() public {
        address[3] memory payees = [address(0), address(treasury), address(usdc)];
        for (uint256 i = 0; i < payees.length; ++i) {
            Order memory order = payment(payees[i], 1);
            vm.expectRevert(abi.encodeWithSelector(InvalidPayee.selector, payees[i]));
            submit(order);
        }
    }

    function test_reverts_whenTheAmountIsZero() public {
        Order memory order = payment(0);
        vm.expectRevert(ZeroAmount.selector);
        submit(order);
    }

    function test_reverts_whenPaused() public {
        vm.prank(guardian);
        treasury.pause();
        Order memory order = payment(1);
        vm.expectRevert(IsPaused.selector);
        submit(order);
    }

    function test_reverts_whenTheTreasuryHasTooLittle() public {
        vm.prank(address(treasury));
        usdc.transfer(stranger, FUNDS - 1);
        Order memory order = payment(2);
        vm.expectRevert(abi.encodeWithSelector(InsufficientFunds.selector, address(usdc), 2, 1));
        submit(order);
    }

    function test_aRefusedLonePaymentRevertsAndConsumesNothing() public {
        blacklist(payee);
        Order memory order = payment(7);
        vm.expectRevert(abi.encodeWithSelector(PaymentRefused.selector, address(usdc), payee, 7));
        submit(order);
        (uint256 total,) = treasury.remaining(spender, address(usdc));
        assertEq(total, DAILY_LIMIT);
        assertFalse(treasury.isNonceUsed(spender, order.nonce));
    }

    function test_reverts_whenTheTokenIsPaused() public {
        pauseUsdc();
        Order memory order = payment(7);
        vm.expectRevert(abi.encodeWithSelector(PaymentRefused.selector, address(usdc), payee, 7));
        submit(order);
    }

    function test_onlyRecipientsOfTheAllowlistArePaidAndOnlyAfterTheCooldown() public {
        Policy memory policy = defaultPolicy();
        policy.onlyAllowed = true;
        vm.prank(guardian);
        treasury.lowerPolicy(spender, address(usdc), policy);
        Order memory order = payment(1);
        vm.expectRevert(abi.encodeWithSelector(RecipientNotAllowed.selector, payee, 0, vm.getBlockTimestamp()));
        submit(order);

        enactRecipient(payee);
        uint256 from = vm.getBlockTimestamp() + COOLDOWN;
        assertEq(treasury.allowedFrom(spender, address(usdc), payee), from);
        vm.warp(from - 1);
        order = payment(1);
        vm.expectRevert(abi.encodeWithSelector(RecipientNotAllowed.selector, payee, from, from - 1));
        submit(order);

        vm.warp(from);
        (, bool executed) = submit(order);
        assertTrue(executed);
    }

    function test_aCancelledNonceIsUsed() public {
        Order memory order = payment(1);
        address[3] memory callers = [spender, ownerList[1], guardian];
        for (uint256 i = 0; i < callers.length; ++i) {
            uint256 nonce = order.nonce + i;
            vm.expectEmit(address(treasury));
            emit NonceCancelled(spender, nonce, callers[i]);
            vm.prank(callers[i]);
            treasury.cancelNonce(spender, nonce);
        }
        vm.expectRevert(abi.encodeWithSelector(NonceUsed.selector, spender, order.nonce));
        submit(order);
        vm.expectRevert(abi.encodeWithSelector(NonceUsed.selector, spender, order.nonce));
        vm.prank(spender);
        treasury.cancelNonce(spender, order.nonce);
    }

    function test_reverts_whenAStrangerCancelsANonce() public {
        vm.expectRevert(abi.encodeWithSelector(NotOwnerOrGuardian.selector, stranger));
        vm.prank(stranger);
        treasury.cancelNonce(spender, 1);
    }
}
