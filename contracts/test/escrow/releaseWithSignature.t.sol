// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { EscrowTest } from "./EscrowTest.sol";

contract ReleaseWithSignatureTest is EscrowTest {
    uint256 private deadline;

    function setUp() public override {
        super.setUp();
        deadline = block.timestamp + 60;
    }

    function relay(uint256 total, bytes memory signature) private {
        vm.prank(stranger);
        escrow.releaseWithSignature(terms, total, deadline, signature);
    }

    function test_anyone_relays_what_the_buyer_signed() external {
        bytes32 id = fund();
        bytes memory signature = signRelease(id, AMOUNT, deadline);
        vm.expectEmit(address(escrow));
        emit IEscrow.AgreementReleased(id, stranger, AMOUNT, FEE, AMOUNT);
        relay(AMOUNT, signature);
        assertBalances(WALLET - AMOUNT, AMOUNT - FEE, FEE, 0);
    }

    function test_a_second_time_it_releases_nothing() external {
        bytes32 id = fund();
        bytes memory signature = signRelease(id, AMOUNT / 2, deadline);
        relay(AMOUNT / 2, signature);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NothingToRelease.selector, AMOUNT / 2, AMOUNT / 2));
        relay(AMOUNT / 2, signature);
    }

    /// A seller who holds several signatures uses the last, in whatever order they are relayed.
    function testFuzz_totals_do_not_add_up(uint256 first, uint256 second) external {
        bytes32 id = fund();
        first = bound(first, 1, AMOUNT - 1);
        second = bound(second, first + 1, AMOUNT);
        relay(second, signRelease(id, second, deadline));
        if (second < AMOUNT) {
            bytes memory older = signRelease(id, first, deadline);
            vm.expectRevert(abi.encodeWithSelector(IEscrow.NothingToRelease.selector, first, second));
            relay(first, older);
        }
        assertEq(escrow.agreementOf(id).released, second);
    }

    function test_until_the_deadline_included() external {
        bytes memory signature = signRelease(fund(), 2, deadline);
        uint256 snapshot = vm.snapshotState();
        vm.warp(deadline - 1);
        relay(2, signature);
        vm.revertToState(snapshot);
        vm.warp(deadline);
        relay(2, signature);
        vm.revertToState(snapshot);
        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.DeadlinePassed.selector, deadline + 1, deadline));
        relay(2, signature);
    }

    function test_nothing_that_was_signed_can_be_altered() external {
        bytes memory signature = signRelease(fund(), 2, deadline);
        bytes memory refused = abi.encodeWithSelector(IEscrow.SignatureInvalid.selector, buyer);
        vm.expectRevert(refused);
        relay(3, signature);
        vm.expectRevert(refused);
        escrow.releaseWithSignature(terms, 2, deadline + 1, signature);
        terms.salt = bytes32(uint256(2));
        fund();
        vm.expectRevert(refused);
        relay(2, signature);
    }

    function test_only_while_the_agreement_runs() external {
        for (uint8 i = 0; i <= uint8(type(IEscrow.Status).max); ++i) {
            IEscrow.Status found = IEscrow.Status(i);
            if (found == IEscrow.Status.Funded || found == IEscrow.Status.Delivered) continue;
            terms.salt = bytes32(uint256(1000) + i);
            bring(found);
            bytes memory signature = signRelease(escrow.agreementId(terms), AMOUNT, deadline);
            vm.expectRevert(wrongStatus(found));
            relay(AMOUNT, signature);
        }
    }
}
