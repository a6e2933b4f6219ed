// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IPaymentRouter } from "../../src/interfaces/IPaymentRouter.sol";
import { ISubscriptions } from "../../src/interfaces/ISubscriptions.sol";
import { SubscriptionsTest } from "./SubscriptionsTest.sol";

contract PriceTest is SubscriptionsTest {
    bytes32 private id;

    function setUp() public override {
        super.setUp();
        id = subscribe(defaultTerms());
    }

    function test_thePayeeLowersThePrice() public {
        vm.expectEmit(address(router));
        emit ISubscriptions.SubscriptionPriceChanged(id, PRICE, 4e6);
        _lower(4e6);
        warpTo(1, 0);
        assertEq(charge(defaultTerms()), 4e6);
    }

    function test_reverts_whenLoweringDoesNot() public {
        vm.expectRevert(abi.encodeWithSelector(ISubscriptions.PriceNotLower.selector, PRICE, PRICE));
        _lower(PRICE);
        vm.expectRevert(ISubscriptions.PriceZero.selector);
        _lower(0);
        vm.expectRevert(abi.encodeWithSelector(ISubscriptions.NotPayee.selector, payer, payee));
        vm.prank(payer);
        router.lowerPrice(defaultTerms(), 4e6);
    }

    function test_thePayeeRaisesThePriceWithThePayersSignature() public {
        bytes memory signature = signPrice(id, 12e6, 7, START);
        vm.expectEmit(address(router));
        emit ISubscriptions.SubscriptionPriceChanged(id, PRICE, 12e6);
        _raise(12e6, signature);
        warpTo(1, 0);
        assertEq(charge(defaultTerms()), 12e6);
    }

    function test_reverts_whenThePayerDidNotSignThatPrice() public {
        bytes memory signature = signPrice(id, 12e6, 7, START);
        vm.expectRevert(abi.encodeWithSelector(IPaymentRouter.SignatureInvalid.selector, payer));
        _raise(13e6, signature);
        signature = signPrice(router.subscriptionId(_other()), 12e6, 7, START);
        vm.expectRevert(abi.encodeWithSelector(IPaymentRouter.SignatureInvalid.selector, payer));
        _raise(12e6, signature);
    }

    function test_reverts_whenASignedPriceIsUsedAgain() public {
        bytes memory signature = signPrice(id, 12e6, 7, START);
        _raise(12e6, signature);
        _lower(PRICE);
        vm.expectRevert(abi.encodeWithSelector(ISubscriptions.NonceUsed.selector, payer, 7));
        _raise(12e6, signature);
    }

    function test_reverts_whenRaisingDoesNot() public {
        bytes memory signature = signPrice(id, PRICE, 7, START);
        vm.expectRevert(abi.encodeWithSelector(ISubscriptions.PriceNotHigher.selector, PRICE, PRICE));
        _raise(PRICE, signature);
        vm.expectRevert(abi.encodeWithSelector(ISubscriptions.NotPayee.selector, stranger, payee));
        vm.prank(stranger);
        router.raisePrice(defaultTerms(), 12e6, 7, START, signature);
    }

    function test_aRaisedPriceIsStillBoundByTheTotal() public {
        ISubscriptions.SubscriptionTerms memory terms = _other();
        bytes32 other = subscribe(terms);
        bytes memory signature = signPrice(other, PRICE + 1, 7, START);
        vm.prank(payee);
        router.raisePrice(terms, PRICE + 1, 7, START, signature);
        warpTo(1, 0);
        vm.expectRevert(abi.encodeWithSelector(ISubscriptions.TotalReached.selector, 2 * PRICE + 1, 2 * PRICE));
        charge(terms);
    }

    function _other() private view returns (ISubscriptions.SubscriptionTerms memory terms) {
        terms = defaultTerms();
        terms.totalMax = 2 * PRICE;
    }

    function _lower(uint96 price) private {
        vm.prank(payee);
        router.lowerPrice(defaultTerms(), price);
    }

    function _raise(uint96 price, bytes memory signature) private {
        vm.prank(payee);
        router.raisePrice(defaultTerms(), price, 7, START, signature);
    }
}
