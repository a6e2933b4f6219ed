// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { Escrow } from "../../src/Escrow.sol";
import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { UsdcTest } from "../base/UsdcTest.sol";

/// One agreement about 100 USDC between a buyer and a seller, with an arbiter, a bond and a fee of 2.5 %.
abstract contract EscrowTest is UsdcTest {
    uint256 internal constant BUYER_KEY = 0xb0b;
    uint256 internal constant AMOUNT = 100e6;
    uint256 internal constant BOND = 5e6;
    bytes32 internal constant DELIVERY = keccak256("delivery");

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
        mint(buyer, 1000e6);
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

    function fund() internal returns (bytes32) {
        vm.prank(buyer);
        return escrow.fund(terms);
    }

    function deliver() internal {
        vm.prank(seller);
        escrow.markDelivered(terms, DELIVERY);
    }

    function openDispute() internal returns (bytes32 id) {
        id = fund();
        deliver();
        vm.prank(buyer);
        escrow.dispute(terms);
    }

    function status() internal view returns (IEscrow.Status) {
        return escrow.agreementOf(escrow.agreementId(terms)).status;
    }

    function wrongStatus(IEscrow.Status found) internal view returns (bytes memory) {
        return abi.encodeWithSelector(IEscrow.WrongStatus.selector, escrow.agreementId(terms), found);
    }
}
