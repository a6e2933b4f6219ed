// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { IPayouts } from "../../src/interfaces/IPayouts.sol";
import { EscrowTest } from "./EscrowTest.sol";

contract FundTest is EscrowTest {
    function test_the_terms_become_an_agreement() external {
        bytes32 id = escrow.agreementId(terms);
        vm.expectEmit(address(escrow));
        emit IEscrow.AgreementFunded(id, buyer, seller, terms);
        assertEq(fund(), id);
        assertBalances(WALLET - AMOUNT, 0, 0, AMOUNT);
        IEscrow.Agreement memory agreement = escrow.agreementOf(id);
        assertEq(
            abi.encode(agreement), abi.encode(IEscrow.Agreement(IEscrow.Status.Funded, 0, uint96(AMOUNT), 0, false))
        );
    }

    function test_only_the_buyer_funds_from_its_allowance() external {
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NotBuyer.selector, stranger, buyer));
        vm.prank(stranger);
        escrow.fund(terms);
    }

    function test_the_same_terms_are_funded_once_however_they_end() external {
        expectRefusedOutside(only(IEscrow.Status.None), buyer, escrow.fund.selector, "");
    }

    function testFuzz_any_amount_of_96_bits(uint256 amount) external {
        amount = bound(amount, 1, 1e18 - WALLET);
        mint(buyer, amount);
        terms.amount = amount;
        bytes32 id = fund();
        assertEq(escrow.agreementOf(id).funded, amount);
        assertEq(usdc.balanceOf(address(escrow)), amount);
    }

    function test_an_amount_of_zero_or_of_more_than_96_bits_is_refused() external {
        terms.amount = 0;
        vm.expectRevert(IEscrow.AmountZero.selector);
        fund();
        uint256 max = type(uint96).max;
        terms.amount = max + 1;
        vm.expectRevert(abi.encodeWithSelector(IEscrow.AmountTooLarge.selector, max + 1, max));
        fund();
    }

    function test_money_that_lies_in_the_contract_funds_nothing() external {
        fund();
        terms.salt = bytes32(uint256(2));
        terms.amount = WALLET - AMOUNT + 1;
        vm.expectRevert("ERC20: transfer amount exceeds balance");
        fund();
    }

    function test_until_the_second_before_delivery_is_due() external {
        uint256 snapshot = vm.snapshotState();
        vm.warp(terms.deliverBy - 1);
        fund();
        for (uint256 late = terms.deliverBy; late <= terms.deliverBy + 1; ++late) {
            vm.revertToState(snapshot);
            vm.warp(late);
            vm.expectRevert(abi.encodeWithSelector(IEscrow.DeadlinePassed.selector, late, terms.deliverBy));
            fund();
        }
    }

    function test_a_seller_who_could_not_be_paid_is_refused() external {
        address[4] memory wrong = [address(0), buyer, address(escrow), address(usdc)];
        for (uint256 i = 0; i < wrong.length; ++i) {
            terms.seller = wrong[i];
            vm.expectRevert(abi.encodeWithSelector(IPayouts.PartyInvalid.selector, wrong[i]));
            fund();
        }
    }

    function test_a_buyer_who_could_not_be_refunded_is_refused() external {
        address[2] memory wrong = [address(0), address(escrow)];
        for (uint256 i = 0; i < wrong.length; ++i) {
            terms.buyer = wrong[i];
            vm.expectRevert(abi.encodeWithSelector(IPayouts.PartyInvalid.selector, wrong[i]));
            vm.prank(wrong[i]);
            escrow.fund(terms);
        }
    }

    function test_nobody_judges_its_own_case() external {
        address[2] memory wrong = [buyer, seller];
        for (uint256 i = 0; i < wrong.length; ++i) {
            terms.arbiter = wrong[i];
            vm.expectRevert(abi.encodeWithSelector(IPayouts.PartyInvalid.selector, wrong[i]));
            fund();
        }
        terms.arbiter = address(0);
        fund();
    }

    function test_a_fee_is_at_most_everything_and_has_a_recipient() external {
        terms.feeBps = 10_001;
        vm.expectRevert(abi.encodeWithSelector(IEscrow.FeeInvalid.selector, 10_001, 10_000));
        fund();
        terms.feeBps = 10_000;
        address[2] memory wrong = [address(0), address(escrow)];
        for (uint256 i = 0; i < wrong.length; ++i) {
            terms.feeRecipient = wrong[i];
            vm.expectRevert(abi.encodeWithSelector(IPayouts.PartyInvalid.selector, wrong[i]));
            fund();
        }
        terms.feeRecipient = feeRecipient;
        fund();
        (terms.feeBps, terms.feeRecipient) = (0, address(0));
        fund();
    }
}
