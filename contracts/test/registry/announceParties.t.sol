// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IPayouts } from "../../src/interfaces/IPayouts.sol";
import { IServiceRegistry } from "../../src/interfaces/IServiceRegistry.sol";
import { RegistryTest } from "./RegistryTest.sol";

contract AnnouncePartiesTest is RegistryTest {
    address private otherPayee = makeAddr("other payee");
    address private otherArbiter = makeAddr("other arbiter");

    function test_announced_parties_count_from_the_second_they_were_announced_for() external {
        uint256 changesAt = block.timestamp + DELAY;
        vm.expectEmit(address(registry));
        emit IServiceRegistry.PartiesAnnounced(service, otherPayee, otherArbiter, changesAt);
        announce(otherPayee, otherArbiter);
        vm.warp(changesAt - 1);
        assertEq(found().payee, payee);
        assertEq(found().arbiter, arbiter);
        assertEq(found().announcedPayee, otherPayee);
        assertEq(found().announcedArbiter, otherArbiter);
        assertEq(found().changesAt, changesAt);
        vm.warp(changesAt);
        assertEq(found().payee, otherPayee);
        assertEq(found().arbiter, otherArbiter);
        assertEq(found().announcedPayee, address(0));
        assertEq(found().announcedArbiter, address(0));
        assertEq(found().changesAt, 0);
    }

    function test_another_announcement_waits_anew() external {
        announce(otherPayee, otherArbiter);
        vm.warp(block.timestamp + DELAY - 1);
        announce(otherPayee, arbiter);
        vm.warp(block.timestamp + DELAY - 1);
        assertEq(found().payee, payee);
        vm.warp(block.timestamp + 1);
        assertEq(found().payee, otherPayee);
        assertEq(found().arbiter, arbiter);
    }

    function test_an_announcement_after_one_that_took_effect_keeps_that_one_meanwhile() external {
        announce(otherPayee, otherArbiter);
        vm.warp(block.timestamp + DELAY);
        announce(payee, arbiter);
        assertEq(found().payee, otherPayee);
        assertEq(found().arbiter, otherArbiter);
    }

    function test_only_the_owner_announces_and_only_sound_parties() external {
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.NotOwner.selector, stranger, owner));
        vm.prank(stranger);
        registry.announceParties(service, otherPayee, otherArbiter);
        vm.expectRevert(abi.encodeWithSelector(IPayouts.PartyInvalid.selector, otherPayee));
        announce(otherPayee, otherPayee);
    }
}
