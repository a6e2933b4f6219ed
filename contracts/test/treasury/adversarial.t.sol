// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import { ITreasuryAccount } from "../../src/interfaces/ITreasuryAccount.sol";
import { ITreasuryAdmin } from "../../src/interfaces/ITreasuryAdmin.sol";
import { TreasuryTest } from "./TreasuryTest.sol";

/// Attacks by name.
contract AdversarialTest is TreasuryTest {
    function test_ownerRemovedAfterApproving() public {
        Order memory order = payment(TIER + 1);
        order.validUntil = type(uint64).max;
        bytes32 id = treasury.orderId(order);
        bytes memory approvals = bytes.concat(approvedBy(ownerList[0], id), signedBy(ownerList[1], id));
        vm.prank(address(treasury));
        treasury.replaceOwner(ownerList[0], newOwner("successor"));
        vm.expectRevert(abi.encodeWithSelector(OwnersStale.selector, 1, 2));
        treasury.execute(order, approvals);

        // Back in, the owner starts from nothing: what it approved was of another epoch.
        vm.prank(address(treasury));
        treasury.addOwner(ownerList[0], 2);
        vm.expectRevert(abi.encodeWithSelector(OwnersStale.selector, 1, 3));
        treasury.execute(order, approvals);
        order.ownerEpoch = 3;
        vm.expectRevert();
        treasury.execute(order, approvals);
    }

    function test_policyChangedBetweenProposeAndExecute() public {
        Order memory order = payment(TIER + 1);
        bytes memory approvals = signatures(treasury.orderId(order), 3);
        submit(order);
        vm.prank(guardian);
        treasury.lowerPolicy(spender, address(usdc), defaultPolicy());
        vm.expectRevert(abi.encodeWithSelector(PolicyStale.selector, 1, 2));
        treasury.execute(order, approvals);
    }

    /// @param pieces into how many payments the spender cuts what it wants
    function testFuzz_onePaymentSplitIntoManyUnderTheTier(uint256 pieces) public {
        pieces = bound(pieces, 2, 20);
        uint256 piece = (2 * TIER) / pieces;
        for (uint256 i = 0; i < pieces; ++i) {
            submit(payment(piece));
        }
        assertLe(usdc.balanceOf(payee), TIER);
    }

    function test_midnightDoubleSpend() public {
        vm.warp((vm.getBlockTimestamp() / 1 days + 1) * 1 days - 1);
        submit(payment(TIER));
        vm.warp(vm.getBlockTimestamp() + 1);
        (, bool executed) = submit(payment(1));
        assertFalse(executed);
    }

    function test_replayAcrossChains() public {
        Order memory order = payment(TIER + 1);
        bytes memory approvals = signatures(treasury.orderId(order), 2);
        vm.chainId(block.chainid + 1);
        vm.expectRevert();
        treasury.execute(order, approvals);
    }

    function test_replayAcrossClonesAndContracts() public {
        Config memory config = defaultConfig();
        config.salt = "another";
        ITreasuryAccount other = ITreasuryAccount(factory.create(config));
        mint(address(other), FUNDS);
        Order memory order = payment(TIER + 1);
        bytes32 id = treasury.orderId(order);
        assertNotEq(other.orderId(order), id);
        bytes memory approvals = signatures(id, 3);
        vm.expectRevert();
        other.execute(order, approvals);
        // Nor is an order a change, a cancellation or a message of the same treasury.
        bytes32 cancellation = treasury.cancellationId(id);
        vm.expectRevert();
        treasury.checkApprovals(cancellation, approvals);
    }

    function test_signatureMalleability() public {
        Order memory order = payment(TIER + 1);
        bytes32 id = treasury.orderId(order);
        bytes memory malleated = bytes.concat(hex"00", malleate(sign(keyOf[ownerList[0]], id)));
        bytes memory approvals = bytes.concat(malleated, signedBy(ownerList[1], id));
        vm.expectRevert(abi.encodeWithSelector(NotOwner.selector, address(0)));
        treasury.execute(order, approvals);
        approvals = bytes.concat(signedBy(ownerList[0], id), malleated);
        vm.expectRevert(abi.encodeWithSelector(NotOwner.selector, address(0)));
        treasury.execute(order, approvals);
    }

    function test_create2FrontRun() public {
        Config memory config = defaultConfig();
        config.salt = "front-run";
        address predicted = factory.addressOf(config);
        vm.prank(stranger);
        factory.create(config);
        assertEq(factory.create(config), predicted);
        assertFalse(ITreasuryAccount(predicted).isOwner(stranger));
        assertEq(ITreasuryAccount(predicted).owners(), config.owners);
    }

    function test_reentrantToken() public {
        ReentrantToken token = new ReentrantToken(address(treasury));
        vm.prank(address(treasury));
        treasury.setPolicy(spender, address(token), defaultPolicy());
        Order memory order = payment(1e6);
        order.token = address(token);
        Order memory inner = payment(1e6);
        inner.token = address(token);
        bytes memory innerApprovals = signatures(treasury.orderId(inner), 2);
        bytes[4] memory attempts = [
            abi.encodeCall(treasury.execute, (inner, innerApprovals)),
            abi.encodeCall(treasury.withdrawCredit, (address(token), stranger)),
            abi.encodeCall(treasury.cancelNonce, (spender, inner.nonce)),
            abi.encodeCall(ITreasuryAdmin.pause, ())
        ];
        for (uint256 i = 0; i < attempts.length; ++i) {
            token.attack(attempts[i]);
            order.nonce = nextNonce++;
            submit(order);
            assertEq(
                token.reason(), abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector)
            );
        }
        assertEq(token.balanceOf(payee), 4e6);
    }

    function test_junkProposalsConsumeNothing() public {
        for (uint256 i = 0; i < 50; ++i) {
            submit(payment(ORDER_MAX));
        }
        (uint256 total, uint256 withoutOwners) = treasury.remaining(spender, address(usdc));
        assertEq(total, DAILY_LIMIT);
        assertEq(withoutOwners, TIER);
        (, bool executed) = submit(payment(TIER));
        assertTrue(executed);
    }

    function test_guardianCanOnlyTighten() public {
        bytes[] memory calls = new bytes[](4);
        calls[0] = abi.encodeCall(treasury.approve, ("id"));
        calls[1] = abi.encodeCall(ITreasuryAdmin.unpause, ());
        calls[2] = abi.encodeCall(ITreasuryAdmin.setPolicy, (guardian, address(usdc), defaultPolicy()));
        calls[3] = abi.encodeCall(treasury.submit, (payment(1)));
        for (uint256 i = 0; i < calls.length; ++i) {
            vm.prank(guardian);
            (bool success,) = address(treasury).call(calls[i]);
            assertFalse(success);
        }
    }

    function test_aProposalExecutedTwice() public {
        Order memory order = payment(TIER + 1);
        bytes memory approvals = signatures(treasury.orderId(order), 2);
        treasury.execute(order, approvals);
        vm.expectRevert(abi.encodeWithSelector(NonceUsed.selector, spender, order.nonce));
        treasury.execute(order, approvals);
        vm.expectRevert(abi.encodeWithSelector(NonceUsed.selector, spender, order.nonce));
        submit(order);
    }

    function test_eip7702OwnerKeepsSigning() public {
        Order memory order = payment(TIER + 1);
        bytes memory approvals = signatures(treasury.orderId(order), 2);
        vm.etch(ownerList[0], hex"ef0100000000000000000000000000000000000000dead");
        treasury.execute(order, approvals);
        assertEq(usdc.balanceOf(payee), TIER + 1);
    }

    function test_manyProposalsApprovedTogetherStillStopAtTheLimit() public {
        Order[] memory orders = new Order[](3);
        bytes[] memory approvals = new bytes[](3);
        for (uint256 i = 0; i < 3; ++i) {
            orders[i] = payment(ORDER_MAX);
            approvals[i] = signatures(treasury.orderId(orders[i]), 3);
        }
        treasury.execute(orders[0], approvals[0]);
        treasury.execute(orders[1], approvals[1]);
        vm.expectRevert();
        treasury.execute(orders[2], approvals[2]);
        assertEq(usdc.balanceOf(payee), DAILY_LIMIT);
    }
}

/// Calls back while it is transferred, and remembers how that ended.
contract ReentrantToken is ERC20 {
    address private immutable TARGET;
    bytes private _call;
    bytes public reason;

    constructor(address target) ERC20("Reentrant", "RE") {
        TARGET = target;
        _mint(target, 1_000_000e6);
    }

    function attack(bytes calldata call) external {
        _call = call;
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        (, reason) = TARGET.call(_call);
        return super.transfer(to, amount);
    }
}
