// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @title ITreasury
/// @notice The words of a treasury: what it is told, what it tells, what it refuses. {ITreasuryAccount} is what can be called.
///
/// Two kinds of things happen in a treasury. An {Order} moves money within a spender's policy; a {Change} alters who may do what. Both are
/// EIP-712 structs, and the digest of one is its id: owners approve an id by transaction or by signing it off chain.
interface ITreasury {
    // ------------------------------------------------------------------------------------------------------------------- structs

    /// @notice What an order does with the money it takes.
    enum Operation {
        /// Transfers each payment to its payee. `details` are not used. Funding an existing agent wallet is this.
        Pay,
        /// Creates an agent wallet (or finds it created) and sends it the one payment. `details` is `abi.encode(IAgentWallet.WalletConfig)`
        /// and the payee the address of the wallet.
        CreateWallet,
        /// Funds one escrow agreement. `details` is `abi.encode(IEscrow.Terms)`, the payee its seller, `paymentRef` its agreement id.
        OpenEscrow,
        /// Disputes an agreement that the treasury opened. `details` as for {OpenEscrow}, the payment is the bond, the payee the seller, who
        /// gets it if the dispute is lost. The one payment that may be zero.
        DisputeEscrow,
        /// Calls the payment router with an allowance of exactly the one payment, whose payee is the router. `details` is the calldata.
        /// Never executes without the owners' threshold.
        CallRouter
    }

    /// @notice One payee of an order.
    struct Payment {
        /// @dev who is paid; never zero, the treasury or the token
        address to;
        /// @dev token base units; never zero
        uint256 amount;
        /// @dev invoice or payment reference, for the books; free to choose
        bytes32 paymentRef;
    }

    /// @notice A request to spend within a policy. Its id is its EIP-712 digest, in which the treasury's address comes first.
    struct Order {
        /// @dev whose policy is charged; zero is the owners' own budget
        address spender;
        /// @dev the token that is spent
        address token;
        /// @dev what is done with the money
        Operation operation;
        /// @dev budget category, for the books; free to choose
        bytes32 category;
        /// @dev the payees; exactly one unless the operation is {Operation.Pay}
        Payment[] payments;
        /// @dev what the operation needs besides, see {Operation}
        bytes details;
        /// @dev unordered, once per spender
        uint256 nonce;
        /// @dev last second at which the order executes, Unix time
        uint64 validUntil;
        /// @dev {PolicyView.epoch} at the time of asking; the order dies when the policy changes
        uint32 policyEpoch;
        /// @dev {ownerEpoch} at the time of asking; the order dies when owners or threshold change
        uint32 ownerEpoch;
    }

    /// @notice A request to alter the treasury: calls of its own administrative functions, in order, all or none.
    struct Change {
        /// @dev ABI-encoded calls of the functions under "Changes" below
        bytes[] calls;
        /// @dev tells two equal changes apart
        uint256 nonce;
        /// @dev last second at which the change executes, Unix time
        uint64 validUntil;
        /// @dev {ownerEpoch} at the time of asking; the change dies when owners or threshold change
        uint32 ownerEpoch;
    }

    /// @notice What a spender may do with one token. Amounts are token base units.
    struct Policy {
        /// @dev most that leaves in any 24 hours
        uint56 dailyLimit;
        /// @dev most that one order moves
        uint56 orderMax;
        /// @dev the tier: an order needs the owners when it, with what the window already holds, is above this
        uint56 approvalAbove;
        /// @dev whether only recipients of the allowlist are paid
        bool onlyAllowed;
    }

    /// @notice A policy as it stands.
    struct PolicyView {
        Policy policy;
        /// @dev goes up with every alteration
        uint32 epoch;
        /// @dev false: never set, or removed
        bool active;
    }

    /// @notice A policy of the initial configuration.
    struct Grant {
        address spender;
        address token;
        Policy policy;
        /// @dev the allowlist, usable at once
        address[] recipients;
    }

    /// @notice The initial configuration. Its hash is the CREATE2 salt of the treasury.
    struct Config {
        /// @dev at least one, at most {OWNERS_MAX}; none zero, twice or the treasury
        address[] owners;
        /// @dev approvals needed, `1 <= threshold <= owners`
        uint16 threshold;
        address[] guardians;
        /// @dev seconds between scheduling and executing a change
        uint32 changeDelay;
        /// @dev seconds until a new allowlist entry can be paid
        uint32 recipientCooldown;
        Grant[] grants;
        /// @dev tells two equal configurations apart
        bytes32 salt;
    }

    /// @notice An EIP-3009 authorization that pays into the treasury. Its nonce is {topUpNonce}.
    struct TopUp {
        address token;
        address from;
        uint256 amount;
        uint256 validAfter;
        uint256 validBefore;
        /// @dev budget category, bound by the authorization's nonce
        bytes32 category;
        /// @dev payment reference, bound by the authorization's nonce
        bytes32 paymentRef;
        /// @dev tells two equal top-ups apart
        uint256 salt;
    }

    // -------------------------------------------------------------------------------------------------------------------- events

    /// @notice An owner joined.
    event OwnerAdded(address indexed owner);
    /// @notice An owner left.
    event OwnerRemoved(address indexed owner);
    /// @notice The owners or the threshold changed; whatever was approved under an earlier epoch is dead.
    event ThresholdSet(uint256 threshold, uint32 ownerEpoch);
    event GuardianSet(address indexed guardian, bool active);
    event DelaysSet(uint32 changeDelay, uint32 recipientCooldown);
    event Paused(address indexed by);
    event Unpaused();

    /// @notice A policy was set, or lowered by `by`; `by` is the treasury itself when a change did it.
    event PolicySet(address indexed spender, address indexed token, Policy policy, uint32 epoch, address indexed by);
    /// @notice A spender lost its policy, and with it the allowlist and the spend history.
    event PolicyRemoved(address indexed spender, address indexed token, uint32 epoch, address indexed by);
    /// @notice A recipient can be paid from `from` on, Unix time.
    event RecipientAllowed(address indexed spender, address indexed token, address indexed recipient, uint64 from);
    event RecipientRemoved(address indexed spender, address indexed token, address indexed recipient, address by);

    /// @notice An order waits for the owners. Nothing is stored: this event is the proposal.
    event OrderProposed(bytes32 indexed id, address indexed spender, address indexed proposer, Order order);
    /// @notice An order was executed and its spender's policy charged. Once per payment of the order.
    event OrderExecuted(
        bytes32 indexed id,
        address indexed spender,
        address to,
        address token,
        uint256 amount,
        bytes32 paymentRef,
        bytes32 category,
        uint256 nonce
    );
    /// @notice The token refused a payment of an executed batch; the payee pulls the amount by {withdrawCredit}.
    event PaymentCredited(
        bytes32 indexed id, address indexed to, bytes32 indexed paymentRef, address token, uint256 amount
    );
    event CreditWithdrawn(address indexed token, address indexed account, address indexed to, uint256 amount);
    event ToppedUp(
        address indexed token, address indexed from, bytes32 indexed paymentRef, uint256 amount, bytes32 category
    );
    event NonceCancelled(address indexed spender, uint256 nonce, address indexed by);

    /// @notice An owner approved an id by transaction.
    event Approved(bytes32 indexed id, address indexed owner);
    event ApprovalWithdrawn(bytes32 indexed id, address indexed owner);

    /// @notice A change was approved and executes from `readyAt` on, Unix time.
    event ChangeScheduled(bytes32 indexed id, uint64 readyAt, Change change);
    event ChangeExecuted(bytes32 indexed id);
    event ChangeCancelled(bytes32 indexed id, address indexed by);
    /// @notice A change called another contract.
    event Called(address indexed target, bytes data, bytes result);

    // -------------------------------------------------------------------------------------------------------------------- errors

    error AlreadyInitialized();
    error NotOwner(address caller);
    error NotOwnerOrGuardian(address caller);
    /// @notice Only a change calls this function.
    error NotSelf(address caller);
    /// @notice Neither the spender of the order nor an owner.
    error NotSpenderOrOwner(address caller, address spender);
    error InvalidOwner(address owner);
    error OwnerExists(address owner);
    error OwnerUnknown(address owner);
    error TooManyOwners(uint256 owners, uint256 ownersMax);
    error InvalidThreshold(uint256 threshold, uint256 owners);
    error InvalidGuardian(address guardian);
    error InvalidDelay(uint256 delay, uint256 delayMin, uint256 delayMax);

    /// @notice Owners of approvals ascend strictly, so that none counts twice.
    error ApprovalsNotAscending(address owner, address previous);
    error ApprovalInvalid(address owner, bytes32 id);
    error ApprovalMissing(address owner, bytes32 id);
    /// @notice Cut off, or of no known kind.
    error ApprovalsMalformed();
    error ApprovalsBelowThreshold(uint256 approvals, uint256 threshold);

    error IsPaused();
    error PolicyInactive(address spender, address token);
    error PolicyStale(uint32 epoch, uint32 current);
    error OwnersStale(uint32 epoch, uint32 current);
    error Expired(uint64 validUntil, uint256 timestamp);
    error NonceUsed(address spender, uint256 nonce);
    error OrderMaxExceeded(uint256 total, uint256 orderMax);
    error RecipientNotAllowed(address recipient, uint64 allowedFrom, uint256 timestamp);
    error InvalidPolicy(Policy policy);
    error NotLower(Policy proposed, Policy current);

    error InvalidPayee(address payee);
    error ZeroAmount();
    /// @notice The operation takes another number of payments.
    error InvalidPaymentCount(uint256 payments, uint256 paymentsMax);
    /// @notice The details of the order are about another payee, amount, token, buyer or id than its payment.
    error DetailsMismatch();
    error PaymentRefused(address token, address to, uint256 amount);
    error InsufficientFunds(address token, uint256 needed, uint256 available);
    /// @notice Too little gas to tell a token's refusal from starvation.
    error InsufficientGas(uint256 gas, uint256 gasMin);
    /// @notice The balance moved by another amount than the order's.
    error BalanceMismatch(address token, uint256 moved, uint256 expected);
    error NothingToWithdraw(address token, address account);

    error ChangeEmpty();
    error ChangeAlreadyScheduled(bytes32 id);
    error ChangeNotScheduled(bytes32 id);
    error ChangeNotReady(uint64 readyAt, uint256 timestamp);
    error InvalidTarget(address target);
    /// @notice No contract, or the treasury.
    error InvalidToken(address token);
}
