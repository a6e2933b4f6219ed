// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IAgentWallet } from "../../src/interfaces/IAgentWallet.sol";
import { WalletTest } from "./WalletTest.sol";

/// The kill switches: freezing one operator or all, and voiding what was signed.
contract FreezeTest is WalletTest {
    function test_guardianAndOwnerFreezeAndNobodyElse() public {
        vm.expectEmit(address(wallet));
        emit IAgentWallet.OperatorFrozen(operator, guardian);
        vm.prank(guardian);
        wallet.freeze(operator);
        assertTrue(wallet.operatorOf(operator).frozen);
        vm.expectEmit(address(wallet));
        emit IAgentWallet.OperatorFrozen(operator, owner);
        vm.prank(owner);
        wallet.freeze(operator);

        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotOwner.selector, operator, owner));
        vm.prank(operator);
        wallet.freeze(operator);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotOwner.selector, stranger, owner));
        vm.prank(stranger);
        wallet.freezeAll();
    }

    function test_aFrozenOperatorPaysInNoWayAndApproversDoNotHelp() public {
        IAgentWallet.Payment memory payment = paymentOf(1e6, "1");
        bytes memory signature = sign(operatorKey, wallet.paymentDigest(payment));
        IAgentWallet.Approval[] memory approvals = approveAsOwner(payment);
        Authorization memory authorization = laneAuthorization(1e6, 0);
        bytes memory laneSignature = signLane(authorization);
        vm.prank(guardian);
        wallet.freeze(operator);

        bytes memory frozen = abi.encodeWithSelector(IAgentWallet.OperatorIsFrozen.selector, operator);
        vm.expectRevert(frozen);
        pay(1e6, "1");
        vm.expectRevert(frozen);
        wallet.executePaymentWithSig(payment, signature);
        vm.expectRevert(frozen);
        wallet.executeApprovedPayment(payment, signature, approvals);
        vm.expectRevert("FiatTokenV2: invalid signature");
        submit(authorization, laneSignature);
    }

    function test_aPolicyChangeDoesNotThaw() public {
        vm.prank(guardian);
        wallet.freeze(operator);
        vm.prank(owner);
        wallet.setPolicy(operator, address(usdc), policy());
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.OperatorIsFrozen.selector, operator));
        pay(1e6, "1");
    }

    function test_freezeAllStopsEveryOperatorInEveryToken() public {
        address other = makeAddr("second operator");
        IAgentWallet.OperatorConfig memory config = operatorConfig(other);
        vm.startPrank(owner);
        wallet.addOperator(config);
        wallet.setPolicy(other, address(0xe0), policy());
        vm.stopPrank();
        vm.prank(guardian);
        wallet.freezeAll();
        address[2] memory tokens = [address(usdc), address(0xe0)];
        for (uint256 i = 0; i < tokens.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IAgentWallet.OperatorIsFrozen.selector, other));
            vm.prank(other);
            wallet.executePayment(tokens[i], payee, 1e6, "1");
        }
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.OperatorIsFrozen.selector, operator));
        pay(1e6, "1");
    }

    function test_unfreezingLetsItPayAgainWithinWhatIsLeft() public {
        pay(PAYMENT_MAX, "1");
        IAgentWallet.Payment memory payment = paymentOf(1e6, "2");
        bytes memory signature = sign(operatorKey, wallet.paymentDigest(payment));
        vm.prank(guardian);
        wallet.freeze(operator);
        vm.expectEmit(address(wallet));
        emit IAgentWallet.OperatorUnfrozen(operator);
        vm.expectEmit(address(wallet));
        emit IAgentWallet.EpochChanged(operator, 2);
        vm.prank(owner);
        wallet.unfreeze(operator);
        assertEq(wallet.remaining(operator, address(usdc)), DAILY_LIMIT - PAYMENT_MAX);
        // What a thief signed before the freeze stays void.
        vm.expectPartialRevert(IAgentWallet.OperatorSignatureInvalid.selector);
        wallet.executePaymentWithSig(payment, signature);
        pay(1e6, "2");
    }

    function test_aNewEpochVoidsSignaturesAndApprovalsOfThatOperatorAlone() public {
        (address other, uint256 otherKey) = makeAddrAndKey("second operator");
        IAgentWallet.OperatorConfig memory config = operatorConfig(other);
        vm.prank(owner);
        wallet.addOperator(config);
        IAgentWallet.Payment memory payment = paymentOf(PAYMENT_MAX, "1");
        bytes memory signature = sign(operatorKey, wallet.paymentDigest(payment));
        IAgentWallet.Approval[] memory approvals = approve(payment, 2);
        IAgentWallet.Payment memory others = paymentOf(1e6, "2");
        others.operator = other;
        bytes memory othersSignature = sign(otherKey, wallet.paymentDigest(others));

        vm.prank(owner);
        wallet.bumpEpoch(operator);
        vm.expectPartialRevert(IAgentWallet.OperatorSignatureInvalid.selector);
        wallet.executePaymentWithSig(payment, signature);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.ApprovalSignatureInvalid.selector, approvers[0]));
        vm.prank(operator);
        wallet.executeApprovedPayment(payment, "", approvals);
        wallet.executePaymentWithSig(others, othersSignature);
    }
}
