// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { ITreasuryAccount } from "../../../src/interfaces/ITreasuryAccount.sol";
import { TreasuryTest } from "../TreasuryTest.sol";
import { TreasuryHandler } from "./TreasuryHandler.sol";

/// What holds after any sequence of orders, approvals, changes, refusals and waiting.
contract TreasuryInvariantTest is TreasuryTest {
    TreasuryHandler private handler;

    function setUp() public override {
        super.setUp();
        for (uint256 i = 0; i < 3; ++i) {
            ownerList[i] = vm.addr(0xa11ce + i);
        }
        Config memory config = defaultConfig();
        // Short, so that changes fall into the windows that they might break.
        config.changeDelay = 1 hours;
        treasury = ITreasuryAccount(factory.create(config));
        mint(address(treasury), FUNDS);
        handler = new TreasuryHandler(treasury, usdc, issuer, guardian, spender);
        targetContract(address(handler));
    }

    /// One campaign for all of them: each below is checked after every call.
    function invariant_moneyMovesOnlyAsOwnersAndPoliciesAllow() public view {
        _noWindowIsOverItsLimit();
        _neverBelowThreshold();
        _onlyTheThresholdWidens();
        _thePolicyIsChargedIfAndOnlyIfMoneyMoved();
        _creditsAreBacked();
        _theThresholdIsReachable();
    }

    /// For every spend s: the spends in [s.time - 24 hours, s.time] up to s add up to at most the limit of that moment. The newest is looked at
    /// here; each was the newest once.
    function _noWindowIsOverItsLimit() private view {
        uint256 count = handler.spendCount();
        if (count == 0) return;
        (uint256 time,, uint256 limit) = handler.spends(count - 1);
        uint256 sum;
        for (uint256 i = count; i > 0; --i) {
            (uint256 earlier, uint256 amount,) = handler.spends(i - 1);
            if (earlier + 24 hours < time) break;
            sum += amount;
        }
        assertLe(sum, limit);
    }

    /// Nothing executes by fewer approvals than the threshold, but a spender's payments within the tier.
    function _neverBelowThreshold() private view {
        assertEq(handler.executedBelowThreshold(), 0);
        assertEq(handler.executedAboveTier(), 0);
    }

    /// Guardians and single owners never widen.
    function _onlyTheThresholdWidens() private view {
        assertEq(handler.widenedAlone(), 0);
    }

    /// balance = funds - paid + (credits given - credits taken): policies are charged for what left, no more, no less.
    function _thePolicyIsChargedIfAndOnlyIfMoneyMoved() private view {
        uint256 owed = handler.creditsGiven() - handler.creditsTaken();
        assertEq(usdc.balanceOf(address(treasury)), FUNDS - handler.paid() + owed);
    }

    /// credited = sum of withdrawable = credits given - credits taken <= balance.
    function _creditsAreBacked() private view {
        uint256 sum;
        for (uint256 i = 0; i < 4; ++i) {
            sum += treasury.withdrawable(address(usdc), handler.payees(i));
        }
        assertEq(treasury.credited(address(usdc)), sum);
        assertEq(sum, handler.creditsGiven() - handler.creditsTaken());
        assertLe(sum, usdc.balanceOf(address(treasury)));
    }

    /// 1 <= threshold <= owners, none of them zero, twice or the treasury.
    function _theThresholdIsReachable() private view {
        address[] memory list = treasury.owners();
        assertGe(treasury.threshold(), 1);
        assertLe(treasury.threshold(), list.length);
        for (uint256 i = 0; i < list.length; ++i) {
            assertTrue(list[i] != address(0) && list[i] != address(treasury) && treasury.isOwner(list[i]));
            for (uint256 j = 0; j < i; ++j) {
                assertNotEq(list[i], list[j]);
            }
        }
    }
}
