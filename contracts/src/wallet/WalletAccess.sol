// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import { IAgentWallet } from "../interfaces/IAgentWallet.sol";

/// @title WalletAccess
/// @notice Who the wallet belongs to: its owner, the guardian who recovers a lost owner, the approvers who replace the owner.
abstract contract WalletAccess is IAgentWallet, ReentrancyGuardTransient {
    struct Recovery {
        /// @dev Zero when none is under way.
        address newOwner;
        uint48 readyAt;
    }

    /// @notice How long the owner has to object to a recovery.
    uint256 public constant RECOVERY_DELAY_SECONDS = 7 days;

    uint256 public constant APPROVERS_MAX = 16;

    // slot 0
    address public owner;
    /// @dev Approvals given under another epoch are void. Changes with the approvers and with the owner.
    uint32 internal _approvalEpoch;
    uint32 private _approverSet;
    uint8 internal _approvalsRequired;
    // slot 1
    address public pendingOwner;
    // slot 2
    address public guardian;
    // slot 3
    Recovery public recovery;

    /// @dev A new set starts from nothing, nothing has to be cleared.
    mapping(uint32 approverSet => mapping(address account => bool)) private _approvers;

    modifier onlyOwner() {
        _checkOwner();
        _;
    }

    /// @dev For what only tightens.
    modifier onlyOwnerOrGuardian() {
        if (msg.sender != guardian) _checkOwner();
        _;
    }

    /// @inheritdoc IAgentWallet
    function transferOwnership(address newOwner) external onlyOwner nonReentrant {
        // slither-disable-next-line missing-zero-check -- zero takes the offer back
        pendingOwner = newOwner;
        emit OwnershipTransferStarted(owner, newOwner);
    }

    /// @inheritdoc IAgentWallet
    function acceptOwnership() external nonReentrant {
        if (msg.sender != pendingOwner) revert NotPendingOwner(msg.sender, pendingOwner);
        _changeOwner(msg.sender);
    }

    /// @inheritdoc IAgentWallet
    function setGuardian(address newGuardian) external onlyOwner nonReentrant {
        _setGuardian(newGuardian);
        // A guardian who is let go takes what it began along.
        if (recovery.newOwner != address(0)) _cancelRecovery();
    }

    /// @inheritdoc IAgentWallet
    function setApprovers(address[] calldata approvers, uint8 approvalsRequired) external onlyOwner nonReentrant {
        _setApprovers(approvers, approvalsRequired);
    }

    /// @inheritdoc IAgentWallet
    function startRecovery(address newOwner) external nonReentrant {
        if (msg.sender != guardian) revert NotGuardian(msg.sender, guardian);
        _refuseInsider(newOwner);
        uint256 readyAt = block.timestamp + RECOVERY_DELAY_SECONDS;
        // 48 bits of seconds last for 8.9 million years.
        // forge-lint: disable-next-line(unsafe-typecast)
        recovery = Recovery(newOwner, uint48(readyAt));
        emit RecoveryStarted(newOwner, readyAt);
    }

    /// @inheritdoc IAgentWallet
    function cancelRecovery() external onlyOwner nonReentrant {
        _cancelRecovery();
    }

    /// @inheritdoc IAgentWallet
    function finishRecovery() external nonReentrant {
        Recovery memory started = recovery;
        if (msg.sender != started.newOwner) revert NotPendingOwner(msg.sender, started.newOwner);
        if (block.timestamp < started.readyAt) revert RecoveryNotReady(block.timestamp, started.readyAt);
        _changeOwner(msg.sender);
    }

    /// @inheritdoc IAgentWallet
    function isApprover(address account) public view returns (bool) {
        return _approvers[_approverSet][account];
    }

    /// @inheritdoc IAgentWallet
    function approvalRule() external view returns (uint8 approvalsRequired, uint32 approvalEpoch) {
        return (_approvalsRequired, _approvalEpoch);
    }

    function _initializeAccess(WalletConfig calldata config) internal {
        _refuseInsider(config.owner);
        owner = config.owner;
        emit WalletInitialized(config.owner, config.guardian);
        _setGuardian(config.guardian);
        _setApprovers(config.approvers, config.approvalsRequired);
    }

    function _isOperator(address account) internal view virtual returns (bool);

    /// @dev Keeps the parts apart: no operator owns, guards or recovers the wallet that bounds it.
    function _refuseInsider(address account) internal view {
        if (account == address(0) || account == address(this) || _isOperator(account)) revert AddressRefused(account);
    }

    function _checkOwner() private view {
        if (msg.sender != owner) revert NotOwner(msg.sender, owner);
    }

    function _changeOwner(address newOwner) private {
        _refuseInsider(newOwner);
        emit OwnershipTransferred(owner, newOwner);
        owner = newOwner;
        delete pendingOwner;
        delete recovery;
        // What was approved for the previous owner is not approved for this one.
        ++_approvalEpoch;
    }

    function _cancelRecovery() private {
        emit RecoveryCancelled(recovery.newOwner);
        delete recovery;
    }

    function _setGuardian(address newGuardian) private {
        if (newGuardian != address(0)) _refuseInsider(newGuardian);
        emit GuardianChanged(guardian, newGuardian);
        guardian = newGuardian;
    }

    function _setApprovers(address[] calldata approvers, uint8 approvalsRequired) private {
        uint256 count = approvers.length;
        if (count > APPROVERS_MAX) revert TooMany(count, APPROVERS_MAX);
        if (approvalsRequired > count || (approvalsRequired == 0) != (count == 0)) {
            revert ApproversInvalid(count, approvalsRequired);
        }
        uint32 set = ++_approverSet;
        _approvalsRequired = approvalsRequired;
        for (uint256 i = 0; i < count; ++i) {
            address approver = approvers[i];
            if (approver == address(0) || _approvers[set][approver]) revert AddressRefused(approver);
            _approvers[set][approver] = true;
        }
        emit ApproversChanged(++_approvalEpoch, approvers, approvalsRequired);
    }
}
