// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { Test } from "forge-std/Test.sol";
import { ITreasury } from "../../../src/interfaces/ITreasury.sol";
import { ITreasuryAccount } from "../../../src/interfaces/ITreasuryAccount.sol";
import { ITreasuryAdmin } from "../../../src/interfaces/ITreasuryAdmin.sol";
import { IUsdc } from "../../base/IUsdc.sol";

/// Drives one treasury with every kind of caller, and keeps books of its own.
contract TreasuryHandler is Test {
    struct Spend {
        uint256 time;
        uint256 amount;
        /// The limit of that moment.
        uint256 limit;
    }

    uint56 private constant LIMIT_MAX = 10_000e6;

    ITreasuryAccount private immutable TREASURY;
    IUsdc private immutable USDC;
    address private immutable ISSUER;
    address private immutable GUARDIAN;
    address private immutable SPENDER;
    address[4] public payees;
    address[6] private _ownerPool;
    mapping(address owner => uint256) private _keyOf;
    mapping(address payee => bool) private _refused;

    Spend[] public spends;
    uint256 public paid;
    uint256 public creditsGiven;
    uint256 public creditsTaken;
    /// Orders executed by signatures of fewer owners than the threshold. Never.
    uint256 public executedBelowThreshold;
    /// Payments of a spender alone that brought the window above the tier. Never.
    uint256 public executedAboveTier;
    /// Policies that a guardian or an owner alone made wider. Never.
    uint256 public widenedAlone;
    uint256 private _nonce = 1;

    constructor(ITreasuryAccount treasury, IUsdc usdc, address issuer, address guardian, address spender) {
        (TREASURY, USDC, ISSUER, GUARDIAN, SPENDER) = (treasury, usdc, issuer, guardian, spender);
        for (uint256 i = 0; i < payees.length; ++i) {
            payees[i] = vm.addr(0xbeef + i);
        }
        for (uint256 i = 0; i < _ownerPool.length; ++i) {
            _ownerPool[i] = vm.addr(0xa11ce + i);
            _keyOf[_ownerPool[i]] = 0xa11ce + i;
        }
    }

    function spendCount() external view returns (uint256) {
        return spends.length;
    }

    // Actions

    /// A spender's order, alone.
    function submit(uint256 amount, uint256 payeeSeed, uint256 count) external {
        ITreasury.Order memory order = _order(amount, payeeSeed, count);
        (, uint256 withoutOwners) = TREASURY.remaining(SPENDER, address(USDC));
        uint256 before = _free();
        vm.prank(SPENDER);
        try TREASURY.submit(order) returns (bytes32, bool executed) {
            if (!executed) return;
            _record(order, before);
            if (_total(order) > withoutOwners) ++executedAboveTier;
        } catch { }
    }

    /// An order with the signatures of some of the present owners, enough or not.
    function execute(uint256 amount, uint256 payeeSeed, uint256 count, uint256 signers) external {
        ITreasury.Order memory order = _order(amount, payeeSeed, count);
        (bytes memory approvals, uint256 approvers) = _approvals(TREASURY.orderId(order), signers);
        uint256 before = _free();
        try TREASURY.execute(order, approvals) {
            _record(order, before);
            if (approvers < TREASURY.threshold()) ++executedBelowThreshold;
        } catch { }
    }

    /// A guardian or an owner alone tries any policy.
    function lowerPolicy(uint56 dailyLimit, uint56 orderMax, uint56 approvalAbove, bool byOwner) external {
        ITreasury.Policy memory old = TREASURY.policyOf(SPENDER, address(USDC)).policy;
        ITreasury.Policy memory policy = old;
        policy = ITreasury.Policy({
            dailyLimit: uint56(bound(dailyLimit, old.dailyLimit / 2, LIMIT_MAX)),
            orderMax: uint56(bound(orderMax, old.orderMax / 2, LIMIT_MAX)),
            approvalAbove: uint56(bound(approvalAbove, old.approvalAbove / 2, LIMIT_MAX)),
            onlyAllowed: old.onlyAllowed
        });
        bool wider = policy.dailyLimit > old.dailyLimit || policy.orderMax > old.orderMax
            || policy.approvalAbove > old.approvalAbove;
        vm.prank(byOwner ? TREASURY.owners()[0] : GUARDIAN);
        try TREASURY.lowerPolicy(SPENDER, address(USDC), policy) {
            if (wider) ++widenedAlone;
        } catch { }
    }

    /// The owners set a policy, through the timelock.
    function setPolicy(uint56 dailyLimit, uint56 orderMax, uint56 approvalAbove) external {
        ITreasury.Policy memory policy;
        policy.dailyLimit = uint56(bound(dailyLimit, LIMIT_MAX / 10, LIMIT_MAX));
        policy.orderMax = uint56(bound(orderMax, 0, policy.dailyLimit));
        policy.approvalAbove = uint56(bound(approvalAbove, 0, policy.dailyLimit));
        _enact(abi.encodeCall(ITreasuryAdmin.setPolicy, (SPENDER, address(USDC), policy)));
    }

    /// The owners change themselves, through the timelock; in ways that must fail, too.
    function changeOwners(uint256 kind, uint256 seed, uint256 threshold) external {
        address owner = _ownerPool[seed % _ownerPool.length];
        threshold = bound(threshold, 0, 4);
        kind %= 3;
        if (kind == 0) _enact(abi.encodeCall(ITreasuryAdmin.addOwner, (owner, threshold)));
        if (kind == 1) _enact(abi.encodeCall(ITreasuryAdmin.removeOwner, (owner, threshold)));
        if (kind == 2) _enact(abi.encodeCall(ITreasuryAdmin.setThreshold, (threshold)));
    }

    /// The issuer blacklists a payee, or relents.
    function refuse(uint256 seed) external {
        address payee = payees[seed % payees.length];
        _refused[payee] = !_refused[payee];
        vm.prank(ISSUER);
        _refused[payee] ? USDC.blacklist(payee) : USDC.unBlacklist(payee);
    }

    function withdrawCredit(uint256 seed) external {
        address payee = payees[seed % payees.length];
        if (TREASURY.withdrawable(address(USDC), payee) == 0) return;
        vm.prank(payee);
        creditsTaken += TREASURY.withdrawCredit(address(USDC), address(0xcafe));
    }

    function letTimePass(uint256 duration) external {
        vm.warp(vm.getBlockTimestamp() + bound(duration, 1, 10 hours));
    }

    // Internals

    /// What the treasury holds and owes to nobody.
    function _free() private view returns (uint256) {
        return USDC.balanceOf(address(TREASURY)) - TREASURY.credited(address(USDC));
    }

    function _order(uint256 amount, uint256 payeeSeed, uint256 count) private returns (ITreasury.Order memory order) {
        ITreasury.PolicyView memory found = TREASURY.policyOf(SPENDER, address(USDC));
        count = bound(count, 1, 3);
        amount = bound(amount, 1, uint256(found.policy.orderMax) / count + 2);
        order.spender = SPENDER;
        order.token = address(USDC);
        order.payments = new ITreasury.Payment[](count);
        for (uint256 i = 0; i < count; ++i) {
            order.payments[i] = ITreasury.Payment(payees[(payeeSeed % 4 + i) % 4], amount, bytes32(i));
        }
        order.nonce = _nonce++;
        order.validUntil = type(uint64).max;
        order.policyEpoch = found.epoch;
        order.ownerEpoch = TREASURY.ownerEpoch();
    }

    function _total(ITreasury.Order memory order) private pure returns (uint256) {
        return order.payments.length * order.payments[0].amount;
    }

    function _record(ITreasury.Order memory order, uint256 before) private {
        uint256 total = _total(order);
        assertEq(before - _free(), total, "an executed order moves exactly its total");
        paid += total;
        for (uint256 i = 0; i < order.payments.length; ++i) {
            if (_refused[order.payments[i].to]) creditsGiven += order.payments[i].amount;
        }
        uint256 limit = TREASURY.policyOf(SPENDER, address(USDC)).policy.dailyLimit;
        spends.push(Spend(vm.getBlockTimestamp(), total, limit));
    }

    /// The approvals of those present owners whose bit is set, ascending.
    function _approvals(bytes32 id, uint256 signers) private view returns (bytes memory approvals, uint256 count) {
        address[] memory list = TREASURY.owners();
        for (uint256 i = 1; i < list.length; ++i) {
            for (uint256 j = i; j > 0 && list[j] < list[j - 1]; --j) {
                (list[j], list[j - 1]) = (list[j - 1], list[j]);
            }
        }
        for (uint256 i = 0; i < list.length; ++i) {
            if (signers & (1 << i) == 0) continue;
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(_keyOf[list[i]], id);
            approvals = bytes.concat(approvals, abi.encodePacked(uint8(0), r, s, v));
            ++count;
        }
    }

    function _enact(bytes memory call) private {
        ITreasury.Change memory change;
        change.calls = new bytes[](1);
        change.calls[0] = call;
        change.nonce = _nonce++;
        change.validUntil = type(uint64).max;
        change.ownerEpoch = TREASURY.ownerEpoch();
        (bytes memory approvals,) = _approvals(TREASURY.changeId(change), type(uint256).max);
        TREASURY.scheduleChange(change, approvals);
        (uint32 delay,) = TREASURY.delays();
        vm.warp(vm.getBlockTimestamp() + delay);
        try TREASURY.executeChange(change) { } catch { }
    }
}
