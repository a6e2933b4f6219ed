// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import { EIP712 } from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import { SignatureChecker } from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import { EnumerableSet } from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";
import { SpendingRing } from "./SpendingLimit.sol";
import { ITreasury } from "./interfaces/ITreasury.sol";

/// @title TreasuryState
/// @notice What a treasury stores, and the checks that both of its halves make on it.
///
/// Halves. A treasury is too much code for one contract. {Treasury} moves money; what it does not know it hands to {TreasuryAdmin}, an immutable
/// address, by delegatecall. Both start from this contract and declare no state beside it that the other reads or could overlap.
///
/// Approvals. An id is an EIP-712 digest of this treasury. An owner approves it by transaction, by ECDSA, or, being a contract, by EIP-1271.
/// Approvals count when they are used, over the owners of that moment, and only then.
///
/// Epochs. Every change of owners or threshold starts a new owner epoch, every alteration of a policy a new policy epoch. Orders name both and
/// changes the first, so nothing approved before survives: an owner who was removed and returns starts from nothing.
///
/// Terms. Removing a spender's policy ends its term. A later policy begins a new one, with an empty window and an empty allowlist; nothing has
/// to be cleared.
abstract contract TreasuryState is ITreasury, EIP712, ReentrancyGuardTransient {
    using EnumerableSet for EnumerableSet.AddressSet;

    /// @dev The whole of what an order reads besides its policy, in one slot.
    struct Settings {
        uint16 threshold;
        uint32 ownerEpoch;
        uint32 changeDelay;
        uint32 recipientCooldown;
        bool paused;
        /// @dev whether any token was ever credited to anyone
        bool hasCredits;
    }

    /// @dev What a spender may do with a token. Amounts in token base units.
    struct PolicyState {
        uint56 dailyLimit;
        uint56 orderMax;
        uint56 approvalAbove;
        bool onlyAllowed;
        bool active;
        uint32 epoch;
        uint32 term;
    }

    /// @dev A policy, what was spent under it, and from when its recipients are paid.
    struct Budget {
        PolicyState policy;
        SpendingRing ring;
        mapping(uint256 term => mapping(address recipient => uint64)) allowedFrom;
    }

    uint256 private constant SIGNED_BY_KEY = 0;
    uint256 private constant APPROVED_BY_TRANSACTION = 1;
    uint256 private constant SIGNED_BY_CONTRACT = 2;

    /// @dev Half the order of secp256k1.
    bytes32 private constant S_MAX = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    // slither-disable-start unused-state -- each half of the treasury leaves some to the other
    Settings internal _settings;
    EnumerableSet.AddressSet internal _owners;
    mapping(address account => bool) internal _guardians;
    mapping(bytes32 id => mapping(address owner => bool)) internal _approved;

    /// @dev Tokens with a policy, now or before. The treasury signs nothing for them: see {Treasury.isValidSignature}.
    mapping(address token => bool) internal _budgeted;
    mapping(address spender => mapping(address token => Budget)) internal _budgets;

    mapping(address token => mapping(address account => uint256)) internal _withdrawable;
    mapping(address token => uint256) internal _credited;
    mapping(address spender => mapping(uint256 word => uint256 bits)) internal _nonces;
    mapping(bytes32 id => uint64) internal _readyAt;
    /// @dev Zero until opened; then the spender and one bit above the address, because the owners' budget is the zero spender.
    mapping(bytes32 agreement => uint256) internal _escrowSpender;
    // slither-disable-end unused-state

    modifier onlyOwnerOrGuardian() {
        if (!_owners.contains(msg.sender) && !_guardians[msg.sender]) revert NotOwnerOrGuardian(msg.sender);
        _;
    }

    /// @dev A call that {executeChange} makes.
    modifier onlySelf() {
        if (msg.sender != address(this)) revert NotSelf(msg.sender);
        _;
    }

    constructor() EIP712("Florin Treasury", "1") {
        // Treasuries are clones; the contracts whose code they run can never be configured themselves.
        _settings.threshold = type(uint16).max;
    }

    /// @dev Reverts, saying why, unless the approvals are valid now and reach the threshold. Their layout: {ITreasuryOrders.execute}.
    function _checkApprovals(bytes32 id, bytes calldata approvals, uint256 threshold_) internal view {
        address previous;
        uint256 count;
        uint256 position;
        while (position < approvals.length) {
            address owner;
            (owner, position) = _readApproval(id, approvals, position);
            if (owner <= previous) revert ApprovalsNotAscending(owner, previous);
            previous = owner;
            ++count;
        }
        if (count < threshold_) revert ApprovalsBelowThreshold(count, threshold_);
    }

    /// @dev Verifies the approval at `position`, and returns its owner and the position after it. Positions cannot overflow: each is at most
    /// 65,558 bytes past one that lies in the calldata.
    function _readApproval(bytes32 id, bytes calldata approvals, uint256 position)
        private
        view
        returns (address owner, uint256 end)
    {
        unchecked {
            uint256 kind = uint256(_word(approvals, position)) >> 248;
            bytes32 head = _word(approvals, position + 1);
            if (kind == SIGNED_BY_KEY) {
                end = position + 66;
                owner = _recover(id, head, _word(approvals, position + 33), _word(approvals, position + 65));
                _checkOwner(owner);
            } else if (kind == APPROVED_BY_TRANSACTION) {
                end = position + 21;
                owner = _leadingAddress(head);
                _checkOwner(owner);
                if (!_approved[id][owner]) revert ApprovalMissing(owner, id);
            } else if (kind == SIGNED_BY_CONTRACT) {
                uint256 start = position + 23;
                end = start + ((uint256(head) >> 80) & 0xffff);
                owner = _leadingAddress(head);
                _checkOwner(owner);
                if (end > approvals.length) revert ApprovalsMalformed();
                if (!SignatureChecker.isValidERC1271SignatureNowCalldata(owner, id, approvals[start:end])) {
                    revert ApprovalInvalid(owner, id);
                }
            }
        }
        if (end == 0 || end > approvals.length) revert ApprovalsMalformed();
    }

    /// @dev Who signed, or zero. The upper half of `s` would make a second signature of every one, so it makes none.
    function _recover(bytes32 id, bytes32 r, bytes32 s, bytes32 v) private pure returns (address) {
        if (s > S_MAX) return address(0);
        return ecrecover(id, uint8(v[0]), r, s);
    }

    function _leadingAddress(bytes32 word) private pure returns (address) {
        // forge-lint: disable-next-line(unsafe-typecast) -- the rest of the word is not the address
        return address(bytes20(word));
    }

    /// @dev The 32 bytes at `position`. What lies past the end is garbage, and {_readApproval} refuses what ends there.
    function _word(bytes calldata data, uint256 position) private pure returns (bytes32 word) {
        assembly ("memory-safe") {
            word := calldataload(add(data.offset, position))
        }
    }

    function _checkOwner(address account) internal view {
        if (!_owners.contains(account)) revert NotOwner(account);
    }

    function _checkOwnerEpoch(uint32 epoch) internal view {
        if (epoch != _settings.ownerEpoch) revert OwnersStale(epoch, _settings.ownerEpoch);
    }

    function _checkNotExpired(uint64 validUntil) internal view {
        if (block.timestamp > validUntil) revert Expired(validUntil, block.timestamp);
    }

    function _later(uint256 delay) internal view returns (uint64) {
        // forge-lint: disable-next-line(unsafe-typecast) -- a time plus at most DELAY_MAX
        return uint64(block.timestamp + delay);
    }

    function _activeBudget(address spender, address token) internal view returns (Budget storage budget) {
        budget = _budgets[spender][token];
        if (!budget.policy.active) revert PolicyInactive(spender, token);
    }

    /// @dev Credits are senior: no call of the owners takes a token that has them below their sum.
    function _checkCreditsBacked(address token) internal view {
        uint256 owed = _credited[token];
        if (owed == 0) return;
        uint256 balance = IERC20(token).balanceOf(address(this));
        if (balance < owed) revert InsufficientFunds(token, owed, balance);
    }
}
