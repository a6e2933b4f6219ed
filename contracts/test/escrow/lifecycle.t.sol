// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { EscrowTest } from "./EscrowTest.sol";

contract EscrowLifecycleTest is EscrowTest {
    function fundByAuthorization(bytes32 nonce) internal {
        Authorization memory authorization =
            Authorization(buyer, address(escrow), AMOUNT, 0, block.timestamp + 60, nonce);
        bytes memory signature = signReceive(BUYER_KEY, authorization);
        vm.prank(stranger);
        escrow.fundWithAuthorization(terms, 0, block.timestamp + 60, signature);
    }

    function test_anyone_opens_what_the_buyer_signed() external {
        fundByAuthorization(escrow.agreementId(terms));
        assertEq(usdc.balanceOf(address(escrow)), AMOUNT);
        assertEq(uint8(status()), uint8(IEscrow.Status.Funded));
    }

    function test_a_relayer_cannot_alter_a_term() external {
        bytes32 signed = escrow.agreementId(terms);
        terms.seller = stranger;
        vm.expectRevert("FiatTokenV2: invalid signature");
        this.fundAltered(signed);
    }

    function fundAltered(bytes32 nonce) external {
        fundByAuthorization(nonce);
    }

    function test_release_pays_seller_and_fee_to_the_unit() external {
        fund();
        deliver();
        vm.prank(buyer);
        escrow.release(terms);
        assertEq(usdc.balanceOf(seller), 97_500_000);
        assertEq(usdc.balanceOf(feeRecipient), 2_500_000);
        assertEq(usdc.balanceOf(address(escrow)), 0);
    }

    function testFuzz_slicing_a_release_does_not_round_the_fee_away(uint256 first, uint256 second) external {
        fund();
        first = bound(first, 1, AMOUNT - 2);
        second = bound(second, first + 1, AMOUNT - 1);
        vm.startPrank(buyer);
        escrow.releaseUpTo(terms, first);
        escrow.releaseUpTo(terms, second);
        escrow.release(terms);
        assertEq(usdc.balanceOf(feeRecipient), 2_500_000);
        assertEq(usdc.balanceOf(seller) + usdc.balanceOf(feeRecipient), AMOUNT);
    }

    function test_delivery_at_the_last_second_counts_and_one_later_does_not() external {
        fund();
        vm.warp(terms.deliverBy - 1);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.TooEarly.selector, terms.deliverBy - 1, terms.deliverBy));
        vm.prank(buyer);
        escrow.refund(terms);
        uint256 snapshot = vm.snapshotState();
        deliver();
        vm.revertToState(snapshot);
        vm.warp(terms.deliverBy);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.DeadlinePassed.selector, terms.deliverBy, terms.deliverBy));
        deliver();
        vm.prank(buyer);
        escrow.refund(terms);
        assertEq(usdc.balanceOf(buyer), 1000e6);
    }

    function test_a_silent_buyer_cannot_strand_a_seller() external {
        fund();
        deliver();
        uint256 ends = block.timestamp + terms.reviewPeriod;
        vm.warp(ends - 1);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.ReviewNotOver.selector, ends - 1, ends));
        escrow.releaseUndisputed(terms);
        vm.warp(ends);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.ReviewOver.selector, ends, ends));
        vm.prank(buyer);
        escrow.dispute(terms);
        escrow.releaseUndisputed(terms);
        assertEq(usdc.balanceOf(seller), 97_500_000);
    }

    function test_refund_of_what_was_never_funded_is_refused() external {
        vm.expectRevert(wrongStatus(IEscrow.Status.None));
        vm.prank(seller);
        escrow.refund(terms);
    }

    function testFuzz_the_arbiter_splits_exactly(uint256 toSeller) external {
        openDispute();
        toSeller = bound(toSeller, 0, AMOUNT);
        vm.prank(arbiter);
        escrow.resolve(terms, toSeller);
        assertTrue(escrow.agreementOf(escrow.agreementId(terms)).ruled);
        uint256 bondToSeller = toSeller == AMOUNT ? BOND : 0;
        uint256 fee = toSeller * 250 / 10_000;
        assertEq(usdc.balanceOf(seller), toSeller - fee + bondToSeller);
        assertEq(usdc.balanceOf(buyer), 1000e6 - toSeller - bondToSeller);
        assertEq(usdc.balanceOf(address(escrow)), 0);
    }

    function test_when_the_arbiter_is_silent_anyone_applies_the_default() external {
        openDispute();
        vm.warp(block.timestamp + terms.arbitrationPeriod);
        vm.expectPartialRevert(IEscrow.ArbitrationOver.selector);
        vm.prank(arbiter);
        escrow.resolve(terms, 0);
        vm.prank(stranger);
        escrow.applyDefault(terms);
        assertFalse(escrow.agreementOf(escrow.agreementId(terms)).ruled);
        assertEq(usdc.balanceOf(buyer), 1000e6);
    }

    function test_a_ruling_for_a_blacklisted_party_is_credited_and_pulled_elsewhere() external {
        openDispute();
        blacklist(seller);
        vm.prank(arbiter);
        escrow.resolve(terms, AMOUNT);
        uint256 credit = AMOUNT - 2_500_000 + BOND;
        assertEq(escrow.withdrawable(address(usdc), seller), credit);
        vm.prank(seller);
        escrow.withdraw(address(usdc), stranger);
        assertEq(usdc.balanceOf(stranger), credit);
        assertEq(usdc.balanceOf(address(escrow)), 0);
    }

    function test_a_signed_release_is_idempotent_and_bound_to_the_agreement() external {
        bytes32 id = fund();
        bytes memory signature = sign(BUYER_KEY, releaseDigest(id, AMOUNT / 2));
        escrow.releaseWithSignature(terms, AMOUNT / 2, block.timestamp, signature);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NothingToRelease.selector, AMOUNT / 2, AMOUNT / 2));
        escrow.releaseWithSignature(terms, AMOUNT / 2, block.timestamp, signature);
        terms.salt = bytes32(uint256(2));
        fund();
        vm.expectRevert(abi.encodeWithSelector(IEscrow.SignatureInvalid.selector, buyer));
        escrow.releaseWithSignature(terms, AMOUNT / 2, block.timestamp, signature);
    }

    function releaseDigest(bytes32 id, uint256 total) internal view returns (bytes32) {
        (, string memory name, string memory version, uint256 chainId, address self,,) = escrow.eip712Domain();
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256(bytes(name)),
                keccak256(bytes(version)),
                chainId,
                self
            )
        );
        bytes32 typehash = keccak256("Release(bytes32 agreement,uint256 total,uint256 deadline)");
        bytes32 hash = keccak256(abi.encode(typehash, id, total, block.timestamp));
        return keccak256(abi.encodePacked(hex"1901", domain, hash));
    }
}

/// forge-config: default.isolate = true
contract EscrowGasTest is EscrowTest {
    function test_gas() external {
        mint(address(escrow), 1e6);
        mint(seller, 1e6);
        mint(feeRecipient, 1e6);
        bytes32 id = escrow.agreementId(terms);
        Authorization memory authorization = Authorization(buyer, address(escrow), AMOUNT, 0, block.timestamp + 60, id);
        bytes memory signature = signReceive(BUYER_KEY, authorization);
        escrow.fundWithAuthorization(terms, 0, block.timestamp + 60, signature);
        vm.snapshotGasLastCall("Escrow", "fundWithAuthorization");
        vm.prank(seller);
        escrow.markDelivered(terms, DELIVERY);
        vm.snapshotGasLastCall("Escrow", "markDelivered");
        terms.feeBps = 0;
        terms.feeRecipient = address(0);
        fund();
        deliver();
        vm.prank(buyer);
        escrow.release(terms);
        vm.snapshotGasLastCall("Escrow", "release");
    }
}
