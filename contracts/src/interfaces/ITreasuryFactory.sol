// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { ITreasury } from "./ITreasury.sol";

/// @title ITreasuryFactory
/// @notice Creates one treasury per configuration, at an address known beforehand.
interface ITreasuryFactory {
    /// @notice A treasury exists. Its own events tell the rest of its configuration.
    event TreasuryCreated(address indexed treasury, bytes32 indexed salt, address[] owners, uint256 threshold);

    /// @notice Creates the treasury of a configuration, or returns the one that exists.
    function create(ITreasury.Config calldata config) external returns (address treasury);

    /// @notice The address of the treasury of a configuration, created or not. It can be funded beforehand.
    function addressOf(ITreasury.Config calldata config) external view returns (address treasury);

    /// @notice The contract whose code every treasury runs.
    function implementation() external view returns (address);
}
