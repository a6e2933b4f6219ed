// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { Treasury } from "../../src/Treasury.sol";
import { ITreasuryAccount } from "../../src/interfaces/ITreasuryAccount.sol";
import { ITreasuryFactory } from "../../src/interfaces/ITreasuryFactory.sol";
import { TreasuryTest } from "./TreasuryTest.sol";

contract FactoryTest is TreasuryTest {
    function test_theAddressIsKnownAndFundableBeforehand() public {
        Config memory config = _another();
        address predicted = factory.addressOf(config);
        mint(predicted, 7);
        vm.expectEmit(address(factory));
        emit ITreasuryFactory.TreasuryCreated(predicted, keccak256(abi.encode(config)), config.owners, 2);
        assertEq(factory.create(config), predicted);
        assertEq(ITreasuryAccount(predicted).owners(), config.owners);
        assertEq(usdc.balanceOf(predicted), 7);
    }

    function test_theSecondCallReturnsTheTreasuryThatExists() public {
        vm.recordLogs();
        assertEq(factory.create(defaultConfig()), address(treasury));
        assertEq(vm.getRecordedLogs().length, 0);
    }

    /// @param salt anything
    function testFuzz_anotherConfigurationIsAnotherTreasury(bytes32 salt) public view {
        Config memory config = defaultConfig();
        config.salt = salt;
        assertEq(factory.addressOf(config) == address(treasury), salt == bytes32(0));
        config.salt = 0;
        config.threshold = 1;
        assertNotEq(factory.addressOf(config), address(treasury));
    }

    function test_aTreasuryStartsWithItsWholeConfiguration() public {
        Config memory config = _another();
        config.grants[0].recipients = new address[](1);
        config.grants[0].recipients[0] = payee;
        ITreasuryAccount other = ITreasuryAccount(factory.create(config));
        assertEq(other.threshold(), 2);
        assertEq(other.ownerEpoch(), 1);
        assertTrue(other.isGuardian(guardian));
        (uint32 changeDelay, uint32 recipientCooldown) = other.delays();
        assertEq(changeDelay, CHANGE_DELAY);
        assertEq(recipientCooldown, COOLDOWN);
        assertEq(other.allowedFrom(spender, address(usdc), payee), block.timestamp);
        assertTrue(other.policyOf(spender, address(usdc)).active);
    }

    function test_reverts_whenAConfigurationIsInvalid() public {
        Config memory config = _another();
        config.owners = new address[](0);
        vm.expectRevert(abi.encodeWithSelector(InvalidThreshold.selector, 2, 0));
        factory.create(config);
    }

    function test_noTreasuryIsConfiguredTwiceAndNoImplementationOnce() public {
        Config memory config = _another();
        ITreasuryAccount implementation = ITreasuryAccount(factory.implementation());
        ITreasuryAccount admin = ITreasuryAccount(address(Treasury(address(implementation)).ADMIN()));
        ITreasuryAccount[3] memory configured = [treasury, implementation, admin];
        for (uint256 i = 0; i < configured.length; ++i) {
            vm.expectRevert(AlreadyInitialized.selector);
            configured[i].initialize(config);
        }
        vm.expectRevert(abi.encodeWithSelector(ApprovalsBelowThreshold.selector, 0, type(uint16).max));
        implementation.checkApprovals("id", "");
    }

    function test_etherAndUnknownCallsAreRefused() public {
        vm.deal(address(this), 1);
        (bool success,) = address(treasury).call{ value: 1 }("");
        assertFalse(success);
        (success,) = address(treasury).call(abi.encodeWithSignature("upgradeTo(address)", stranger));
        assertFalse(success);
    }

    function _another() private view returns (Config memory config) {
        config = defaultConfig();
        config.salt = "another";
    }
}
