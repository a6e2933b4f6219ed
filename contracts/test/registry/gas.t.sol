// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { RegistryTest } from "./RegistryTest.sol";

/// Transaction-level gas, each call a transaction of its own.
/// forge-config: default.isolate = true
contract RegistryGasTest is RegistryTest {
    string private constant GROUP = "ServiceRegistry";

    function test_services() external {
        register(owner, "new", payee, arbiter);
        vm.snapshotGasLastCall(GROUP, "register");
        vm.prank(owner);
        registry.updateOffer(service, defaultOffer());
        vm.snapshotGasLastCall(GROUP, "updateOffer");
    }

    function test_stake() external {
        mint(owner, STAKE);
        vm.prank(owner);
        registry.addStake(service, 1e6);
        vm.snapshotGasLastCall(GROUP, "addStake");
        beginUnbonding(1e6);
        vm.snapshotGasLastCall(GROUP, "beginUnbonding");
        vm.warp(block.timestamp + DELAY);
        vm.prank(owner);
        registry.withdrawStake(service, owner);
        vm.snapshotGasLastCall(GROUP, "withdrawStake");
        terms.deliverBy = uint64(block.timestamp + 1);
        ruled(EARLY, 0);
        slash(RECEIVED);
        vm.snapshotGasLastCall(GROUP, "slash");
    }

    function test_feedback() external {
        released();
        rate(80);
        vm.snapshotGasLastCall(GROUP, "rateAgreement, first");
        terms.salt = "second";
        released();
        rate(80);
        vm.snapshotGasLastCall(GROUP, "rateAgreement");
        pay(buyer, "id", payee, AMOUNT);
        vm.prank(buyer);
        registry.ratePayment(feedback(90), buyer, "id", AMOUNT, "");
        vm.snapshotGasLastCall(GROUP, "ratePayment");
    }
}
