// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IAgentWallet } from "../../src/interfaces/IAgentWallet.sol";
import { WalletTest } from "./WalletTest.sol";

/// A guardian hands the wallet of a lost owner on, slowly enough for an owner who is not lost.
contract RecoveryTest is WalletTest {
    address private heir = makeAddr("heir");
    uint256 private readyAt;

    function setUp() public override {
        super.setUp();
        readyAt = block.timestamp + 7 days;
    }

    function test_theHeirTakesTheWalletAfterSevenDaysAndNotASecondEarlier() public {
        vm.expectEmit(address(wallet));
        emit IAgentWallet.RecoveryStarted(heir, readyAt);
        _start();
        (address newOwner, uint48 since) = wallet.recovery();
        assertEq(newOwner, heir);
        assertEq(since, readyAt);

        vm.warp(readyAt - 1);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.RecoveryNotReady.selector, readyAt - 1, readyAt));
        _finish();

        vm.warp(readyAt);
        vm.expectEmit(address(wallet));
        emit IAgentWallet.OwnershipTransferred(owner, heir);
        _finish();
        assertEq(wallet.owner(), heir);
        (newOwner,) = wallet.recovery();
        assertEq(newOwner, address(0));
    }

    function test_theOwnerObjects() public {
        _start();
        vm.expectEmit(address(wallet));
        emit IAgentWallet.RecoveryCancelled(heir);
        vm.prank(owner);
        wallet.cancelRecovery();
        vm.warp(readyAt);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotPendingOwner.selector, heir, address(0)));
        _finish();
    }

    function test_onlyTheOwnerObjects() public {
        _start();
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotOwner.selector, operator, owner));
        vm.prank(operator);
        wallet.cancelRecovery();
    }

    function test_onlyTheGuardianBeginsIt() public {
        address[3] memory others = [owner, operator, heir];
        for (uint256 i = 0; i < others.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotGuardian.selector, others[i], guardian));
            vm.prank(others[i]);
            wallet.startRecovery(heir);
        }
    }

    function test_onlyTheHeirFinishesIt() public {
        _start();
        vm.warp(readyAt);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotPendingOwner.selector, guardian, heir));
        vm.prank(guardian);
        wallet.finishRecovery();
    }

    /// Naming another heir in the last second does not inherit the days that the first has waited.
    function test_anotherHeirWaitsFromTheBeginning() public {
        _start();
        vm.warp(readyAt - 1);
        vm.prank(guardian);
        wallet.startRecovery(stranger);
        vm.warp(readyAt);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotPendingOwner.selector, heir, stranger));
        _finish();
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.RecoveryNotReady.selector, readyAt, readyAt - 1 + 7 days));
        vm.prank(stranger);
        wallet.finishRecovery();
    }

    function test_aGuardianWhoIsLetGoTakesItsRecoveryAlong() public {
        _start();
        vm.expectEmit(address(wallet));
        emit IAgentWallet.RecoveryCancelled(heir);
        vm.prank(owner);
        wallet.setGuardian(stranger);
        vm.warp(readyAt);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotPendingOwner.selector, heir, address(0)));
        _finish();
    }

    function test_anOwnerWhoHandsTheWalletOnEndsIt() public {
        _start();
        vm.prank(owner);
        wallet.transferOwnership(stranger);
        vm.prank(stranger);
        wallet.acceptOwnership();
        vm.warp(readyAt);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotPendingOwner.selector, heir, address(0)));
        _finish();
    }

    /// The recovered owner's own unfinished transfer does not outlive it.
    function test_aRecoveryEndsTheTransferThatWasUnderWay() public {
        vm.prank(owner);
        wallet.transferOwnership(stranger);
        _start();
        vm.warp(readyAt);
        _finish();
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotPendingOwner.selector, stranger, address(0)));
        vm.prank(stranger);
        wallet.acceptOwnership();
    }

    function test_noOperatorInheritsNorOneWhoBecameIt() public {
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AddressRefused.selector, operator));
        vm.prank(guardian);
        wallet.startRecovery(operator);

        _start();
        IAgentWallet.OperatorConfig memory config = operatorConfig(heir);
        vm.prank(owner);
        wallet.addOperator(config);
        vm.warp(readyAt);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AddressRefused.selector, heir));
        _finish();
    }

    function _start() private {
        vm.prank(guardian);
        wallet.startRecovery(heir);
    }

    function _finish() private {
        vm.prank(heir);
        wallet.finishRecovery();
    }
}
