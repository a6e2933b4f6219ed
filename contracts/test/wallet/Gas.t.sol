// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IAgentWallet } from "../../src/interfaces/IAgentWallet.sol";
import { WalletTest } from "./WalletTest.sol";

/// Transaction-level gas of a wallet in use: payer, payee and storage words have been touched before, every call is a transaction of
/// its own. The figures are kept in contracts/snapshots; `FORGE_SNAPSHOT_CHECK=true forge test` compares them to the unit.
/// forge-config: default.isolate = true
contract WalletGasTest is WalletTest {
    string private constant GROUP = "AgentWallet";

    function setUp() public override {
        super.setUp();
        mint(payee, 1e6);
        pay(1e6, bytes32(uint256(256)));
        vm.startPrank(owner);
        wallet.setRecipient(operator, payee, true);
        vm.stopPrank();
    }

    function test_executePaymentFitsItsBudget() public {
        vm.prank(operator);
        wallet.executePayment(address(usdc), payee, 2e6, bytes32(uint256(257)));
        uint256 gas = vm.snapshotGasLastCall(GROUP, "executePayment");
        assertLe(gas, 70_000);
    }

    function test_gas_executePaymentWithSig() public {
        IAgentWallet.Payment memory payment = paymentOf(2e6, bytes32(uint256(257)));
        bytes memory signature = sign(operatorKey, wallet.paymentDigest(payment));
        wallet.executePaymentWithSig(payment, signature);
        vm.snapshotGasLastCall(GROUP, "executePaymentWithSig");
    }

    function test_gas_executeApprovedPaymentWithTwoApprovals() public {
        IAgentWallet.Payment memory payment = paymentOf(PAYMENT_MAX, bytes32(uint256(257)));
        IAgentWallet.Approval[] memory approvals = approve(payment, 2);
        vm.prank(operator);
        wallet.executeApprovedPayment(payment, "", approvals);
        vm.snapshotGasLastCall(GROUP, "executeApprovedPayment with 2 approvals");
    }

    function test_gas_freeze() public {
        vm.prank(guardian);
        wallet.freeze(operator);
        vm.snapshotGasLastCall(GROUP, "freeze");
    }

    function test_gas_creation() public {
        IAgentWallet.WalletConfig memory config = walletConfig();
        config.salt = "another";
        factory.createWallet(config);
        vm.snapshotGasLastCall(GROUP, "create");
    }

    function test_lanePaymentFitsItsBudget() public {
        payByLane(1e6, 0);
        Authorization memory authorization = laneAuthorization(1e6, 1);
        bytes memory signature = signLane(authorization);
        submit(authorization, signature);
        uint256 gas = vm.snapshotGasLastCall(GROUP, "x402 lane payment");
        assertLe(gas, 95_000);
    }
}
