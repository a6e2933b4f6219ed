// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { EscrowTest } from "./EscrowTest.sol";

contract FundWithAuthorizationTest is EscrowTest {
    uint256 private validBefore;

    function setUp() public override {
        super.setUp();
        validBefore = block.timestamp + 60;
        vm.prank(buyer);
        usdc.approve(address(escrow), 0);
    }

    function test_anyone_opens_what_the_buyer_signed() external {
        bytes32 id = escrow.agreementId(terms);
        bytes memory signature = signFunding(id, validBefore);
        vm.expectEmit(address(escrow));
        emit IEscrow.AgreementFunded(id, buyer, seller, terms);
        vm.prank(stranger);
        assertEq(escrow.fundWithAuthorization(terms, 0, validBefore, signature), id);
        assertBalances(WALLET - AMOUNT, 0, 0, AMOUNT);
        assertStatus(IEscrow.Status.Funded);
        assertTrue(usdc.authorizationState(buyer, id));
    }

    function test_the_same_signature_opens_once() external {
        bytes memory signature = signFunding(escrow.agreementId(terms), validBefore);
        escrow.fundWithAuthorization(terms, 0, validBefore, signature);
        vm.prank(seller);
        escrow.refund(terms);
        vm.expectRevert(wrongStatus(IEscrow.Status.Refunded));
        escrow.fundWithAuthorization(terms, 0, validBefore, signature);
    }

    function test_a_signature_of_another_is_refused() external {
        Authorization memory authorization =
            Authorization(buyer, address(escrow), AMOUNT, 0, validBefore, escrow.agreementId(terms));
        bytes memory signature = signReceive(0xbad, authorization);
        vm.expectRevert("FiatTokenV2: invalid signature");
        escrow.fundWithAuthorization(terms, 0, validBefore, signature);
    }

    function test_the_buyer_cancels_what_it_signed() external {
        bytes32 id = escrow.agreementId(terms);
        bytes memory signature = signFunding(id, validBefore);
        bytes32 structHash = keccak256(abi.encode(CANCEL_AUTHORIZATION_TYPEHASH, buyer, id));
        usdc.cancelAuthorization(buyer, id, sign(BUYER_KEY, usdcDigest(structHash)));
        vm.expectRevert("FiatTokenV2: authorization is used or canceled");
        escrow.fundWithAuthorization(terms, 0, validBefore, signature);
    }

    function test_within_the_validity_that_was_signed() external {
        bytes memory signature = signFunding(escrow.agreementId(terms), validBefore);
        vm.expectRevert("FiatTokenV2: invalid signature");
        escrow.fundWithAuthorization(terms, 0, validBefore + 1, signature);
        vm.warp(validBefore);
        vm.expectRevert("FiatTokenV2: authorization is expired");
        escrow.fundWithAuthorization(terms, 0, validBefore, signature);
        vm.warp(validBefore - 1);
        escrow.fundWithAuthorization(terms, 0, validBefore, signature);
    }
}
