// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { Test } from "forge-std/Test.sol";
import { Escrow } from "../../../src/Escrow.sol";
import { PaymentRouter } from "../../../src/PaymentRouter.sol";
import { ServiceRegistry } from "../../../src/ServiceRegistry.sol";
import { IEscrow } from "../../../src/interfaces/IEscrow.sol";
import { IServiceRegistry } from "../../../src/interfaces/IServiceRegistry.sol";
import { IUsdc } from "../../base/IUsdc.sol";

/// Drives three services of one owner, who share payees and arbiters, and keeps books of its own.
contract RegistryHandler is Test {
    /// What the handler knows of a service.
    struct Book {
        uint256 added;
        uint256 withdrawn;
        uint256 slashed;
        uint256 lastUnbonding;
        address payee;
        address arbiter;
        address nextPayee;
        address nextArbiter;
        uint256 changesAt;
        IServiceRegistry.Reputation reputation;
    }

    enum End {
        Released,
        Ruled,
        Defaulted,
        Refunded
    }

    struct Deal {
        IEscrow.Terms terms;
        End end;
        /// What left towards the seller.
        uint256 paid;
        uint256 slashed;
        bool rated;
    }

    uint256 private constant AMOUNT_MAX = 500e6;

    Escrow private immutable ESCROW;
    ServiceRegistry private immutable REGISTRY;
    PaymentRouter private immutable ROUTER;
    IUsdc private immutable USDC;
    address private immutable ISSUER;
    address private immutable OWNER = makeAddr("owner of all");

    bytes32[3] public services;
    address[3] public buyers;
    address[2] private _payees;
    address[2] private _arbiters;
    Book[3] private _books;
    Deal[] private _deals;
    mapping(address buyer => bool) private _refused;
    uint256 private _payments;

    /// Things that must never happen.
    uint256 public slashedTwice;
    uint256 public slashedWithoutFinding;
    uint256 public slashedMoreThanReceived;
    uint256 public slashedMoreThanShare;
    uint256 public withdrawnTooEarly;
    uint256 public ratedTwice;
    uint256 public ratedWithoutPayment;

    constructor(Escrow escrow, ServiceRegistry registry, PaymentRouter router, IUsdc usdc, address issuer) {
        (ESCROW, REGISTRY, ROUTER, USDC, ISSUER) = (escrow, registry, router, usdc, issuer);
        IServiceRegistry.Offer memory offer;
        offer.token = address(usdc);
        for (uint256 i = 0; i < 2; ++i) {
            _payees[i] = makeAddr(string.concat("payee ", vm.toString(i)));
            _arbiters[i] = makeAddr(string.concat("arbiter ", vm.toString(i)));
        }
        vm.startPrank(OWNER);
        usdc.approve(address(registry), type(uint256).max);
        for (uint256 i = 0; i < 3; ++i) {
            (_books[i].payee, _books[i].arbiter) = (_payees[i % 2], _arbiters[0]);
            services[i] = registry.register(bytes32(i), _payees[i % 2], _arbiters[0], offer);
        }
        vm.stopPrank();
        for (uint256 i = 0; i < 3; ++i) {
            buyers[i] = makeAddr(string.concat("buyer ", vm.toString(i)));
            vm.startPrank(buyers[i]);
            usdc.approve(address(escrow), type(uint256).max);
            usdc.approve(address(router), type(uint256).max);
            vm.stopPrank();
        }
    }

    function bookOf(uint256 i) external view returns (Book memory) {
        return _books[i];
    }

    // Actions: the owner's

    function addStake(uint256 i, uint256 amount) external {
        amount = bound(amount, 1, AMOUNT_MAX);
        vm.prank(ISSUER);
        USDC.mint(OWNER, amount);
        vm.prank(OWNER);
        REGISTRY.addStake(services[i % 3], amount);
        _books[i % 3].added += amount;
    }

    function beginUnbonding(uint256 i, uint256 amount) external {
        uint256 stake = REGISTRY.serviceOf(services[i % 3]).stake;
        if (stake == 0) return;
        vm.prank(OWNER);
        REGISTRY.beginUnbonding(services[i % 3], bound(amount, 1, stake));
        _books[i % 3].lastUnbonding = vm.getBlockTimestamp();
    }

    function cancelUnbonding(uint256 i) external {
        vm.prank(OWNER);
        try REGISTRY.cancelUnbonding(services[i % 3]) { } catch { }
    }

    function withdrawStake(uint256 i) external {
        vm.prank(OWNER);
        try REGISTRY.withdrawStake(services[i % 3], address(0xcafe)) returns (uint256 amount) {
            _books[i % 3].withdrawn += amount;
            if (vm.getBlockTimestamp() < _books[i % 3].lastUnbonding + 14 days) ++withdrawnTooEarly;
        } catch { }
    }

    function announceParties(uint256 i, uint256 payeeSeed, uint256 arbiterSeed) external {
        Book storage book = _books[i % 3];
        _settle(book);
        (book.nextPayee, book.nextArbiter) = (_payees[payeeSeed % 2], _arbiters[arbiterSeed % 2]);
        book.changesAt = vm.getBlockTimestamp() + 14 days;
        vm.prank(OWNER);
        REGISTRY.announceParties(services[i % 3], book.nextPayee, book.nextArbiter);
    }

    // Actions: buyers' and arbiters'

    /// A whole agreement, from its funding to its end.
    function deal(uint256 seed, uint256 amount, uint256 early, uint256 toSeller) external {
        Deal storage made = _deals.push();
        address buyer = buyers[seed % 3];
        if (_refused[buyer]) _refuse(buyer, false);
        amount = bound(amount, 2, AMOUNT_MAX);
        early = bound(early, 0, amount - 1);
        made.end = End((seed >> 8) % 4);
        IEscrow.Terms memory terms;
        terms.buyer = buyer;
        terms.seller = _payees[(seed >> 16) % 2];
        terms.arbiter = _arbiters[(seed >> 24) % 2];
        terms.token = address(USDC);
        terms.amount = amount;
        terms.feeBps = uint16((seed >> 32) % 10_001);
        terms.feeRecipient = buyer;
        terms.deliverBy = uint64(vm.getBlockTimestamp() + 1);
        terms.reviewPeriod = 1 days;
        terms.arbitrationPeriod = 1 days;
        terms.salt = bytes32(_deals.length);
        made.terms = terms;
        made.paid = _conclude(terms, made.end, early, bound(toSeller, 0, amount - early));
    }

    function slash(uint256 dealSeed, uint256 i, uint256 amount) external {
        if (_deals.length == 0) return;
        Deal storage made = _deals[dealSeed % _deals.length];
        Book storage book = _books[i % 3];
        uint256 bonded = book.added - book.withdrawn - book.slashed;
        amount = bound(amount, 1, made.paid + 2);
        vm.prank(made.terms.arbiter);
        try REGISTRY.slash(services[i % 3], made.terms, amount) {
            _settle(book);
            bool finding = made.end == End.Ruled && made.paid < made.terms.amount;
            bool parties = made.terms.seller == book.payee && made.terms.arbiter == book.arbiter;
            if (!finding || !parties) ++slashedWithoutFinding;
            if (made.slashed != 0) ++slashedTwice;
            made.slashed += amount;
            book.slashed += amount;
            if (made.slashed > made.paid - made.paid * made.terms.feeBps / 10_000) ++slashedMoreThanReceived;
            if (amount > bonded / 2) ++slashedMoreThanShare;
        } catch { }
    }

    function rateAgreement(uint256 dealSeed, uint256 i, uint8 score) external {
        if (_deals.length == 0) return;
        Deal storage made = _deals[dealSeed % _deals.length];
        Book storage book = _books[i % 3];
        score = uint8(bound(score, 0, 101));
        vm.prank(made.terms.buyer);
        try REGISTRY.rateAgreement(_feedback(i, score), made.terms, "") {
            _settle(book);
            if (made.rated) ++ratedTwice;
            if (made.terms.seller != book.payee) ++ratedWithoutPayment;
            made.rated = true;
            bool judged = made.end == End.Ruled && made.terms.arbiter == book.arbiter;
            uint256 received = made.paid - made.paid * made.terms.feeBps / 10_000;
            uint256 weight = judged ? made.terms.amount : received;
            if (weight == 0) ++ratedWithoutPayment;
            _record(book, weight, score, made.end != End.Released && made.end != End.Refunded);
        } catch { }
    }

    /// A payment through the router, rated with its amount or another.
    function ratePayment(uint256 seed, uint256 i, uint256 amount, uint8 score) external {
        amount = bound(amount, 1, AMOUNT_MAX);
        score = uint8(bound(score, 0, 100));
        Book storage book = _books[i % 3];
        address payer = buyers[seed % 3];
        bytes32 paymentId = bytes32((seed >> 8) % (_payments + 1));
        if (ROUTER.paymentRecord(payer, paymentId) == 0) {
            _pay(payer, paymentId, _payees[(seed >> 16) % 2], amount);
            ++_payments;
        }
        vm.prank(payer);
        try REGISTRY.ratePayment(_feedback(i, score), payer, paymentId, amount, "") {
            _settle(book);
            bytes32 record = keccak256(abi.encode(book.payee, address(USDC), amount));
            if (ROUTER.paymentRecord(payer, paymentId) != record) ++ratedWithoutPayment;
            _record(book, amount, score, false);
        } catch { }
    }

    // Actions: everybody's

    function refuse(uint256 seed, bool refused) external {
        _refuse(buyers[seed % 3], refused);
    }

    function withdraw(uint256 seed) external {
        address buyer = buyers[seed % 3];
        if (REGISTRY.withdrawable(address(USDC), buyer) == 0) return;
        vm.prank(buyer);
        REGISTRY.withdraw(address(USDC), address(0xcafe));
    }

    function letTimePass(uint256 duration) external {
        vm.warp(vm.getBlockTimestamp() + bound(duration, 1, 20 days));
    }

    // Internals

    /// Takes an agreement to its end.
    /// @return paid what left towards the seller
    function _conclude(IEscrow.Terms memory terms, End end, uint256 early, uint256 toSeller)
        private
        returns (uint256 paid)
    {
        vm.prank(ISSUER);
        USDC.mint(terms.buyer, terms.amount);
        vm.startPrank(terms.buyer);
        ESCROW.fund(terms);
        if (end == End.Released) {
            ESCROW.release(terms);
            vm.stopPrank();
            return terms.amount;
        }
        if (early != 0) ESCROW.releaseUpTo(terms, early);
        vm.stopPrank();
        vm.startPrank(terms.seller);
        if (end == End.Refunded) ESCROW.refund(terms);
        else ESCROW.markDelivered(terms, 0);
        vm.stopPrank();
        if (end == End.Refunded) return early;
        vm.prank(terms.buyer);
        ESCROW.dispute(terms);
        if (end == End.Defaulted) {
            vm.warp(vm.getBlockTimestamp() + 1 days);
            ESCROW.applyDefault(terms);
            return early;
        }
        vm.prank(terms.arbiter);
        ESCROW.resolve(terms, toSeller);
        return early + toSeller;
    }

    function _pay(address payer, bytes32 paymentId, address payee, uint256 amount) private {
        if (_refused[payer]) _refuse(payer, false);
        vm.prank(ISSUER);
        USDC.mint(payer, amount);
        vm.prank(payer);
        ROUTER.pay(paymentId, address(USDC), payee, amount);
    }

    /// The announced parties count from their second on.
    function _settle(Book storage book) private {
        if (book.changesAt == 0 || vm.getBlockTimestamp() < book.changesAt) return;
        (book.payee, book.arbiter, book.changesAt) = (book.nextPayee, book.nextArbiter, 0);
    }

    function _record(Book storage book, uint256 amount, uint8 score, bool disputed) private {
        if (disputed) ++book.reputation.disputed;
        else ++book.reputation.settled;
        book.reputation.volume += uint88(amount);
        book.reputation.scoreSum += uint96(amount) * score;
    }

    function _feedback(uint256 i, uint8 score) private view returns (IServiceRegistry.Feedback memory said) {
        said.service = services[i % 3];
        said.score = score;
    }

    function _refuse(address buyer, bool refused) private {
        vm.prank(ISSUER);
        if (refused) USDC.blacklist(buyer);
        else USDC.unBlacklist(buyer);
        _refused[buyer] = refused;
    }
}
