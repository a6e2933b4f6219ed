// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { AgentWalletFactory } from "../../src/AgentWalletFactory.sol";
import { Escrow } from "../../src/Escrow.sol";
import { Treasury } from "../../src/Treasury.sol";
import { TreasuryAdmin } from "../../src/TreasuryAdmin.sol";
import { TreasuryFactory } from "../../src/TreasuryFactory.sol";
import { ITreasuryAccount } from "../../src/interfaces/ITreasuryAccount.sol";
import { ITreasuryAdmin } from "../../src/interfaces/ITreasuryAdmin.sol";
import { ITreasury } from "../../src/interfaces/ITreasury.sol";
import { UsdcTest } from "../base/UsdcTest.sol";
import { TakingRouter } from "./TakingRouter.sol";

/// A 2-of-3 treasury with 1,000,000 USDC, a guardian and one spender: 10,000 a day, 5,000 an order, 1,000 a day without the owners.
abstract contract TreasuryTest is UsdcTest, ITreasury {
    uint56 internal constant DAILY_LIMIT = 10_000e6;
    uint56 internal constant ORDER_MAX = 5000e6;
    uint56 internal constant TIER = 1000e6;
    uint32 internal constant CHANGE_DELAY = 2 days;
    uint32 internal constant COOLDOWN = 1 days;
    uint256 internal constant FUNDS = 1_000_000e6;
    bytes32 internal constant CATEGORY = "inference";
    bytes32 internal constant INVOICE = keccak256("invoice 7");

    Escrow internal escrow;
    AgentWalletFactory internal walletFactory;
    TakingRouter internal router;
    TreasuryFactory internal factory;
    ITreasuryAccount internal treasury;

    /// Ascending, as approvals are.
    address[] internal ownerList;
    mapping(address owner => uint256) internal keyOf;
    address internal guardian = makeAddr("guardian");
    address internal spender = makeAddr("spender");
    address internal payee = makeAddr("payee");
    address internal stranger = makeAddr("stranger");
    uint256 internal nextNonce = 1;

    function setUp() public virtual override {
        super.setUp();
        factory = new TreasuryFactory(address(deployImplementation()));
        for (uint256 i = 0; i < 3; ++i) {
            ownerList.push(newOwner(string.concat("owner ", vm.toString(i))));
        }
        _sort(ownerList);
        treasury = ITreasuryAccount(factory.create(defaultConfig()));
        mint(address(treasury), FUNDS);
    }

    function deployImplementation() internal returns (Treasury) {
        escrow = new Escrow();
        walletFactory = new AgentWalletFactory(address(escrow));
        router = new TakingRouter();
        return new Treasury(new TreasuryAdmin(), walletFactory, escrow, address(router));
    }

    function newOwner(string memory name) internal returns (address owner) {
        uint256 key;
        (owner, key) = makeAddrAndKey(name);
        keyOf[owner] = key;
    }

    function defaultPolicy() internal pure returns (Policy memory) {
        return Policy({ dailyLimit: DAILY_LIMIT, orderMax: ORDER_MAX, approvalAbove: TIER, onlyAllowed: false });
    }

    function defaultConfig() internal view returns (Config memory config) {
        config.owners = ownerList;
        config.threshold = 2;
        config.guardians = new address[](1);
        config.guardians[0] = guardian;
        config.changeDelay = CHANGE_DELAY;
        config.recipientCooldown = COOLDOWN;
        config.grants = new Grant[](1);
        config.grants[0] = Grant(spender, address(usdc), defaultPolicy(), new address[](0));
    }

    // ------------------------------------------------------------------------------------------------------------------- orders

    /// A plain payment to `payee`, valid for an hour, bound to the epochs of now.
    function payment(uint256 amount) internal returns (Order memory) {
        return payment(payee, amount);
    }

    function payment(address to, uint256 amount) internal returns (Order memory order) {
        order.spender = spender;
        order.token = address(usdc);
        order.category = CATEGORY;
        order.payments = new Payment[](1);
        order.payments[0] = Payment(to, amount, INVOICE);
        order.nonce = nextNonce++;
        order.validUntil = uint64(vm.getBlockTimestamp() + 1 hours);
        order.policyEpoch = treasury.policyOf(spender, address(usdc)).epoch;
        order.ownerEpoch = treasury.ownerEpoch();
    }

    function batch(address[] memory payees, uint256 amount) internal returns (Order memory order) {
        order = payment(amount);
        order.payments = new Payment[](payees.length);
        for (uint256 i = 0; i < payees.length; ++i) {
            order.payments[i] = Payment(payees[i], amount, bytes32(i));
        }
    }

    function submit(Order memory order) internal returns (bytes32 id, bool executed) {
        vm.prank(order.spender);
        return treasury.submit(order);
    }

    /// Executes with the signatures of the first two owners.
    function executeApproved(Order memory order) internal {
        treasury.execute(order, signatures(treasury.orderId(order), 2));
    }

    // ---------------------------------------------------------------------------------------------------------------- approvals

    /// Signatures of the first `count` owners.
    function signatures(bytes32 id, uint256 count) internal view returns (bytes memory approvals) {
        for (uint256 i = 0; i < count; ++i) {
            approvals = bytes.concat(approvals, signedBy(ownerList[i], id));
        }
    }

    function signedBy(address owner, bytes32 id) internal view returns (bytes memory) {
        return bytes.concat(hex"00", sign(keyOf[owner], id));
    }

    /// An approval that the owner gives by transaction.
    function approvedBy(address owner, bytes32 id) internal returns (bytes memory) {
        vm.prank(owner);
        treasury.approve(id);
        return bytes.concat(hex"01", bytes20(owner));
    }

    function signedByContract(address owner, bytes memory signature) internal pure returns (bytes memory) {
        return bytes.concat(hex"02", bytes20(owner), bytes2(uint16(signature.length)), signature);
    }

    // ----------------------------------------------------------------------------------------------------------------- changes

    function change(bytes memory call_) internal returns (Change memory) {
        bytes[] memory calls = new bytes[](1);
        calls[0] = call_;
        return change(calls);
    }

    function change(bytes[] memory calls) internal returns (Change memory result) {
        result.calls = calls;
        result.nonce = nextNonce++;
        result.validUntil = uint64(vm.getBlockTimestamp() + 2 * uint256(CHANGE_DELAY));
        result.ownerEpoch = treasury.ownerEpoch();
    }

    function schedule(Change memory c) internal returns (bytes32) {
        return treasury.scheduleChange(c, signatures(treasury.changeId(c), 2));
    }

    /// Schedules the change and waits for its timelock.
    function ripen(Change memory c) internal {
        schedule(c);
        vm.warp(vm.getBlockTimestamp() + CHANGE_DELAY);
    }

    /// Carries a change through: threshold, timelock, execution.
    function enact(bytes memory call_) internal {
        Change memory c = change(call_);
        ripen(c);
        treasury.executeChange(c);
    }

    function enactPolicy(Policy memory policy) internal {
        enact(abi.encodeCall(ITreasuryAdmin.setPolicy, (spender, address(usdc), policy)));
    }

    function enactRecipient(address recipient) internal {
        enact(abi.encodeCall(ITreasuryAdmin.allowRecipient, (spender, address(usdc), recipient)));
    }

    // ----------------------------------------------------------------------------------------------------------------- helpers

    function _sort(address[] storage list) internal {
        for (uint256 i = 1; i < list.length; ++i) {
            for (uint256 j = i; j > 0 && list[j] < list[j - 1]; --j) {
                (list[j], list[j - 1]) = (list[j - 1], list[j]);
            }
        }
    }
}
