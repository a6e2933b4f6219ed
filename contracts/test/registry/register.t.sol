// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IPayouts } from "../../src/interfaces/IPayouts.sol";
import { IServiceRegistry } from "../../src/interfaces/IServiceRegistry.sol";
import { RegistryTest } from "./RegistryTest.sol";

contract RegisterTest is RegistryTest {
    function test_a_service_is_what_its_events_say() external {
        bytes32 salt = keccak256("maps");
        bytes32 id = registry.serviceId(owner, salt);
        IServiceRegistry.Offer memory offer = defaultOffer();
        vm.expectEmit(address(registry));
        emit IServiceRegistry.ServiceRegistered(id, owner, payee, arbiter, salt);
        vm.expectEmit(address(registry));
        emit IServiceRegistry.OfferPublished(id, keccak256(abi.encode(offer)), offer);
        assertEq(register(owner, salt, payee, arbiter), id);
        service = id;
        assertEq(found().owner, owner);
        assertEq(found().payee, payee);
        assertEq(found().arbiter, arbiter);
        assertEq(found().token, address(usdc));
        assertEq(found().price, offer.price);
        assertEq(uint8(found().pricing), uint8(offer.pricing));
        assertEq(found().offerHash, keccak256(abi.encode(offer)));
        assertStake(0, 0);
    }

    function test_a_front_runner_takes_nobody_elses_id() external {
        bytes32 salt = keccak256("maps");
        bytes32 squatted = register(stranger, salt, payee, arbiter);
        assertNotEq(register(owner, salt, payee, arbiter), squatted);
    }

    function test_an_id_is_taken_once_even_after_the_service_was_given_away() external {
        vm.prank(owner);
        registry.offerOwnership(service, stranger);
        vm.prank(stranger);
        registry.acceptOwnership(service);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.ServiceExists.selector, service));
        register(owner, SALT, payee, arbiter);
    }

    function test_parties_that_could_not_be_paid_or_rule_are_refused() external {
        address[3] memory payees = [address(0), address(registry), address(usdc)];
        for (uint256 i = 0; i < payees.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IPayouts.PartyInvalid.selector, payees[i]));
            register(owner, "other", payees[i], arbiter);
        }
        vm.expectRevert(abi.encodeWithSelector(IPayouts.PartyInvalid.selector, payee));
        register(owner, "other", payee, payee);
    }

    function testFuzz_strings_are_bounded(uint256 length, bool endpoint) external {
        length = bound(length, 0, 600);
        IServiceRegistry.Offer memory offer = defaultOffer();
        if (endpoint) offer.endpoint = string(new bytes(length));
        else offer.metadataURI = string(new bytes(length));
        if (length > 256) {
            vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.StringTooLong.selector, length, 256));
        }
        vm.prank(owner);
        registry.updateOffer(service, offer);
    }

    function testFuzz_a_subscription_has_a_period_and_nothing_else_has(uint8 pricing, uint32 period) external {
        IServiceRegistry.Offer memory offer = defaultOffer();
        offer.pricing = IServiceRegistry.Pricing(bound(pricing, 0, 2));
        offer.period = period % 2 == 0 ? 0 : period;
        bool subscription = offer.pricing == IServiceRegistry.Pricing.Subscription;
        vm.prank(owner);
        if (subscription == (offer.period == 0)) {
            vm.expectRevert(
                abi.encodeWithSelector(IServiceRegistry.PeriodInvalid.selector, offer.pricing, offer.period)
            );
            registry.updateOffer(service, offer);
        } else {
            registry.updateOffer(service, offer);
            assertEq(found().period, offer.period);
        }
    }

    function test_an_offer_names_its_token() external {
        IServiceRegistry.Offer memory offer = defaultOffer();
        offer.token = address(0);
        vm.expectRevert(abi.encodeWithSelector(IPayouts.PartyInvalid.selector, address(0)));
        vm.prank(owner);
        registry.updateOffer(service, offer);
    }
}

contract UpdateOfferTest is RegistryTest {
    function test_an_update_counts_at_once_and_touches_nothing_else() external {
        IServiceRegistry.Offer memory offer = defaultOffer();
        offer.price = 30_000;
        offer.endpoint = "https://translations.example/v2";
        vm.expectEmit(address(registry));
        emit IServiceRegistry.OfferPublished(service, keccak256(abi.encode(offer)), offer);
        vm.prank(owner);
        registry.updateOffer(service, offer);
        assertEq(found().price, 30_000);
        assertEq(found().offerHash, keccak256(abi.encode(offer)));
        assertStake(STAKE, 0);
    }

    function test_only_the_owner_updates_and_retires() external {
        vm.startPrank(stranger);
        bytes memory refusal = abi.encodeWithSelector(IServiceRegistry.NotOwner.selector, stranger, owner);
        vm.expectRevert(refusal);
        registry.updateOffer(service, defaultOffer());
        vm.expectRevert(refusal);
        registry.retire(service);
    }

    function test_a_retired_service_offers_nothing_but_its_stake_still_answers() external {
        ruled(EARLY, 0);
        vm.expectEmit(address(registry));
        emit IServiceRegistry.ServiceRetired(service);
        vm.startPrank(owner);
        registry.retire(service);
        bytes memory refusal = abi.encodeWithSelector(IServiceRegistry.ServiceIsRetired.selector, service);
        vm.expectRevert(refusal);
        registry.retire(service);
        vm.expectRevert(refusal);
        registry.updateOffer(service, defaultOffer());
        vm.expectRevert(refusal);
        registry.addStake(service, 1);
        vm.stopPrank();
        slash(RECEIVED);
        rate(0);
        beginUnbonding(1);
        assertTrue(found().retired);
    }
}

contract OwnershipTest is RegistryTest {
    function test_ownership_moves_with_the_stake_in_two_steps() external {
        vm.expectEmit(address(registry));
        emit IServiceRegistry.OwnershipOffered(service, owner, stranger);
        vm.prank(owner);
        registry.offerOwnership(service, stranger);
        assertEq(found().owner, owner);
        vm.expectEmit(address(registry));
        emit IServiceRegistry.OwnershipAccepted(service, owner, stranger);
        vm.prank(stranger);
        registry.acceptOwnership(service);
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.NotOwner.selector, owner, stranger));
        registry.beginUnbonding(service, 1);
        vm.prank(stranger);
        registry.beginUnbonding(service, STAKE);
        assertEq(found().pendingOwner, address(0));
    }

    function test_an_offer_of_ownership_is_taken_back() external {
        vm.startPrank(owner);
        registry.offerOwnership(service, stranger);
        registry.offerOwnership(service, address(0));
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.NotPendingOwner.selector, stranger, address(0)));
        vm.prank(stranger);
        registry.acceptOwnership(service);
    }

    function test_only_the_owner_offers_ownership() external {
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.NotOwner.selector, stranger, owner));
        vm.prank(stranger);
        registry.offerOwnership(service, stranger);
    }
}
