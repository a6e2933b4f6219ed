// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { SpendingLimit } from "../../src/SpendingLimit.sol";
import { IAgentWallet } from "../../src/interfaces/IAgentWallet.sol";
import { WalletTest } from "./WalletTest.sol";

contract ExecutePaymentTest is WalletTest {
    bytes32 private constant ID = keccak256("order 1");

    /// @param amount anything that the tier lets through
    function testFuzz_movesExactlyTheAmountAndCountsIt(uint256 amount) public {
        amount = bound(amount, 1, PAYMENT_MAX);
        vm.expectEmit(address(wallet));
        emit IAgentWallet.PaymentExecuted(operator, ID, payee, address(usdc), amount);
        pay(amount, ID);
        assertEq(usdc.balanceOf(payee), amount);
        assertEq(usdc.balanceOf(address(wallet)), FUNDS - amount);
        assertEq(wallet.remaining(operator, address(usdc)), DAILY_LIMIT - amount);
        assertTrue(wallet.isPaymentExecuted(ID));
    }

    /// @param amount anything above the maximum, below or above the limit
    function testFuzz_refusesMoreThanTheMaximumOfAPayment(uint256 amount) public {
        amount = bound(amount, uint256(PAYMENT_MAX) + 1, type(uint256).max);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.PaymentAboveMaximum.selector, amount, PAYMENT_MAX));
        pay(amount, ID);
    }

    function test_refusesMoreThanTheLimitAndConsumesNothing() public {
        _setApprovalAbove(DAILY_LIMIT);
        pay(40e6, "1");
        pay(40e6, "2");
        vm.expectRevert(abi.encodeWithSelector(SpendingLimit.SpendingLimitExceeded.selector, 20e6 + 1, 20e6));
        pay(20e6 + 1, "3");
        assertEq(wallet.remaining(operator, address(usdc)), 20e6);
        assertFalse(wallet.isPaymentExecuted("3"));
        pay(20e6, "3");
        assertEq(wallet.remaining(operator, address(usdc)), 0);
    }

    function test_paysUpToTheTierAndNotOneUnitMore() public {
        pay(40e6, "1");
        vm.expectRevert(
            abi.encodeWithSelector(IAgentWallet.ApprovalRequired.selector, APPROVAL_ABOVE + 1, APPROVAL_ABOVE)
        );
        pay(20e6 + 1, "2");
        pay(20e6, "2");
    }

    function test_aPaymentIdIsPaidOnce() public {
        pay(1e6, ID);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.PaymentAlreadyExecuted.selector, ID));
        pay(1e6, ID);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.PaymentAlreadyExecuted.selector, ID));
        pay(2e6, ID);
    }

    /// @param first @param second any two different ids, also neighbours in one storage word
    function testFuzz_idsDoNotDisturbEachOther(bytes32 first, bytes32 second) public {
        vm.assume(first != second);
        pay(1e6, first);
        assertFalse(wallet.isPaymentExecuted(second));
        pay(1e6, second);
        assertTrue(wallet.isPaymentExecuted(second));
    }

    function test_refusesAmountZero() public {
        vm.expectRevert(IAgentWallet.PaymentAmountZero.selector);
        pay(0, ID);
    }

    function test_refusesPayeesFromWhomMoneyDoesNotComeBack() public {
        address[4] memory sinks = [address(0), address(wallet), address(usdc), escrow];
        for (uint256 i = 0; i < sinks.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IAgentWallet.RecipientNotAllowed.selector, sinks[i]));
            vm.prank(operator);
            wallet.executePayment(address(usdc), sinks[i], 1e6, ID);
        }
    }

    function test_withAnAllowlistPaysOnlyWhoIsOnIt() public {
        IAgentWallet.Policy memory changed = policy();
        changed.onlyAllowed = true;
        vm.startPrank(owner);
        wallet.setPolicy(operator, address(usdc), changed);
        wallet.setRecipient(operator, stranger, true);
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.RecipientNotAllowed.selector, payee));
        pay(1e6, ID);
        vm.prank(operator);
        wallet.executePayment(address(usdc), stranger, 1e6, ID);
        vm.prank(owner);
        wallet.setRecipient(operator, stranger, false);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.RecipientNotAllowed.selector, stranger));
        vm.prank(operator);
        wallet.executePayment(address(usdc), stranger, 1e6, "order 2");
    }

    function test_paysUntilTheSecondBeforeExpiry() public {
        uint256 expiresAt = policy().expiresAt;
        vm.warp(expiresAt - 1);
        pay(1e6, "1");
        vm.warp(expiresAt);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.PolicyExpired.selector, expiresAt, expiresAt));
        pay(1e6, "2");
    }

    function test_refusesStrangersAndTheOwner() public {
        address[3] memory callers = [stranger, owner, guardian];
        for (uint256 i = 0; i < callers.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotOperator.selector, callers[i]));
            vm.prank(callers[i]);
            wallet.executePayment(address(usdc), payee, 1e6, ID);
        }
    }

    function test_refusesATokenWithoutPolicy() public {
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.PolicyMissing.selector, operator, address(this)));
        vm.prank(operator);
        wallet.executePayment(address(this), payee, 1e6, ID);
    }

    function test_refusesAFrozenOperator() public {
        vm.prank(guardian);
        wallet.freeze(operator);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.OperatorIsFrozen.selector, operator));
        pay(1e6, ID);
    }

    function test_aFailedTransferConsumesNeitherLimitNorId() public {
        pauseUsdc();
        vm.expectRevert("Pausable: paused");
        pay(1e6, ID);
        unpauseUsdc();
        assertEq(wallet.remaining(operator, address(usdc)), DAILY_LIMIT);
        pay(1e6, ID);
    }

    function test_refusesMoreThanTheWalletHolds() public {
        vm.prank(owner);
        wallet.withdraw(address(usdc), owner, FUNDS - 1e6);
        vm.expectRevert("ERC20: transfer amount exceeds balance");
        pay(1e6 + 1, ID);
        pay(1e6, ID);
    }

    function _setApprovalAbove(uint56 approvalAbove) private {
        IAgentWallet.Policy memory changed = policy();
        changed.approvalAbove = approvalAbove;
        vm.prank(owner);
        wallet.setPolicy(operator, address(usdc), changed);
    }
}
