// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @title IPayouts
/// @notice What a contract that pays out owes to accounts whom a token refused. Amounts are base units of the token.
interface IPayouts {
    /// @notice The token refused a payout; the account pulls it by {withdraw}.
    /// @param id what the payout belongs to: an agreement, a payment
    event PayoutCredited(bytes32 indexed id, address indexed token, address indexed account, uint256 amount);
    event CreditWithdrawn(address indexed token, address indexed account, address indexed to, uint256 amount);

    error PartyInvalid(address party);
    error TokenMovedOtherAmount(address token, uint256 moved, uint256 expected);
    error InsufficientGas(uint256 gas, uint256 gasMin);
    error NothingToWithdraw(address token, address account);

    /// @notice Pays out what a token refused to pay to the caller, to an address the caller names.
    function withdraw(address token, address to) external returns (uint256 amount);

    /// @notice Pays an account what a token refused to pay it, now that the token does not refuse it any more. Callable by anyone: a contract that
    /// cannot call {withdraw} gets its money all the same.
    function payCredit(address token, address account) external returns (uint256 amount);

    function withdrawable(address token, address account) external view returns (uint256);
}
