// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { Address } from "@openzeppelin/contracts/utils/Address.sol";
import { TreasuryHash } from "./TreasuryHash.sol";
import { TreasuryState } from "./TreasuryState.sol";
import { ITreasuryAdmin } from "./interfaces/ITreasuryAdmin.sol";

/// @title TreasuryChanges
/// @notice Whatever widens power: approved by the owners' threshold, announced for the length of the timelock, executed by anyone.
///
/// Veto. While a change waits, a guardian can end it alone, and the owners' threshold can. What a guardian cannot stop is its own removal:
/// otherwise one lost guardian key would freeze the organisation for good.
abstract contract TreasuryChanges is TreasuryState, ITreasuryAdmin {
    using TreasuryHash for Change;

    uint32 public constant CHANGE_DELAY_MIN = 1 hours;
    uint32 public constant DELAY_MAX = 30 days;

    /// @dev What {readyAt} answers for a change that was executed or cancelled.
    uint64 private constant OVER = type(uint64).max;

    /// @dev Selector and two words.
    uint256 private constant SET_GUARDIAN_CALL_LENGTH = 68;

    /// @inheritdoc ITreasuryAdmin
    function scheduleChange(Change calldata change, bytes calldata approvals)
        external
        nonReentrant
        returns (bytes32 id)
    {
        id = changeId(change);
        if (change.calls.length == 0) revert ChangeEmpty();
        if (_readyAt[id] != 0) revert ChangeAlreadyScheduled(id);
        _checkOwnerEpoch(change.ownerEpoch);
        uint64 ready = _later(_settings.changeDelay);
        if (change.validUntil < ready) revert Expired(change.validUntil, ready);
        _checkApprovals(id, approvals, _settings.threshold);
        _readyAt[id] = ready;
        emit ChangeScheduled(id, ready, change);
    }

    /// @inheritdoc ITreasuryAdmin
    function executeChange(Change calldata change) external nonReentrant returns (bytes32 id) {
        id = changeId(change);
        uint64 ready = _scheduled(id);
        if (block.timestamp < ready) revert ChangeNotReady(ready, block.timestamp);
        _checkNotExpired(change.validUntil);
        _checkOwnerEpoch(change.ownerEpoch);
        _readyAt[id] = OVER;
        emit ChangeExecuted(id);
        for (uint256 i = 0; i < change.calls.length; ++i) {
            // slither-disable-next-line unused-return -- the functions of a change return nothing
            Address.functionCall(address(this), change.calls[i]);
        }
    }

    /// @inheritdoc ITreasuryAdmin
    function cancelChange(Change calldata change, bytes calldata approvals) external nonReentrant {
        bytes32 id = changeId(change);
        _scheduled(id);
        if (!_guardians[msg.sender] || _onlyRemovesGuardians(change.calls)) {
            _checkApprovals(cancellationId(id), approvals, _settings.threshold);
        }
        _readyAt[id] = OVER;
        emit ChangeCancelled(id, msg.sender);
    }

    /// @inheritdoc ITreasuryAdmin
    function setDelays(uint32 changeDelay, uint32 recipientCooldown) external onlySelf {
        _setDelays(changeDelay, recipientCooldown);
    }

    /// @inheritdoc ITreasuryAdmin
    function callContract(address target, bytes calldata data) external onlySelf returns (bytes memory result) {
        if (target == address(this)) revert InvalidTarget(target);
        result = Address.functionCall(target, data);
        _checkCreditsBacked(target);
        emit Called(target, data, result);
    }

    /// @inheritdoc ITreasuryAdmin
    function delays() external view returns (uint32 changeDelay, uint32 recipientCooldown) {
        return (_settings.changeDelay, _settings.recipientCooldown);
    }

    /// @inheritdoc ITreasuryAdmin
    function readyAt(bytes32 id) external view returns (uint64) {
        return _readyAt[id];
    }

    /// @inheritdoc ITreasuryAdmin
    function changeId(Change calldata change) public view returns (bytes32) {
        return _hashTypedDataV4(change.changeHash());
    }

    /// @inheritdoc ITreasuryAdmin
    function cancellationId(bytes32 change) public view returns (bytes32) {
        return _hashTypedDataV4(TreasuryHash.cancellationHash(change));
    }

    function _setDelays(uint32 changeDelay, uint32 recipientCooldown) internal {
        if (changeDelay < CHANGE_DELAY_MIN || changeDelay > DELAY_MAX) {
            revert InvalidDelay(changeDelay, CHANGE_DELAY_MIN, DELAY_MAX);
        }
        if (recipientCooldown > DELAY_MAX) revert InvalidDelay(recipientCooldown, 0, DELAY_MAX);
        _settings.changeDelay = changeDelay;
        _settings.recipientCooldown = recipientCooldown;
        emit DelaysSet(changeDelay, recipientCooldown);
    }

    function _scheduled(bytes32 id) private view returns (uint64 ready) {
        ready = _readyAt[id];
        if (ready == 0 || ready == OVER) revert ChangeNotScheduled(id);
    }

    function _onlyRemovesGuardians(bytes[] calldata calls) private pure returns (bool) {
        for (uint256 i = 0; i < calls.length; ++i) {
            if (calls[i].length != SET_GUARDIAN_CALL_LENGTH || bytes4(calls[i]) != this.setGuardian.selector) {
                return false;
            }
            if (bytes32(calls[i][36:]) != 0) return false;
        }
        return true;
    }
}
