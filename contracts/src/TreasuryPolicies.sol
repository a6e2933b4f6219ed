// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { SpendingLimit, SpendingRing } from "./SpendingLimit.sol";
import { TreasuryState } from "./TreasuryState.sol";
import { ITreasuryAdmin } from "./interfaces/ITreasuryAdmin.sol";

/// @title TreasuryPolicies
/// @notice What each spender may do with each token.
///
/// Asymmetry. A change sets any policy; an owner or guardian alone may only narrow one. Either way the policy's epoch goes up and the orders
/// that named the earlier one are dead.
abstract contract TreasuryPolicies is TreasuryState, ITreasuryAdmin {
    // ---------------------------------------------------------------------------------------------------------------- tightening

    /// @inheritdoc ITreasuryAdmin
    function lowerPolicy(address spender, address token, Policy calldata policy)
        external
        nonReentrant
        onlyOwnerOrGuardian
    {
        Budget storage budget = _activeBudget(spender, token);
        if (
            policy.dailyLimit > budget.policy.dailyLimit || policy.orderMax > budget.policy.orderMax
                || policy.approvalAbove > budget.policy.approvalAbove
                || (budget.policy.onlyAllowed && !policy.onlyAllowed)
        ) revert NotLower(policy, _toPolicy(budget));
        _writePolicy(budget, spender, token, policy);
    }

    /// @inheritdoc ITreasuryAdmin
    function removePolicy(address spender, address token) external nonReentrant onlyOwnerOrGuardian {
        Budget storage budget = _activeBudget(spender, token);
        budget.policy.active = false;
        ++budget.policy.term;
        emit PolicyRemoved(spender, token, ++budget.policy.epoch, msg.sender);
    }

    /// @inheritdoc ITreasuryAdmin
    function removeRecipient(address spender, address token, address recipient)
        external
        nonReentrant
        onlyOwnerOrGuardian
    {
        Budget storage budget = _activeBudget(spender, token);
        budget.allowedFrom[budget.policy.term][recipient] = 0;
        emit RecipientRemoved(spender, token, recipient, msg.sender);
    }

    // ------------------------------------------------------------------------------------------------------------------ widening

    /// @inheritdoc ITreasuryAdmin
    function setPolicy(address spender, address token, Policy calldata policy) external onlySelf {
        _setPolicy(spender, token, policy);
    }

    /// @inheritdoc ITreasuryAdmin
    function allowRecipient(address spender, address token, address recipient) external onlySelf {
        _allowRecipient(spender, token, recipient, _later(_settings.recipientCooldown));
    }

    // --------------------------------------------------------------------------------------------------------------------- views

    /// @inheritdoc ITreasuryAdmin
    function policyOf(address spender, address token) external view returns (PolicyView memory) {
        Budget storage budget = _budgets[spender][token];
        return PolicyView({ policy: _toPolicy(budget), epoch: budget.policy.epoch, active: budget.policy.active });
    }

    /// @inheritdoc ITreasuryAdmin
    function remaining(address spender, address token) external view returns (uint256 total, uint256 withoutOwners) {
        Budget storage budget = _budgets[spender][token];
        if (!budget.policy.active) return (0, 0);
        total = budget.ring.remaining(budget.policy.dailyLimit, block.timestamp);
        withoutOwners = budget.ring.remaining(budget.policy.approvalAbove, block.timestamp);
    }

    /// @inheritdoc ITreasuryAdmin
    function allowedFrom(address spender, address token, address recipient) external view returns (uint64) {
        Budget storage budget = _budgets[spender][token];
        return budget.allowedFrom[budget.policy.term][recipient];
    }

    // ----------------------------------------------------------------------------------------------------------------- internals

    function _initializePolicies(Grant[] calldata grants) internal {
        for (uint256 i = 0; i < grants.length; ++i) {
            Grant calldata grant = grants[i];
            _setPolicy(grant.spender, grant.token, grant.policy);
            for (uint256 j = 0; j < grant.recipients.length; ++j) {
                _allowRecipient(grant.spender, grant.token, grant.recipients[j], _later(0));
            }
        }
    }

    function _setPolicy(address spender, address token, Policy calldata policy) private {
        if (token == address(this) || token.code.length == 0) revert InvalidToken(token);
        Budget storage budget = _budgets[spender][token];
        if (!budget.policy.active) {
            budget.policy.active = true;
            budget.ring = SpendingRing.wrap(0);
            _budgeted[token] = true;
        }
        _writePolicy(budget, spender, token, policy);
    }

    function _writePolicy(Budget storage budget, address spender, address token, Policy calldata policy) private {
        if (policy.orderMax > policy.dailyLimit || policy.approvalAbove > policy.dailyLimit) {
            revert InvalidPolicy(policy);
        }
        budget.policy.dailyLimit = policy.dailyLimit;
        budget.policy.orderMax = policy.orderMax;
        budget.policy.approvalAbove = policy.approvalAbove;
        budget.policy.onlyAllowed = policy.onlyAllowed;
        emit PolicySet(spender, token, policy, ++budget.policy.epoch, msg.sender);
    }

    function _allowRecipient(address spender, address token, address recipient, uint64 from) private {
        Budget storage budget = _activeBudget(spender, token);
        budget.allowedFrom[budget.policy.term][recipient] = from;
        emit RecipientAllowed(spender, token, recipient, from);
    }

    function _toPolicy(Budget storage budget) private view returns (Policy memory) {
        return Policy({
            dailyLimit: budget.policy.dailyLimit,
            orderMax: budget.policy.orderMax,
            approvalAbove: budget.policy.approvalAbove,
            onlyAllowed: budget.policy.onlyAllowed
        });
    }
}
