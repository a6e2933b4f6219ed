// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IPayouts } from "../../src/interfaces/IPayouts.sol";
import { EscrowTest } from "./EscrowTest.sol";

contract WithdrawTest is EscrowTest {
    bytes32 private id;

    function setUp() public override {
        super.setUp();
        id = fund();
        blacklist(seller);
    }

    function refusePayout() private {
        vm.prank(buyer);
        escrow.release(terms);
    }

    function withdraw(address to) private returns (uint256) {
        vm.prank(seller);
        return escrow.withdraw(address(usdc), to);
    }

    function test_what_the_token_refused_to_pay_waits_for_the_account() external {
        vm.expectEmit(address(escrow));
        emit IPayouts.PayoutCredited(id, address(usdc), seller, AMOUNT - FEE);
        refusePayout();
        assertEq(escrow.withdrawable(address(usdc), seller), AMOUNT - FEE);
        vm.expectEmit(address(escrow));
        emit IPayouts.CreditWithdrawn(address(usdc), seller, stranger, AMOUNT - FEE);
        assertEq(withdraw(stranger), AMOUNT - FEE);
        assertEq(usdc.balanceOf(stranger), AMOUNT - FEE);
        assertEq(escrow.withdrawable(address(usdc), seller), 0);
        assertEq(usdc.balanceOf(address(escrow)), 0);
    }

    function test_credits_of_several_agreements_add_up() external {
        refusePayout();
        terms.salt = bytes32(uint256(2));
        fund();
        refusePayout();
        assertEq(escrow.withdrawable(address(usdc), seller), 2 * (AMOUNT - FEE));
    }

    function test_once() external {
        refusePayout();
        withdraw(stranger);
        vm.expectRevert(abi.encodeWithSelector(IPayouts.NothingToWithdraw.selector, address(usdc), seller));
        withdraw(stranger);
    }

    function test_nobody_withdraws_for_another() external {
        refusePayout();
        vm.expectRevert(abi.encodeWithSelector(IPayouts.NothingToWithdraw.selector, address(usdc), stranger));
        vm.prank(stranger);
        escrow.withdraw(address(usdc), stranger);
    }

    /// A wallet that cannot call, for one.
    function test_anybody_has_an_account_paid_that_is_not_refused_any_more() external {
        refusePayout();
        vm.expectRevert("Blacklistable: account is blacklisted");
        escrow.payCredit(address(usdc), seller);
        unblacklist(seller);
        vm.prank(stranger);
        assertEq(escrow.payCredit(address(usdc), seller), AMOUNT - FEE);
        assertEq(usdc.balanceOf(seller), AMOUNT - FEE);
        vm.expectRevert(abi.encodeWithSelector(IPayouts.NothingToWithdraw.selector, address(usdc), seller));
        escrow.payCredit(address(usdc), seller);
    }

    function test_not_to_where_it_would_be_lost() external {
        refusePayout();
        address[3] memory wrong = [address(0), address(escrow), address(usdc)];
        for (uint256 i = 0; i < wrong.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IPayouts.PartyInvalid.selector, wrong[i]));
            withdraw(wrong[i]);
        }
    }

    function test_a_refusal_leaves_the_credit() external {
        refusePayout();
        vm.expectRevert("Blacklistable: account is blacklisted");
        withdraw(seller);
        assertEq(escrow.withdrawable(address(usdc), seller), AMOUNT - FEE);
    }
}
