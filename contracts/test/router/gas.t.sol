// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { VmSafe } from "forge-std/Vm.sol";
import { IPaymentRouter } from "../../src/interfaces/IPaymentRouter.sol";
import { ISubscriptions } from "../../src/interfaces/ISubscriptions.sol";
import { SettlementTest } from "./SettlementTest.sol";

/// What whole transactions cost with real USDC in steady state: payees have money, payers keep some and have allowed the router.
/// forge-config: default.isolate = true
contract RouterGasTest is SettlementTest {
    string private constant GROUP = "PaymentRouter";

    function setUp() public override {
        // Coverage compiles without the optimizer, and would write its figures over ours.
        vm.skip(vm.isContext(VmSafe.ForgeContext.Coverage));
        super.setUp();
        mint(payee, 1);
        payees.push(payee);
        for (uint256 i = 0; i < 10; ++i) {
            mint(addPayer(string.concat("payer ", vm.toString(i))), FUNDS);
        }
    }

    function test_gas_pay() public {
        vm.prank(payer);
        router.pay("payment", address(usdc), payee, 10e6);
        vm.snapshotGasLastCall(GROUP, "pay");
    }

    function test_gas_payWithAuthorization() public {
        bytes32 nonce = router.paymentNonce(payer, "payment", address(usdc), payee, 10e6);
        router.payWithAuthorization("payment", address(usdc), payee, 10e6, authorize(10e6, nonce));
        vm.snapshotGasLastCall(GROUP, "payWithAuthorization");
    }

    function test_gas_batchPay() public {
        uint256 ten = _batchPay(10);
        vm.snapshotGasLastCall(GROUP, "batchPay 10");
        uint256 hundred = _batchPay(100);
        vm.snapshotGasLastCall(GROUP, "batchPay 100");
        uint256 leg = (hundred - ten) / 90;
        vm.snapshotValue(GROUP, "batchPay, each further leg", leg);
        assertLe(leg, 11_500);
    }

    function test_gas_splitPay() public {
        mint(second, 1);
        mint(third, 1);
        vm.prank(payer);
        router.splitPay(REF, address(usdc), 10e6, threeShares());
        vm.snapshotGasLastCall(GROUP, "splitPay 3");
    }

    function test_gas_settleBatch() public {
        uint256[3] memory counts = [uint256(1), 10, 100];
        for (uint256 i = 0; i < 3; ++i) {
            bytes memory payments;
            for (uint256 j = 0; j < counts[i]; ++j) {
                payments = bytes.concat(payments, packed(j % 10, 0, 12_345 + j));
            }
            payments = batch(payments);
            uint256 settled = router.settleBatch(payments);
            uint256 gas = vm.snapshotGasLastCall(GROUP, string.concat("settleBatch ", vm.toString(counts[i])));
            assertEq(settled, (1 << counts[i]) - 1);
            if (counts[i] == 100) assertLe(gas / 100, 41_000);
        }
    }

    function test_gas_subscription() public {
        ISubscriptions.SubscriptionTerms memory terms;
        (terms.payer, terms.payee, terms.token) = (payer, payee, address(usdc));
        (terms.amount, terms.totalMax) = (10e6, 120e6);
        (terms.start, terms.period) = (uint40(block.timestamp), 30 days);
        vm.prank(payer);
        router.subscribe(terms);
        vm.snapshotGasLastCall(GROUP, "subscribe");
        vm.warp(block.timestamp + 30 days);
        router.charge(terms);
        uint256 gas = vm.snapshotGasLastCall(GROUP, "charge");
        assertLe(gas, 75_000);
        vm.prank(payer);
        router.cancel(terms, true);
        vm.snapshotGasLastCall(GROUP, "cancel");
    }

    /// To `count` payees who have money.
    function _batchPay(uint256 count) private returns (uint256) {
        IPaymentRouter.Leg[] memory list = new IPaymentRouter.Leg[](count);
        for (uint256 i = 0; i < count; ++i) {
            list[i] = IPaymentRouter.Leg(vm.addr(1000 + i), uint96(1e6 + i));
            mint(list[i].payee, 1);
        }
        vm.prank(payer);
        router.batchPay(REF, address(usdc), list);
        return vm.lastCallGas().gasTotalUsed;
    }
}
