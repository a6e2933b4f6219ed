// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { ECDSA } from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import { EIP712 } from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import { SignatureChecker } from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import { SpendingRing } from "../SpendingLimit.sol";
import { IAgentWallet } from "../interfaces/IAgentWallet.sol";
import { WalletOperators } from "./WalletOperators.sol";

/// @title WalletPayments
/// @notice The only place where an operator's transaction moves money: policy, tier, limit, once per id.
abstract contract WalletPayments is EIP712, WalletOperators {
    using SafeERC20 for IERC20;

    bytes32 internal constant PAYMENT_TYPEHASH = keccak256(
        "Payment(address wallet,address operator,address token,address to,uint256 amount,bytes32 paymentId,uint256 deadline,uint32 operatorEpoch,uint32 approvalEpoch)"
    );

    /// @dev One bit per payment id, set once and for ever.
    mapping(uint256 word => uint256 bits) private _executed;

    /// @inheritdoc IAgentWallet
    function executePayment(address token, address to, uint256 amount, bytes32 paymentId) external nonReentrant {
        _pay(msg.sender, token, to, amount, paymentId, false);
    }

    /// @inheritdoc IAgentWallet
    function executePaymentWithSig(Payment calldata payment, bytes calldata operatorSignature) external nonReentrant {
        _checkDeadline(payment.deadline);
        _checkOperatorSignature(payment.operator, paymentDigest(payment), operatorSignature);
        _pay(payment.operator, payment.token, payment.to, payment.amount, payment.paymentId, false);
    }

    /// @inheritdoc IAgentWallet
    function executeApprovedPayment(
        Payment calldata payment,
        bytes calldata operatorSignature,
        Approval[] calldata approvals
    ) external nonReentrant {
        _checkDeadline(payment.deadline);
        bytes32 digest = paymentDigest(payment);
        if (msg.sender != payment.operator) _checkOperatorSignature(payment.operator, digest, operatorSignature);
        _checkApprovals(payment.operator, digest, approvals);
        _pay(payment.operator, payment.token, payment.to, payment.amount, payment.paymentId, true);
    }

    /// @inheritdoc IAgentWallet
    function withdraw(address token, address to, uint256 amount) external onlyOwner nonReentrant {
        emit Withdrawn(token, to, amount);
        IERC20(token).safeTransfer(to, amount);
    }

    /// @inheritdoc IAgentWallet
    function isPaymentExecuted(bytes32 paymentId) external view returns (bool) {
        (uint256 word, uint256 bit) = _position(paymentId);
        return _executed[word] & bit != 0;
    }

    /// @inheritdoc IAgentWallet
    function paymentDigest(Payment calldata payment) public view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(
                abi.encode(PAYMENT_TYPEHASH, address(this), payment, _operators[payment.operator].epoch, _approvalEpoch)
            )
        );
    }

    function _pay(address operator, address token, address to, uint256 amount, bytes32 paymentId, bool approved)
        private
    {
        // Check and effect: money to nobody, to itself or to a contract that cannot give it back is a mistake.
        if (to == address(0) || to == address(this) || to == token || _isSink(to)) revert RecipientNotAllowed(to);
        _spend(operator, token, to, amount, approved);
        (uint256 word, uint256 bit) = _position(paymentId);
        uint256 bits = _executed[word];
        if (bits & bit != 0) revert PaymentAlreadyExecuted(paymentId);
        _executed[word] = bits | bit;
        emit PaymentExecuted(operator, paymentId, to, token, amount);

        // Interaction: if it fails, everything above is undone with it.
        IERC20(token).safeTransfer(to, amount);
    }

    /// @dev Checks every rule of the operator for `amount` going to `payee` and counts it against the limit.
    function _spend(address operator, address token, address payee, uint256 amount, bool approved) internal {
        PolicyRecord memory policy = _policies[operator][token];
        if (policy.number == 0) {
            _requireOperator(operator);
            revert PolicyMissing(operator, token);
        }
        if (policy.frozen) revert OperatorIsFrozen(operator);
        if (block.timestamp >= policy.expiresAt) revert PolicyExpired(block.timestamp, policy.expiresAt);
        if (amount == 0) revert PaymentAmountZero();
        if (amount > policy.paymentMax) revert PaymentAboveMaximum(amount, policy.paymentMax);
        if (policy.onlyAllowed) _checkRecipient(policy.number, payee);

        mapping(address token => SpendingRing) storage rings = _rings[policy.number];
        (SpendingRing ring, uint256 windowSpend) = rings[token].spendAndSum(policy.dailyLimit, amount, block.timestamp);
        if (windowSpend > policy.approvalAbove && !approved) {
            revert ApprovalRequired(windowSpend, policy.approvalAbove);
        }
        rings[token] = ring;
    }

    function _checkRecipient(uint32 lane, address recipient) internal view {
        if (!_recipients[lane][recipient]) revert RecipientNotAllowed(recipient);
    }

    function _checkDeadline(uint256 deadline) internal view {
        if (block.timestamp > deadline) revert PaymentDeadlinePassed(block.timestamp, deadline);
    }

    /// @dev The owner alone, or as many approvers as the rule asks for. An operator approves nothing of its own.
    function _checkApprovals(address operator, bytes32 digest, Approval[] calldata approvals) internal view {
        address previous;
        for (uint256 i = 0; i < approvals.length; ++i) {
            address signer = approvals[i].signer;
            if (signer <= previous) revert ApprovalsNotAscending(previous, signer);
            previous = signer;
            bool byOwner = signer == owner;
            if (signer == operator || !(byOwner || isApprover(signer))) revert NotApprover(signer);
            if (!SignatureChecker.isValidSignatureNowCalldata(signer, digest, approvals[i].signature)) {
                revert ApprovalSignatureInvalid(signer);
            }
            if (byOwner) return;
        }
        uint256 required = _approvalsRequired;
        if (required == 0 || approvals.length < required) revert NotEnoughApprovals(approvals.length, required);
    }

    /// @dev Contracts to which a plain transfer would be lost.
    function _isSink(address to) internal view virtual returns (bool);

    function _checkOperatorSignature(address operator, bytes32 digest, bytes calldata signature) private pure {
        // slither-disable-next-line unused-return -- the signer is zero if anything is wrong
        (address signer,,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (signer == address(0) || signer != operator) revert OperatorSignatureInvalid(signer, operator);
    }

    function _position(bytes32 paymentId) private pure returns (uint256 word, uint256 bit) {
        return (uint256(paymentId) >> 8, 1 << (uint256(paymentId) & 0xff));
    }
}
