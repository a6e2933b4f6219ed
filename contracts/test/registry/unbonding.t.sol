// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IPayouts } from "../../src/interfaces/IPayouts.sol";
import { IServiceRegistry } from "../../src/interfaces/IServiceRegistry.sol";
import { RegistryTest } from "./RegistryTest.sol";

contract UnbondingTest is RegistryTest {
    address private vault = makeAddr("vault");

    function withdrawStake() internal returns (uint256) {
        vm.prank(owner);
        return registry.withdrawStake(service, vault);
    }

    function test_a_part_unbonds_and_the_rest_stays_bonded() external {
        uint256 unbondsAt = block.timestamp + DELAY;
        vm.expectEmit(address(registry));
        emit IServiceRegistry.UnbondingBegun(service, 300e6, 300e6, unbondsAt);
        beginUnbonding(300e6);
        assertStake(STAKE - 300e6, 300e6);
        assertEq(found().unbondsAt, unbondsAt);
    }

    function testFuzz_no_more_than_is_bonded_unbonds(uint256 first, uint256 second) external {
        first = bound(first, 1, STAKE);
        beginUnbonding(first);
        second = bound(second, STAKE - first + 1, type(uint256).max);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.MoreThanStaked.selector, second, STAKE - first));
        beginUnbonding(second);
        vm.expectRevert(IServiceRegistry.AmountZero.selector);
        beginUnbonding(0);
    }

    function test_it_is_withdrawn_at_the_second_and_not_one_before() external {
        beginUnbonding(300e6);
        uint256 unbondsAt = block.timestamp + DELAY;
        vm.warp(unbondsAt - 1);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.StillUnbonding.selector, unbondsAt - 1, unbondsAt));
        withdrawStake();
        vm.warp(unbondsAt);
        vm.expectEmit(address(registry));
        emit IServiceRegistry.StakeWithdrawn(service, vault, 300e6);
        assertEq(withdrawStake(), 300e6);
        assertEq(usdc.balanceOf(vault), 300e6);
        assertEq(usdc.balanceOf(address(registry)), STAKE - 300e6);
        assertStake(STAKE - 300e6, 0);
    }

    function test_it_is_withdrawn_once() external {
        beginUnbonding(300e6);
        vm.warp(block.timestamp + DELAY);
        withdrawStake();
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.NothingUnbonding.selector, service));
        withdrawStake();
    }

    function test_unbonding_more_makes_all_of_it_wait_anew() external {
        beginUnbonding(300e6);
        vm.warp(block.timestamp + DELAY);
        beginUnbonding(1);
        vm.expectPartialRevert(IServiceRegistry.StillUnbonding.selector);
        withdrawStake();
        vm.warp(block.timestamp + DELAY);
        assertEq(withdrawStake(), 300e6 + 1);
    }

    function test_cancelling_bonds_all_of_it_again() external {
        beginUnbonding(300e6);
        vm.expectEmit(address(registry));
        emit IServiceRegistry.UnbondingCancelled(service, 300e6, STAKE);
        vm.startPrank(owner);
        registry.cancelUnbonding(service);
        assertStake(STAKE, 0);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.NothingUnbonding.selector, service));
        registry.cancelUnbonding(service);
        vm.stopPrank();
        vm.warp(block.timestamp + DELAY);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.NothingUnbonding.selector, service));
        withdrawStake();
    }

    function test_only_the_owner_unbonds() external {
        bytes memory refusal = abi.encodeWithSelector(IServiceRegistry.NotOwner.selector, stranger, owner);
        vm.startPrank(stranger);
        vm.expectRevert(refusal);
        registry.beginUnbonding(service, 1);
        vm.expectRevert(refusal);
        registry.cancelUnbonding(service);
        vm.expectRevert(refusal);
        registry.withdrawStake(service, stranger);
    }

    function test_a_withdrawal_goes_somewhere() external {
        address[3] memory nowhere = [address(0), address(registry), address(usdc)];
        beginUnbonding(1);
        vm.warp(block.timestamp + DELAY);
        for (uint256 i = 0; i < nowhere.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IPayouts.PartyInvalid.selector, nowhere[i]));
            vm.prank(owner);
            registry.withdrawStake(service, nowhere[i]);
        }
    }

    function test_a_blacklisted_owner_still_withdraws_to_another_address() external {
        beginUnbonding(300e6);
        vm.warp(block.timestamp + DELAY);
        blacklist(owner);
        withdrawStake();
        assertEq(usdc.balanceOf(vault), 300e6);
    }

    function test_a_refused_withdrawal_keeps_the_stake() external {
        beginUnbonding(300e6);
        vm.warp(block.timestamp + DELAY);
        blacklist(vault);
        vm.expectRevert("Blacklistable: account is blacklisted");
        this.withdrawIt();
        assertStake(STAKE - 300e6, 300e6);
    }

    function withdrawIt() external {
        withdrawStake();
    }
}
