// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { ITreasury } from "./ITreasury.sol";

/// @title ITreasuryOrders
/// @notice Moving money within policies, and approving. Implemented by the contract that every treasury is a clone of.
interface ITreasuryOrders is ITreasury {
    // ------------------------------------------------------------------------------------------------------------------- orders

    /// @notice Executes an order of the caller's at once when it is within the tier; otherwise, and for an owner's order, proposes it.
    ///
    /// @dev Callable by `order.spender` and by owners. Proposing stores nothing.
    ///
    /// @return id the order's id, to be approved
    /// @return executed whether the money has moved
    function submit(Order calldata order) external returns (bytes32 id, bool executed);

    /// @notice Executes an order that the owners approved. Callable by anyone.
    ///
    /// @dev Limit, allowlist, expiry, epochs and every approval are judged now, whatever held when it was proposed.
    ///
    /// @param approvals the owners' approvals one after the other, in strictly ascending order of owners, each one of
    /// `0x00 ‖ r (32) ‖ s (32) ‖ v (1)`: the id signed by the owner's key;
    /// `0x01 ‖ owner (20)`: approved by the owner's transaction, see {approve};
    /// `0x02 ‖ owner (20) ‖ length (2, big-endian) ‖ signature (length)`: signed by an owner that is a contract, by EIP-1271.
    function execute(Order calldata order, bytes calldata approvals) external returns (bytes32 id);

    /// @notice Makes a nonce unusable, and so every order that carries it. Callable by the spender, an owner or a guardian.
    function cancelNonce(address spender, uint256 nonce) external;

    /// @notice Releases an agreement that the treasury opened to its seller. Callable by the spender who opened it, while it has a
    /// policy for the token, and by owners, each alone: what it locks is the seller's unless somebody disputes.
    ///
    /// @param details `abi.encode(IEscrow.Terms)`, as in the order that opened it
    function releaseEscrow(bytes calldata details) external;

    /// @notice Takes in money by EIP-3009. Callable by anyone who holds the payer's authorization. Whether `from` paid is as true as the token: a made-up
    /// one names whom it likes.
    function topUp(TopUp calldata terms, bytes calldata signature) external;

    /// @notice Pays out what the token refused to pay the caller, to an address the caller names.
    function withdrawCredit(address token, address to) external returns (uint256 amount);

    /// @notice Pays an account what the token refused to pay it, now that it does not any more. Callable by anyone.
    function payCredit(address token, address account) external returns (uint256 amount);

    // ---------------------------------------------------------------------------------------------------------------- approvals

    /// @notice Approves an id, of an order, a change, a cancellation or an EIP-1271 message, by transaction. Owners only.
    function approve(bytes32 id) external;

    /// @notice Withdraws the caller's approval by transaction. A signature once given of an order is voided by {cancelNonce}; of a change it lives until
    /// it expires, or the owners change.
    function withdrawApproval(bytes32 id) external;

    /// @notice Reverts, saying why, unless the approvals are valid now and reach the threshold.
    function checkApprovals(bytes32 id, bytes calldata approvals) external view;

    // ----------------------------------------------------------------------------------------------------------- views

    function isOwner(address account) external view returns (bool);
    function threshold() external view returns (uint256);
    function ownerEpoch() external view returns (uint32);
    function isGuardian(address account) external view returns (bool);
    function paused() external view returns (bool);
    function isNonceUsed(address spender, uint256 nonce) external view returns (bool);
    function isApproved(bytes32 id, address owner) external view returns (bool);
    function withdrawable(address token, address account) external view returns (uint256);
    /// @notice The sum of {withdrawable} over all accounts: money that is no longer the treasury's.
    function credited(address token) external view returns (uint256);
    /// @notice The spender on whose policy an escrow agreement was opened.
    function escrowSpender(bytes32 agreement) external view returns (address spender, bool opened);
    function orderId(Order calldata order) external view returns (bytes32);
    function topUpNonce(TopUp calldata terms) external view returns (bytes32);
}
