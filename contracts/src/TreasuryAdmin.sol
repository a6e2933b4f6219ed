// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { TreasuryChanges } from "./TreasuryChanges.sol";
import { TreasuryOwners } from "./TreasuryOwners.sol";
import { TreasuryPolicies } from "./TreasuryPolicies.sol";
import { ITreasuryAdmin } from "./interfaces/ITreasuryAdmin.sol";

/// @title TreasuryAdmin
/// @notice The half of a treasury that says who may do what. {Treasury} runs it by delegatecall, in the treasury's own storage; called
/// directly it is an empty treasury without owners that nobody can configure.
contract TreasuryAdmin is TreasuryOwners, TreasuryPolicies, TreasuryChanges {
    /// @inheritdoc ITreasuryAdmin
    function initialize(Config calldata config) external {
        _initializeOwners(config);
        _setDelays(config.changeDelay, config.recipientCooldown);
        _initializePolicies(config.grants);
    }
}
