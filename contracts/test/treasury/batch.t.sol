// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { TreasuryTest } from "./TreasuryTest.sol";

contract BatchTest is TreasuryTest {
    address[] private payees;

    function setUp() public override {
        super.setUp();
        for (uint256 i = 0; i < 3; ++i) {
            payees.push(vm.addr(100 + i));
        }
    }

    /// @param amount what each payee gets
    function testFuzz_everyPayeeIsPaid(uint256 amount) public {
        amount = bound(amount, 1, TIER / 3);
        submit(batch(payees, amount));
        for (uint256 i = 0; i < payees.length; ++i) {
            assertEq(usdc.balanceOf(payees[i]), amount);
        }
        (uint256 total,) = treasury.remaining(spender, address(usdc));
        assertEq(total, DAILY_LIMIT - 3 * amount);
    }

    function test_aBlacklistedPayeeDoesNotBlockTheOthersAndRedirectsItsCredit() public {
        blacklist(payees[1]);
        Order memory order = batch(payees, 10e6);
        vm.expectEmit(address(treasury));
        emit PaymentCredited(treasury.orderId(order), payees[1], bytes32(uint256(1)), address(usdc), 10e6);
        submit(order);
        assertEq(usdc.balanceOf(payees[0]), 10e6);
        assertEq(usdc.balanceOf(payees[2]), 10e6);
        assertEq(treasury.withdrawable(address(usdc), payees[1]), 10e6);
        assertEq(treasury.credited(address(usdc)), 10e6);

        vm.expectEmit(address(treasury));
        emit CreditWithdrawn(address(usdc), payees[1], payee, 10e6);
        vm.prank(payees[1]);
        assertEq(treasury.withdrawCredit(address(usdc), payee), 10e6);
        assertEq(usdc.balanceOf(payee), 10e6);
        assertEq(treasury.credited(address(usdc)), 0);

        vm.expectRevert(abi.encodeWithSelector(NothingToWithdraw.selector, address(usdc), payees[1]));
        vm.prank(payees[1]);
        treasury.withdrawCredit(address(usdc), payee);
    }

    /// An account that cannot call, for one.
    function test_anybodyHasACreditPaidToWhomItBelongs() public {
        blacklist(payees[1]);
        submit(batch(payees, 10e6));
        unblacklist(payees[1]);
        vm.prank(stranger);
        assertEq(treasury.payCredit(address(usdc), payees[1]), 10e6);
        assertEq(usdc.balanceOf(payees[1]), 10e6);
        assertEq(treasury.credited(address(usdc)), 0);
    }

    function test_reverts_whenACreditIsWithdrawnToNobodyTheTreasuryOrTheToken() public {
        blacklist(payees[1]);
        submit(batch(payees, 10e6));
        address[3] memory refused = [address(0), address(treasury), address(usdc)];
        for (uint256 i = 0; i < refused.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(InvalidPayee.selector, refused[i]));
            vm.prank(payees[1]);
            treasury.withdrawCredit(address(usdc), refused[i]);
        }
    }

    function test_ordersSpendOnlyWhatIsLeftBesideTheCredits() public {
        blacklist(payees[1]);
        submit(batch(payees, 10e6));
        vm.prank(address(treasury));
        usdc.transfer(stranger, FUNDS - 20e6 - 15e6);
        Order memory order = payment(6e6);
        vm.expectRevert(abi.encodeWithSelector(InsufficientFunds.selector, address(usdc), 6e6, 5e6));
        submit(order);
        submit(payment(5e6));
        vm.prank(address(treasury));
        usdc.transfer(stranger, 5e6);
        order = payment(1);
        vm.expectRevert(abi.encodeWithSelector(InsufficientFunds.selector, address(usdc), 1, 0));
        submit(order);
    }

    function test_reverts_whenTheTreasuryHasTooLittleForAll() public {
        vm.prank(address(treasury));
        usdc.transfer(stranger, FUNDS - 29e6);
        Order memory order = batch(payees, 10e6);
        vm.expectRevert(abi.encodeWithSelector(InsufficientFunds.selector, address(usdc), 30e6, 29e6));
        submit(order);
    }

    function test_reverts_whenGasIsTooScarceToTellARefusalFromStarvation() public {
        Order memory order = batch(payees, 10e6);
        vm.prank(spender);
        (bool success, bytes memory reason) =
            address(treasury).call{ gas: 260_000 }(abi.encodeCall(treasury.submit, (order)));
        assertFalse(success);
        assertEq(bytes4(reason), InsufficientGas.selector);
    }

    function test_reverts_whenThereAreNoPaymentsOrTooMany() public {
        Order memory order = batch(new address[](0), 1);
        vm.expectRevert(abi.encodeWithSelector(InvalidPaymentCount.selector, 0, 200));
        submit(order);
        order = batch(new address[](201), 1);
        vm.expectRevert(abi.encodeWithSelector(InvalidPaymentCount.selector, 201, 200));
        submit(order);
    }

    function test_theOrderMaximumIsForTheWholeBatch() public {
        Order memory order = batch(payees, ORDER_MAX / 3 + 1);
        vm.expectRevert(abi.encodeWithSelector(OrderMaxExceeded.selector, 3 * (ORDER_MAX / 3 + 1), ORDER_MAX));
        submit(order);
    }
}
