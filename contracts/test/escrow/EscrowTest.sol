// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { Escrow } from "../../src/Escrow.sol";
import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { UsdcTest } from "../base/UsdcTest.sol";

/// One agreement about 100 USDC between a buyer and a seller, with an arbiter, a bond and a fee of 2.5 %.
abstract contract EscrowTest is UsdcTest {
    uint256 internal constant BUYER_KEY = 0xb0b;
    uint256 internal constant WALLET = 1000e6;
    uint256 internal constant AMOUNT = 100e6;
    uint256 internal constant FEE = 2_500_000;
    uint256 internal constant BOND = 5e6;
    bytes32 internal constant DELIVERY = keccak256("delivery");
    bytes32 private constant RELEASE_TYPEHASH = keccak256("Release(bytes32 agreement,uint256 total,uint256 deadline)");

    Escrow internal escrow;
    address internal buyer = vm.addr(BUYER_KEY);
    address internal seller = makeAddr("seller");
    address internal arbiter = makeAddr("arbiter");
    address internal feeRecipient = makeAddr("fee recipient");
    address internal stranger = makeAddr("stranger");
    IEscrow.Terms internal terms;

    function setUp() public virtual override {
        super.setUp();
        escrow = new Escrow();
        mint(buyer, WALLET);
        vm.prank(buyer);
        usdc.approve(address(escrow), type(uint256).max);
        terms = IEscrow.Terms({
            buyer: buyer,
            seller: seller,
            arbiter: arbiter,
            token: address(usdc),
            amount: AMOUNT,
            feeBps: 250,
            feeRecipient: feeRecipient,
            deliverBy: uint64(block.timestamp + 1 days),
            reviewPeriod: 2 days,
            arbitrationPeriod: 3 days,
            disputeBond: BOND,
            defaultOutcome: IEscrow.DefaultOutcome.RefundBuyer,
            contentHash: keccak256("content"),
            agentId: 0,
            salt: bytes32(uint256(1))
        });
    }

    // Steps

    function fund() internal returns (bytes32) {
        vm.prank(buyer);
        return escrow.fund(terms);
    }

    function deliver() internal {
        vm.prank(seller);
        escrow.markDelivered(terms, DELIVERY);
    }

    function fundAndDeliver() internal returns (bytes32 id) {
        id = fund();
        deliver();
    }

    function openDispute() internal returns (bytes32 id) {
        id = fundAndDeliver();
        vm.prank(buyer);
        escrow.dispute(terms);
    }

    /// The agreement in a status, from nothing.
    function bring(IEscrow.Status wanted) internal {
        if (wanted == IEscrow.Status.None) return;
        if (wanted == IEscrow.Status.Disputed || wanted == IEscrow.Status.Resolved) openDispute();
        else fund();
        if (wanted == IEscrow.Status.Delivered) deliver();
        if (wanted == IEscrow.Status.Released) {
            vm.prank(buyer);
            escrow.release(terms);
        } else if (wanted == IEscrow.Status.Refunded) {
            vm.prank(seller);
            escrow.refund(terms);
        } else if (wanted == IEscrow.Status.Resolved) {
            vm.prank(arbiter);
            escrow.resolve(terms, 0);
        }
    }

    /// Every status but those in `allowed` refuses `selector(terms, rest)`.
    function expectRefusedOutside(uint256 allowed, address caller, bytes4 selector, bytes memory rest) internal {
        for (uint8 i = 0; i <= uint8(type(IEscrow.Status).max); ++i) {
            if (allowed & (1 << i) != 0) continue;
            terms.salt = bytes32(uint256(1000) + i);
            bring(IEscrow.Status(i));
            vm.prank(caller);
            (bool ok, bytes memory reason) = address(escrow).call(bytes.concat(selector, abi.encode(terms), rest));
            assertFalse(ok);
            assertEq(reason, wrongStatus(IEscrow.Status(i)));
        }
    }

    function only(IEscrow.Status allowed) internal pure returns (uint256) {
        return 1 << uint8(allowed);
    }

    // What is

    function status() internal view returns (IEscrow.Status) {
        return escrow.agreementOf(escrow.agreementId(terms)).status;
    }

    function assertStatus(IEscrow.Status expected) internal view {
        assertEq(uint8(status()), uint8(expected));
    }

    function assertBalances(uint256 ofBuyer, uint256 ofSeller, uint256 ofFeeRecipient, uint256 ofEscrow) internal view {
        assertEq(usdc.balanceOf(buyer), ofBuyer, "buyer");
        assertEq(usdc.balanceOf(seller), ofSeller, "seller");
        assertEq(usdc.balanceOf(feeRecipient), ofFeeRecipient, "fee recipient");
        assertEq(usdc.balanceOf(address(escrow)), ofEscrow, "escrow");
    }

    function wrongStatus(IEscrow.Status found) internal view returns (bytes memory) {
        return abi.encodeWithSelector(IEscrow.WrongStatus.selector, escrow.agreementId(terms), found);
    }

    // Signatures

    /// The buyer's authorization to fund; its nonce is the agreement.
    function signFunding(bytes32 id, uint256 validBefore) internal view returns (bytes memory) {
        return signReceive(BUYER_KEY, Authorization(buyer, address(escrow), terms.amount, 0, validBefore, id));
    }

    function signRelease(bytes32 id, uint256 total, uint256 deadline) internal view returns (bytes memory) {
        return sign(BUYER_KEY, releaseDigest(escrow, id, total, deadline));
    }

    function releaseDigest(Escrow verifier, bytes32 id, uint256 total, uint256 deadline)
        internal
        view
        returns (bytes32)
    {
        bytes32 structHash = keccak256(abi.encode(RELEASE_TYPEHASH, id, total, deadline));
        return keccak256(abi.encodePacked(hex"1901", domainSeparator(verifier), structHash));
    }

    function domainSeparator(Escrow verifier) internal view returns (bytes32) {
        bytes32 typehash =
            keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
        return
            keccak256(
                abi.encode(typehash, keccak256("Florin Escrow"), keccak256("1"), block.chainid, address(verifier))
            );
    }
}
