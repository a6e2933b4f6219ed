// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { IAgentWallet } from "./IAgentWallet.sol";

/// @title IAgentWalletFactory
/// @notice Creates agent wallets at addresses that commit to their owner and whole initial configuration.
interface IAgentWalletFactory {
    /// @param configHash `keccak256(abi.encode(config))`, the CREATE2 salt
    event WalletCreated(address indexed wallet, address indexed owner, bytes32 indexed configHash);

    /// @notice Creates the wallet, or returns the one that exists. Anyone may call; nobody can change what is created.
    function createWallet(IAgentWallet.WalletConfig calldata config) external returns (address wallet);

    /// @notice Where the wallet of this configuration is or will be. It can be funded before it is created.
    function walletAddress(IAgentWallet.WalletConfig calldata config) external view returns (address);

    /// @notice The contract that every wallet is a minimal clone of.
    function implementation() external view returns (address);
}
