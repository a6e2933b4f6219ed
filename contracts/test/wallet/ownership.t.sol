// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IAgentWallet } from "../../src/interfaces/IAgentWallet.sol";
import { WalletTest } from "./WalletTest.sol";

/// What belongs to the owner alone: handing the wallet on, naming guardian and approvers, withdrawing.
contract OwnershipTest is WalletTest {
    function test_nobodyElseDoesWhatBelongsToTheOwner() public {
        address[4] memory others = [operator, guardian, approvers[0], stranger];
        bytes[11] memory calls = [
            abi.encodeCall(IAgentWallet.transferOwnership, (stranger)),
            abi.encodeCall(IAgentWallet.withdraw, (address(usdc), stranger, 1)),
            abi.encodeCall(IAgentWallet.setGuardian, (stranger)),
            abi.encodeCall(IAgentWallet.setApprovers, (new address[](0), 0)),
            abi.encodeCall(IAgentWallet.addOperator, (operatorConfig(stranger))),
            abi.encodeCall(IAgentWallet.removeOperator, (operator)),
            abi.encodeCall(IAgentWallet.setPolicy, (operator, address(usdc), policy())),
            abi.encodeCall(IAgentWallet.setRecipient, (operator, stranger, true)),
            abi.encodeCall(IAgentWallet.setLane, (operator, lane())),
            abi.encodeCall(IAgentWallet.bumpEpoch, (operator)),
            abi.encodeCall(IAgentWallet.unfreeze, (operator))
        ];
        for (uint256 i = 0; i < calls.length; ++i) {
            for (uint256 j = 0; j < others.length; ++j) {
                vm.prank(others[j]);
                (bool success, bytes memory reason) = address(wallet).call(calls[i]);
                assertFalse(success);
                assertEq(reason, abi.encodeWithSelector(IAgentWallet.NotOwner.selector, others[j], owner));
            }
        }
    }

    // Two-step transfer

    function test_theWalletMovesOnlyWhenTheNewOwnerAccepts() public {
        vm.expectEmit(address(wallet));
        emit IAgentWallet.OwnershipTransferStarted(owner, stranger);
        vm.prank(owner);
        wallet.transferOwnership(stranger);
        assertEq(wallet.owner(), owner);
        assertEq(wallet.pendingOwner(), stranger);

        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotPendingOwner.selector, payee, stranger));
        vm.prank(payee);
        wallet.acceptOwnership();

        vm.expectEmit(address(wallet));
        emit IAgentWallet.OwnershipTransferred(owner, stranger);
        vm.prank(stranger);
        wallet.acceptOwnership();
        assertEq(wallet.owner(), stranger);
        assertEq(wallet.pendingOwner(), address(0));

        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotOwner.selector, owner, stranger));
        vm.prank(owner);
        wallet.withdraw(address(usdc), owner, 1);
    }

    function test_aTransferIsTakenBackByNamingNobody() public {
        vm.startPrank(owner);
        wallet.transferOwnership(stranger);
        wallet.transferOwnership(address(0));
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotPendingOwner.selector, stranger, address(0)));
        vm.prank(stranger);
        wallet.acceptOwnership();
    }

    function test_whatWasApprovedForThePreviousOwnerIsVoid() public {
        IAgentWallet.Payment memory payment = paymentOf(PAYMENT_MAX, "1");
        IAgentWallet.Approval[] memory approvals = approve(payment, 2);
        vm.prank(owner);
        wallet.transferOwnership(stranger);
        vm.prank(stranger);
        wallet.acceptOwnership();
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.ApprovalSignatureInvalid.selector, approvers[0]));
        vm.prank(operator);
        wallet.executeApprovedPayment(payment, "", approvals);
        (, uint32 approvalEpoch) = wallet.approvalRule();
        assertEq(approvalEpoch, 2);
    }

    function test_anOperatorNeverBecomesTheOwnerOfWhatBoundsIt() public {
        vm.prank(owner);
        wallet.transferOwnership(operator);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AddressRefused.selector, operator));
        vm.prank(operator);
        wallet.acceptOwnership();
    }

    // Guardian and approvers

    function test_theOwnerReplacesTheGuardian() public {
        vm.expectEmit(address(wallet));
        emit IAgentWallet.GuardianChanged(guardian, stranger);
        vm.prank(owner);
        wallet.setGuardian(stranger);
        assertEq(wallet.guardian(), stranger);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotOwner.selector, guardian, owner));
        vm.prank(guardian);
        wallet.freeze(operator);
    }

    function test_aWalletNeedsNoGuardian() public {
        vm.prank(owner);
        wallet.setGuardian(address(0));
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotGuardian.selector, guardian, address(0)));
        vm.prank(guardian);
        wallet.startRecovery(stranger);
    }

    function test_neitherAnOperatorNorTheWalletIsItsGuardian() public {
        address[2] memory insiders = [operator, address(wallet)];
        for (uint256 i = 0; i < insiders.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AddressRefused.selector, insiders[i]));
            vm.prank(owner);
            wallet.setGuardian(insiders[i]);
        }
    }

    function test_newApproversReplaceTheOldOnes() public {
        address[] memory set = new address[](2);
        (set[0], set[1]) = (approvers[2], stranger);
        vm.expectEmit(address(wallet));
        emit IAgentWallet.ApproversChanged(2, set, 1);
        vm.prank(owner);
        wallet.setApprovers(set, 1);
        assertTrue(wallet.isApprover(approvers[2]) && wallet.isApprover(stranger));
        assertFalse(wallet.isApprover(approvers[0]) || wallet.isApprover(approvers[1]));
        (uint8 approvalsRequired, uint32 approvalEpoch) = wallet.approvalRule();
        assertEq(approvalsRequired, 1);
        assertEq(approvalEpoch, 2);
    }

    /// @param count of approvers, @param required of them
    function testFuzz_theRuleCanBeMetAndMeansSomething(uint256 count, uint8 required) public {
        address[] memory set = new address[](bound(count, 0, 18));
        for (uint256 i = 0; i < set.length; ++i) {
            set[i] = vm.addr(i + 1);
        }
        bool sound = required == 0 ? set.length == 0 : required <= set.length;
        if (set.length > 16) {
            vm.expectRevert(abi.encodeWithSelector(IAgentWallet.TooMany.selector, set.length, 16));
        } else if (!sound) {
            vm.expectRevert(abi.encodeWithSelector(IAgentWallet.ApproversInvalid.selector, set.length, required));
        }
        vm.prank(owner);
        wallet.setApprovers(set, required);
    }

    function test_anApproverIsSomebodyAndOnlyOnce() public {
        address[] memory set = new address[](2);
        set[0] = stranger;
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AddressRefused.selector, address(0)));
        vm.prank(owner);
        wallet.setApprovers(set, 1);
        set[1] = stranger;
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AddressRefused.selector, stranger));
        vm.prank(owner);
        wallet.setApprovers(set, 1);
    }

    // Withdrawing

    function test_theOwnerWithdrawsToANamedAddressPastEveryLimit() public {
        vm.prank(guardian);
        wallet.freezeAll();
        vm.expectEmit(address(wallet));
        emit IAgentWallet.Withdrawn(address(usdc), payee, FUNDS);
        vm.prank(owner);
        wallet.withdraw(address(usdc), payee, FUNDS);
        assertEq(usdc.balanceOf(payee), FUNDS);
    }

    /// The issuer's blacklist on the owner does not lock the money in.
    function test_aBlacklistedOwnerWithdrawsToSomebodyElse() public {
        blacklist(owner);
        vm.prank(owner);
        wallet.withdraw(address(usdc), payee, FUNDS);
        assertEq(usdc.balanceOf(payee), FUNDS);
    }
}
