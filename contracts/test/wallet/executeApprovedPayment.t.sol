// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { SpendingLimit } from "../../src/SpendingLimit.sol";
import { IAgentWallet } from "../../src/interfaces/IAgentWallet.sol";
import { WalletTest } from "./WalletTest.sol";

/// Payments above the tier of 60 USDC: 40 were spent without approval.
contract ExecuteApprovedPaymentTest is WalletTest {
    function setUp() public override {
        super.setUp();
        pay(40e6, "before");
    }

    function test_enoughApproversLetItThrough() public {
        IAgentWallet.Payment memory payment = paymentOf(30e6, "1");
        _executeAsOperator(payment, approve(payment, 2));
        assertEq(usdc.balanceOf(payee), 70e6);
        assertEq(wallet.remaining(operator, address(usdc)), 30e6);
    }

    function test_theOwnerAloneLetsItThrough() public {
        IAgentWallet.Payment memory payment = paymentOf(30e6, "1");
        _executeAsOperator(payment, approveAsOwner(payment));
        assertEq(usdc.balanceOf(payee), 70e6);
    }

    function test_anyoneRelaysItWithTheSignatureOfTheOperator() public {
        IAgentWallet.Payment memory payment = paymentOf(30e6, "1");
        bytes memory signature = sign(operatorKey, wallet.paymentDigest(payment));
        IAgentWallet.Approval[] memory approvals = approve(payment, 3);
        vm.prank(stranger);
        wallet.executeApprovedPayment(payment, signature, approvals);
        assertEq(usdc.balanceOf(payee), 70e6);
    }

    function test_approvalsAloneMoveNothing() public {
        IAgentWallet.Payment memory payment = paymentOf(30e6, "1");
        IAgentWallet.Approval[] memory approvals = approve(payment, 3);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.OperatorSignatureInvalid.selector, address(0), operator));
        vm.prank(owner);
        wallet.executeApprovedPayment(payment, "", approvals);
    }

    function test_oneApproverTooFewIsNotEnough() public {
        IAgentWallet.Payment memory payment = paymentOf(30e6, "1");
        IAgentWallet.Approval[] memory approvals = approve(payment, 1);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotEnoughApprovals.selector, 1, 2));
        _executeAsOperator(payment, approvals);
    }

    function test_withoutApproversOnlyTheOwnerApproves() public {
        vm.prank(owner);
        wallet.setApprovers(new address[](0), 0);
        IAgentWallet.Payment memory payment = paymentOf(30e6, "1");
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotEnoughApprovals.selector, 0, 0));
        _executeAsOperator(payment, new IAgentWallet.Approval[](0));
        _executeAsOperator(payment, approveAsOwner(payment));
    }

    function test_anApproverCountsOnce() public {
        IAgentWallet.Payment memory payment = paymentOf(30e6, "1");
        IAgentWallet.Approval[] memory approvals = approve(payment, 2);
        approvals[1] = approvals[0];
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.ApprovalsNotAscending.selector, approvers[0], approvers[0]));
        _executeAsOperator(payment, approvals);
    }

    function test_refusesApprovalsOfStrangers() public {
        IAgentWallet.Payment memory payment = paymentOf(30e6, "1");
        (address outsider, uint256 key) = makeAddrAndKey("outsider");
        IAgentWallet.Approval[] memory approvals = new IAgentWallet.Approval[](1);
        approvals[0] = IAgentWallet.Approval(outsider, sign(key, wallet.paymentDigest(payment)));
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotApprover.selector, outsider));
        _executeAsOperator(payment, approvals);
    }

    function test_refusesAnApprovalOfAnotherPayment() public {
        IAgentWallet.Payment memory payment = paymentOf(30e6, "1");
        IAgentWallet.Approval[] memory approvals = approve(payment, 2);
        payment.amount += 1;
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.ApprovalSignatureInvalid.selector, approvers[0]));
        _executeAsOperator(payment, approvals);
    }

    function test_anOperatorWhoIsAlsoAnApproverDoesNotApproveItsOwnPayments() public {
        address[] memory set = new address[](1);
        set[0] = operator;
        vm.prank(owner);
        wallet.setApprovers(set, 1);
        IAgentWallet.Payment memory payment = paymentOf(30e6, "1");
        IAgentWallet.Approval[] memory approvals = new IAgentWallet.Approval[](1);
        approvals[0] = IAgentWallet.Approval(operator, sign(operatorKey, wallet.paymentDigest(payment)));
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotApprover.selector, operator));
        _executeAsOperator(payment, approvals);
    }

    function test_approvalsDieWithTheApproverSet() public {
        IAgentWallet.Payment memory payment = paymentOf(30e6, "1");
        IAgentWallet.Approval[] memory approvals = approve(payment, 2);
        vm.prank(owner);
        wallet.setApprovers(approvers, 2); // the very same people
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.ApprovalSignatureInvalid.selector, approvers[0]));
        _executeAsOperator(payment, approvals);
    }

    function test_anApprovalLiftsTheTierAndNothingElse() public {
        IAgentWallet.Payment memory payment = paymentOf(PAYMENT_MAX + 1, "1");
        IAgentWallet.Approval[] memory approvals = approveAsOwner(payment);
        vm.expectPartialRevert(IAgentWallet.PaymentAboveMaximum.selector);
        _executeAsOperator(payment, approvals);

        payment = paymentOf(40e6, "1");
        _executeAsOperator(payment, approve(payment, 2));
        payment = paymentOf(20e6 + 1, "2");
        approvals = approve(payment, 2);
        vm.expectRevert(abi.encodeWithSelector(SpendingLimit.SpendingLimitExceeded.selector, 20e6 + 1, 20e6));
        _executeAsOperator(payment, approvals);
    }

    function test_refusesItAfterTheDeadline() public {
        IAgentWallet.Payment memory payment = paymentOf(30e6, "1");
        IAgentWallet.Approval[] memory approvals = approve(payment, 2);
        vm.warp(payment.deadline + 1);
        vm.expectPartialRevert(IAgentWallet.PaymentDeadlinePassed.selector);
        _executeAsOperator(payment, approvals);
    }

    function _executeAsOperator(IAgentWallet.Payment memory payment, IAgentWallet.Approval[] memory approvals) private {
        vm.prank(operator);
        wallet.executeApprovedPayment(payment, "", approvals);
    }
}
