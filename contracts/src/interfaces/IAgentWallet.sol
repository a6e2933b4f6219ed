// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { IERC1271 } from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import { IEscrow } from "./IEscrow.sol";

/// @title IAgentWallet
/// @notice The whole surface of an agent's wallet: what it is configured with, what it does, what it tells.
/// @dev Amounts are base units of the token they belong to, times are unix seconds.
interface IAgentWallet is IERC1271 {
    /// @notice What one operator may pay in one token by {executePayment} and its siblings.
    /// @dev One storage slot.
    struct Policy {
        /// @dev Most that a single payment may carry.
        uint56 paymentMax;
        /// @dev Most that may leave in any 24 hours, strictly sliding (see SpendingLimit).
        uint56 dailyLimit;
        /// @dev The tier: a payment needs approval when it, together with what was already spent in the window, is above this.
        uint56 approvalAbove;
        /// @dev First second at which nothing is paid any more. Zero: the policy does not exist.
        uint40 expiresAt;
        /// @dev Whether only recipients on the operator's allowlist may be paid.
        bool onlyAllowed;
    }

    /// @notice What one operator may sign away by EIP-3009 without any transaction of the wallet.
    /// @dev In any stretch of `W` seconds at most `ceil((W + periodSeconds + 300) / periodSeconds)` allotments of
    /// `paymentsPerPeriod * paymentMax` can leave; in a single period's validity, exactly one.
    struct Lane {
        /// @dev A token with EIP-3009 and EIP-1271 support (USDC 2.2). Zero: no lane.
        address token;
        /// @dev Most that a single authorization may carry.
        uint40 paymentMax;
        /// @dev How many authorizations a period has; their slots are numbered from zero.
        uint24 paymentsPerPeriod;
        /// @dev Length of a period. An authorization belongs to period `floor(validBefore / periodSeconds)` and is accepted from five
        /// minutes before that period begins.
        uint32 periodSeconds;
        /// @dev First second at which no authorization is accepted any more.
        uint40 expiresAt;
        /// @dev Whether only recipients on the operator's allowlist may be paid.
        bool onlyAllowed;
    }

    /// @notice A policy and the token that it is about.
    struct TokenPolicy {
        address token;
        Policy policy;
    }

    /// @notice Everything an operator begins with.
    struct OperatorConfig {
        /// @dev The agent's key. An address that signs by ECDSA; a contract can only use {executePayment}.
        address operator;
        TokenPolicy[] policies;
        /// @dev The allowlist, used by those policies and lanes that say `onlyAllowed`.
        address[] recipients;
        /// @dev The x402 lane; all zero for none.
        Lane lane;
    }

    /// @notice Everything a wallet begins with. The wallet's address commits to it.
    struct WalletConfig {
        /// @dev A person, a Treasury, any EIP-1271 account.
        address owner;
        /// @dev May freeze operators and recover a lost owner. Zero for none.
        address guardian;
        /// @dev Who may approve payments above the tier besides the owner.
        address[] approvers;
        /// @dev How many approvers replace the owner. Zero if and only if there are none.
        uint8 approvalsRequired;
        OperatorConfig[] operators;
        /// @dev Tells wallets of equal configuration apart.
        bytes32 salt;
    }

    /// @notice One payment, as operators order and approvers approve it.
    /// @dev Signed as EIP-712 `Payment(address wallet,address operator,address token,address to,uint256 amount,bytes32 paymentId,
    /// uint256 deadline,uint32 operatorEpoch,uint32 approvalEpoch)` with the two epochs that are current; see {paymentDigest}.
    struct Payment {
        address operator;
        address token;
        address to;
        uint256 amount;
        /// @dev The caller's reference, an unordered nonce: each id is paid once per wallet. Ids with the upper 248 bits in common
        /// share a storage slot, so counting upwards is the cheap way to choose them.
        bytes32 paymentId;
        /// @dev Last second at which the signatures hold.
        uint256 deadline;
    }

    /// @notice A co-signature over the digest of a {Payment}.
    struct Approval {
        /// @dev The owner or an approver; either may be an EIP-1271 account.
        address signer;
        bytes signature;
    }

    /// @notice What is known of an operator.
    struct Operator {
        /// @dev Number of its registration, never given twice; it names the operator's lane in nonces. Zero: not an operator.
        uint32 lane;
        /// @dev Signatures made under another epoch are void.
        uint32 epoch;
        bool frozen;
    }

    event WalletInitialized(address indexed owner, address indexed guardian);
    event OwnershipTransferStarted(address indexed owner, address indexed newOwner);
    /// @notice Also raises the approval epoch by one.
    event OwnershipTransferred(address indexed previousOwner, address indexed newOwner);
    event GuardianChanged(address indexed previousGuardian, address indexed newGuardian);
    event RecoveryStarted(address indexed newOwner, uint256 readyAt);
    event RecoveryCancelled(address indexed newOwner);
    event ApproversChanged(uint32 indexed approvalEpoch, address[] approvers, uint8 approvalsRequired);

    event OperatorAdded(address indexed operator, uint32 lane, uint32 epoch);
    event OperatorRemoved(address indexed operator, uint32 lane);
    event OperatorFrozen(address indexed operator, address indexed by);
    event OperatorUnfrozen(address indexed operator);
    /// @notice Everything the operator signed before is void.
    event EpochChanged(address indexed operator, uint32 epoch);
    event PolicyChanged(address indexed operator, address indexed token, Policy policy);
    event RecipientChanged(address indexed operator, address indexed recipient, bool allowed);
    event LaneOpened(address indexed operator, bytes32 indexed domainSeparator, Lane lane);
    event LaneClosed(address indexed operator, bytes32 indexed domainSeparator);

    event PaymentExecuted(
        address indexed operator, bytes32 indexed paymentId, address indexed to, address token, uint256 amount
    );
    event EscrowOpened(
        address indexed operator, bytes32 indexed agreement, address indexed seller, address token, uint256 amount
    );
    /// @dev By an operator, whose limit the bond counts against.
    event EscrowDisputed(
        address indexed operator, bytes32 indexed agreement, address indexed seller, address token, uint256 amount
    );
    event Withdrawn(address indexed token, address indexed to, uint256 amount);

    error NotFactory(address caller, address factory);
    error NotOwner(address caller, address owner);
    error NotPendingOwner(address caller, address pendingOwner);
    error NotGuardian(address caller, address guardian);
    error NotOperator(address caller);
    /// @notice An address that can never play this part: zero, the wallet itself, or one that already plays another.
    error AddressRefused(address account);
    error RecoveryNotReady(uint256 timestamp, uint256 readyAt);
    error ApproversInvalid(uint256 approvers, uint256 approvalsRequired);
    error TooMany(uint256 count, uint256 maximum);

    error OperatorExists(address operator);
    error OperatorIsFrozen(address operator);
    error LanePeriodTooShort(uint256 periodSeconds, uint256 periodSecondsMin);

    error PolicyMissing(address operator, address token);
    error PolicyExpired(uint256 timestamp, uint256 expiresAt);
    error PaymentAmountZero();
    error PaymentAboveMaximum(uint256 amount, uint256 paymentMax);
    error PaymentAlreadyExecuted(bytes32 paymentId);
    error PaymentDeadlinePassed(uint256 timestamp, uint256 deadline);
    error RecipientNotAllowed(address recipient);
    /// @notice The payment must come with approvals.
    /// @param windowSpend what would count against the limit after this payment
    error ApprovalRequired(uint256 windowSpend, uint256 approvalAbove);
    error BuyerIsNotThisWallet(address buyer);
    error NotEscrowOpener(address caller, bytes32 agreement);
    error OperatorSignatureInvalid(address signer, address operator);
    error NotApprover(address signer);
    error ApprovalsNotAscending(address previous, address next);
    error ApprovalSignatureInvalid(address signer);
    error NotEnoughApprovals(uint256 approvals, uint256 approvalsRequired);

    // Payments by operators

    /// @notice Pays within the caller's policy.
    function executePayment(address token, address to, uint256 amount, bytes32 paymentId) external;

    /// @notice Pays what an operator signed. Anyone may relay it.
    function executePaymentWithSig(Payment calldata payment, bytes calldata operatorSignature) external;

    /// @notice Pays above the tier: ordered by the operator, approved by the owner or by enough approvers.
    /// @param operatorSignature may be empty when the operator itself calls
    /// @param approvals sorted by signer, strictly ascending
    function executeApprovedPayment(
        Payment calldata payment,
        bytes calldata operatorSignature,
        Approval[] calldata approvals
    ) external;

    /// @notice Funds an escrow agreement whose buyer is this wallet, within the caller's policy and limit. The allowlist is judged on the
    /// seller and on the recipient of the fee. What is refunded comes back to the wallet; the limit stays consumed.
    function openEscrow(IEscrow.Terms calldata terms) external returns (bytes32 id);

    /// @notice Releases an agreement to its seller. By the operator who opened it, or by the owner.
    function releaseEscrow(IEscrow.Terms calldata terms) external;

    /// @notice Disputes an agreement that the wallet funded and that its seller calls delivered. For the operator that opened it, and the owner. The bond
    /// comes from the wallet; an operator's counts as a payment to the seller.
    function disputeEscrow(IEscrow.Terms calldata terms) external;

    // Owner

    function transferOwnership(address newOwner) external;
    function acceptOwnership() external;
    function withdraw(address token, address to, uint256 amount) external;
    function setGuardian(address newGuardian) external;

    /// @notice Replaces all approvers. Every approval given before is void.
    function setApprovers(address[] calldata approvers, uint8 approvalsRequired) external;

    function addOperator(OperatorConfig calldata config) external;

    /// @notice Removes an operator and voids all that it signed. Added again, it starts from nothing.
    function removeOperator(address operator) external;

    function setPolicy(address operator, address token, Policy calldata policy) external;
    function setRecipient(address operator, address recipient, bool allowed) external;

    /// @notice Opens, replaces or (with a zero token) closes the operator's lane. Voids all that the operator signed.
    function setLane(address operator, Lane calldata lane) external;

    /// @notice Voids all that the operator signed. Its lane begins the current period anew.
    function bumpEpoch(address operator) external;

    /// @notice Lets a frozen operator pay again; what it signed before stays void.
    function unfreeze(address operator) external;

    /// @notice Stops a recovery that the guardian began.
    function cancelRecovery() external;

    // Guardian (freezing also by the owner)

    function freeze(address operator) external;
    function freezeAll() external;

    /// @notice Begins to hand the wallet to `newOwner`, who can take it after the delay unless the owner objects.
    function startRecovery(address newOwner) external;

    /// @notice Called by the new owner once the delay has passed.
    function finishRecovery() external;

    // Views

    function owner() external view returns (address);
    function pendingOwner() external view returns (address);
    function guardian() external view returns (address);
    function recovery() external view returns (address newOwner, uint48 readyAt);
    function isApprover(address account) external view returns (bool);

    /// @notice How many approvers replace the owner, and the epoch that their signatures carry.
    function approvalRule() external view returns (uint8 approvalsRequired, uint32 approvalEpoch);

    function operators() external view returns (address[] memory);
    function operatorOf(address account) external view returns (Operator memory);
    function policyOf(address operator, address token) external view returns (Policy memory);
    function laneOf(address operator) external view returns (Lane memory);
    function isRecipient(address operator, address recipient) external view returns (bool);

    /// @notice The most that the limit leaves the operator to pay at this second. Ignores freeze and expiry.
    function remaining(address operator, address token) external view returns (uint256);

    /// @notice The operator who opened an agreement; zero for none.
    function escrowOpener(bytes32 agreement) external view returns (address);

    function isPaymentExecuted(bytes32 paymentId) external view returns (bool);

    /// @notice The EIP-712 digest that the operator and approvers sign at this moment.
    function paymentDigest(Payment calldata payment) external view returns (bytes32);

    /// @notice The EIP-3009 nonce of a slot of the operator's lane (layout: see LaneCodec).
    function laneNonce(address operator, uint32 period, uint32 slot) external view returns (bytes32);
}
