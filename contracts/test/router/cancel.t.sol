// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IPaymentRouter } from "../../src/interfaces/IPaymentRouter.sol";
import { ISubscriptions } from "../../src/interfaces/ISubscriptions.sol";
import { SubscriptionsTest } from "./SubscriptionsTest.sol";

contract CancelTest is SubscriptionsTest {
    function test_cancelledAtOnceNothingIsChargedAnyMore() public {
        bytes32 id = subscribe(defaultTerms());
        warpTo(1, 1 days);
        assertDue(defaultTerms(), 1);
        vm.expectEmit(address(router));
        emit ISubscriptions.SubscriptionCancelled(id, payer, 1);
        cancel(defaultTerms(), false);
        assertDue(defaultTerms(), 0);
        expectEnded(1, 1);
        charge(defaultTerms());
        warpTo(9, 0);
        expectEnded(9, 1);
        charge(defaultTerms());
    }

    function test_cancelledAtPeriodEndTheCurrentPeriodIsStillDue() public {
        ISubscriptions.SubscriptionTerms memory terms = defaultTerms();
        terms.catchUpMax = 1;
        bytes32 id = subscribe(terms);
        warpTo(2, 1 days);
        vm.expectEmit(address(router));
        emit ISubscriptions.SubscriptionCancelled(id, payer, 3);
        cancel(terms, true);
        assertDue(terms, 2);
        assertEq(charge(terms), 2 * PRICE);
        warpTo(3, 0);
        expectEnded(3, 3);
        charge(terms);
    }

    function test_cancelledAtPeriodEndAPaidPeriodIsTheLast() public {
        subscribe(defaultTerms());
        cancel(defaultTerms(), true);
        warpTo(1, 0);
        expectEnded(1, 1);
        charge(defaultTerms());
    }

    function test_cancelledInTheTrialNothingIsEverCharged() public {
        ISubscriptions.SubscriptionTerms memory terms = defaultTerms();
        terms.trial = 7 days;
        subscribe(terms);
        cancel(terms, true);
        expectEnded(0, 0);
        charge(terms);
        vm.warp(START + 7 days);
        expectEnded(0, 0);
        charge(terms);
        assertEq(usdc.balanceOf(payee), 0);
    }

    function test_aCancellationIsOnlyMadeSooner() public {
        subscribe(defaultTerms());
        warpTo(1, 1 days);
        cancel(defaultTerms(), true);
        expectEnded(2, 2);
        cancel(defaultTerms(), true);
        cancel(defaultTerms(), false);
        expectEnded(2, 1);
        cancel(defaultTerms(), true);
        expectEnded(1, 1);
        cancel(defaultTerms(), false);
    }

    function test_thePayeeCancelsToo() public {
        bytes32 id = subscribe(defaultTerms());
        vm.expectEmit(address(router));
        emit ISubscriptions.SubscriptionCancelled(id, payee, 1);
        vm.prank(payee);
        router.cancel(defaultTerms(), false);
    }

    function test_reverts_whenAnybodyElseCancels() public {
        subscribe(defaultTerms());
        vm.expectRevert(abi.encodeWithSelector(ISubscriptions.NotPayerOrPayee.selector, stranger, payer, payee));
        vm.prank(stranger);
        router.cancel(defaultTerms(), false);
    }

    function test_reverts_whenThereIsNothingToCancel() public {
        bytes32 id = router.subscriptionId(defaultTerms());
        vm.expectRevert(abi.encodeWithSelector(ISubscriptions.SubscriptionUnknown.selector, id));
        cancel(defaultTerms(), false);
    }

    function test_aPayerWithoutGasCancelsBySignature() public {
        bytes32 id = subscribe(defaultTerms());
        bytes memory signature = signCancel(id, true, 7, START);
        _expectUnsigned();
        router.cancelWithSignature(defaultTerms(), false, 7, START, signature);
        vm.expectEmit(address(router));
        emit ISubscriptions.SubscriptionCancelled(id, payer, 1);
        vm.prank(stranger);
        router.cancelWithSignature(defaultTerms(), true, 7, START, signature);
    }

    function _expectUnsigned() private {
        vm.expectRevert(abi.encodeWithSelector(IPaymentRouter.SignatureInvalid.selector, payer));
    }
}
