// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { ISubscriptions } from "../../src/interfaces/ISubscriptions.sol";
import { RouterTest } from "./RouterTest.sol";

/// A subscription of 10 USDC a month, of 30 days, that begins now.
abstract contract SubscriptionsTest is RouterTest {
    uint96 internal constant PRICE = 10e6;
    uint32 internal constant MONTH = 30 days;
    uint40 internal constant START = 1_760_000_000;
    bytes32 private constant TERMS_TYPEHASH = keccak256(
        "SubscriptionTerms(address payer,address payee,address token,uint96 amount,uint96 totalMax,uint40 start,uint32 trial,uint32 period,uint16 catchUpMax,bytes32 salt)"
    );
    bytes32 private constant SUBSCRIBE_TYPEHASH = keccak256(
        "Subscribe(SubscriptionTerms terms,uint256 nonce,uint256 deadline)SubscriptionTerms(address payer,address payee,address token,uint96 amount,uint96 totalMax,uint40 start,uint32 trial,uint32 period,uint16 catchUpMax,bytes32 salt)"
    );
    bytes32 private constant CANCEL_TYPEHASH =
        keccak256("Cancel(bytes32 subscription,bool atPeriodEnd,uint256 nonce,uint256 deadline)");
    bytes32 private constant PRICE_CHANGE_TYPEHASH =
        keccak256("PriceChange(bytes32 subscription,uint96 price,uint256 nonce,uint256 deadline)");

    address internal keeper = makeAddr("keeper");

    function defaultTerms() internal view returns (ISubscriptions.SubscriptionTerms memory terms) {
        terms.payer = payer;
        terms.payee = payee;
        terms.token = address(usdc);
        terms.amount = PRICE;
        terms.totalMax = type(uint96).max;
        terms.start = START;
        terms.period = MONTH;
    }

    function subscribe(ISubscriptions.SubscriptionTerms memory terms) internal returns (bytes32) {
        vm.prank(payer);
        return router.subscribe(terms);
    }

    function charge(ISubscriptions.SubscriptionTerms memory terms) internal returns (uint256) {
        vm.prank(keeper);
        return router.charge(terms);
    }

    function cancel(ISubscriptions.SubscriptionTerms memory terms, bool atPeriodEnd) internal {
        vm.prank(payer);
        router.cancel(terms, atPeriodEnd);
    }

    /// To `offset` seconds after period `period` of the default terms begins.
    function warpTo(uint256 period, int256 offset) internal {
        vm.warp(uint256(int256(START + period * MONTH) + offset));
    }

    function termsHash(ISubscriptions.SubscriptionTerms memory terms) internal pure returns (bytes32) {
        return keccak256(abi.encode(TERMS_TYPEHASH, terms));
    }

    function signSubscribe(ISubscriptions.SubscriptionTerms memory terms, uint256 nonce, uint256 deadline)
        internal
        view
        returns (bytes memory)
    {
        bytes32 hash = keccak256(abi.encode(SUBSCRIBE_TYPEHASH, termsHash(terms), nonce, deadline));
        return sign(payerKey, routerDigest(hash));
    }

    function signCancel(bytes32 id, bool atPeriodEnd, uint256 nonce, uint256 deadline)
        internal
        view
        returns (bytes memory)
    {
        return sign(payerKey, routerDigest(keccak256(abi.encode(CANCEL_TYPEHASH, id, atPeriodEnd, nonce, deadline))));
    }

    function signPrice(bytes32 id, uint96 price, uint256 nonce, uint256 deadline) internal view returns (bytes memory) {
        return sign(payerKey, routerDigest(keccak256(abi.encode(PRICE_CHANGE_TYPEHASH, id, price, nonce, deadline))));
    }

    /// What is expected to be due: periods, each at the price.
    function assertDue(ISubscriptions.SubscriptionTerms memory terms, uint256 expected) internal view {
        (uint256 periods, uint256 amount) = router.due(terms);
        assertEq(periods, expected);
        assertEq(amount, expected * PRICE);
    }

    function expectNotDue(uint256 period) internal {
        vm.expectRevert(
            abi.encodeWithSelector(ISubscriptions.NotDue.selector, vm.getBlockTimestamp(), START + period * MONTH)
        );
    }

    function expectEnded(uint256 period, uint256 endPeriod) internal {
        vm.expectRevert(abi.encodeWithSelector(ISubscriptions.SubscriptionEnded.selector, period, endPeriod));
    }
}
