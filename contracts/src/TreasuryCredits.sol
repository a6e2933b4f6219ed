// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { TreasuryState } from "./TreasuryState.sol";
import { ITreasuryOrders } from "./interfaces/ITreasuryOrders.sol";

/// @title TreasuryCredits
/// @notice Payees of a batch whom the token refused, and what they are owed.
///
/// A credit was charged to its spender's policy and is no longer the treasury's: orders spend only what is left beside the credits. The
/// credited account pulls it to an address it names, because it may be the one that the token refuses. A token that forbids a transfer to that
/// address forbids it here as well.
abstract contract TreasuryCredits is TreasuryState, ITreasuryOrders {
    using SafeERC20 for IERC20;

    /// @inheritdoc ITreasuryOrders
    function withdrawCredit(address token, address to) external nonReentrant returns (uint256 amount) {
        if (to == address(0) || to == address(this) || to == token) revert InvalidPayee(to);
        return _withdrawCredit(token, msg.sender, to);
    }

    /// @inheritdoc ITreasuryOrders
    function payCredit(address token, address account) external nonReentrant returns (uint256 amount) {
        return _withdrawCredit(token, account, account);
    }

    function _withdrawCredit(address token, address account, address to) private returns (uint256 amount) {
        amount = _withdrawable[token][account];
        if (amount == 0) revert NothingToWithdraw(token, account);
        _withdrawable[token][account] = 0;
        _credited[token] -= amount;
        emit CreditWithdrawn(token, account, to, amount);
        IERC20(token).safeTransfer(to, amount);
    }

    /// @inheritdoc ITreasuryOrders
    function withdrawable(address token, address account) external view returns (uint256) {
        return _withdrawable[token][account];
    }

    /// @inheritdoc ITreasuryOrders
    function credited(address token) external view returns (uint256) {
        return _credited[token];
    }

    function _credit(address token, address account, uint256 amount) internal {
        _settings.hasCredits = true;
        _withdrawable[token][account] += amount;
        _credited[token] += amount;
    }

    /// @dev What orders can spend: the balance less what is owed to credited payees.
    function _available(address token) internal view returns (uint256) {
        uint256 balance = IERC20(token).balanceOf(address(this));
        uint256 owed = _credited[token];
        return balance > owed ? balance - owed : 0;
    }

    function _checkAvailable(address token, uint256 amount) internal view {
        uint256 available = _available(token);
        if (available < amount) revert InsufficientFunds(token, amount, available);
    }
}
