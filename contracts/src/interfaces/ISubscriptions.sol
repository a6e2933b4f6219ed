// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @title ISubscriptions
/// @notice Payments that recur by the payer's allowance, at most one per period. Amounts are base units of the token, times unix seconds.
///
/// Periods are counted from `start + trial` and follow each other without gap: period `n` begins at `start + trial + n * period`. A period is paid
/// in advance, at any time from its beginning on.
interface ISubscriptions {
    /// @notice What payer and payee agree on. Terms travel in calldata; storage keeps one slot under their hash.
    struct SubscriptionTerms {
        address payer;
        /// @dev never zero, the payer, the token or the router
        address payee;
        address token;
        /// @dev price of a period at the beginning; never zero
        uint96 amount;
        /// @dev most that is charged over the life of the subscription; `type(uint96).max` for no limit
        uint96 totalMax;
        /// @dev when the trial begins, or the first period if there is none
        uint40 start;
        /// @dev seconds from `start` in which nothing is charged
        uint32 trial;
        /// @dev seconds of a period; never zero
        uint32 period;
        /// @dev how many missed periods a charge may include besides the current one; older ones are forgiven. Zero: none pile up
        uint16 catchUpMax;
        /// @dev tells two equal subscriptions apart
        bytes32 salt;
    }

    /// @notice All that changes about a subscription. One storage slot; all zero if there is none.
    struct Subscription {
        /// @dev charged so far
        uint96 charged;
        /// @dev of a period, from the next charge on
        uint96 price;
        /// @dev first period that was neither charged nor forgiven
        uint32 nextPeriod;
        /// @dev first period that is never charged; `type(uint32).max` until the subscription is cancelled
        uint32 endPeriod;
    }

    event SubscriptionCreated(
        bytes32 indexed id, address indexed payer, address indexed payee, uint256 firstPeriod, SubscriptionTerms terms
    );
    /// @param firstPeriod the first of the `periods` periods that were paid
    /// @param charged the sum of all charges
    event SubscriptionCharged(
        bytes32 indexed id,
        address indexed payer,
        address indexed payee,
        address token,
        uint256 amount,
        uint256 firstPeriod,
        uint256 periods,
        uint256 charged
    );
    /// @param endPeriod the first period that is not charged any more
    event SubscriptionCancelled(bytes32 indexed id, address indexed by, uint256 endPeriod);
    event SubscriptionPriceChanged(bytes32 indexed id, uint256 oldPrice, uint256 price);
    event SubscriptionNonceCancelled(address indexed payer, uint256 nonce);

    error NotPayer(address caller, address payer);
    error NotPayee(address caller, address payee);
    error NotPayerOrPayee(address caller, address payer, address payee);
    error PriceZero();
    error PeriodZero();
    error PriceAboveTotal(uint256 price, uint256 totalMax);
    error PriceNotLower(uint256 price, uint256 oldPrice);
    error PriceNotHigher(uint256 price, uint256 oldPrice);
    error SubscriptionExists(bytes32 id);
    error SubscriptionUnknown(bytes32 id);
    /// @notice Nothing is due before `dueAt`.
    error NotDue(uint256 timestamp, uint256 dueAt);
    error SubscriptionEnded(uint256 period, uint256 endPeriod);
    error TotalReached(uint256 total, uint256 totalMax);
    error DeadlinePassed(uint256 timestamp, uint256 deadline);
    error NonceUsed(address payer, uint256 nonce);

    /// @notice The payer subscribes. The current period is charged in the same call, unless the trial is still to come or running.
    function subscribe(SubscriptionTerms calldata terms) external returns (bytes32 id);

    /// @notice The same by the payer's EIP-712 signature of `Subscribe(SubscriptionTerms terms,uint256 nonce,uint256 deadline)`. Anyone relays.
    function subscribeWithSignature(
        SubscriptionTerms calldata terms,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external returns (bytes32 id);

    /// @notice Anyone moves the price of every due period straight from payer to payee. If the token refuses, for whatever reason, the call
    /// reverts and the periods stay due.
    function charge(SubscriptionTerms calldata terms) external returns (uint256 amount);

    /// @notice Payer or payee cancels: at once, or so that what is due until the end of the current period can still be charged. A second time only
    /// to end it sooner.
    function cancel(SubscriptionTerms calldata terms, bool atPeriodEnd) external;

    /// @notice The payer cancels by its EIP-712 signature of `Cancel(bytes32 subscription,bool atPeriodEnd,uint256 nonce,uint256 deadline)`.
    function cancelWithSignature(
        SubscriptionTerms calldata terms,
        bool atPeriodEnd,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external;

    /// @notice The payee lowers the price of all periods not yet charged.
    function lowerPrice(SubscriptionTerms calldata terms, uint96 price) external;

    /// @notice The payee raises the price with the payer's EIP-712 signature of
    /// `PriceChange(bytes32 subscription,uint96 price,uint256 nonce,uint256 deadline)`.
    function raisePrice(
        SubscriptionTerms calldata terms,
        uint96 price,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external;

    /// @notice The caller voids a nonce of its signatures. Nonces are unordered, and used once per payer.
    function cancelNonce(uint256 nonce) external;

    /// @notice The EIP-712 hash of the terms: their id.
    function subscriptionId(SubscriptionTerms calldata terms) external view returns (bytes32);
    function subscriptionOf(bytes32 id) external view returns (Subscription memory);

    /// @notice What {charge} would charge now; zeros if it would revert for other reasons than the token's.
    function due(SubscriptionTerms calldata terms) external view returns (uint256 periods, uint256 amount);
    function isNonceUsed(address payer, uint256 nonce) external view returns (bool);
}
