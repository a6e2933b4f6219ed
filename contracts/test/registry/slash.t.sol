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
        bytes32 id = ruled(40e6, 0);
        assertEq(registry.slashable(service, terms), 40e6);
        vm.expectEmit(address(registry));
        emit IServiceRegistry.StakeSlashed(service, id, buyer, 40e6, 0);
        slash(40e6);
        assertEq(usdc.balanceOf(buyer), 10 * AMOUNT, "the buyer has what it began with");
        assertStake(STAKE - 40e6, 0);
        assertEq(usdc.balanceOf(address(registry)), STAKE - 40e6);
    }

    function testFuzz_refund_and_slash_never_exceed_what_the_buyer_paid(uint256 early, uint256 toSeller, uint256 more)
        external
    {
        early = bound(early, 0, AMOUNT - 1);
        toSeller = bound(toSeller, 0, AMOUNT - early - 1);
        ruled(early, toSeller);
        uint256 paid = early + toSeller;
        assertEq(registry.slashable(service, terms), paid);
        more = bound(more, paid + 1, type(uint256).max);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.SlashTooLarge.selector, more, paid));
        slash(more);
        if (paid == 0) return;
        slash(paid);
        assertEq(usdc.balanceOf(buyer), 10 * AMOUNT);
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
        uint256 share = stake / 2;
        assertEq(registry.slashable(service, terms), share);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.SlashTooLarge.selector, share + 1, share));
        slash(share + 1);
        if (share == 0) return;
        slash(share);
        uint256 fromUnbonding = share < unbonding ? share : unbonding;
        assertStake(stake - unbonding - (share - fromUnbonding), unbonding - fromUnbonding);
    }

    function test_what_is_unbonding_is_slashed_first() external {
        ruled(40e6, 0);
        beginUnbonding(30e6);
        vm.expectEmit(address(registry));
        emit IServiceRegistry.StakeSlashed(service, escrow.agreementId(terms), buyer, 40e6, 30e6);
        slash(40e6);
        assertStake(STAKE - 40e6, 0);
    }

    function test_once_per_agreement() external {
        bytes32 id = ruled(40e6, 0);
        slash(1);
        bytes memory refusal = abi.encodeWithSelector(IServiceRegistry.AlreadySlashed.selector, id);
        vm.expectRevert(refusal);
        slash(1);
        vm.expectRevert(refusal);
        registry.slashable(service, terms);
    }

    /// The second service of the same payee and arbiter does not pay for the same agreement again.
    function test_once_per_agreement_over_all_services() external {
        bytes32 id = ruled(40e6, 0);
        bytes32 second = register(owner, "second", payee, arbiter);
        mint(owner, STAKE);
        vm.prank(owner);
        registry.addStake(second, STAKE);
        slash(40e6);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.AlreadySlashed.selector, id));
        vm.prank(arbiter);
        registry.slash(second, terms, 40e6);
    }

    function test_nothing_is_not_slashed() external {
        ruled(40e6, 0);
        vm.expectRevert(IServiceRegistry.AmountZero.selector);
        slash(0);
    }

    function test_only_the_arbiter_slashes() external {
        ruled(40e6, 0);
        address[3] memory callers = [buyer, owner, stranger];
        for (uint256 i = 0; i < callers.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.NotArbiter.selector, callers[i], arbiter));
            vm.prank(callers[i]);
            registry.slash(service, terms, 40e6);
        }
    }

    function test_an_arbiter_whom_the_service_does_not_name_slashes_nothing() external {
        terms.arbiter = stranger;
        ruled(40e6, 0);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.ArbiterMismatch.selector, stranger, arbiter));
        slash(40e6);
    }

    function test_a_service_without_an_arbiter_is_not_slashed() external {
        service = register(owner, "trusting nobody", payee, address(0));
        ruled(40e6, 0);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.ArbiterMismatch.selector, arbiter, address(0)));
        slash(40e6);
    }

    function test_an_agreement_with_somebody_else_slashes_nothing() external {
        terms.seller = stranger;
        ruled(40e6, 0);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.PayeeMismatch.selector, stranger, payee));
        slash(40e6);
    }

    function test_an_agreement_in_another_token_slashes_nothing() external {
        terms.token = address(deployUsdc());
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.TokenMismatch.selector, terms.token, address(usdc)));
        slash(1);
    }

    function test_an_unknown_service_has_no_stake() external {
        ruled(40e6, 0);
        service = "unknown";
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.ServiceUnknown.selector, service));
        slash(40e6);
    }

    function test_a_ruling_for_the_seller_is_no_finding() external {
        ruled(40e6, AMOUNT - 40e6);
        vm.expectRevert(noFinding());
        slash(40e6);
    }

    function test_a_default_outcome_is_no_finding() external {
        disputed(40e6);
        vm.warp(block.timestamp + terms.arbitrationPeriod);
        escrow.applyDefault(terms);
        vm.expectRevert(noFinding());
        slash(40e6);
    }

    function test_an_open_dispute_is_no_finding() external {
        disputed(40e6);
        vm.expectRevert(noFinding());
        slash(40e6);
    }

    function test_a_refund_without_a_dispute_is_no_finding() external {
        fund();
        vm.prank(payee);
        escrow.refund(terms);
        vm.expectRevert(noFinding());
        slash(1);
    }

    function test_terms_that_nobody_agreed_to_are_no_finding() external {
        ruled(40e6, 0);
        terms.buyer = stranger;
        vm.expectRevert(noFinding());
        slash(40e6);
    }

    function test_a_blacklisted_buyer_is_credited_and_pulls_it_elsewhere() external {
        bytes32 id = ruled(40e6, 0);
        blacklist(buyer);
        vm.expectEmit(address(registry));
        emit IPayouts.PayoutCredited(id, address(usdc), buyer, 40e6);
        slash(40e6);
        assertStake(STAKE - 40e6, 0);
        vm.prank(buyer);
        registry.withdraw(address(usdc), stranger);
        assertEq(usdc.balanceOf(stranger), 40e6);
        assertEq(usdc.balanceOf(address(registry)), STAKE - 40e6);
    }

    function test_a_paused_token_does_not_save_the_seller() external {
        ruled(40e6, 0);
        pauseUsdc();
        slash(40e6);
        unpauseUsdc();
        vm.prank(buyer);
        registry.withdraw(address(usdc), buyer);
        assertEq(usdc.balanceOf(buyer), 10 * AMOUNT);
    }
}
