// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { Clones } from "@openzeppelin/contracts/proxy/Clones.sol";
import { AgentWallet } from "./AgentWallet.sol";
import { IAgentWallet } from "./interfaces/IAgentWallet.sol";
import { IAgentWalletFactory } from "./interfaces/IAgentWalletFactory.sol";

/// @title AgentWalletFactory
/// @notice Creates agent wallets, each a minimal clone at an address that commits to its owner and whole configuration.
///
/// Guarantees. The CREATE2 salt is the hash of the configuration, and the wallet is initialised with that configuration in the call
/// that creates it. So whoever calls, early or late, first or again, the address can only ever hold that very wallet: a front-runner
/// pays for the deployment and changes nothing, and a second call returns the wallet that is there. The address is known beforehand,
/// can receive money before the wallet exists, and the wallet's first payment can carry its own creation (ERC-6492, with
/// {createWallet} as the factory call).
///
/// The factory has no owner, no power over wallets, and holds nothing. Deployed with the same escrow address, it and all its wallets
/// have the same addresses on every chain.
contract AgentWalletFactory is IAgentWalletFactory {
    /// @inheritdoc IAgentWalletFactory
    address public immutable implementation;

    constructor(address escrow) {
        // slither-disable-next-line missing-zero-check -- whoever deploys with another escrow deploys another factory
        implementation = address(new AgentWallet(escrow));
    }

    /// @inheritdoc IAgentWalletFactory
    function createWallet(IAgentWallet.WalletConfig calldata config) external returns (address wallet) {
        bytes32 configHash = keccak256(abi.encode(config));
        wallet = Clones.predictDeterministicAddress(implementation, configHash);
        if (wallet.code.length != 0) return wallet;
        // slither-disable-next-line unused-return -- the address that was predicted above
        Clones.cloneDeterministic(implementation, configHash);
        emit WalletCreated(wallet, config.owner, configHash);
        AgentWallet(wallet).initialize(config);
    }

    /// @inheritdoc IAgentWalletFactory
    function walletAddress(IAgentWallet.WalletConfig calldata config) external view returns (address) {
        return Clones.predictDeterministicAddress(implementation, keccak256(abi.encode(config)));
    }
}
