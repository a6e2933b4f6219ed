// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { SignatureChecker } from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";
import { SafeCast } from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import { PaymentRouterFunding } from "./PaymentRouterFunding.sol";
import { ISubscriptions } from "./interfaces/ISubscriptions.sol";

/// @title PaymentRouterSubscriptions
/// @notice Payments that recur by the payer's allowance.
///
/// States: None -> Active -> Cancelled. A cancelled subscription can still be charged for what was due before its end, if it was cancelled at
/// period end; what is over stays over, and the same terms never start again.
///
/// Guarantees, whoever calls. A period is charged at most once and not before it begins; periods from before the subscription was made are never
/// charged; of missed ones at most the `catchUpMax` latest are; all charges together are at most `totalMax`; the price never rises without
/// the payer's signature; nothing is charged from the period on with which the subscription ends.
///
/// Refusals. The price goes straight from payer to payee. If the token refuses (no allowance, no funds, either of them blacklisted, a pause) the
/// charge reverts and the period stays due: the payer keeps money that the payee could not use, and no other subscription waits for it.
abstract contract PaymentRouterSubscriptions is ISubscriptions, PaymentRouterFunding {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    bytes32 private constant TERMS_TYPEHASH = keccak256(
        "SubscriptionTerms(address payer,address payee,address token,uint96 amount,uint96 totalMax,uint40 start,uint32 trial,uint32 period,uint16 catchUpMax,bytes32 salt)"
    );
    bytes32 private constant SUBSCRIBE_TYPEHASH = keccak256(
        "Subscribe(SubscriptionTerms terms,uint256 nonce,uint256 deadline)SubscriptionTerms(address payer,address payee,address token,uint96 amount,uint96 totalMax,uint40 start,uint32 trial,uint32 period,uint16 catchUpMax,bytes32 salt)"
    );
    bytes32 private constant CANCEL_TYPEHASH =
        keccak256("Cancel(bytes32 subscription,bool atPeriodEnd,uint256 nonce,uint256 deadline)");
    bytes32 private constant PRICE_CHANGE_TYPEHASH =
        keccak256("PriceChange(bytes32 subscription,uint96 price,uint256 nonce,uint256 deadline)");

    mapping(bytes32 id => Subscription subscription) private _subscriptions;
    mapping(address payer => mapping(uint256 word => uint256 bits)) private _nonces;

    /// @inheritdoc ISubscriptions
    function subscribe(SubscriptionTerms calldata terms) external nonReentrant returns (bytes32 id) {
        if (msg.sender != terms.payer) revert NotPayer(msg.sender, terms.payer);
        return _create(terms);
    }

    /// @inheritdoc ISubscriptions
    function subscribeWithSignature(
        SubscriptionTerms calldata terms,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external nonReentrant returns (bytes32 id) {
        bytes32 hash = keccak256(abi.encode(SUBSCRIBE_TYPEHASH, _termsHash(terms), nonce, deadline));
        _useSignature(terms.payer, hash, nonce, deadline, signature);
        return _create(terms);
    }

    /// @inheritdoc ISubscriptions
    function charge(SubscriptionTerms calldata terms) external nonReentrant returns (uint256 amount) {
        (bytes32 id, Subscription memory subscription) = _existing(terms);
        return _charge(id, terms, subscription);
    }

    /// @inheritdoc ISubscriptions
    function cancel(SubscriptionTerms calldata terms, bool atPeriodEnd) external nonReentrant {
        if (msg.sender != terms.payer && msg.sender != terms.payee) {
            revert NotPayerOrPayee(msg.sender, terms.payer, terms.payee);
        }
        (bytes32 id, Subscription memory subscription) = _existing(terms);
        _cancel(id, terms, subscription, atPeriodEnd, msg.sender);
    }

    /// @inheritdoc ISubscriptions
    function cancelWithSignature(
        SubscriptionTerms calldata terms,
        bool atPeriodEnd,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external nonReentrant {
        (bytes32 id, Subscription memory subscription) = _existing(terms);
        bytes32 hash = keccak256(abi.encode(CANCEL_TYPEHASH, id, atPeriodEnd, nonce, deadline));
        _useSignature(terms.payer, hash, nonce, deadline, signature);
        _cancel(id, terms, subscription, atPeriodEnd, terms.payer);
    }

    /// @inheritdoc ISubscriptions
    function lowerPrice(SubscriptionTerms calldata terms, uint96 price) external nonReentrant {
        (bytes32 id, uint96 oldPrice) = _priced(terms);
        if (price == 0) revert PriceZero();
        if (price >= oldPrice) revert PriceNotLower(price, oldPrice);
        _setPrice(id, oldPrice, price);
    }

    /// @inheritdoc ISubscriptions
    function raisePrice(
        SubscriptionTerms calldata terms,
        uint96 price,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external nonReentrant {
        (bytes32 id, uint96 oldPrice) = _priced(terms);
        if (price <= oldPrice) revert PriceNotHigher(price, oldPrice);
        bytes32 hash = keccak256(abi.encode(PRICE_CHANGE_TYPEHASH, id, price, nonce, deadline));
        _useSignature(terms.payer, hash, nonce, deadline, signature);
        _setPrice(id, oldPrice, price);
    }

    /// @inheritdoc ISubscriptions
    function cancelNonce(uint256 nonce) external {
        _useNonce(msg.sender, nonce);
        emit SubscriptionNonceCancelled(msg.sender, nonce);
    }

    // Views

    /// @inheritdoc ISubscriptions
    function subscriptionId(SubscriptionTerms calldata terms) public view returns (bytes32) {
        return _hashTypedDataV4(_termsHash(terms));
    }

    /// @inheritdoc ISubscriptions
    function subscriptionOf(bytes32 id) external view returns (Subscription memory) {
        return _subscriptions[id];
    }

    /// @inheritdoc ISubscriptions
    function due(SubscriptionTerms calldata terms) external view returns (uint256 periods, uint256 amount) {
        Subscription memory subscription = _subscriptions[subscriptionId(terms)];
        if (subscription.price == 0) return (0, 0);
        (, periods) = _due(terms, subscription);
        amount = periods * subscription.price;
    }

    /// @inheritdoc ISubscriptions
    function isNonceUsed(address payer, uint256 nonce) external view returns (bool) {
        return _nonces[payer][nonce >> 8] & (1 << (nonce & 0xff)) != 0;
    }

    // Internals

    function _create(SubscriptionTerms calldata terms) private returns (bytes32 id) {
        _checkPayee(terms.payer, terms.token, terms.payee);
        if (terms.amount == 0) revert PriceZero();
        if (terms.amount > terms.totalMax) revert PriceAboveTotal(terms.amount, terms.totalMax);
        if (terms.period == 0) revert PeriodZero();
        id = subscriptionId(terms);
        if (_subscriptions[id].price != 0) revert SubscriptionExists(id);
        uint256 begun = _begun(terms);
        Subscription memory subscription;
        subscription.price = terms.amount;
        subscription.nextPeriod = (begun == 0 ? 0 : begun - 1).toUint32();
        subscription.endPeriod = type(uint32).max;
        _subscriptions[id] = subscription;
        emit SubscriptionCreated(id, terms.payer, terms.payee, subscription.nextPeriod, terms);
        if (begun != 0) _charge(id, terms, subscription);
    }

    function _charge(bytes32 id, SubscriptionTerms calldata terms, Subscription memory subscription)
        private
        returns (uint256 amount)
    {
        (uint256 first, uint256 periods) = _due(terms, subscription);
        uint256 price = subscription.price;
        if (periods == 0) _revertNothingDue(terms, subscription, first, price);
        amount = periods * price;
        uint256 charged = subscription.charged + amount;
        // forge-lint: disable-next-line(unsafe-typecast) -- at most `totalMax`
        subscription.charged = uint96(charged);
        // forge-lint: disable-next-line(unsafe-typecast) -- at most `endPeriod`
        subscription.nextPeriod = uint32(first + periods);
        _subscriptions[id] = subscription;
        emit SubscriptionCharged(id, terms.payer, terms.payee, terms.token, amount, first, periods, charged);
        // slither-disable-next-line arbitrary-send-erc20 -- from whom agreed to the terms, whose hash is stored
        IERC20(terms.token).safeTransferFrom(terms.payer, terms.payee, amount);
    }

    function _revertNothingDue(
        SubscriptionTerms calldata terms,
        Subscription memory subscription,
        uint256 first,
        uint256 price
    ) private view {
        if (first >= subscription.endPeriod) revert SubscriptionEnded(first, subscription.endPeriod);
        if (first >= _begun(terms)) {
            revert NotDue(block.timestamp, uint256(terms.start) + terms.trial + first * terms.period);
        }
        revert TotalReached(subscription.charged + price, terms.totalMax);
    }

    /// @dev The first of the periods that can be charged now, and how many of them.
    function _due(SubscriptionTerms calldata terms, Subscription memory subscription)
        private
        view
        returns (uint256 first, uint256 periods)
    {
        uint256 begun = _begun(terms);
        uint256 forgiven = Math.saturatingSub(begun, uint256(terms.catchUpMax) + 1);
        first = Math.max(subscription.nextPeriod, forgiven);
        periods = Math.saturatingSub(Math.min(begun, subscription.endPeriod), first);
        return (first, Math.min(periods, (terms.totalMax - subscription.charged) / subscription.price));
    }

    /// @dev How many periods have begun.
    function _begun(SubscriptionTerms calldata terms) private view returns (uint256) {
        uint256 opens = uint256(terms.start) + terms.trial;
        return block.timestamp < opens ? 0 : (block.timestamp - opens) / terms.period + 1;
    }

    function _cancel(
        bytes32 id,
        SubscriptionTerms calldata terms,
        Subscription memory subscription,
        bool atPeriodEnd,
        address by
    ) private {
        uint256 end = subscription.nextPeriod;
        if (atPeriodEnd) end = Math.max(end, _begun(terms));
        if (end >= subscription.endPeriod) revert SubscriptionEnded(end, subscription.endPeriod);
        // forge-lint: disable-next-line(unsafe-typecast) -- below the `endPeriod` it had
        _subscriptions[id].endPeriod = uint32(end);
        emit SubscriptionCancelled(id, by, end);
    }

    function _existing(SubscriptionTerms calldata terms)
        private
        view
        returns (bytes32 id, Subscription memory subscription)
    {
        id = subscriptionId(terms);
        subscription = _subscriptions[id];
        if (subscription.price == 0) revert SubscriptionUnknown(id);
    }

    /// @dev A subscription and its price, for its payee.
    function _priced(SubscriptionTerms calldata terms) private view returns (bytes32 id, uint96 price) {
        if (msg.sender != terms.payee) revert NotPayee(msg.sender, terms.payee);
        Subscription memory subscription;
        (id, subscription) = _existing(terms);
        return (id, subscription.price);
    }

    function _setPrice(bytes32 id, uint96 oldPrice, uint96 price) private {
        _subscriptions[id].price = price;
        emit SubscriptionPriceChanged(id, oldPrice, price);
    }

    function _useSignature(address signer, bytes32 hash, uint256 nonce, uint256 deadline, bytes calldata signature)
        private
    {
        if (block.timestamp > deadline) revert DeadlinePassed(block.timestamp, deadline);
        _useNonce(signer, nonce);
        if (!SignatureChecker.isValidSignatureNowCalldata(signer, _hashTypedDataV4(hash), signature)) {
            revert SignatureInvalid(signer);
        }
    }

    function _useNonce(address payer, uint256 nonce) private {
        mapping(uint256 => uint256) storage nonces = _nonces[payer];
        uint256 bit = 1 << (nonce & 0xff);
        uint256 bits = nonces[nonce >> 8];
        if (bits & bit != 0) revert NonceUsed(payer, nonce);
        nonces[nonce >> 8] = bits | bit;
    }

    function _termsHash(SubscriptionTerms calldata terms) private pure returns (bytes32) {
        // The members of the terms are all of one word and in the order of their type, so their encoding is that of EIP-712.
        return keccak256(abi.encode(TERMS_TYPEHASH, terms));
    }
}
