// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { Address } from "@openzeppelin/contracts/utils/Address.sol";
import { ERC7739 } from "@openzeppelin/contracts/utils/cryptography/signers/draft-ERC7739.sol";
import { EnumerableSet } from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";
import { TreasuryAdmin } from "./TreasuryAdmin.sol";
import { TreasuryHash } from "./TreasuryHash.sol";
import { TreasuryOrders } from "./TreasuryOrders.sol";
import { IAgentWalletFactory } from "./interfaces/IAgentWalletFactory.sol";
import { IReceiveWithAuthorization } from "./interfaces/IReceiveWithAuthorization.sol";
import { IEscrow } from "./interfaces/IEscrow.sol";
import { ITreasuryOrders } from "./interfaces/ITreasuryOrders.sol";

/// @title Treasury
/// @notice The account of an organisation whose agents and departments spend on their own, within policies that its owners set.
///
/// Roles. *Owners*, m of n, approve orders above a spender's tier and every change. *Spenders* order payments. *Guardians*, and each owner
/// alone, can only narrow: pause, lower or remove a policy, strike a recipient, cancel a nonce; guardians also end a waiting change. Nobody
/// else can do anything but relay what these have approved.
///
/// What holds, whoever is compromised. In no 24 hours more leaves by orders than a policy's limit, not even with the approval of every owner: a
/// higher limit is a change, needs the threshold and waits for the timelock. Fewer owners than the threshold move nothing above a tier and
/// widen nothing. A spender moves its tier per window at most, into as many payments as it likes.
///
/// Signatures. The treasury signs by EIP-1271 with the owners' threshold, only in ERC-7739's nested form, so that a signature for it means
/// nothing to any other account of the same owners. It never signs to a token that has or had a policy, and not while paused: a permit or an
/// EIP-3009 authorization would pay past every policy.
///
/// Tokens. Six decimals, upgradeable and pausable by an issuer who can also blacklist. One that takes a fee or rebases is refused where it comes
/// in and where it leaves through another contract. Ether is refused.
///
/// Liveness. No party alone can lock the money for good: pausing is undone by a change, which pausing does not stop, and a guardian who vetoes
/// changes can be removed by one it cannot veto.
contract Treasury is TreasuryOrders, ERC7739 {
    using EnumerableSet for EnumerableSet.AddressSet;

    /// @notice The half of the treasury that administers it.
    TreasuryAdmin public immutable ADMIN;

    constructor(TreasuryAdmin admin, IAgentWalletFactory walletFactory, IEscrow escrow, address router)
        TreasuryOrders(walletFactory, escrow, router)
    {
        ADMIN = admin;
    }

    /// @notice Everything of {ITreasuryAdmin}. Not payable, like every function here: a treasury takes no ether.
    fallback(bytes calldata data) external returns (bytes memory) {
        return Address.functionDelegateCall(address(ADMIN), data);
    }

    /// @inheritdoc ITreasuryOrders
    function approve(bytes32 id) external nonReentrant {
        _checkOwner(msg.sender);
        _approved[id][msg.sender] = true;
        emit Approved(id, msg.sender);
    }

    /// @inheritdoc ITreasuryOrders
    function withdrawApproval(bytes32 id) external nonReentrant {
        _approved[id][msg.sender] = false;
        emit ApprovalWithdrawn(id, msg.sender);
    }

    /// @inheritdoc ITreasuryOrders
    function checkApprovals(bytes32 id, bytes calldata approvals) external view {
        _checkApprovals(id, approvals, _settings.threshold);
    }

    /// @inheritdoc ITreasuryOrders
    function topUp(TopUp calldata terms, bytes calldata signature) external nonReentrant {
        if (terms.amount == 0) revert ZeroAmount();
        uint256 before = IERC20(terms.token).balanceOf(address(this));
        emit ToppedUp(terms.token, terms.from, terms.paymentRef, terms.amount, terms.category);
        IReceiveWithAuthorization(terms.token)
            .receiveWithAuthorization(
                terms.from,
                address(this),
                terms.amount,
                terms.validAfter,
                terms.validBefore,
                topUpNonce(terms),
                signature
            );
        uint256 moved = IERC20(terms.token).balanceOf(address(this)) - before;
        if (moved != terms.amount) revert BalanceMismatch(terms.token, moved, terms.amount);
    }

    /// @inheritdoc ITreasuryOrders
    function topUpNonce(TopUp calldata terms) public view returns (bytes32) {
        return _hashTypedDataV4(TreasuryHash.topUpHash(terms));
    }

    /// @notice EIP-1271 in the form of ERC-7739, signed with the owners' approvals as {execute} takes them.
    function isValidSignature(bytes32 hash, bytes calldata signature) public view override returns (bytes4) {
        if (_settings.paused || _budgeted[msg.sender]) return 0xffffffff;
        return super.isValidSignature(hash, signature);
    }

    /// @dev By call, because here approvals that do not suffice are an answer, not a failure.
    // slither-disable-next-line dead-code -- ERC7739 calls it
    function _rawSignatureValidation(bytes32 hash, bytes calldata signature) internal view override returns (bool) {
        try this.checkApprovals(hash, signature) {
            return true;
        } catch {
            return false;
        }
    }

    /// @inheritdoc ITreasuryOrders
    function isOwner(address account) external view returns (bool) {
        return _owners.contains(account);
    }

    /// @inheritdoc ITreasuryOrders
    function threshold() external view returns (uint256) {
        return _settings.threshold;
    }

    /// @inheritdoc ITreasuryOrders
    function ownerEpoch() external view returns (uint32) {
        return _settings.ownerEpoch;
    }

    /// @inheritdoc ITreasuryOrders
    function paused() external view returns (bool) {
        return _settings.paused;
    }

    /// @inheritdoc ITreasuryOrders
    function isGuardian(address account) external view returns (bool) {
        return _guardians[account];
    }

    /// @inheritdoc ITreasuryOrders
    function isApproved(bytes32 id, address owner) external view returns (bool) {
        return _approved[id][owner];
    }
}
