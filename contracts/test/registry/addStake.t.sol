// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IERC20Permit } from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import { ServiceRegistry } from "../../src/ServiceRegistry.sol";
import { IServiceRegistry } from "../../src/interfaces/IServiceRegistry.sol";
import { RegistryTest } from "./RegistryTest.sol";

contract AddStakeTest is RegistryTest {
    uint256 private constant MORE = 250e6;

    function setUp() public override {
        super.setUp();
        mint(owner, MORE);
    }

    function addWithAuthorization(bytes32 signedService, bytes32 usedService, ServiceRegistry at) internal {
        Authorization memory authorization = Authorization(
            owner, address(registry), MORE, 0, block.timestamp + 60, registry.stakeNonce(signedService, "salt")
        );
        bytes memory signature = signReceive(OWNER_KEY, authorization);
        vm.prank(stranger);
        at.addStakeWithAuthorization(usedService, owner, MORE, 0, block.timestamp + 60, "salt", signature);
    }

    function addWithPermit(bytes32 r) internal {
        (uint8 v,, bytes32 s) = vm.sign(OWNER_KEY, permitDigest(owner, address(registry), MORE, block.timestamp));
        vm.prank(owner);
        registry.addStakeWithPermit(service, MORE, block.timestamp, v, r, s);
    }

    function permitR() internal view returns (bytes32 r) {
        (, r,) = vm.sign(OWNER_KEY, permitDigest(owner, address(registry), MORE, block.timestamp));
    }

    function assertAdded() internal view {
        assertStake(STAKE + MORE, 0);
        assertEq(usdc.balanceOf(address(registry)), STAKE + MORE);
        assertEq(usdc.balanceOf(owner), 0);
    }

    function test_by_allowance() external {
        vm.expectEmit(address(registry));
        emit IServiceRegistry.StakeAdded(service, owner, MORE, STAKE + MORE);
        vm.prank(owner);
        registry.addStake(service, MORE);
        assertAdded();
    }

    function test_by_permit() external {
        vm.prank(owner);
        usdc.approve(address(registry), 0);
        addWithPermit(permitR());
        assertAdded();
    }

    function test_a_front_run_permit_does_not_stop_the_stake() external {
        vm.prank(owner);
        usdc.approve(address(registry), 0);
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(OWNER_KEY, permitDigest(owner, address(registry), MORE, block.timestamp));
        IERC20Permit(address(usdc)).permit(owner, address(registry), MORE, block.timestamp, v, r, s);
        vm.prank(owner);
        registry.addStakeWithPermit(service, MORE, block.timestamp, v, r, s);
        assertAdded();
    }

    function test_a_wrong_permit_takes_nothing_without_an_allowance() external {
        vm.prank(owner);
        usdc.approve(address(registry), 0);
        vm.expectRevert("ERC20: transfer amount exceeds allowance");
        this.wrongPermit();
    }

    function wrongPermit() external {
        addWithPermit(bytes32(uint256(1)));
    }

    function test_a_relayer_adds_what_the_staker_signed() external {
        vm.expectEmit(address(registry));
        emit IServiceRegistry.StakeAdded(service, owner, MORE, STAKE + MORE);
        addWithAuthorization(service, service, registry);
        assertAdded();
    }

    function test_a_relayer_cannot_stake_it_on_another_service() external {
        bytes32 other = register(stranger, SALT, makeAddr("other payee"), arbiter);
        vm.expectRevert("FiatTokenV2: invalid signature");
        this.authorized(service, other, registry);
    }

    function test_an_authorization_does_not_replay_nor_serve_another_registry() external {
        ServiceRegistry second = new ServiceRegistry(usdc, escrow, router);
        vm.prank(owner);
        second.register(SALT, payee, arbiter, defaultOffer());
        vm.expectRevert("FiatTokenV2: invalid signature");
        this.authorized(service, service, second);
        addWithAuthorization(service, service, registry);
        mint(owner, MORE);
        vm.expectRevert("FiatTokenV2: authorization is used or canceled");
        this.authorized(service, service, registry);
    }

    function authorized(bytes32 signedService, bytes32 usedService, ServiceRegistry at) external {
        addWithAuthorization(signedService, usedService, at);
    }

    function test_anyone_adds_and_only_the_owner_takes_out() external {
        mint(stranger, MORE);
        vm.startPrank(stranger);
        usdc.approve(address(registry), MORE);
        registry.addStake(service, MORE);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.NotOwner.selector, stranger, owner));
        registry.beginUnbonding(service, MORE);
    }

    function test_nothing_and_unknown_services_are_refused() external {
        vm.startPrank(owner);
        vm.expectRevert(IServiceRegistry.AmountZero.selector);
        registry.addStake(service, 0);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.ServiceUnknown.selector, bytes32("x")));
        registry.addStake("x", MORE);
    }
}
