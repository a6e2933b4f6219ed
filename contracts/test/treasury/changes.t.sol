// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IAgentWallet } from "../../src/interfaces/IAgentWallet.sol";
import { ITreasuryAdmin } from "../../src/interfaces/ITreasuryAdmin.sol";
import { TreasuryTest } from "./TreasuryTest.sol";

contract ChangesTest is TreasuryTest {
    function test_aChangeWaitsForTheTimelockAndIsThenExecutedByAnyone() public {
        Change memory c = change(_raise());
        bytes32 id = treasury.changeId(c);
        uint64 readyAt = uint64(vm.getBlockTimestamp() + CHANGE_DELAY);
        vm.expectEmit(address(treasury));
        emit ChangeScheduled(id, readyAt, c);
        schedule(c);
        assertEq(treasury.readyAt(id), readyAt);

        vm.warp(readyAt - 1);
        vm.expectRevert(abi.encodeWithSelector(ChangeNotReady.selector, readyAt, readyAt - 1));
        treasury.executeChange(c);

        vm.warp(readyAt);
        vm.expectEmit(address(treasury));
        emit ChangeExecuted(id);
        vm.prank(stranger);
        treasury.executeChange(c);
        assertEq(treasury.policyOf(spender, address(usdc)).policy.dailyLimit, 2 * DAILY_LIMIT);
        assertEq(treasury.readyAt(id), type(uint64).max);
    }

    function test_theCallsOfAChangeAreAllOrNone() public {
        bytes[] memory calls = new bytes[](2);
        calls[0] = _raise();
        calls[1] = abi.encodeCall(ITreasuryAdmin.setThreshold, (9));
        Change memory c = change(calls);
        ripen(c);
        vm.expectRevert(abi.encodeWithSelector(InvalidThreshold.selector, 9, 3));
        treasury.executeChange(c);
        assertEq(treasury.policyOf(spender, address(usdc)).policy.dailyLimit, DAILY_LIMIT);
    }

    function test_reverts_whenAChangeIsEmptyOrScheduledTwiceOrExecutedTwice() public {
        Change memory c = change(new bytes[](0));
        bytes memory approvals = signatures(treasury.changeId(c), 2);
        vm.expectRevert(ChangeEmpty.selector);
        treasury.scheduleChange(c, approvals);

        c = change(_raise());
        bytes32 id = treasury.changeId(c);
        vm.expectRevert(abi.encodeWithSelector(ChangeNotScheduled.selector, id));
        treasury.executeChange(c);
        approvals = signatures(id, 2);
        treasury.scheduleChange(c, approvals);
        vm.expectRevert(abi.encodeWithSelector(ChangeAlreadyScheduled.selector, id));
        treasury.scheduleChange(c, approvals);

        vm.warp(vm.getBlockTimestamp() + CHANGE_DELAY);
        treasury.executeChange(c);
        vm.expectRevert(abi.encodeWithSelector(ChangeNotScheduled.selector, id));
        treasury.executeChange(c);
        vm.expectRevert(abi.encodeWithSelector(ChangeAlreadyScheduled.selector, id));
        treasury.scheduleChange(c, approvals);
    }

    function test_reverts_whenFewerOwnersThanTheThresholdApproveAChange() public {
        Change memory c = change(_raise());
        bytes memory approvals = signatures(treasury.changeId(c), 1);
        vm.expectRevert(abi.encodeWithSelector(ApprovalsBelowThreshold.selector, 1, 2));
        treasury.scheduleChange(c, approvals);
    }

    function test_reverts_whenAChangeExpiresBeforeItIsReadyOrExecuted() public {
        Change memory c = change(_raise());
        uint64 readyAt = uint64(vm.getBlockTimestamp() + CHANGE_DELAY);
        c.validUntil = readyAt - 1;
        bytes memory approvals = signatures(treasury.changeId(c), 2);
        vm.expectRevert(abi.encodeWithSelector(Expired.selector, readyAt - 1, readyAt));
        treasury.scheduleChange(c, approvals);

        c.validUntil = readyAt;
        schedule(c);
        vm.warp(readyAt + 1);
        vm.expectRevert(abi.encodeWithSelector(Expired.selector, readyAt, readyAt + 1));
        treasury.executeChange(c);
    }

    function test_aChangeDiesWhenTheOwnersChange() public {
        Change memory c = change(_raise());
        schedule(c);
        enact(abi.encodeCall(ITreasuryAdmin.setThreshold, (3)));
        vm.expectRevert(abi.encodeWithSelector(OwnersStale.selector, 1, 2));
        treasury.executeChange(c);
        Change memory stale = change(_raise());
        stale.ownerEpoch = 1;
        bytes memory approvals = signatures(treasury.changeId(stale), 3);
        vm.expectRevert(abi.encodeWithSelector(OwnersStale.selector, 1, 2));
        treasury.scheduleChange(stale, approvals);
    }

    // Veto

    function test_aGuardianEndsAWaitingChangeAlone() public {
        Change memory c = change(_raise());
        bytes32 id = schedule(c);
        vm.expectEmit(address(treasury));
        emit ChangeCancelled(id, guardian);
        vm.prank(guardian);
        treasury.cancelChange(c, "");
        vm.warp(vm.getBlockTimestamp() + CHANGE_DELAY);
        vm.expectRevert(abi.encodeWithSelector(ChangeNotScheduled.selector, id));
        treasury.executeChange(c);
        vm.expectRevert(abi.encodeWithSelector(ChangeNotScheduled.selector, id));
        vm.prank(guardian);
        treasury.cancelChange(c, "");
    }

    function test_theThresholdEndsAWaitingChange() public {
        Change memory c = change(_raise());
        bytes32 id = schedule(c);
        bytes memory approvals = signatures(treasury.cancellationId(id), 2);
        vm.prank(stranger);
        treasury.cancelChange(c, approvals);
        assertEq(treasury.readyAt(id), type(uint64).max);
    }

    function test_reverts_whenOneOwnerAloneEndsAChange() public {
        Change memory c = change(_raise());
        schedule(c);
        vm.expectRevert(abi.encodeWithSelector(ApprovalsBelowThreshold.selector, 0, 2));
        vm.prank(ownerList[0]);
        treasury.cancelChange(c, "");
    }

    function test_aGuardianCannotStopItsOwnRemoval() public {
        Change memory c = change(abi.encodeCall(ITreasuryAdmin.setGuardian, (guardian, false)));
        ripen(c);
        vm.expectRevert(abi.encodeWithSelector(ApprovalsBelowThreshold.selector, 0, 2));
        vm.prank(guardian);
        treasury.cancelChange(c, "");
        treasury.executeChange(c);
        assertFalse(treasury.isGuardian(guardian));
    }

    function test_aGuardianStopsARemovalThatBringsSomethingElse() public {
        bytes[] memory calls = new bytes[](2);
        calls[0] = abi.encodeCall(ITreasuryAdmin.setGuardian, (guardian, false));
        calls[1] = abi.encodeCall(ITreasuryAdmin.setGuardian, (stranger, true));
        _vetoed(change(calls));
        calls[1] = _raise();
        _vetoed(change(calls));
        // As long as a guardian's removal, but another function.
        calls[1] = abi.encodeCall(ITreasuryAdmin.addOwner, (stranger, 0));
        _vetoed(change(calls));
    }

    function _vetoed(Change memory c) private {
        bytes32 id = schedule(c);
        vm.prank(guardian);
        treasury.cancelChange(c, "");
        assertEq(treasury.readyAt(id), type(uint64).max);
    }

    // What changes do

    function test_reverts_whenAnybodyCallsWhatOnlyAChangeCalls() public {
        bytes[] memory calls = new bytes[](11);
        calls[0] = abi.encodeCall(ITreasuryAdmin.addOwner, (stranger, 2));
        calls[1] = abi.encodeCall(ITreasuryAdmin.removeOwner, (ownerList[0], 2));
        calls[2] = abi.encodeCall(ITreasuryAdmin.replaceOwner, (ownerList[0], stranger));
        calls[3] = abi.encodeCall(ITreasuryAdmin.setThreshold, (1));
        calls[4] = abi.encodeCall(ITreasuryAdmin.setGuardian, (guardian, false));
        calls[5] = abi.encodeCall(ITreasuryAdmin.setDelays, (1 hours, 0));
        calls[6] = abi.encodeCall(ITreasuryAdmin.unpause, ());
        calls[7] = _raise();
        calls[8] = abi.encodeCall(ITreasuryAdmin.allowRecipient, (spender, address(usdc), stranger));
        calls[9] = abi.encodeCall(ITreasuryAdmin.callContract, (address(usdc), ""));
        calls[10] = abi.encodeCall(ITreasuryAdmin.setThreshold, (3));
        for (uint256 i = 0; i < calls.length; ++i) {
            vm.prank(ownerList[0]);
            (bool success, bytes memory reason) = address(treasury).call(calls[i]);
            assertFalse(success);
            assertEq(reason, abi.encodeWithSelector(NotSelf.selector, ownerList[0]));
        }
    }

    function test_delaysAreSetWithinTheirBounds() public {
        vm.expectRevert(abi.encodeWithSelector(InvalidDelay.selector, 1 hours - 1, 1 hours, 30 days));
        vm.prank(address(treasury));
        treasury.setDelays(1 hours - 1, 0);
        vm.expectRevert(abi.encodeWithSelector(InvalidDelay.selector, 30 days + 1, 1 hours, 30 days));
        vm.prank(address(treasury));
        treasury.setDelays(30 days + 1, 0);
        vm.expectRevert(abi.encodeWithSelector(InvalidDelay.selector, 30 days + 1, 0, 30 days));
        vm.prank(address(treasury));
        treasury.setDelays(1 hours, 30 days + 1);
        vm.expectEmit(address(treasury));
        emit DelaysSet(1 hours, 30 days);
        vm.prank(address(treasury));
        treasury.setDelays(1 hours, 30 days);
        (uint32 changeDelay, uint32 recipientCooldown) = treasury.delays();
        assertEq(changeDelay, 1 hours);
        assertEq(recipientCooldown, 30 days);
    }

    function test_theTreasuryActsAsTheOwnerOfAWallet() public {
        IAgentWallet.WalletConfig memory config;
        config.owner = address(treasury);
        address wallet = walletFactory.createWallet(config);
        mint(wallet, 5e6);
        bytes memory call = abi.encodeCall(IAgentWallet.withdraw, (address(usdc), payee, 5e6));
        enact(abi.encodeCall(ITreasuryAdmin.callContract, (wallet, call)));
        assertEq(usdc.balanceOf(payee), 5e6);
    }

    function test_reverts_whenAChangeCallsTheTreasuryOrNothing() public {
        vm.expectRevert(abi.encodeWithSelector(InvalidTarget.selector, address(treasury)));
        vm.prank(address(treasury));
        treasury.callContract(address(treasury), "");
        vm.expectRevert();
        vm.prank(address(treasury));
        treasury.callContract(stranger, "");
    }

    function test_noCallOfTheOwnersTakesWhatIsCredited() public {
        address[] memory payees = new address[](2);
        (payees[0], payees[1]) = (payee, stranger);
        blacklist(stranger);
        submit(batch(payees, 10e6));
        uint256 balance = usdc.balanceOf(address(treasury));
        bytes memory call = abi.encodeCall(usdc.transfer, (payee, balance - 10e6 + 1));
        vm.expectRevert(abi.encodeWithSelector(InsufficientFunds.selector, address(usdc), 10e6, 10e6 - 1));
        vm.prank(address(treasury));
        treasury.callContract(address(usdc), call);
        call = abi.encodeCall(usdc.transfer, (payee, balance - 10e6));
        vm.expectEmit(address(treasury));
        emit Called(address(usdc), call, abi.encode(true));
        vm.prank(address(treasury));
        treasury.callContract(address(usdc), call);
    }

    function _raise() private view returns (bytes memory) {
        Policy memory policy = defaultPolicy();
        policy.dailyLimit = 2 * DAILY_LIMIT;
        return abi.encodeCall(ITreasuryAdmin.setPolicy, (spender, address(usdc), policy));
    }
}
