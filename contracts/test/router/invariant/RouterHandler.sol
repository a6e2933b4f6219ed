// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { Test } from "forge-std/Test.sol";
import { PaymentRouter } from "../../../src/PaymentRouter.sol";
import { IPaymentRouter } from "../../../src/interfaces/IPaymentRouter.sol";
import { ISubscriptions } from "../../../src/interfaces/ISubscriptions.sol";
import { IUsdc } from "../../base/IUsdc.sol";

/// Drives one router with every kind of payment, and keeps books of its own.
contract RouterHandler is Test {
    uint32 private constant PERIOD = 10 days;

    PaymentRouter private immutable ROUTER;
    IUsdc private immutable USDC;
    address private immutable ISSUER;
    address[3] public payers;
    mapping(address payer => uint256) private _keyOf;
    address[4] public payees;
    mapping(address account => bool) private _refused;

    /// What passed through for payees who were refused, less what they have withdrawn.
    uint256 public owed;
    /// How often a payment of a payer and an id was executed. Once at most.
    mapping(address payer => mapping(bytes32 id => uint256)) private _executions;
    uint256 public executedTwice;
    /// Recorded payments of which the record says something else. Never.
    uint256 public recordedWrongly;

    ISubscriptions.SubscriptionTerms[] private _subscriptions;
    /// How often a subscription was charged while a period ran.
    mapping(uint256 index => mapping(uint256 period => uint256)) private _chargesIn;
    mapping(uint256 index => uint256) private _chargedOf;
    mapping(uint256 index => uint256) private _periodsOf;
    mapping(uint256 index => uint256) private _priceOf;
    mapping(uint256 index => bool) private _isOver;
    /// Charges beyond one while a period ran, of subscriptions without catch-up. Never.
    uint256 public chargedTwice;
    /// Charges of another price than the payer agreed to, or of more missed periods. Never.
    uint256 public chargedWrongly;
    uint256 public chargedAfterTheEnd;
    uint256 private _nonce;

    constructor(PaymentRouter router, IUsdc usdc, address issuer) {
        (ROUTER, USDC, ISSUER) = (router, usdc, issuer);
        for (uint256 i = 0; i < payees.length; ++i) {
            payees[i] = vm.addr(0xbeef + i);
        }
        for (uint256 i = 0; i < payers.length; ++i) {
            payers[i] = vm.addr(0xa11ce + i);
            _keyOf[payers[i]] = 0xa11ce + i;
            vm.prank(payers[i]);
            usdc.approve(address(router), type(uint256).max);
        }
    }

    // Payments

    /// A recorded payment under one of few ids, by allowance or by authorization.
    function pay(uint256 seed, uint256 idSeed, uint256 amount, bool bySignature) external {
        (address payer, address payee) = _parties(seed);
        bytes32 id = bytes32(idSeed % 8);
        amount = bound(amount, 0, 100e6);
        uint256 before = USDC.balanceOf(payee);
        if (!(bySignature ? _relay(payer, id, payee, amount) : _pay(payer, id, payee, amount))) return;
        if (++_executions[payer][id] > 1) ++executedTwice;
        bool isRight = USDC.balanceOf(payee) - before == amount
            && ROUTER.paymentRecord(payer, id) == keccak256(abi.encode(payee, address(USDC), amount));
        if (!isRight) ++recordedWrongly;
    }

    /// A batch to all payees, of whom some are refused, by allowance or by authorization.
    function batchPay(uint256 seed, uint96[4] memory amounts, bool bySignature) external {
        (address payer,) = _parties(seed);
        IPaymentRouter.Leg[] memory legs = new IPaymentRouter.Leg[](payees.length);
        uint256 total;
        uint256 refused;
        for (uint256 i = 0; i < payees.length; ++i) {
            legs[i] = IPaymentRouter.Leg(payees[i], uint96(bound(amounts[i], 1, 100e6)));
            total += legs[i].amount;
            if (_refused[payees[i]]) refused += legs[i].amount;
        }
        bytes32 ref = bytes32(++_nonce);
        if (bySignature) {
            IPaymentRouter.Authorization memory signed =
                _authorize(payer, total, ROUTER.batchNonce(payer, ref, address(USDC), legs));
            try ROUTER.batchPayWithAuthorization(ref, address(USDC), legs, signed) {
                owed += refused;
            } catch { }
        } else {
            vm.prank(payer);
            try ROUTER.batchPay(ref, address(USDC), legs) {
                owed += refused;
            } catch { }
        }
    }

    /// A split between two payees.
    function splitPay(uint256 seed, uint256 amount, uint256 bps) external {
        (address payer, address payee) = _parties(seed);
        address other = payee == payees[0] ? payees[1] : payees[0];
        amount = bound(amount, 1, 100e6);
        bps = bound(bps, 1, 9999);
        IPaymentRouter.Share[] memory shares = new IPaymentRouter.Share[](2);
        shares[0] = IPaymentRouter.Share(payee, uint16(10_000 - bps));
        shares[1] = IPaymentRouter.Share(other, uint16(bps));
        uint256 part = amount * bps / 10_000;
        vm.prank(payer);
        try ROUTER.splitPay("split", address(USDC), amount, shares) {
            if (_refused[other]) owed += part;
            if (_refused[payee]) owed += amount - part;
        } catch { }
    }

    /// Anything at all, in the form of signed payments.
    function settleBatch(bytes memory noise) external {
        bytes memory packed = bytes.concat(bytes20(address(USDC)), hex"00", bytes20(payers[0]), hex"00");
        try ROUTER.settleBatch(bytes.concat(packed, bytes20(payees[0]), noise)) { } catch { }
    }

    function withdraw(uint256 seed) external {
        address payee = payees[seed % payees.length];
        if (ROUTER.withdrawable(address(USDC), payee) == 0) return;
        vm.prank(payee);
        owed -= ROUTER.withdraw(address(USDC), address(0xcafe));
    }

    // Subscriptions

    function subscribe(uint256 seed, uint96 amount, uint96 totalMax, uint32 trial, uint16 catchUpMax) external {
        if (_subscriptions.length == 6) return;
        ISubscriptions.SubscriptionTerms memory terms;
        (terms.payer, terms.payee) = _parties(seed);
        terms.token = address(USDC);
        terms.amount = uint96(bound(amount, 1, 10e6));
        terms.totalMax = uint96(bound(totalMax, terms.amount, 20 * uint256(terms.amount)));
        terms.start = uint40(vm.getBlockTimestamp());
        terms.trial = uint32(bound(trial, 0, 20 days));
        terms.period = PERIOD;
        terms.catchUpMax = catchUpMax % 4;
        terms.salt = bytes32(++_nonce);
        uint256 index = _subscriptions.length;
        uint256 before = USDC.balanceOf(terms.payer);
        vm.prank(terms.payer);
        try ROUTER.subscribe(terms) {
            _subscriptions.push(terms);
            _priceOf[index] = terms.amount;
            _book(index, before - USDC.balanceOf(terms.payer));
        } catch { }
    }

    function charge(uint256 seed) external {
        if (_subscriptions.length == 0) return;
        uint256 index = seed % _subscriptions.length;
        address payer = _subscriptions[index].payer;
        uint256 before = USDC.balanceOf(payer);
        try ROUTER.charge(_subscriptions[index]) {
            if (_isOver[index]) ++chargedAfterTheEnd;
            _book(index, before - USDC.balanceOf(payer));
        } catch { }
    }

    function cancel(uint256 seed, bool byPayee) external {
        if (_subscriptions.length == 0 || seed % 4 != 0) return;
        uint256 index = (seed / 4) % _subscriptions.length;
        vm.prank(byPayee ? _subscriptions[index].payee : _subscriptions[index].payer);
        try ROUTER.cancel(_subscriptions[index], false) {
            _isOver[index] = true;
        } catch { }
    }

    function lowerPrice(uint256 seed, uint96 price) external {
        if (_subscriptions.length == 0) return;
        uint256 index = seed % _subscriptions.length;
        price = uint96(bound(price, 1, 10e6));
        vm.prank(_subscriptions[index].payee);
        try ROUTER.lowerPrice(_subscriptions[index], price) {
            if (price > _priceOf[index]) ++chargedWrongly;
            _priceOf[index] = price;
        } catch { }
    }

    // The world

    /// The issuer blacklists a payee, or relents.
    function refuse(uint256 seed) external {
        address payee = payees[seed % payees.length];
        _refused[payee] = !_refused[payee];
        vm.prank(ISSUER);
        _refused[payee] ? USDC.blacklist(payee) : USDC.unBlacklist(payee);
    }

    function letTimePass(uint256 duration) external {
        vm.warp(vm.getBlockTimestamp() + bound(duration, 1, 15 days));
    }

    // Books

    function subscriptionCount() external view returns (uint256) {
        return _subscriptions.length;
    }

    function totalOf(uint256 index) external view returns (uint256 charged, uint256 totalMax) {
        return (_chargedOf[index], _subscriptions[index].totalMax);
    }

    /// Paid periods of a subscription, and those that have begun.
    function periodsOf(uint256 index) external view returns (uint256 paid, uint256 begun) {
        return (_periodsOf[index], _begun(index));
    }

    /// Notes a charge of `amount`.
    function _book(uint256 index, uint256 amount) private {
        if (amount == 0) return;
        uint256 periods = amount / _priceOf[index];
        uint256 catchUpMax = _subscriptions[index].catchUpMax;
        if (amount % _priceOf[index] != 0 || periods > catchUpMax + 1) ++chargedWrongly;
        if (++_chargesIn[index][_begun(index)] > 1 && catchUpMax == 0) ++chargedTwice;
        _periodsOf[index] += periods;
        _chargedOf[index] += amount;
    }

    function _begun(uint256 index) private view returns (uint256) {
        ISubscriptions.SubscriptionTerms memory terms = _subscriptions[index];
        uint256 opens = uint256(terms.start) + terms.trial;
        return vm.getBlockTimestamp() < opens ? 0 : (vm.getBlockTimestamp() - opens) / PERIOD + 1;
    }

    function _pay(address payer, bytes32 id, address payee, uint256 amount) private returns (bool) {
        vm.prank(payer);
        try ROUTER.pay(id, address(USDC), payee, amount) {
            return true;
        } catch {
            return false;
        }
    }

    function _relay(address payer, bytes32 id, address payee, uint256 amount) private returns (bool) {
        bytes32 nonce = ROUTER.paymentNonce(payer, id, address(USDC), payee, amount);
        try ROUTER.payWithAuthorization(id, address(USDC), payee, amount, _authorize(payer, amount, nonce)) {
            return true;
        } catch {
            return false;
        }
    }

    function _parties(uint256 seed) private view returns (address payer, address payee) {
        return (payers[seed % payers.length], payees[(seed / payers.length) % payees.length]);
    }

    function _authorize(address payer, uint256 amount, bytes32 nonce)
        private
        view
        returns (IPaymentRouter.Authorization memory)
    {
        bytes32 typehash = keccak256(
            "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );
        bytes32 structHash =
            keccak256(abi.encode(typehash, payer, address(ROUTER), amount, 0, type(uint256).max, nonce));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", USDC.DOMAIN_SEPARATOR(), structHash));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(_keyOf[payer], digest);
        return IPaymentRouter.Authorization(payer, 0, type(uint256).max, abi.encodePacked(r, s, v));
    }
}
