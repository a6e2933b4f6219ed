// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { ISubscriptions } from "../../src/interfaces/ISubscriptions.sol";
import { SubscriptionsTest } from "./SubscriptionsTest.sol";

contract ChargeTest is SubscriptionsTest {
    function test_aPeriodIsChargedFromItsFirstSecondOn() public {
        ISubscriptions.SubscriptionTerms memory terms = defaultTerms();
        bytes32 id = subscribe(terms);
        warpTo(1, -1);
        expectNotDue(1);
        charge(terms);
        warpTo(1, 0);
        vm.expectEmit(address(router));
        emit ISubscriptions.SubscriptionCharged(id, payer, payee, address(usdc), PRICE, 1, 1, 2 * PRICE);
        assertEq(charge(terms), PRICE);
        assertEq(usdc.balanceOf(payee), 2 * PRICE);
        assertHolds(0);
    }

    function test_reverts_whenAPeriodIsChargedTwice() public {
        subscribe(defaultTerms());
        warpTo(1, 3 days);
        charge(defaultTerms());
        expectNotDue(2);
        charge(defaultTerms());
        warpTo(2, -1);
        expectNotDue(2);
        vm.prank(payee);
        router.charge(defaultTerms());
        assertEq(usdc.balanceOf(payee), 2 * PRICE);
    }

    function test_missedPeriodsDoNotPileUp() public {
        subscribe(defaultTerms());
        warpTo(5, 1 days);
        assertDue(defaultTerms(), 1);
        assertEq(charge(defaultTerms()), PRICE);
        expectNotDue(6);
        charge(defaultTerms());
    }

    function test_missedPeriodsAreCaughtUpAsFarAsTheTermsSay() public {
        ISubscriptions.SubscriptionTerms memory terms = defaultTerms();
        terms.catchUpMax = 2;
        bytes32 id = subscribe(terms);
        warpTo(5, 1 days);
        assertDue(terms, 3);
        vm.expectEmit(address(router));
        emit ISubscriptions.SubscriptionCharged(id, payer, payee, address(usdc), 3 * PRICE, 3, 3, 4 * PRICE);
        assertEq(charge(terms), 3 * PRICE);
        expectNotDue(6);
        charge(terms);
    }

    function test_nothingIsChargedAboveTheTotal() public {
        ISubscriptions.SubscriptionTerms memory terms = defaultTerms();
        (terms.catchUpMax, terms.totalMax) = (12, 3 * PRICE + PRICE / 2);
        bytes32 id = subscribe(terms);
        warpTo(5, 0);
        assertDue(terms, 2);
        vm.expectEmit(address(router));
        emit ISubscriptions.SubscriptionCharged(id, payer, payee, address(usdc), 2 * PRICE, 1, 2, 3 * PRICE);
        charge(terms);
        assertDue(terms, 0);
        vm.expectRevert(abi.encodeWithSelector(ISubscriptions.TotalReached.selector, 4 * PRICE, 3 * PRICE + PRICE / 2));
        charge(terms);
    }

    function test_aRefusedChargeStaysDue() public {
        ISubscriptions.SubscriptionTerms memory terms = defaultTerms();
        bytes32 id = subscribe(terms);
        warpTo(1, 0);
        ISubscriptions.Subscription memory before = router.subscriptionOf(id);

        disallow();
        vm.expectRevert("ERC20: transfer amount exceeds allowance");
        charge(terms);
        vm.prank(payer);
        usdc.approve(address(router), type(uint256).max);
        blacklist(payer);
        vm.expectRevert("Blacklistable: account is blacklisted");
        charge(terms);
        unblacklist(payer);
        blacklist(payee);
        vm.expectRevert("Blacklistable: account is blacklisted");
        charge(terms);
        unblacklist(payee);
        pauseUsdc();
        vm.expectRevert("Pausable: paused");
        charge(terms);
        unpauseUsdc();

        assertEq(keccak256(abi.encode(router.subscriptionOf(id))), keccak256(abi.encode(before)));
        assertEq(charge(terms), PRICE);
    }

    function test_reverts_whenThereIsNoSuchSubscription() public {
        ISubscriptions.SubscriptionTerms memory terms = defaultTerms();
        assertDue(terms, 0);
        subscribe(terms);
        terms.payee = stranger;
        bytes32 id = router.subscriptionId(terms);
        vm.expectRevert(abi.encodeWithSelector(ISubscriptions.SubscriptionUnknown.selector, id));
        charge(terms);
    }

    /// Whenever it is charged, what is due is the periods begun and neither charged nor older than the catch-up.
    function testFuzz_chargesAreThePeriodsThatBegan(uint256[8] memory waits, uint16 catchUpMax, uint32 trial) public {
        ISubscriptions.SubscriptionTerms memory terms = defaultTerms();
        (terms.catchUpMax, terms.trial) = (catchUpMax, trial);
        terms.amount = 1;
        mint(payer, 1e15);
        subscribe(terms);
        uint256 next = trial == 0 ? 1 : 0;
        uint256 charged = next;
        for (uint256 i = 0; i < waits.length; ++i) {
            vm.warp(vm.getBlockTimestamp() + bound(waits[i], 1, 1000 days));
            uint256 first = uint256(START) + trial;
            uint256 expected;
            uint256 begun = vm.getBlockTimestamp() < first ? 0 : (vm.getBlockTimestamp() - first) / MONTH + 1;
            for (uint256 period = next; period < begun; ++period) {
                if (period + catchUpMax + 1 >= begun) ++expected;
            }
            (uint256 due,) = router.due(terms);
            assertEq(due, expected);
            if (expected == 0) continue;
            assertEq(charge(terms), expected);
            next = begun;
            charged += expected;
        }
        assertEq(usdc.balanceOf(payee), charged);
    }
}
