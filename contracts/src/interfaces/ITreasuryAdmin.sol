// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { ITreasury } from "./ITreasury.sol";

/// @title ITreasuryAdmin
/// @notice Who may do what: narrowing it at once, widening it by a change. Part of every treasury.
interface ITreasuryAdmin is ITreasury {
    /// @notice Configures the treasury; once, by the factory, in the call that creates it.
    function initialize(Config calldata config) external;

    // --------------------------------------------------------------------------------------------------- tightening, effective at once

    /// @notice Stops every order and every EIP-1271 answer. Owners and guardians; only a change unpauses.
    function pause() external;

    /// @notice Narrows a policy: no amount may rise, the allowlist may only be switched on. Owners and guardians.
    function lowerPolicy(address spender, address token, Policy calldata policy) external;

    /// @notice Takes a spender's policy away. Owners and guardians.
    function removePolicy(address spender, address token) external;

    /// @notice Strikes a recipient from an allowlist. Owners and guardians.
    function removeRecipient(address spender, address token, address recipient) external;

    // --------------------------------------------------------------------------------------------- widening: threshold and timelock

    /// @notice Starts the timelock of a change that the owners approved. Callable by anyone.
    function scheduleChange(Change calldata change, bytes calldata approvals) external returns (bytes32 id);

    /// @notice Executes a change whose timelock has passed. Callable by anyone.
    function executeChange(Change calldata change) external returns (bytes32 id);

    /// @notice Ends a scheduled change for good. A guardian needs no approvals, unless the change does nothing but remove guardians; anyone
    /// needs the owners' threshold over {cancellationId}.
    function cancelChange(Change calldata change, bytes calldata approvals) external;

    // ----------------------------------------------------------------------------------------- changes: only through executeChange

    function addOwner(address owner, uint256 threshold_) external;
    function removeOwner(address owner, uint256 threshold_) external;
    function replaceOwner(address owner, address successor) external;
    function setThreshold(uint256 threshold_) external;
    function setGuardian(address guardian, bool active) external;
    function setDelays(uint32 changeDelay, uint32 recipientCooldown) external;
    function unpause() external;

    /// @notice Sets a policy; a spender without one starts with an empty window and an empty allowlist.
    function setPolicy(address spender, address token, Policy calldata policy) external;

    /// @notice Enters a recipient, payable once the cool-down has passed.
    function allowRecipient(address spender, address token, address recipient) external;

    /// @notice Calls another contract, for instance an agent wallet the treasury owns. No policy limits it; the timelock announces it.
    function callContract(address target, bytes calldata data) external returns (bytes memory result);

    // ----------------------------------------------------------------------------------------------------------- views

    function owners() external view returns (address[] memory);
    function delays() external view returns (uint32 changeDelay, uint32 recipientCooldown);
    function policyOf(address spender, address token) external view returns (PolicyView memory);
    /// @notice What the spender can still move now, and how much of it without the owners.
    function remaining(address spender, address token) external view returns (uint256 total, uint256 withoutOwners);
    /// @notice From when a recipient of the allowlist can be paid; 0 when it is not on it.
    function allowedFrom(address spender, address token, address recipient) external view returns (uint64);
    /// @notice When a scheduled change executes; 0 when it was never scheduled, the largest value when it is over.
    function readyAt(bytes32 id) external view returns (uint64);
    function changeId(Change calldata change) external view returns (bytes32);
    function cancellationId(bytes32 change) external view returns (bytes32);
}
