// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { SafeTransferLib } from "solady/utils/SafeTransferLib.sol";
import { IPayouts } from "./interfaces/IPayouts.sol";

/// @title Payouts
/// @notice Pays out, and keeps what a token refuses to pay (a blacklisted account, a paused token) as a credit of that account, so that no
/// payee can block another and nothing is dropped.
abstract contract Payouts is IPayouts, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @dev What a transfer may need. Below it, running out of gas could pass for a refusal.
    uint256 private constant TRANSFER_GAS_MIN = 150_000;

    mapping(address token => mapping(address account => uint256 amount)) public withdrawable;

    /// @inheritdoc IPayouts
    function withdraw(address token, address to) external nonReentrant returns (uint256 amount) {
        if (to == address(0) || to == address(this) || to == token) revert PartyInvalid(to);
        return _withdraw(token, msg.sender, to);
    }

    /// @inheritdoc IPayouts
    function payCredit(address token, address account) external nonReentrant returns (uint256 amount) {
        return _withdraw(token, account, account);
    }

    function _withdraw(address token, address account, address to) private returns (uint256 amount) {
        amount = withdrawable[token][account];
        if (amount == 0) revert NothingToWithdraw(token, account);
        withdrawable[token][account] = 0;
        emit CreditWithdrawn(token, account, to, amount);
        IERC20(token).safeTransfer(to, amount);
    }

    /// @dev Pays `account` or credits it.
    /// @param id what the payout belongs to: an agreement, a payment
    function _pay(bytes32 id, address token, address account, uint256 amount) internal {
        if (amount == 0) return;
        if (gasleft() < TRANSFER_GAS_MIN) revert InsufficientGas(gasleft(), TRANSFER_GAS_MIN);
        if (IERC20(token).trySafeTransfer(account, amount)) return;
        withdrawable[token][account] += amount;
        emit PayoutCredited(id, token, account, amount);
    }

    /// @dev Takes `amount` from `from` by allowance and insists that exactly it arrived.
    function _pull(address token, address from, uint256 amount) internal {
        uint256 before = _balance(token);
        // slither-disable-next-line arbitrary-send-erc20 -- callers let nobody but the payer, or whom it signed for, take from it
        IERC20(token).safeTransferFrom(from, address(this), amount);
        _requireArrived(token, before, amount);
    }

    function _balance(address token) internal view returns (uint256) {
        return SafeTransferLib.balanceOf(token, address(this));
    }

    function _requireArrived(address token, uint256 before, uint256 amount) internal view {
        uint256 moved = _balance(token) - before;
        if (moved != amount) revert TokenMovedOtherAmount(token, moved, amount);
    }
}
