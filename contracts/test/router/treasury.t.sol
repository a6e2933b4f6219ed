// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { PaymentRouter } from "../../src/PaymentRouter.sol";
import { Treasury } from "../../src/Treasury.sol";
import { TreasuryAdmin } from "../../src/TreasuryAdmin.sol";
import { TreasuryFactory } from "../../src/TreasuryFactory.sol";
import { IPaymentRouter } from "../../src/interfaces/IPaymentRouter.sol";
import { ISubscriptions } from "../../src/interfaces/ISubscriptions.sol";
import { ITreasuryAccount } from "../../src/interfaces/ITreasuryAccount.sol";
import { TreasuryTest } from "../treasury/TreasuryTest.sol";

/// A treasury pays through the router within its policy: the owners approve the calldata, and exactly the amount is allowed and moves.
contract RouterOfTreasuryTest is TreasuryTest {
    PaymentRouter private paymentRouter;

    function setUp() public override {
        super.setUp();
        paymentRouter = new PaymentRouter();
        factory = new TreasuryFactory(
            address(new Treasury(new TreasuryAdmin(), walletFactory, escrow, address(paymentRouter)))
        );
        treasury = ITreasuryAccount(factory.create(defaultConfig()));
        mint(address(treasury), FUNDS);
    }

    function test_aTreasuryMakesARecordedPayment() public {
        _route(10e6, abi.encodeCall(IPaymentRouter.pay, (INVOICE, address(usdc), payee, 10e6)));
        assertEq(usdc.balanceOf(payee), 10e6);
        assertEq(
            paymentRouter.paymentRecord(address(treasury), INVOICE), keccak256(abi.encode(payee, address(usdc), 10e6))
        );
    }

    function test_aTreasuryPaysABatchOfWhichOneIsRefused() public {
        blacklist(stranger);
        IPaymentRouter.Leg[] memory legs = new IPaymentRouter.Leg[](2);
        legs[0] = IPaymentRouter.Leg(stranger, 4e6);
        legs[1] = IPaymentRouter.Leg(payee, 6e6);
        _route(10e6, abi.encodeCall(IPaymentRouter.batchPay, (INVOICE, address(usdc), legs)));
        assertEq(usdc.balanceOf(payee), 6e6);
        assertEq(paymentRouter.withdrawable(address(usdc), stranger), 4e6);
    }

    function test_aTreasurySplitsAPayment() public {
        IPaymentRouter.Share[] memory shares = new IPaymentRouter.Share[](2);
        shares[0] = IPaymentRouter.Share(payee, 7500);
        shares[1] = IPaymentRouter.Share(stranger, 2500);
        _route(10e6, abi.encodeCall(IPaymentRouter.splitPay, (INVOICE, address(usdc), 10e6, shares)));
        assertEq(usdc.balanceOf(payee), 7.5e6);
        assertEq(usdc.balanceOf(stranger), 2.5e6);
    }

    /// No allowance is left behind, so every further charge is an order of its own; nobody else can charge.
    function test_aTreasurySubscribesAndPaysEveryPeriodByAnOrder() public {
        ISubscriptions.SubscriptionTerms memory terms;
        (terms.payer, terms.payee, terms.token) = (address(treasury), payee, address(usdc));
        (terms.amount, terms.totalMax) = (10e6, 120e6);
        (terms.start, terms.period) = (uint40(block.timestamp), 30 days);
        _route(10e6, abi.encodeCall(ISubscriptions.subscribe, (terms)));
        assertEq(usdc.balanceOf(payee), 10e6);

        vm.warp(vm.getBlockTimestamp() + 30 days);
        vm.expectRevert("ERC20: transfer amount exceeds allowance");
        paymentRouter.charge(terms);
        _route(10e6, abi.encodeCall(ISubscriptions.charge, (terms)));
        assertEq(usdc.balanceOf(payee), 20e6);
    }

    function _route(uint256 amount, bytes memory data) private {
        Order memory order = payment(address(paymentRouter), amount);
        order.operation = Operation.CallRouter;
        order.details = data;
        executeApproved(order);
        assertEq(usdc.allowance(address(treasury), address(paymentRouter)), 0);
    }
}
