// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { EscrowTest } from "./EscrowTest.sol";

contract FundWithPermitTest is EscrowTest {
    uint256 private deadline;

    function setUp() public override {
        super.setUp();
        deadline = block.timestamp + 60;
        vm.prank(buyer);
        usdc.approve(address(escrow), 0);
    }

    function permit(uint256 amount) private view returns (uint8 v, bytes32 r, bytes32 s) {
        return vm.sign(BUYER_KEY, permitDigest(buyer, address(escrow), amount, deadline));
    }

    function test_a_permit_in_the_place_of_an_approval() external {
        (uint8 v, bytes32 r, bytes32 s) = permit(AMOUNT);
        vm.prank(buyer);
        bytes32 id = escrow.fundWithPermit(terms, deadline, v, r, s);
        assertEq(id, escrow.agreementId(terms));
        assertBalances(WALLET - AMOUNT, 0, 0, AMOUNT);
        assertEq(usdc.allowance(buyer, address(escrow)), 0);
        assertStatus(IEscrow.Status.Funded);
    }

    function test_only_the_buyer_so_a_permit_cannot_be_spent_on_terms_of_another() external {
        (uint8 v, bytes32 r, bytes32 s) = permit(AMOUNT);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NotBuyer.selector, stranger, buyer));
        vm.prank(stranger);
        escrow.fundWithPermit(terms, deadline, v, r, s);
    }

    function test_a_permit_of_less_funds_nothing() external {
        (uint8 v, bytes32 r, bytes32 s) = permit(AMOUNT - 1);
        vm.expectRevert("ERC20: transfer amount exceeds allowance");
        vm.prank(buyer);
        escrow.fundWithPermit(terms, deadline, v, r, s);
    }

    function test_the_same_terms_are_funded_once() external {
        (uint8 v, bytes32 r, bytes32 s) = permit(AMOUNT);
        vm.startPrank(buyer);
        escrow.fundWithPermit(terms, deadline, v, r, s);
        vm.expectRevert(wrongStatus(IEscrow.Status.Funded));
        escrow.fundWithPermit(terms, deadline, v, r, s);
    }
}
