// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IPaymentRouter } from "../../src/interfaces/IPaymentRouter.sol";
import { IPayouts } from "../../src/interfaces/IPayouts.sol";
import { ISubscriptions } from "../../src/interfaces/ISubscriptions.sol";
import { ContractPayer } from "./Payers.sol";
import { SubscriptionsTest } from "./SubscriptionsTest.sol";

contract SubscribeTest is SubscriptionsTest {
    function test_theFirstPeriodIsChargedAtOnce() public {
        ISubscriptions.SubscriptionTerms memory terms = defaultTerms();
        bytes32 id = router.subscriptionId(terms);
        assertEq(id, routerDigest(termsHash(terms)));
        vm.expectEmit(address(router));
        emit ISubscriptions.SubscriptionCreated(id, payer, payee, 0, terms);
        vm.expectEmit(address(router));
        emit ISubscriptions.SubscriptionCharged(id, payer, payee, address(usdc), PRICE, 0, 1, PRICE);
        assertEq(subscribe(terms), id);
        assertEq(usdc.balanceOf(payee), PRICE);
        ISubscriptions.Subscription memory made = router.subscriptionOf(id);
        assertEq(made.charged, PRICE);
        assertEq(made.price, PRICE);
        assertEq(made.nextPeriod, 1);
        assertEq(made.endPeriod, type(uint32).max);
    }

    function test_nothingIsChargedUntilTheTrialEnds() public {
        ISubscriptions.SubscriptionTerms memory terms = defaultTerms();
        terms.trial = 7 days;
        subscribe(terms);
        vm.warp(START + 7 days - 1);
        assertDue(terms, 0);
        vm.expectRevert(abi.encodeWithSelector(ISubscriptions.NotDue.selector, START + 7 days - 1, START + 7 days));
        charge(terms);
        vm.warp(START + 7 days);
        assertEq(charge(terms), PRICE);
    }

    function test_periodsBeforeTheSubscriptionAreNotCharged() public {
        ISubscriptions.SubscriptionTerms memory terms = defaultTerms();
        terms.catchUpMax = 12;
        warpTo(5, 3 days);
        subscribe(terms);
        assertEq(usdc.balanceOf(payee), PRICE);
        assertEq(router.subscriptionOf(router.subscriptionId(terms)).nextPeriod, 6);
    }

    function test_aRefusedFirstChargeMakesNoSubscription() public {
        blacklist(payee);
        vm.expectRevert("Blacklistable: account is blacklisted");
        subscribe(defaultTerms());
        assertEq(router.subscriptionOf(router.subscriptionId(defaultTerms())).price, 0);
    }

    function test_reverts_whenTheTermsAreNotSound() public {
        ISubscriptions.SubscriptionTerms memory terms = defaultTerms();
        terms.payee = payer;
        vm.expectRevert(abi.encodeWithSelector(IPayouts.PartyInvalid.selector, payer));
        subscribe(terms);
        terms = defaultTerms();
        terms.amount = 0;
        vm.expectRevert(ISubscriptions.PriceZero.selector);
        subscribe(terms);
        terms = defaultTerms();
        terms.totalMax = PRICE - 1;
        vm.expectRevert(abi.encodeWithSelector(ISubscriptions.PriceAboveTotal.selector, PRICE, PRICE - 1));
        subscribe(terms);
        terms = defaultTerms();
        terms.period = 0;
        vm.expectRevert(ISubscriptions.PeriodZero.selector);
        subscribe(terms);
    }

    function test_reverts_whenTheSameTermsWereMadeBefore() public {
        bytes32 id = subscribe(defaultTerms());
        vm.expectRevert(abi.encodeWithSelector(ISubscriptions.SubscriptionExists.selector, id));
        subscribe(defaultTerms());
        cancel(defaultTerms(), false);
        vm.expectRevert(abi.encodeWithSelector(ISubscriptions.SubscriptionExists.selector, id));
        subscribe(defaultTerms());
    }

    function test_reverts_whenSomebodyElseSubscribesForThePayer() public {
        vm.expectRevert(abi.encodeWithSelector(ISubscriptions.NotPayer.selector, payee, payer));
        vm.prank(payee);
        router.subscribe(defaultTerms());
    }

    // By signature

    function test_anyoneRelaysThePayersSignature() public {
        bytes memory signature = signSubscribe(defaultTerms(), 7, START);
        vm.prank(payee);
        bytes32 id = router.subscribeWithSignature(defaultTerms(), 7, START, signature);
        assertEq(usdc.balanceOf(payee), PRICE);
        assertEq(router.subscriptionOf(id).charged, PRICE);
        assertTrue(router.isNonceUsed(payer, 7));
        assertFalse(router.isNonceUsed(payer, 8));
    }

    function test_aPayerThatIsAContractSigns() public {
        ContractPayer account = new ContractPayer(payer);
        account.approve(usdc, address(router));
        mint(address(account), PRICE);
        ISubscriptions.SubscriptionTerms memory terms = defaultTerms();
        terms.payer = address(account);
        bytes memory signature = bytes.concat(account.REMARK(), signSubscribe(terms, 7, START));
        router.subscribeWithSignature(terms, 7, START, signature);
        assertEq(usdc.balanceOf(payee), PRICE);
    }

    function test_reverts_whenTheSignatureIsForSomethingElse() public {
        bytes memory signature = signSubscribe(defaultTerms(), 7, START);
        ISubscriptions.SubscriptionTerms memory terms = defaultTerms();
        terms.amount += 1;
        _expectUnsigned();
        router.subscribeWithSignature(terms, 7, START, signature);
        _expectUnsigned();
        router.subscribeWithSignature(defaultTerms(), 8, START, signature);
        _expectUnsigned();
        router.subscribeWithSignature(defaultTerms(), 7, START + 1, signature);
        bytes memory malleated = malleate(signature);
        _expectUnsigned();
        router.subscribeWithSignature(defaultTerms(), 7, START, malleated);
    }

    function test_reverts_whenTheSignatureIsPastItsDeadline() public {
        bytes memory signature = signSubscribe(defaultTerms(), 7, START);
        vm.warp(START + 1);
        vm.expectRevert(abi.encodeWithSelector(ISubscriptions.DeadlinePassed.selector, START + 1, START));
        router.subscribeWithSignature(defaultTerms(), 7, START, signature);
    }

    function test_reverts_whenTheNonceWasUsedOrCancelled() public {
        ISubscriptions.SubscriptionTerms memory other = defaultTerms();
        other.salt = "other";
        router.subscribeWithSignature(other, 7, START, signSubscribe(other, 7, START));
        bytes memory signature = signSubscribe(defaultTerms(), 7, START);
        vm.expectRevert(abi.encodeWithSelector(ISubscriptions.NonceUsed.selector, payer, 7));
        router.subscribeWithSignature(defaultTerms(), 7, START, signature);

        signature = signSubscribe(defaultTerms(), 300, START);
        vm.expectEmit(address(router));
        emit ISubscriptions.SubscriptionNonceCancelled(payer, 300);
        vm.prank(payer);
        router.cancelNonce(300);
        vm.expectRevert(abi.encodeWithSelector(ISubscriptions.NonceUsed.selector, payer, 300));
        router.subscribeWithSignature(defaultTerms(), 300, START, signature);
    }

    function _expectUnsigned() private {
        vm.expectRevert(abi.encodeWithSelector(IPaymentRouter.SignatureInvalid.selector, payer));
    }
}
