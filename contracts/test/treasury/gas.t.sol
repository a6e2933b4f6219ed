// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { TreasuryTest } from "./TreasuryTest.sol";

/// What whole transactions cost with real USDC in steady state: payee, window and nonce word in use already.
/// forge-config: default.isolate = true
contract TreasuryGasTest is TreasuryTest {
    uint256 private constant APPROVED_PAYMENT_GAS_MAX = 95_000;

    function setUp() public override {
        super.setUp();
        mint(payee, 1);
        submit(payment(1e6));
    }

    function test_gas_paymentUnderTheTier() public {
        submit(payment(1e6));
        vm.snapshotGasLastCall("Treasury", "submit under the tier");
    }

    function test_gas_paymentApprovedByTwoOfThreeSignatures() public {
        Order memory order = payment(2000e6);
        bytes memory approvals = signatures(treasury.orderId(order), 2);
        treasury.execute(order, approvals);
        uint256 gas = vm.snapshotGasLastCall("Treasury", "execute with 2-of-3 signatures");
        assertLe(gas, APPROVED_PAYMENT_GAS_MAX);
    }

    function test_gas_paymentApprovedByTwoOfThreeTransactions() public {
        Order memory order = payment(2000e6);
        bytes32 id = treasury.orderId(order);
        vm.prank(ownerList[0]);
        treasury.approve(id);
        vm.snapshotGasLastCall("Treasury", "approve");
        bytes memory approvals = bytes.concat(hex"01", bytes20(ownerList[0]), approvedBy(ownerList[1], id));
        treasury.execute(order, approvals);
        vm.snapshotGasLastCall("Treasury", "execute with 2-of-3 approvals");
    }

    function test_gas_proposal() public {
        submit(payment(2000e6));
        vm.snapshotGasLastCall("Treasury", "submit above the tier");
    }

    function test_gas_batchOfTen() public {
        address[] memory payees = new address[](10);
        for (uint256 i = 0; i < payees.length; ++i) {
            payees[i] = vm.addr(1000 + i);
            mint(payees[i], 1);
        }
        submit(batch(payees, 1e6));
        vm.snapshotGasLastCall("Treasury", "submit a batch of 10");
    }

    function test_gas_creation() public {
        Config memory config = defaultConfig();
        config.salt = "another";
        factory.create(config);
        vm.snapshotGasLastCall("Treasury", "create");
    }
}
