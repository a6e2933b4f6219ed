// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { AgentWallet } from "../../src/AgentWallet.sol";
import { IAgentWallet } from "../../src/interfaces/IAgentWallet.sol";
import { IAgentWalletFactory } from "../../src/interfaces/IAgentWalletFactory.sol";
import { WalletTest } from "./WalletTest.sol";

contract FactoryTest is WalletTest {
    function test_theAddressIsKnownAndFundableBeforehand() public {
        IAgentWallet.WalletConfig memory config = _another();
        address predicted = factory.walletAddress(config);
        mint(predicted, 7e6);
        vm.expectEmit(address(factory));
        emit IAgentWalletFactory.WalletCreated(predicted, owner, keccak256(abi.encode(config)));
        vm.expectEmit(predicted);
        emit IAgentWallet.WalletInitialized(owner, guardian);
        assertEq(factory.createWallet(config), predicted);
        vm.prank(operator);
        AgentWallet(predicted).executePayment(address(usdc), payee, 7e6, "1");
        assertEq(usdc.balanceOf(payee), 7e6);
    }

    function test_theSecondCallReturnsTheWalletThatIsThere() public {
        vm.prank(owner);
        wallet.removeOperator(operator);
        vm.recordLogs();
        assertEq(factory.createWallet(walletConfig()), address(wallet));
        assertEq(vm.getRecordedLogs().length, 0);
        assertEq(wallet.operators().length, 0); // and changes nothing in it
    }

    function test_aWalletStartsWithItsWholeConfiguration() public view {
        assertEq(wallet.owner(), owner);
        assertEq(wallet.guardian(), guardian);
        (uint8 approvalsRequired, uint32 approvalEpoch) = wallet.approvalRule();
        assertEq(approvalsRequired, 2);
        assertEq(approvalEpoch, 1);
        for (uint256 i = 0; i < approvers.length; ++i) {
            assertTrue(wallet.isApprover(approvers[i]));
        }
        assertEq(wallet.operators()[0], operator);
        assertEq(abi.encode(wallet.operatorOf(operator)), abi.encode(IAgentWallet.Operator(1, 1, false)));
        assertEq(abi.encode(wallet.policyOf(operator, address(usdc))), abi.encode(policy()));
        assertEq(abi.encode(wallet.laneOf(operator)), abi.encode(lane()));
        assertEq(wallet.ESCROW(), escrow);
    }

    /// @param seed which part of the configuration differs
    function testFuzz_theAddressCommitsToEveryPartOfTheConfiguration(uint256 seed) public view {
        IAgentWallet.WalletConfig memory config = walletConfig();
        uint256 part = bound(seed, 0, 9);
        if (part == 0) config.owner = stranger;
        if (part == 1) config.guardian = stranger;
        if (part == 2) config.approvers[0] = stranger;
        if (part == 3) config.approvalsRequired = 1;
        if (part == 4) config.operators[0].operator = stranger;
        if (part == 5) config.operators[0].policies[0].policy.dailyLimit += 1;
        if (part == 6) config.operators[0].policies[0].token = stranger;
        if (part == 7) config.operators[0].recipients = new address[](1);
        if (part == 8) config.operators[0].lane.paymentsPerPeriod += 1;
        if (part == 9) config.salt = "another";
        assertNotEq(factory.walletAddress(config), address(wallet));
    }

    function test_nobodyInitializesAWalletASecondTimeOrTheImplementation() public {
        IAgentWallet.WalletConfig memory config = _another();
        address[2] memory targets = [address(wallet), factory.implementation()];
        for (uint256 i = 0; i < targets.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotFactory.selector, stranger, address(factory)));
            vm.prank(stranger);
            AgentWallet(targets[i]).initialize(config);
        }
    }

    function test_theImplementationBelongsToNobodyAndSignsNothing() public {
        AgentWallet implementation = AgentWallet(factory.implementation());
        assertEq(implementation.owner(), address(0));
        Authorization memory authorization = laneAuthorization(1e6, 0);
        assertEq(implementation.isValidSignature(transferDigest(authorization), signLane(authorization)), REFUSED);
        assertEq(implementation.isValidSignature("anything", ""), REFUSED);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotPendingOwner.selector, stranger, address(0)));
        vm.prank(stranger);
        implementation.acceptOwnership();
    }

    function test_configurationsThatContradictThemselvesCreateNothing() public {
        IAgentWallet.WalletConfig memory config = _another();
        config.owner = address(0);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AddressRefused.selector, address(0)));
        factory.createWallet(config);
        config.owner = operator;
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AddressRefused.selector, operator));
        factory.createWallet(config);
        assertEq(factory.walletAddress(config).code.length, 0);
    }

    function test_etherAndUnknownCallsAreRefused() public {
        vm.deal(address(this), 1);
        (bool success,) = address(wallet).call{ value: 1 }("");
        assertFalse(success);
        (success,) = address(wallet).call(abi.encodeWithSignature("upgradeTo(address)", stranger));
        assertFalse(success);
    }

    function _another() private view returns (IAgentWallet.WalletConfig memory config) {
        config = walletConfig();
        config.salt = "another";
    }
}
