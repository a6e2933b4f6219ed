// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IPayouts } from "../../src/interfaces/IPayouts.sol";
import { IServiceRegistry } from "../../src/interfaces/IServiceRegistry.sol";
import { RegistryTest } from "./RegistryTest.sol";

contract SlashTest is RegistryTest {
    function noFinding() internal view returns (bytes memory) {
        return abi.encodeWithSelector(IServiceRegistry.NoFinding.selector, escrow.agreementId(terms));
    }

    function test_the_buyer_gets_from_the_stake_what_the_escrow_could_not_give_back() external {
        bytes32 id = ruled(EARLY, 0);
        assertEq(registry.slashable(service, terms), RECEIVED);
        vm.expectEmit(address(registry));
        emit IServiceRegistry.StakeSlashed(service, id, buyer, RECEIVED, 0);
        slash(RECEIVED);
        assertEq(usdc.balanceOf(buyer), 10 * AMOUNT - (EARLY - RECEIVED), "the buyer lost the fee alone");
        assertStake(STAKE - RECEIVED, 0);
        assertEq(usdc.balanceOf(address(registry)), STAKE - RECEIVED);
    }

    function testFuzz_the_stake_gives_back_what_the_payee_received_and_no_more(
        uint256 early,
        uint256 toSeller,
        uint16 feeBps,
        uint256 more
    ) external {
        early = bound(early, 0, AMOUNT - 1);
        toSeller = bound(toSeller, 0, AMOUNT - early - 1);
        terms.feeBps = uint16(bound(feeBps, 0, 10_000));
        ruled(early, toSeller);
        uint256 received = usdc.balanceOf(payee);
        assertEq(registry.slashable(service, terms), received);
        more = bound(more, received + 1, type(uint256).max);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.SlashTooLarge.selector, more, received));
        slash(more);
        if (received == 0) return;
        slash(received);
        assertEq(usdc.balanceOf(buyer), 10 * AMOUNT - usdc.balanceOf(terms.feeRecipient));
        assertStake(STAKE - received, 0);
    }

    function testFuzz_one_agreement_takes_at_most_half_of_what_is_there(uint256 stake, uint256 unbonding) external {
        stake = bound(stake, 1, 150e6);
        unbonding = bound(unbonding, 0, stake);
        beginUnbonding(STAKE - stake);
        vm.warp(block.timestamp + DELAY);
        vm.startPrank(owner);
        registry.withdrawStake(service, owner);
        if (unbonding != 0) registry.beginUnbonding(service, unbonding);
        vm.stopPrank();
        terms.deliverBy = uint64(block.timestamp + 1);
        ruled(AMOUNT - 1, 0);
        uint256 share = stake / 2; // at most 75 USDC, of the 97.5 that the payee received
        assertEq(registry.slashable(service, terms), share);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.SlashTooLarge.selector, share + 1, share));
        slash(share + 1);
        if (share == 0) return;
        slash(share);
        uint256 fromUnbonding = share < unbonding ? share : unbonding;
        assertStake(stake - unbonding - (share - fromUnbonding), unbonding - fromUnbonding);
    }

    function test_what_is_unbonding_is_slashed_first() external {
        ruled(EARLY, 0);
        beginUnbonding(30e6);
        vm.expectEmit(address(registry));
        emit IServiceRegistry.StakeSlashed(service, escrow.agreementId(terms), buyer, RECEIVED, 30e6);
        slash(RECEIVED);
        assertStake(STAKE - RECEIVED, 0);
    }

    function test_once_per_agreement() external {
        bytes32 id = ruled(EARLY, 0);
        slash(1);
        bytes memory refusal = abi.encodeWithSelector(IServiceRegistry.AlreadySlashed.selector, id);
        vm.expectRevert(refusal);
        slash(1);
        vm.expectRevert(refusal);
        registry.slashable(service, terms);
    }

    /// The second service of the same payee and arbiter does not pay for the same agreement again.
    function test_once_per_agreement_over_all_services() external {
        bytes32 id = ruled(EARLY, 0);
        bytes32 second = register(owner, "second", payee, arbiter);
        mint(owner, STAKE);
        vm.prank(owner);
        registry.addStake(second, STAKE);
        slash(RECEIVED);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.AlreadySlashed.selector, id));
        vm.prank(arbiter);
        registry.slash(second, terms, RECEIVED);
    }

    function test_nothing_is_not_slashed() external {
        ruled(EARLY, 0);
        vm.expectRevert(IServiceRegistry.AmountZero.selector);
        slash(0);
    }

    function test_only_the_arbiter_slashes() external {
        ruled(EARLY, 0);
        address[3] memory callers = [buyer, owner, stranger];
        for (uint256 i = 0; i < callers.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.NotArbiter.selector, callers[i], arbiter));
            vm.prank(callers[i]);
            registry.slash(service, terms, RECEIVED);
        }
    }

    function test_an_arbiter_whom_the_service_does_not_name_slashes_nothing() external {
        terms.arbiter = stranger;
        ruled(EARLY, 0);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.ArbiterMismatch.selector, stranger, arbiter));
        slash(RECEIVED);
    }

    function test_a_service_without_an_arbiter_is_not_slashed() external {
        service = register(owner, "trusting nobody", payee, address(0));
        ruled(EARLY, 0);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.ArbiterMismatch.selector, arbiter, address(0)));
        slash(RECEIVED);
    }

    function test_an_agreement_with_somebody_else_slashes_nothing() external {
        terms.seller = stranger;
        ruled(EARLY, 0);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.PayeeMismatch.selector, stranger, payee));
        slash(RECEIVED);
    }

    function test_an_agreement_in_another_token_slashes_nothing() external {
        terms.token = address(deployUsdc());
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.TokenMismatch.selector, terms.token, address(usdc)));
        slash(1);
    }

    function test_an_unknown_service_has_no_stake() external {
        ruled(EARLY, 0);
        service = "unknown";
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.ServiceUnknown.selector, service));
        slash(RECEIVED);
    }

    function test_a_ruling_for_the_seller_is_no_finding() external {
        ruled(EARLY, AMOUNT - EARLY);
        vm.expectRevert(noFinding());
        slash(RECEIVED);
    }

    function test_a_default_outcome_is_no_finding() external {
        disputed(EARLY);
        vm.warp(block.timestamp + terms.arbitrationPeriod);
        escrow.applyDefault(terms);
        vm.expectRevert(noFinding());
        slash(RECEIVED);
    }

    function test_an_open_dispute_is_no_finding() external {
        disputed(EARLY);
        vm.expectRevert(noFinding());
        slash(RECEIVED);
    }

    function test_a_refund_without_a_dispute_is_no_finding() external {
        fund();
        vm.prank(payee);
        escrow.refund(terms);
        vm.expectRevert(noFinding());
        slash(1);
    }

    function test_terms_that_nobody_agreed_to_are_no_finding() external {
        ruled(EARLY, 0);
        terms.buyer = stranger;
        vm.expectRevert(noFinding());
        slash(RECEIVED);
    }

    function test_a_blacklisted_buyer_is_credited_and_pulls_it_elsewhere() external {
        bytes32 id = ruled(EARLY, 0);
        blacklist(buyer);
        vm.expectEmit(address(registry));
        emit IPayouts.PayoutCredited(id, address(usdc), buyer, RECEIVED);
        slash(RECEIVED);
        assertStake(STAKE - RECEIVED, 0);
        vm.prank(buyer);
        registry.withdraw(address(usdc), stranger);
        assertEq(usdc.balanceOf(stranger), RECEIVED);
        assertEq(usdc.balanceOf(address(registry)), STAKE - RECEIVED);
    }

    function test_a_paused_token_does_not_save_the_seller() external {
        ruled(EARLY, 0);
        pauseUsdc();
        slash(RECEIVED);
        unpauseUsdc();
        vm.prank(buyer);
        registry.withdraw(address(usdc), buyer);
        assertEq(usdc.balanceOf(buyer), 10 * AMOUNT - (EARLY - RECEIVED));
    }
}
