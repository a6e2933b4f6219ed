// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { IAgentWallet } from "../interfaces/IAgentWallet.sol";
import { IEscrow } from "../interfaces/IEscrow.sol";
import { WalletPayments } from "./WalletPayments.sol";

/// @title WalletEscrow
/// @notice Bigger purchases: an operator puts money into escrow under the same policy and limit under which it pays.
abstract contract WalletEscrow is WalletPayments {
    using SafeERC20 for IERC20;

    /// @notice The escrow that operators may fund.
    address public immutable ESCROW;

    /// @inheritdoc IAgentWallet
    mapping(bytes32 agreement => address operator) public escrowOpener;

    constructor(address escrow) {
        ESCROW = escrow;
    }

    /// @inheritdoc IAgentWallet
    function openEscrow(IEscrow.Terms calldata terms) external nonReentrant returns (bytes32 id) {
        // Check: nothing in the terms may send money where a payment could not.
        if (terms.buyer != address(this)) revert BuyerIsNotThisWallet(terms.buyer);
        PolicyRecord memory policy = _policies[msg.sender][terms.token];
        if (policy.onlyAllowed && terms.feeBps != 0) _checkRecipient(policy.number, terms.feeRecipient);

        // Effect.
        _spend(msg.sender, terms.token, terms.seller, terms.amount, false);
        id = IEscrow(ESCROW).agreementId(terms);
        escrowOpener[id] = msg.sender;
        emit EscrowOpened(msg.sender, id, terms.seller, terms.token, terms.amount);

        // Interaction: the escrow takes exactly the allowance, or everything is undone.
        IERC20(terms.token).forceApprove(ESCROW, terms.amount);
        // slither-disable-next-line unused-return -- the id that was computed above
        IEscrow(ESCROW).fund(terms);
    }

    /// @inheritdoc IAgentWallet
    function releaseEscrow(IEscrow.Terms calldata terms) external nonReentrant {
        if (msg.sender != owner) _requireOpener(terms);
        IEscrow(ESCROW).release(terms);
    }

    /// @inheritdoc IAgentWallet
    function disputeEscrow(IEscrow.Terms calldata terms) external nonReentrant {
        uint256 bond = terms.disputeBond;
        if (msg.sender != owner) {
            bytes32 id = _requireOpener(terms);
            // Who loses the dispute pays the bond to the other.
            if (bond != 0) _spend(msg.sender, terms.token, terms.seller, bond, false);
            emit EscrowDisputed(msg.sender, id, terms.seller, terms.token, bond);
        }
        if (bond != 0) IERC20(terms.token).forceApprove(ESCROW, bond);
        IEscrow(ESCROW).dispute(terms);
    }

    function _requireOpener(IEscrow.Terms calldata terms) private view returns (bytes32 id) {
        id = IEscrow(ESCROW).agreementId(terms);
        if (escrowOpener[id] != msg.sender) revert NotEscrowOpener(msg.sender, id);
        _requireOperator(msg.sender);
        if (_operators[msg.sender].frozen) revert OperatorIsFrozen(msg.sender);
    }

    /// @dev A plain transfer to the escrow would be lost.
    function _isSink(address to) internal view override returns (bool) {
        return to == ESCROW;
    }
}
