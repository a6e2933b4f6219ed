// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { Clones } from "@openzeppelin/contracts/proxy/Clones.sol";
import { ITreasury } from "./interfaces/ITreasury.sol";
import { ITreasuryAdmin } from "./interfaces/ITreasuryAdmin.sol";
import { ITreasuryFactory } from "./interfaces/ITreasuryFactory.sol";

/// @title TreasuryFactory
/// @notice One treasury per configuration, each a minimal clone at an address that the whole configuration determines.
///
/// Front-running. The salt is the hash of everything a treasury starts with, and the clone is configured in the call that creates it. Whoever
/// creates it first creates exactly the same treasury at the same address; the second call finds it.
contract TreasuryFactory is ITreasuryFactory {
    /// @inheritdoc ITreasuryFactory
    address public immutable implementation;

    constructor(address implementation_) {
        // slither-disable-next-line missing-zero-check -- whoever deploys with another implementation deploys another factory
        implementation = implementation_;
    }

    /// @inheritdoc ITreasuryFactory
    function create(ITreasury.Config calldata config) external returns (address treasury) {
        bytes32 salt = keccak256(abi.encode(config));
        treasury = Clones.predictDeterministicAddress(implementation, salt);
        if (treasury.code.length != 0) return treasury;
        // slither-disable-next-line unused-return -- the address that was predicted above
        Clones.cloneDeterministic(implementation, salt);
        emit TreasuryCreated(treasury, salt, config.owners, config.threshold);
        ITreasuryAdmin(treasury).initialize(config);
    }

    /// @inheritdoc ITreasuryFactory
    function addressOf(ITreasury.Config calldata config) external view returns (address treasury) {
        return Clones.predictDeterministicAddress(implementation, keccak256(abi.encode(config)));
    }
}
