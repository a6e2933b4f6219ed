// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { ITreasuryAdmin } from "../../src/interfaces/ITreasuryAdmin.sol";
import { TreasuryTest } from "./TreasuryTest.sol";

contract OwnersTest is TreasuryTest {
    function test_ownersJoinLeaveAndAreReplacedEachInANewEpoch() public {
        address joiner = makeAddr("joiner");
        vm.expectEmit(address(treasury));
        emit OwnerAdded(joiner);
        vm.expectEmit(address(treasury));
        emit ThresholdSet(3, 2);
        _asChange(abi.encodeCall(ITreasuryAdmin.addOwner, (joiner, 3)));
        assertTrue(treasury.isOwner(joiner));
        assertEq(treasury.threshold(), 3);

        vm.expectEmit(address(treasury));
        emit OwnerRemoved(joiner);
        vm.expectEmit(address(treasury));
        emit ThresholdSet(2, 3);
        _asChange(abi.encodeCall(ITreasuryAdmin.removeOwner, (joiner, 2)));
        assertFalse(treasury.isOwner(joiner));

        _asChange(abi.encodeCall(ITreasuryAdmin.replaceOwner, (ownerList[0], joiner)));
        assertTrue(treasury.isOwner(joiner));
        assertFalse(treasury.isOwner(ownerList[0]));
        assertEq(treasury.threshold(), 2);
        assertEq(treasury.ownerEpoch(), 4);
        assertEq(treasury.owners().length, 3);
    }

    /// @param threshold anything
    function testFuzz_theThresholdStaysBetweenOneAndTheOwners(uint256 threshold) public {
        bool valid = threshold >= 1 && threshold <= 3;
        if (!valid) vm.expectRevert(abi.encodeWithSelector(InvalidThreshold.selector, threshold, 3));
        vm.prank(address(treasury));
        treasury.setThreshold(threshold);
        assertEq(treasury.threshold(), valid ? threshold : 2);
    }

    function test_reverts_whenARemovalWouldLeaveFewerOwnersThanTheThreshold() public {
        vm.expectRevert(abi.encodeWithSelector(InvalidThreshold.selector, 3, 2));
        vm.prank(address(treasury));
        treasury.removeOwner(ownerList[0], 3);
    }

    function test_reverts_whenAnOwnerIsNobodyTheTreasuryOneAlreadyOrUnknown() public {
        vm.startPrank(address(treasury));
        vm.expectRevert(abi.encodeWithSelector(InvalidOwner.selector, address(0)));
        treasury.addOwner(address(0), 2);
        vm.expectRevert(abi.encodeWithSelector(InvalidOwner.selector, address(treasury)));
        treasury.addOwner(address(treasury), 2);
        vm.expectRevert(abi.encodeWithSelector(OwnerExists.selector, ownerList[1]));
        treasury.addOwner(ownerList[1], 2);
        vm.expectRevert(abi.encodeWithSelector(OwnerExists.selector, ownerList[1]));
        treasury.replaceOwner(ownerList[0], ownerList[1]);
        vm.expectRevert(abi.encodeWithSelector(OwnerUnknown.selector, stranger));
        treasury.removeOwner(stranger, 2);
    }

    function test_reverts_whenThereAreTooManyOwners() public {
        vm.startPrank(address(treasury));
        for (uint256 i = 3; i < 32; ++i) {
            treasury.addOwner(vm.addr(i), 2);
        }
        vm.expectRevert(abi.encodeWithSelector(TooManyOwners.selector, 33, 32));
        treasury.addOwner(vm.addr(32), 2);
    }

    function test_guardiansComeAndGo() public {
        vm.expectEmit(address(treasury));
        emit GuardianSet(stranger, true);
        _asChange(abi.encodeCall(ITreasuryAdmin.setGuardian, (stranger, true)));
        assertTrue(treasury.isGuardian(stranger));
        vm.startPrank(address(treasury));
        vm.expectRevert(abi.encodeWithSelector(InvalidGuardian.selector, address(0)));
        treasury.setGuardian(address(0), true);
        vm.expectRevert(abi.encodeWithSelector(InvalidGuardian.selector, address(treasury)));
        treasury.setGuardian(address(treasury), true);
    }

    function test_pauseIsUndoneOnlyByAChangeWhichPauseDoesNotStop() public {
        address[2] memory callers = [guardian, ownerList[0]];
        for (uint256 i = 0; i < callers.length; ++i) {
            vm.expectEmit(address(treasury));
            emit Paused(callers[i]);
            vm.prank(callers[i]);
            treasury.pause();
            assertTrue(treasury.paused());
            enact(abi.encodeCall(ITreasuryAdmin.unpause, ()));
            assertFalse(treasury.paused());
        }
        vm.expectRevert(abi.encodeWithSelector(NotOwnerOrGuardian.selector, spender));
        vm.prank(spender);
        treasury.pause();
    }

    function _asChange(bytes memory call) private {
        vm.prank(address(treasury));
        (bool success,) = address(treasury).call(call);
        assertTrue(success);
    }
}
