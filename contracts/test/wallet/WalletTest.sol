// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { AgentWallet } from "../../src/AgentWallet.sol";
import { AgentWalletFactory } from "../../src/AgentWalletFactory.sol";
import { LaneCodec } from "../../src/LaneCodec.sol";
import { IAgentWallet } from "../../src/interfaces/IAgentWallet.sol";
import { UsdcTest } from "../base/UsdcTest.sol";

/// A wallet with one operator, one guardian and three approvers of whom two replace the owner, holding 1,000 USDC.
abstract contract WalletTest is UsdcTest {
    uint56 internal constant PAYMENT_MAX = 40e6;
    uint56 internal constant DAILY_LIMIT = 100e6;
    uint56 internal constant APPROVAL_ABOVE = 60e6;
    uint40 internal constant LANE_PAYMENT_MAX = 1e6;
    uint24 internal constant LANE_PAYMENTS = 5;
    uint32 internal constant LANE_PERIOD_SECONDS = 1 hours;
    uint256 internal constant GRACE_SECONDS = 5 minutes;
    uint256 internal constant FUNDS = 1_000e6;
    bytes4 internal constant MAGIC = 0x1626ba7e;
    bytes4 internal constant REFUSED = 0xffffffff;

    AgentWalletFactory internal factory;
    AgentWallet internal wallet;
    address internal escrow;

    address internal owner;
    uint256 internal ownerKey;
    address internal operator;
    uint256 internal operatorKey;
    address internal guardian = makeAddr("guardian");
    address internal payee = makeAddr("payee");
    address internal stranger = makeAddr("stranger");
    /// Sorted by address.
    address[] internal approvers;
    mapping(address approver => uint256 key) internal approverKeys;

    function setUp() public virtual override {
        super.setUp();
        (owner, ownerKey) = makeAddrAndKey("owner");
        (operator, operatorKey) = makeAddrAndKey("operator");
        _makeApprovers();
        escrow = deployEscrow();
        factory = new AgentWalletFactory(escrow);
        wallet = AgentWallet(factory.createWallet(walletConfig()));
        mint(address(wallet), FUNDS);
        vm.label(address(wallet), "wallet");
    }

    function deployEscrow() internal virtual returns (address) {
        return makeAddr("escrow");
    }

    function walletConfig() internal view returns (IAgentWallet.WalletConfig memory config) {
        config.owner = owner;
        config.guardian = guardian;
        config.approvers = approvers;
        config.approvalsRequired = 2;
        config.operators = new IAgentWallet.OperatorConfig[](1);
        config.operators[0] = operatorConfig(operator);
    }

    function operatorConfig(address account) internal view returns (IAgentWallet.OperatorConfig memory config) {
        config.operator = account;
        config.policies = new IAgentWallet.TokenPolicy[](1);
        config.policies[0] = IAgentWallet.TokenPolicy(address(usdc), policy());
        config.lane = lane();
    }

    function policy() internal view returns (IAgentWallet.Policy memory) {
        return IAgentWallet.Policy(PAYMENT_MAX, DAILY_LIMIT, APPROVAL_ABOVE, uint40(block.timestamp + 365 days), false);
    }

    function lane() internal view returns (IAgentWallet.Lane memory) {
        return IAgentWallet.Lane(
            address(usdc),
            LANE_PAYMENT_MAX,
            LANE_PAYMENTS,
            LANE_PERIOD_SECONDS,
            uint40(block.timestamp + 365 days),
            false
        );
    }

    function pay(uint256 amount, bytes32 paymentId) internal {
        vm.prank(operator);
        wallet.executePayment(address(usdc), payee, amount, paymentId);
    }

    function paymentOf(uint256 amount, bytes32 paymentId) internal view returns (IAgentWallet.Payment memory) {
        return IAgentWallet.Payment(operator, address(usdc), payee, amount, paymentId, block.timestamp + 1 hours);
    }

    /// Approvals of the first `count` approvers.
    function approve(IAgentWallet.Payment memory payment, uint256 count)
        internal
        view
        returns (IAgentWallet.Approval[] memory list)
    {
        bytes32 digest = wallet.paymentDigest(payment);
        list = new IAgentWallet.Approval[](count);
        for (uint256 i = 0; i < count; ++i) {
            list[i] = IAgentWallet.Approval(approvers[i], sign(approverKeys[approvers[i]], digest));
        }
    }

    function approveAsOwner(IAgentWallet.Payment memory payment)
        internal
        view
        returns (IAgentWallet.Approval[] memory list)
    {
        list = new IAgentWallet.Approval[](1);
        list[0] = IAgentWallet.Approval(owner, sign(ownerKey, wallet.paymentDigest(payment)));
    }

    function currentPeriod() internal view returns (uint32) {
        return uint32(vm.getBlockTimestamp() / LANE_PERIOD_SECONDS);
    }

    /// An authorization that ends in a minute and spends `slot` of the period in which it ends.
    function laneAuthorization(uint256 value, uint32 slot) internal view returns (Authorization memory) {
        return laneAuthorization(value, slot, vm.getBlockTimestamp() + 60);
    }

    function laneAuthorization(uint256 value, uint32 slot, uint256 validBefore)
        internal
        view
        returns (Authorization memory)
    {
        bytes32 nonce = wallet.laneNonce(operator, uint32(validBefore / LANE_PERIOD_SECONDS), slot);
        return Authorization(address(wallet), payee, value, 0, validBefore, nonce);
    }

    function signLane(Authorization memory authorization) internal view returns (bytes memory) {
        return signLane(operatorKey, authorization);
    }

    function signLane(uint256 key, Authorization memory authorization) internal view returns (bytes memory) {
        (bytes32 r, bytes32 vs) = vm.signCompact(key, transferDigest(authorization));
        return packLane(authorization, uint24(uint256(authorization.nonce)), r, vs);
    }

    /// The layout of LaneCodec, written down a second time.
    function packLane(Authorization memory authorization, uint24 slot, bytes32 r, bytes32 vs)
        internal
        view
        returns (bytes memory)
    {
        return abi.encodePacked(
            usdc.DOMAIN_SEPARATOR(),
            authorization.to,
            uint40(authorization.value),
            uint32(authorization.validBefore),
            slot,
            r,
            vs
        );
    }

    function payByLane(uint256 value, uint32 slot) internal {
        Authorization memory authorization = laneAuthorization(value, slot);
        submit(authorization, signLane(authorization));
    }

    function _makeApprovers() private {
        for (uint256 i = 0; i < 3; ++i) {
            (address approver, uint256 key) = makeAddrAndKey(string.concat("approver ", vm.toString(i)));
            approverKeys[approver] = key;
            approvers.push(approver);
        }
        for (uint256 i = 0; i < 3; ++i) {
            for (uint256 j = i + 1; j < 3; ++j) {
                if (approvers[j] < approvers[i]) (approvers[i], approvers[j]) = (approvers[j], approvers[i]);
            }
        }
    }
}
