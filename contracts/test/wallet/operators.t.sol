// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IAgentWallet } from "../../src/interfaces/IAgentWallet.sol";
import { WalletTest } from "./WalletTest.sol";

/// Who may pay and how much: adding, changing, removing.
contract OperatorsTest is WalletTest {
    address private second = makeAddr("second operator");

    // Adding

    function test_anOperatorBeginsWithEverythingItsConfigurationSays() public {
        IAgentWallet.OperatorConfig memory config = operatorConfig(second);
        config.recipients = new address[](1);
        config.recipients[0] = payee;
        vm.expectEmit(address(wallet));
        emit IAgentWallet.OperatorAdded(second, 2, 2);
        vm.expectEmit(address(wallet));
        emit IAgentWallet.PolicyChanged(second, address(usdc), policy());
        vm.expectEmit(address(wallet));
        emit IAgentWallet.RecipientChanged(second, payee, true);
        vm.expectEmit(address(wallet));
        emit IAgentWallet.LaneOpened(second, usdc.DOMAIN_SEPARATOR(), lane());
        _add(config);
        assertEq(abi.encode(wallet.operatorOf(second)), abi.encode(IAgentWallet.Operator(2, 2, false)));
        assertEq(abi.encode(wallet.policyOf(second, address(usdc))), abi.encode(policy()));
        assertEq(abi.encode(wallet.laneOf(second)), abi.encode(lane()));
        assertTrue(wallet.isRecipient(second, payee));
        assertFalse(wallet.isRecipient(operator, payee));
        assertEq(wallet.operators().length, 2);
    }

    function test_operatorsSpendTheirOwnLimits() public {
        _add(operatorConfig(second));
        pay(PAYMENT_MAX, "1");
        assertEq(wallet.remaining(operator, address(usdc)), DAILY_LIMIT - PAYMENT_MAX);
        assertEq(wallet.remaining(second, address(usdc)), DAILY_LIMIT);
    }

    function test_whoHoldsAnotherPartIsNoOperator() public {
        address[5] memory refused = [address(0), address(wallet), owner, guardian, operator];
        for (uint256 i = 0; i < refused.length; ++i) {
            IAgentWallet.OperatorConfig memory config = operatorConfig(refused[i]);
            vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AddressRefused.selector, refused[i]));
            _add(config);
        }
    }

    /// What freezing everybody has to go through stays bounded.
    function test_aWalletHasSixteenOperatorsAndAnOperatorEightTokens() public {
        for (uint160 i = 1; i < 16; ++i) {
            _add(operatorConfig(address(0xbeef + i)));
        }
        IAgentWallet.OperatorConfig memory config = operatorConfig(second);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.TooMany.selector, 17, 16));
        _add(config);

        vm.startPrank(owner);
        for (uint160 i = 1; i < 8; ++i) {
            wallet.setPolicy(operator, address(i), policy());
        }
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.TooMany.selector, 9, 8));
        wallet.setPolicy(operator, address(8), policy());
        wallet.setPolicy(operator, address(7), policy()); // changing one is not another
        vm.stopPrank();
        vm.prank(guardian);
        wallet.freezeAll();
    }

    // Changing

    function test_aPolicyHoldsFromTheNextPaymentOn() public {
        IAgentWallet.Policy memory changed = IAgentWallet.Policy(3e6, 5e6, 4e6, uint40(block.timestamp + 1 days), true);
        vm.expectEmit(address(wallet));
        emit IAgentWallet.PolicyChanged(operator, address(usdc), changed);
        vm.startPrank(owner);
        wallet.setPolicy(operator, address(usdc), changed);
        wallet.setRecipient(operator, payee, true);
        vm.stopPrank();
        assertEq(abi.encode(wallet.policyOf(operator, address(usdc))), abi.encode(changed));
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.PaymentAboveMaximum.selector, 3e6 + 1, 3e6));
        pay(3e6 + 1, "1");
        pay(3e6, "1");
    }

    function test_aLimitThatIsLoweredAndRaisedForgetsNothing() public {
        pay(PAYMENT_MAX, "1");
        IAgentWallet.Policy memory lowered = policy();
        lowered.dailyLimit = PAYMENT_MAX - 1;
        vm.startPrank(owner);
        wallet.setPolicy(operator, address(usdc), lowered);
        assertEq(wallet.remaining(operator, address(usdc)), 0);
        wallet.setPolicy(operator, address(usdc), policy());
        vm.stopPrank();
        assertEq(wallet.remaining(operator, address(usdc)), DAILY_LIMIT - PAYMENT_MAX);
    }

    function test_onlyOperatorsAreConfigured() public {
        bytes[7] memory calls = [
            abi.encodeCall(IAgentWallet.removeOperator, (stranger)),
            abi.encodeCall(IAgentWallet.setPolicy, (stranger, address(usdc), policy())),
            abi.encodeCall(IAgentWallet.setRecipient, (stranger, payee, true)),
            abi.encodeCall(IAgentWallet.setLane, (stranger, lane())),
            abi.encodeCall(IAgentWallet.bumpEpoch, (stranger)),
            abi.encodeCall(IAgentWallet.freeze, (stranger)),
            abi.encodeCall(IAgentWallet.unfreeze, (stranger))
        ];
        for (uint256 i = 0; i < calls.length; ++i) {
            vm.prank(owner);
            (bool success, bytes memory reason) = address(wallet).call(calls[i]);
            assertFalse(success);
            assertEq(reason, abi.encodeWithSelector(IAgentWallet.NotOperator.selector, stranger));
        }
    }

    // Removing

    function test_aRemovedOperatorPaysNothingInAnyWay() public {
        IAgentWallet.Payment memory payment = paymentOf(1e6, "1");
        bytes memory signature = sign(operatorKey, wallet.paymentDigest(payment));
        Authorization memory authorization = laneAuthorization(1e6, 0);
        bytes memory laneSignature = signLane(authorization);
        vm.expectEmit(address(wallet));
        emit IAgentWallet.OperatorRemoved(operator, 1);
        _remove(operator);

        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotOperator.selector, operator));
        pay(1e6, "1");
        // The digest is another, so the signature is of somebody else.
        vm.expectPartialRevert(IAgentWallet.OperatorSignatureInvalid.selector);
        wallet.executePaymentWithSig(payment, signature);
        vm.expectRevert("FiatTokenV2: invalid signature");
        submit(authorization, laneSignature);
        assertEq(usdc.balanceOf(payee), 0);
    }

    function test_addedAgainItStartsFromNothing() public {
        pay(PAYMENT_MAX, "1");
        IAgentWallet.Payment memory payment = paymentOf(1e6, "2");
        bytes memory signature = sign(operatorKey, wallet.paymentDigest(payment));
        Authorization memory authorization = laneAuthorization(1e6, 0);
        bytes memory laneSignature = signLane(authorization);
        vm.prank(owner);
        wallet.setRecipient(operator, payee, true);
        vm.prank(guardian);
        wallet.freeze(operator);
        _remove(operator);
        _add(operatorConfig(operator));

        assertEq(abi.encode(wallet.operatorOf(operator)), abi.encode(IAgentWallet.Operator(2, 2, false)));
        assertEq(wallet.remaining(operator, address(usdc)), DAILY_LIMIT);
        assertFalse(wallet.isRecipient(operator, payee));
        vm.expectPartialRevert(IAgentWallet.OperatorSignatureInvalid.selector);
        wallet.executePaymentWithSig(payment, signature);
        vm.expectRevert("FiatTokenV2: invalid signature");
        submit(authorization, laneSignature);
        // Payment ids are of the wallet, not of the operator.
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.PaymentAlreadyExecuted.selector, bytes32("1")));
        pay(1e6, "1");
        payByLane(1e6, 0);
    }

    /// @param seed which of the operators go, in which order
    function testFuzz_theListIsExactlyWhoIsThere(uint256 seed) public {
        address[5] memory all = [operator, address(0xb1), address(0xb2), address(0xb3), address(0xb4)];
        for (uint256 i = 1; i < all.length; ++i) {
            _add(operatorConfig(all[i]));
        }
        uint256 left = all.length;
        for (uint256 step = 0; step < 3; ++step) {
            address gone = all[(seed >> (8 * step)) % all.length];
            if (wallet.operatorOf(gone).lane == 0) continue;
            _remove(gone);
            address[] memory list = wallet.operators();
            assertEq(list.length, --left);
            for (uint256 i = 0; i < list.length; ++i) {
                assertNotEq(list[i], gone);
                assertNotEq(wallet.operatorOf(list[i]).lane, 0);
            }
        }
    }

    function test_anOperatorWithoutALaneIsRemovedAndBumpedAsWell() public {
        IAgentWallet.OperatorConfig memory config = operatorConfig(second);
        delete config.lane;
        _add(config);
        assertEq(wallet.laneOf(second).token, address(0));
        vm.prank(owner);
        wallet.bumpEpoch(second);
        _remove(second);
        assertEq(wallet.operators().length, 1);
    }

    function _add(IAgentWallet.OperatorConfig memory config) private {
        vm.prank(owner);
        wallet.addOperator(config);
    }

    function _remove(address account) private {
        vm.prank(owner);
        wallet.removeOperator(account);
    }
}
