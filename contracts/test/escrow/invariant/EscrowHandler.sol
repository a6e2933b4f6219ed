// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { Test } from "forge-std/Test.sol";
import { Escrow } from "../../../src/Escrow.sol";
import { IEscrow } from "../../../src/interfaces/IEscrow.sol";
import { IUsdc } from "../../base/IUsdc.sol";

/// Drives agreements of two buyers with two sellers, in every order and at any time, and keeps books of its own: before each call it says by
/// escrow.tree whether the call must work, after it what moved.
contract EscrowHandler is Test {
    /// What an agreement took in and gave out, measured at the accounts, credits included.
    struct Books {
        uint256 funded;
        uint256 bond;
        uint256 toSeller;
        uint256 toFeeRecipient;
        uint256 toBuyer;
    }

    /// How a call is to be found afterwards.
    error Outcome(bool works);

    Escrow private immutable ESCROW;
    IUsdc private immutable USDC;
    address private immutable ISSUER;
    address private constant ARBITER = address(0xa4b1);
    address private constant ANYONE = address(0xa11);
    address private constant VAULT = address(0xcafe);

    /// Two buyers, two sellers, a fee recipient.
    address[5] public accounts = [address(0xb1), address(0xb2), address(0x51), address(0x52), address(0xfee)];
    mapping(address account => bool) private _refused;
    IEscrow.Terms[] private _terms;
    mapping(uint256 index => Books) private _books;
    uint256 public donated;

    constructor(Escrow escrow, IUsdc usdc, address issuer) {
        (ESCROW, USDC, ISSUER) = (escrow, usdc, issuer);
        for (uint256 i = 0; i < 2; ++i) {
            vm.prank(accounts[i]);
            usdc.approve(address(escrow), type(uint256).max);
        }
    }

    // What the invariants read

    function count() external view returns (uint256) {
        return _terms.length;
    }

    function termsOf(uint256 index) external view returns (IEscrow.Terms memory) {
        return _terms[index];
    }

    function booksOf(uint256 index) external view returns (Books memory) {
        return _books[index];
    }

    // Money in

    function fund(uint256 amount, uint256 parties, uint256 shape, uint256 bond) external {
        IEscrow.Terms memory terms;
        terms.buyer = accounts[parties % 2];
        terms.seller = accounts[2 + (parties >> 8) % 2];
        terms.arbiter = shape % 8 == 0 ? address(0) : ARBITER;
        terms.token = address(USDC);
        terms.amount = bound(amount, 1, 1e12);
        terms.feeBps = uint16((shape >> 8) % 10_001);
        terms.feeRecipient = accounts[4];
        terms.deliverBy = uint64(vm.getBlockTimestamp() + 1 + (shape >> 32) % 2 days);
        terms.reviewPeriod = uint32((shape >> 64) % 2 days);
        terms.arbitrationPeriod = uint32((shape >> 96) % 2 days);
        terms.disputeBond = bound(bond, 0, 1e12);
        if ((shape >> 128) % 2 == 0) terms.defaultOutcome = IEscrow.DefaultOutcome.ReleaseSeller;
        terms.salt = bytes32(_terms.length);
        uint256 index = _terms.length;
        _terms.push(terms);
        _mint(terms.buyer, terms.amount);
        bool works = !_refused[terms.buyer];
        _act(index, terms.buyer, abi.encodeCall(IEscrow.fund, (terms)), works);
        if (works) _books[index].funded = terms.amount;
    }

    function topUp(uint256 seed, uint256 amount) external {
        if (_terms.length == 0) return;
        (uint256 index, IEscrow.Terms memory terms, IEscrow.Agreement memory agreement) = _pick(seed);
        amount = bound(amount, 1, 1e12);
        _mint(terms.buyer, amount);
        bool works = _running(agreement) && !_refused[terms.buyer];
        _act(index, terms.buyer, abi.encodeCall(IEscrow.topUp, (terms, amount)), works);
        if (works) _books[index].funded += amount;
    }

    function dispute(uint256 seed) external {
        if (_terms.length == 0) return;
        (uint256 index, IEscrow.Terms memory terms, IEscrow.Agreement memory agreement) = _pick(seed);
        _mint(terms.buyer, terms.disputeBond);
        bool works = agreement.status == IEscrow.Status.Delivered && vm.getBlockTimestamp() < agreement.windowEnds
            && terms.arbiter != address(0) && (terms.disputeBond == 0 || !_refused[terms.buyer]);
        _act(index, terms.buyer, abi.encodeCall(IEscrow.dispute, (terms)), works);
        if (works) _books[index].bond = terms.disputeBond;
    }

    /// Money that nobody owes anybody.
    function donate(uint256 amount) external {
        amount = bound(amount, 1, 1e12);
        _mint(address(ESCROW), amount);
        donated += amount;
    }

    // Delivery and money out

    function markDelivered(uint256 seed) external {
        if (_terms.length == 0) return;
        (uint256 index, IEscrow.Terms memory terms, IEscrow.Agreement memory agreement) = _pick(seed);
        bool works = agreement.status == IEscrow.Status.Funded && vm.getBlockTimestamp() < terms.deliverBy;
        _act(index, terms.seller, abi.encodeCall(IEscrow.markDelivered, (terms, "")), works);
    }

    function release(uint256 seed) external {
        if (_terms.length == 0) return;
        (uint256 index, IEscrow.Terms memory terms, IEscrow.Agreement memory agreement) = _pick(seed);
        _act(index, terms.buyer, abi.encodeCall(IEscrow.release, (terms)), _running(agreement));
    }

    function releaseUpTo(uint256 seed, uint256 total) external {
        if (_terms.length == 0) return;
        (uint256 index, IEscrow.Terms memory terms, IEscrow.Agreement memory agreement) = _pick(seed);
        total = bound(total, 0, uint256(agreement.funded) + 1);
        bool works = _running(agreement) && total > agreement.released && total <= agreement.funded;
        _act(index, terms.buyer, abi.encodeCall(IEscrow.releaseUpTo, (terms, total)), works);
    }

    function releaseUndisputed(uint256 seed) external {
        if (_terms.length == 0) return;
        (uint256 index, IEscrow.Terms memory terms, IEscrow.Agreement memory agreement) = _pick(seed);
        bool works = agreement.status == IEscrow.Status.Delivered && vm.getBlockTimestamp() >= agreement.windowEnds;
        _act(index, ANYONE, abi.encodeCall(IEscrow.releaseUndisputed, (terms)), works);
    }

    function refund(uint256 seed, bool bySeller) external {
        if (_terms.length == 0) return;
        (uint256 index, IEscrow.Terms memory terms, IEscrow.Agreement memory agreement) = _pick(seed);
        bool works = bySeller
            ? _running(agreement)
            : agreement.status == IEscrow.Status.Funded && vm.getBlockTimestamp() >= terms.deliverBy;
        _act(index, bySeller ? terms.seller : ANYONE, abi.encodeCall(IEscrow.refund, (terms)), works);
    }

    function resolve(uint256 seed, uint256 toSeller) external {
        if (_terms.length == 0) return;
        (uint256 index, IEscrow.Terms memory terms, IEscrow.Agreement memory agreement) = _pick(seed);
        uint256 rest = agreement.funded - agreement.released;
        toSeller = bound(toSeller, 0, rest + 1);
        bool works = agreement.status == IEscrow.Status.Disputed && vm.getBlockTimestamp() < agreement.windowEnds
            && toSeller <= rest;
        _act(index, ARBITER, abi.encodeCall(IEscrow.resolve, (terms, toSeller)), works);
    }

    function applyDefault(uint256 seed) external {
        if (_terms.length == 0) return;
        (uint256 index, IEscrow.Terms memory terms, IEscrow.Agreement memory agreement) = _pick(seed);
        bool works = agreement.status == IEscrow.Status.Disputed && vm.getBlockTimestamp() >= agreement.windowEnds;
        _act(index, ANYONE, abi.encodeCall(IEscrow.applyDefault, (terms)), works);
    }

    function withdraw(uint256 seed) external {
        address account = accounts[seed % accounts.length];
        if (ESCROW.withdrawable(address(USDC), account) == 0) return;
        vm.prank(account);
        ESCROW.withdraw(address(USDC), VAULT);
    }

    // The world

    /// The issuer blacklists a party, or relents.
    function refuse(uint256 seed) external {
        address account = accounts[seed % accounts.length];
        _refused[account] = !_refused[account];
        vm.prank(ISSUER);
        _refused[account] ? USDC.blacklist(account) : USDC.unBlacklist(account);
    }

    function letTimePass(uint256 duration) external {
        vm.warp(vm.getBlockTimestamp() + bound(duration, 1, 1 days));
    }

    // Windows

    /// How many of the two that an open agreement waits for could act now: its party in time, or anyone by default.
    function defaultsOf(uint256 index) external returns (uint256) {
        IEscrow.Terms memory terms = _terms[index];
        IEscrow.Status status = ESCROW.agreementOf(ESCROW.agreementId(terms)).status;
        if (status == IEscrow.Status.Funded) {
            return _works(terms.seller, abi.encodeCall(IEscrow.markDelivered, (terms, "")))
                + _works(ANYONE, abi.encodeCall(IEscrow.refund, (terms)));
        }
        if (status == IEscrow.Status.Delivered) {
            // Without an arbiter there is nobody to dispute before: during the review it waits for the buyer to release.
            if (terms.arbiter == address(0)) return 1;
            return _works(terms.buyer, abi.encodeCall(IEscrow.dispute, (terms)))
                + _works(ANYONE, abi.encodeCall(IEscrow.releaseUndisputed, (terms)));
        }
        if (status == IEscrow.Status.Disputed) {
            return _works(ARBITER, abi.encodeCall(IEscrow.resolve, (terms, 0)))
                + _works(ANYONE, abi.encodeCall(IEscrow.applyDefault, (terms)));
        }
        return 1;
    }

    /// Does the call, for a caller who has what it takes, and takes it back.
    function attempt(address caller, bytes calldata call) external {
        vm.startPrank(ISSUER);
        USDC.unBlacklist(caller);
        USDC.mint(caller, 1e12);
        vm.stopPrank();
        vm.prank(caller);
        (bool works,) = address(ESCROW).call(call);
        revert Outcome(works);
    }

    // Internals

    function _works(address caller, bytes memory call) private returns (uint256) {
        try this.attempt(caller, call) { }
        catch (bytes memory outcome) {
            return keccak256(outcome) == keccak256(abi.encodeWithSelector(Outcome.selector, true)) ? 1 : 0;
        }
        return 0;
    }

    function _pick(uint256 seed)
        private
        view
        returns (uint256 index, IEscrow.Terms memory terms, IEscrow.Agreement memory agreement)
    {
        index = seed % _terms.length;
        terms = _terms[index];
        agreement = ESCROW.agreementOf(ESCROW.agreementId(terms));
    }

    function _running(IEscrow.Agreement memory agreement) private pure returns (bool) {
        return agreement.status == IEscrow.Status.Funded || agreement.status == IEscrow.Status.Delivered;
    }

    function _act(uint256 index, address caller, bytes memory call, bool works) private {
        IEscrow.Terms memory terms = _terms[index];
        bytes32 id = ESCROW.agreementId(terms);
        IEscrow.Status before = ESCROW.agreementOf(id).status;
        (uint256 sellers, uint256 fees, uint256 buyers) =
            (_wealth(terms.seller), _wealth(terms.feeRecipient), _wealth(terms.buyer));
        vm.prank(caller);
        (bool ok,) = address(ESCROW).call(call);
        assertEq(ok, works, "a call works exactly when escrow.tree says so");
        IEscrow.Status afterwards = ESCROW.agreementOf(id).status;
        assertTrue(_mayFollow(before, afterwards), "a status moves along the tree");
        if (!ok) return;
        Books storage books = _books[index];
        books.toSeller += _wealth(terms.seller) - sellers;
        books.toFeeRecipient += _wealth(terms.feeRecipient) - fees;
        // A call that takes from the buyer gives it nothing.
        if (_wealth(terms.buyer) > buyers) books.toBuyer += _wealth(terms.buyer) - buyers;
    }

    function _mayFollow(IEscrow.Status a, IEscrow.Status b) private pure returns (bool) {
        if (a == b) return true;
        if (a == IEscrow.Status.None) return b == IEscrow.Status.Funded;
        if (a == IEscrow.Status.Disputed) return b == IEscrow.Status.Resolved;
        if (b == IEscrow.Status.Released || b == IEscrow.Status.Refunded) {
            return a == IEscrow.Status.Funded || a == IEscrow.Status.Delivered;
        }
        if (b == IEscrow.Status.Delivered) return a == IEscrow.Status.Funded;
        return a == IEscrow.Status.Delivered && b == IEscrow.Status.Disputed;
    }

    /// What an account has, what the escrow owes it for refused payouts included.
    function _wealth(address account) private view returns (uint256) {
        return USDC.balanceOf(account) + ESCROW.withdrawable(address(USDC), account);
    }

    function _mint(address to, uint256 amount) private {
        if (amount == 0) return;
        bool lift = _refused[to];
        vm.startPrank(ISSUER);
        if (lift) USDC.unBlacklist(to);
        USDC.mint(to, amount);
        if (lift) USDC.blacklist(to);
        vm.stopPrank();
    }
}
