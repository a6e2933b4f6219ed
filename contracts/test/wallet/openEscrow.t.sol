// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { Escrow } from "../../src/Escrow.sol";
import { IAgentWallet } from "../../src/interfaces/IAgentWallet.sol";
import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { WalletTest } from "./WalletTest.sol";

contract OpenEscrowTest is WalletTest {
    IEscrow.Terms internal terms;

    function setUp() public override {
        super.setUp();
        terms.buyer = address(wallet);
        terms.seller = payee;
        terms.token = address(usdc);
        terms.amount = 30e6;
        terms.deliverBy = uint64(block.timestamp + 1 days);
    }

    function deployEscrow() internal override returns (address) {
        return address(new Escrow());
    }

    function open() internal returns (bytes32) {
        vm.prank(operator);
        return wallet.openEscrow(terms);
    }

    function test_an_operator_funds_and_releases_within_its_limit() external {
        bytes32 id = open();
        assertEq(wallet.remaining(operator, address(usdc)), DAILY_LIMIT - 30e6);
        assertEq(usdc.allowance(address(wallet), escrow), 0);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotEscrowOpener.selector, stranger, id));
        vm.prank(stranger);
        wallet.releaseEscrow(terms);
        vm.prank(operator);
        wallet.releaseEscrow(terms);
        assertEq(usdc.balanceOf(payee), 30e6);
    }

    function test_a_funding_that_fails_consumes_nothing() external {
        terms.deliverBy = uint64(block.timestamp);
        vm.expectPartialRevert(IEscrow.DeadlinePassed.selector);
        vm.prank(operator);
        wallet.openEscrow(terms);
        assertEq(wallet.remaining(operator, address(usdc)), DAILY_LIMIT);
    }

    function test_the_tier_counts_what_waits_in_escrow() external {
        open();
        terms.salt = bytes32(uint256(1));
        open();
        terms.salt = bytes32(uint256(2));
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.ApprovalRequired.selector, 90e6, APPROVAL_ABOVE));
        vm.prank(operator);
        wallet.openEscrow(terms);
    }

    function test_the_allowlist_covers_seller_and_fee_recipient() external {
        IAgentWallet.Policy memory strict = policy();
        strict.onlyAllowed = true;
        vm.startPrank(owner);
        wallet.setPolicy(operator, address(usdc), strict);
        wallet.setRecipient(operator, payee, true);
        vm.stopPrank();
        terms.feeBps = 10_000;
        terms.feeRecipient = stranger;
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.RecipientNotAllowed.selector, stranger));
        vm.prank(operator);
        wallet.openEscrow(terms);
        terms.feeBps = 0;
        open();
        terms.seller = stranger;
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.RecipientNotAllowed.selector, stranger));
        vm.prank(operator);
        wallet.openEscrow(terms);
    }

    function test_only_the_wallets_own_agreements_are_funded() external {
        terms.buyer = stranger;
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.BuyerIsNotThisWallet.selector, stranger));
        vm.prank(operator);
        wallet.openEscrow(terms);
    }

    function delivered(uint256 bond) private returns (bytes32 id) {
        (terms.arbiter, terms.reviewPeriod, terms.disputeBond) = (makeAddr("arbiter"), 1 days, uint96(bond));
        id = open();
        vm.prank(payee);
        Escrow(escrow).markDelivered(terms, "junk");
    }

    function test_its_opener_disputes_and_the_bond_counts() external {
        bytes32 id = delivered(5e6);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotEscrowOpener.selector, stranger, id));
        vm.prank(stranger);
        wallet.disputeEscrow(terms);
        vm.expectEmit(address(wallet));
        emit IAgentWallet.EscrowDisputed(operator, id, payee, address(usdc), 5e6);
        vm.prank(operator);
        wallet.disputeEscrow(terms);
        assertEq(uint8(Escrow(escrow).agreementOf(id).status), uint8(IEscrow.Status.Disputed));
        assertEq(wallet.remaining(operator, address(usdc)), DAILY_LIMIT - 35e6);
        assertEq(usdc.allowance(address(wallet), escrow), 0);
    }

    function test_a_dispute_without_a_bond_counts_nothing() external {
        bytes32 id = delivered(0);
        vm.prank(operator);
        wallet.disputeEscrow(terms);
        assertEq(uint8(Escrow(escrow).agreementOf(id).status), uint8(IEscrow.Status.Disputed));
        assertEq(wallet.remaining(operator, address(usdc)), DAILY_LIMIT - 30e6);
    }

    function test_the_owner_disputes_what_a_frozen_operator_opened() external {
        bytes32 id = delivered(0);
        vm.prank(guardian);
        wallet.freeze(operator);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.OperatorIsFrozen.selector, operator));
        vm.prank(operator);
        wallet.disputeEscrow(terms);
        vm.prank(owner);
        wallet.disputeEscrow(terms);
        assertEq(uint8(Escrow(escrow).agreementOf(id).status), uint8(IEscrow.Status.Disputed));
    }

    function test_the_owner_releases_what_an_operator_opened() external {
        open();
        vm.prank(owner);
        wallet.releaseEscrow(terms);
        assertEq(usdc.balanceOf(payee), 30e6);
    }

    function test_a_frozen_or_removed_operator_neither_opens_nor_releases() external {
        bytes32 id = open();
        vm.prank(guardian);
        wallet.freeze(operator);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.OperatorIsFrozen.selector, operator));
        vm.prank(operator);
        wallet.releaseEscrow(terms);
        terms.salt = "another";
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.OperatorIsFrozen.selector, operator));
        vm.prank(operator);
        wallet.openEscrow(terms);
        terms.salt = 0;
        vm.prank(owner);
        wallet.removeOperator(operator);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotOperator.selector, operator));
        vm.prank(operator);
        wallet.releaseEscrow(terms);
        assertEq(wallet.escrowOpener(id), operator);
    }
}
