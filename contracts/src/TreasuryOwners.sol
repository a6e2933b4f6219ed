// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { EnumerableSet } from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";
import { TreasuryState } from "./TreasuryState.sol";
import { ITreasuryAdmin } from "./interfaces/ITreasuryAdmin.sol";

/// @title TreasuryOwners
/// @notice Owners, threshold, guardians, pause.
abstract contract TreasuryOwners is TreasuryState, ITreasuryAdmin {
    using EnumerableSet for EnumerableSet.AddressSet;

    uint256 public constant OWNERS_MAX = 32;

    // ----------------------------------------------------------------------------------------------------------- owners and guardians

    /// @inheritdoc ITreasuryAdmin
    function addOwner(address owner, uint256 threshold_) external onlySelf {
        _addOwner(owner);
        _setThreshold(threshold_);
    }

    /// @inheritdoc ITreasuryAdmin
    function removeOwner(address owner, uint256 threshold_) external onlySelf {
        _removeOwner(owner);
        _setThreshold(threshold_);
    }

    /// @inheritdoc ITreasuryAdmin
    function replaceOwner(address owner, address successor) external onlySelf {
        _removeOwner(owner);
        _addOwner(successor);
        _setThreshold(_settings.threshold);
    }

    /// @inheritdoc ITreasuryAdmin
    function setThreshold(uint256 threshold_) external onlySelf {
        _setThreshold(threshold_);
    }

    /// @inheritdoc ITreasuryAdmin
    function setGuardian(address guardian, bool active) external onlySelf {
        _setGuardian(guardian, active);
    }

    /// @inheritdoc ITreasuryAdmin
    function pause() external nonReentrant onlyOwnerOrGuardian {
        _settings.paused = true;
        emit Paused(msg.sender);
    }

    /// @inheritdoc ITreasuryAdmin
    function unpause() external onlySelf {
        _settings.paused = false;
        emit Unpaused();
    }

    // --------------------------------------------------------------------------------------------------------------------- views

    /// @inheritdoc ITreasuryAdmin
    function owners() external view returns (address[] memory) {
        return _owners.values();
    }

    // ------------------------------------------------------------------------------------------------------------------ internals

    function _initializeOwners(Config calldata config) internal {
        if (_settings.threshold != 0) revert AlreadyInitialized();
        for (uint256 i = 0; i < config.owners.length; ++i) {
            _addOwner(config.owners[i]);
        }
        _setThreshold(config.threshold);
        for (uint256 i = 0; i < config.guardians.length; ++i) {
            _setGuardian(config.guardians[i], true);
        }
    }

    function _addOwner(address owner) private {
        if (owner == address(0) || owner == address(this)) revert InvalidOwner(owner);
        if (!_owners.add(owner)) revert OwnerExists(owner);
        uint256 count = _owners.length();
        if (count > OWNERS_MAX) revert TooManyOwners(count, OWNERS_MAX);
        emit OwnerAdded(owner);
    }

    function _removeOwner(address owner) private {
        if (!_owners.remove(owner)) revert OwnerUnknown(owner);
        emit OwnerRemoved(owner);
    }

    /// @dev The end of every change of owners: keeps `1 <= threshold <= owners` and starts a new epoch.
    function _setThreshold(uint256 threshold_) private {
        uint256 count = _owners.length();
        if (threshold_ == 0 || threshold_ > count) revert InvalidThreshold(threshold_, count);
        // forge-lint: disable-next-line(unsafe-typecast) -- at most OWNERS_MAX
        _settings.threshold = uint16(threshold_);
        emit ThresholdSet(threshold_, ++_settings.ownerEpoch);
    }

    function _setGuardian(address guardian, bool active) private {
        if (guardian == address(0) || guardian == address(this)) revert InvalidGuardian(guardian);
        _guardians[guardian] = active;
        emit GuardianSet(guardian, active);
    }
}
