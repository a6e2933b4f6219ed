// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { EscrowTest } from "./EscrowTest.sol";

/// Transaction-level gas of a market in use: every party and the escrow itself have held USDC before, every call is a transaction of its own.
/// `release` is without a fee, `releaseWithFee` with one. The figures are kept in contracts/snapshots;
/// `FORGE_SNAPSHOT_CHECK=true forge test` compares them to the unit.
/// forge-config: default.isolate = true
contract EscrowGasTest is EscrowTest {
    string private constant GROUP = "Escrow";
    uint256 private salt = 100;

    function setUp() public override {
        super.setUp();
        mint(address(escrow), 1e6);
        mint(seller, 1e6);
        mint(feeRecipient, 1e6);
        mint(buyer, 1000e6);
    }

    /// One more agreement, funded.
    function open() private {
        terms.salt = bytes32(++salt);
        fund();
    }

    function openWithoutFee() private {
        (terms.feeBps, terms.feeRecipient) = (0, address(0));
        open();
    }

    function test_funding() external {
        uint256 deadline = block.timestamp + 60;
        bytes memory signature = signFunding(escrow.agreementId(terms), deadline);
        escrow.fundWithAuthorization(terms, 0, deadline, signature);
        vm.snapshotGasLastCall(GROUP, "fundWithAuthorization");

        open();
        vm.snapshotGasLastCall(GROUP, "fund");

        terms.salt = bytes32(++salt);
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(BUYER_KEY, permitDigest(buyer, address(escrow), terms.amount, deadline));
        vm.prank(buyer);
        escrow.fundWithPermit(terms, deadline, v, r, s);
        vm.snapshotGasLastCall(GROUP, "fundWithPermit");

        vm.prank(buyer);
        usdc.approve(address(escrow), type(uint256).max);
        vm.prank(buyer);
        escrow.topUp(terms, 1e6);
        vm.snapshotGasLastCall(GROUP, "topUp");
    }

    function test_delivery_and_release() external {
        openWithoutFee();
        deliver();
        vm.snapshotGasLastCall(GROUP, "markDelivered");
        vm.prank(buyer);
        escrow.release(terms);
        vm.snapshotGasLastCall(GROUP, "release");
    }

    function test_releases_with_a_fee() external {
        open();
        vm.prank(buyer);
        escrow.release(terms);
        vm.snapshotGasLastCall(GROUP, "releaseWithFee");

        open();
        vm.prank(buyer);
        escrow.releaseUpTo(terms, AMOUNT / 2);
        vm.snapshotGasLastCall(GROUP, "releaseUpTo");

        bytes memory signature = signRelease(escrow.agreementId(terms), AMOUNT, block.timestamp);
        escrow.releaseWithSignature(terms, AMOUNT, block.timestamp, signature);
        vm.snapshotGasLastCall(GROUP, "releaseWithSignature");

        open();
        deliver();
        vm.warp(block.timestamp + terms.reviewPeriod);
        escrow.releaseUndisputed(terms);
        vm.snapshotGasLastCall(GROUP, "releaseUndisputed");
    }

    function test_release_of_ten() external {
        IEscrow.Terms[] memory batch = new IEscrow.Terms[](10);
        for (uint256 i = 0; i < batch.length; ++i) {
            openWithoutFee();
            batch[i] = terms;
        }
        vm.prank(buyer);
        escrow.releaseBatch(batch);
        vm.snapshotGasLastCall(GROUP, "releaseBatch of 10");
    }

    function test_refund_and_dispute() external {
        open();
        vm.prank(seller);
        escrow.refund(terms);
        vm.snapshotGasLastCall(GROUP, "refund");

        open();
        deliver();
        vm.prank(buyer);
        escrow.dispute(terms);
        vm.snapshotGasLastCall(GROUP, "dispute");
        vm.prank(arbiter);
        escrow.resolve(terms, AMOUNT / 2);
        vm.snapshotGasLastCall(GROUP, "resolve");

        open();
        deliver();
        vm.prank(buyer);
        escrow.dispute(terms);
        vm.warp(block.timestamp + terms.arbitrationPeriod);
        escrow.applyDefault(terms);
        vm.snapshotGasLastCall(GROUP, "applyDefault");
    }

    function test_withdraw() external {
        open();
        blacklist(seller);
        vm.prank(buyer);
        escrow.release(terms);
        vm.prank(seller);
        escrow.withdraw(address(usdc), feeRecipient);
        vm.snapshotGasLastCall(GROUP, "withdraw");
    }
}
