// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { Address } from "@openzeppelin/contracts/utils/Address.sol";
import { EnumerableSet } from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";
import { SpendingLimit } from "./SpendingLimit.sol";
import { TreasuryCredits } from "./TreasuryCredits.sol";
import { TreasuryHash } from "./TreasuryHash.sol";
import { IAgentWalletFactory } from "./interfaces/IAgentWalletFactory.sol";
import { IEscrow } from "./interfaces/IEscrow.sol";
import { ITreasuryOrders } from "./interfaces/ITreasuryOrders.sol";

/// @title TreasuryOrders
/// @notice The only way money leaves a treasury within a policy, and the whole way from request to payment.
///
/// One path. A spender's order within its tier executes in {submit}; any other waits for the owners and executes in {execute}. Both run the same
/// checks at the moment the money moves: expiry, both epochs, the nonce, payees, allowlist, order maximum and window. A proposal is an event
/// and an approval a flag, so a proposal that nobody wants consumes nothing.
///
/// Consumption. Window and nonce are spent in the transaction that moves the money, and only if it does. A batch whose payee is refused by the
/// token has spent all the same: the amount belongs to the payee, see {withdrawCredit}. A lone payment that is refused reverts.
abstract contract TreasuryOrders is TreasuryCredits {
    using EnumerableSet for EnumerableSet.AddressSet;
    using SafeERC20 for IERC20;
    using TreasuryHash for Order;

    uint256 public constant PAYMENTS_MAX = 200;

    /// @dev With less gas left, a failing transfer of a batch might be starved rather than refused. USDC takes under 70,000.
    uint256 public constant TRANSFER_GAS_MIN = 150_000;

    IAgentWalletFactory public immutable WALLET_FACTORY;
    IEscrow public immutable ESCROW;
    address public immutable ROUTER;

    constructor(IAgentWalletFactory walletFactory, IEscrow escrow, address router) {
        WALLET_FACTORY = walletFactory;
        ESCROW = escrow;
        ROUTER = router;
    }

    /// @inheritdoc ITreasuryOrders
    function submit(Order calldata order) external nonReentrant returns (bytes32 id, bool executed) {
        Settings memory settings = _settings;
        if (settings.paused) revert IsPaused();
        bool bySpender = msg.sender == order.spender;
        if (!bySpender && !_owners.contains(msg.sender)) revert NotSpenderOrOwner(msg.sender, order.spender);
        id = orderId(order);
        (uint256 total, Budget storage budget, uint56 dailyLimit, uint56 approvalAbove) =
            _checkOrder(order, settings.ownerEpoch);
        bool withinTier = total <= budget.ring.remaining(approvalAbove, block.timestamp);
        if (bySpender && withinTier && !_needsOwners(order)) {
            _execute(id, order, total, budget, dailyLimit, settings.hasCredits);
            return (id, true);
        }
        if (isNonceUsed(order.spender, order.nonce)) revert NonceUsed(order.spender, order.nonce);
        emit OrderProposed(id, order.spender, msg.sender, order);
    }

    /// @inheritdoc ITreasuryOrders
    function execute(Order calldata order, bytes calldata approvals) external nonReentrant returns (bytes32 id) {
        Settings memory settings = _settings;
        // A dispute cannot wait until the pause is over: the money would go to the seller.
        if (settings.paused && order.operation != Operation.DisputeEscrow) revert IsPaused();
        id = orderId(order);
        (uint256 total, Budget storage budget, uint56 dailyLimit,) = _checkOrder(order, settings.ownerEpoch);
        _checkApprovals(id, approvals, settings.threshold);
        _execute(id, order, total, budget, dailyLimit, settings.hasCredits);
    }

    /// @inheritdoc ITreasuryOrders
    function cancelNonce(address spender, uint256 nonce) external nonReentrant {
        if (msg.sender != spender && !_owners.contains(msg.sender) && !_guardians[msg.sender]) {
            revert NotOwnerOrGuardian(msg.sender);
        }
        _useNonce(spender, nonce);
        emit NonceCancelled(spender, nonce, msg.sender);
    }

    /// @inheritdoc ITreasuryOrders
    function releaseEscrow(bytes calldata details) external nonReentrant {
        if (_settings.paused) revert IsPaused();
        IEscrow.Terms memory terms = abi.decode(details, (IEscrow.Terms));
        (address spender, bool opened) = escrowSpender(ESCROW.agreementId(terms));
        if (!_owners.contains(msg.sender)) {
            if (!opened || msg.sender != spender) revert NotSpenderOrOwner(msg.sender, spender);
            // Whose policy was removed is not trusted any more.
            _activeBudget(spender, terms.token);
        }
        ESCROW.release(terms);
    }

    /// @inheritdoc ITreasuryOrders
    function escrowSpender(bytes32 agreement) public view returns (address spender, bool opened) {
        uint256 packed = _escrowSpender[agreement];
        // forge-lint: disable-next-line(unsafe-typecast) -- the upper bit is meant to go
        return (address(uint160(packed)), packed != 0);
    }

    /// @inheritdoc ITreasuryOrders
    function isNonceUsed(address spender, uint256 nonce) public view returns (bool) {
        // forge-lint: disable-next-line(incorrect-shift) -- one bit, at the place that the nonce names
        return _nonces[spender][nonce >> 8] & (1 << (nonce & 0xff)) != 0;
    }

    /// @inheritdoc ITreasuryOrders
    function orderId(Order calldata order) public view returns (bytes32) {
        return _hashTypedDataV4(order.orderHash());
    }

    // -------------------------------------------------------------------------------------------------------------------- checks

    /// @dev Everything but nonce and window, which are judged by spending them. Returns the total and the budget that it charges, with what
    /// the spending still needs of its policy.
    function _checkOrder(Order calldata order, uint32 ownerEpoch_)
        private
        view
        returns (uint256 total, Budget storage budget, uint56 dailyLimit, uint56 approvalAbove)
    {
        _checkNotExpired(order.validUntil);
        if (order.ownerEpoch != ownerEpoch_) revert OwnersStale(order.ownerEpoch, ownerEpoch_);
        Payment[] calldata payments = order.payments;
        address token = order.token;
        total = _checkPayments(order.operation, token, payments);
        budget = _budgets[order.spender][token];
        PolicyState memory policy = budget.policy;
        if (!policy.active) revert PolicyInactive(order.spender, token);
        if (order.policyEpoch != policy.epoch) revert PolicyStale(order.policyEpoch, policy.epoch);
        if (total > policy.orderMax) revert OrderMaxExceeded(total, policy.orderMax);
        if (policy.onlyAllowed) _checkRecipients(budget.allowedFrom[policy.term], payments);
        return (total, budget, policy.dailyLimit, policy.approvalAbove);
    }

    function _checkPayments(Operation operation, address token, Payment[] calldata payments)
        private
        view
        returns (uint256 total)
    {
        uint256 countMax = operation == Operation.Pay ? PAYMENTS_MAX : 1;
        if (payments.length == 0 || payments.length > countMax) revert InvalidPaymentCount(payments.length, countMax);
        for (uint256 i = 0; i < payments.length; ++i) {
            Payment calldata payment = payments[i];
            address to = payment.to;
            if (to == address(0) || to == address(this) || to == token) revert InvalidPayee(to);
            // A plain transfer to either would be lost.
            if (operation == Operation.Pay && (to == ROUTER || to == address(ESCROW))) revert InvalidPayee(to);
            uint256 amount = payment.amount;
            if (amount == 0 && operation != Operation.DisputeEscrow) revert ZeroAmount();
            total += amount;
        }
    }

    function _checkRecipients(mapping(address => uint64) storage allowedFrom, Payment[] calldata payments)
        private
        view
    {
        for (uint256 i = 0; i < payments.length; ++i) {
            _checkRecipient(allowedFrom, payments[i].to);
        }
    }

    function _checkRecipient(mapping(address => uint64) storage allowedFrom, address to) private view {
        uint64 from = allowedFrom[to];
        if (from == 0 || block.timestamp < from) revert RecipientNotAllowed(to, from, block.timestamp);
    }

    /// @dev Whether a spender's order waits for the owners, however small: a call of the router, and the dispute of what another opened.
    function _needsOwners(Order calldata order) private view returns (bool) {
        if (order.operation == Operation.DisputeEscrow) {
            return _escrowSpender[order.payments[0].paymentRef] != _opener(order.spender);
        }
        return order.operation == Operation.CallRouter;
    }

    function _opener(address spender) private pure returns (uint256) {
        return 1 << 160 | uint160(spender);
    }

    // ----------------------------------------------------------------------------------------------------------------- execution

    function _execute(
        bytes32 id,
        Order calldata order,
        uint256 total,
        Budget storage budget,
        uint56 dailyLimit,
        bool hasCredits
    ) private {
        address token = order.token;
        _useNonce(order.spender, order.nonce);
        budget.ring = budget.ring.spend(dailyLimit, total, block.timestamp);

        Payment[] calldata payments = order.payments;
        if (payments.length > 1) return _payBatch(id, order, total);
        Payment calldata payment = payments[0];
        _emitExecuted(id, order, token, payment);
        Operation operation = order.operation;
        if (operation == Operation.Pay) {
            _pay(token, payment, hasCredits);
        } else if (operation == Operation.CreateWallet) {
            _createWallet(order.details, payment.to);
            _pay(token, payment, hasCredits);
        } else if (operation == Operation.OpenEscrow) {
            _openEscrow(order, payment, budget);
        } else if (operation == Operation.DisputeEscrow) {
            _disputeEscrow(order, payment);
        } else {
            _callRouter(order, payment);
        }
    }

    function _emitExecuted(bytes32 id, Order calldata order, address token, Payment calldata payment) private {
        emit OrderExecuted(
            id, order.spender, payment.to, token, payment.amount, payment.paymentRef, order.category, order.nonce
        );
    }

    function _useNonce(address spender, uint256 nonce) private {
        mapping(uint256 => uint256) storage nonces = _nonces[spender];
        // forge-lint: disable-next-line(incorrect-shift) -- one bit, at the place that the nonce names
        uint256 bit = 1 << (nonce & 0xff);
        uint256 bits = nonces[nonce >> 8];
        if (bits & bit != 0) revert NonceUsed(spender, nonce);
        nonces[nonce >> 8] = bits | bit;
    }

    /// @dev The funds are there before the first payment, so what fails afterwards was refused by the token, and is credited.
    function _payBatch(bytes32 id, Order calldata order, uint256 total) private {
        address token = order.token;
        _checkAvailable(token, total);
        for (uint256 i = 0; i < order.payments.length; ++i) {
            Payment calldata payment = order.payments[i];
            _emitExecuted(id, order, token, payment);
            if (gasleft() < TRANSFER_GAS_MIN) revert InsufficientGas(gasleft(), TRANSFER_GAS_MIN);
            if (!IERC20(token).trySafeTransfer(payment.to, payment.amount)) {
                _credit(token, payment.to, payment.amount);
                emit PaymentCredited(id, payment.to, payment.paymentRef, token, payment.amount);
            }
        }
    }

    /// @dev A lone payment that is refused reverts: it holds up nobody else.
    function _pay(address token, Payment calldata payment, bool hasCredits) private {
        if (hasCredits) _checkAvailable(token, payment.amount);
        if (!IERC20(token).trySafeTransfer(payment.to, payment.amount)) {
            _checkAvailable(token, payment.amount);
            revert PaymentRefused(token, payment.to, payment.amount);
        }
    }

    /// @dev `details` is what `abi.encode` makes of the one argument, so it is the calldata after the selector.
    function _createWallet(bytes calldata details, address wallet) private {
        bytes memory result = Address.functionCall(
            address(WALLET_FACTORY), bytes.concat(IAgentWalletFactory.createWallet.selector, details)
        );
        if (abi.decode(result, (address)) != wallet) revert DetailsMismatch();
    }

    /// @dev The fee is a payment as well: an allowlist covers who gets it.
    function _openEscrow(Order calldata order, Payment calldata payment, Budget storage budget) private {
        IEscrow.Terms memory terms = _escrowTerms(order, payment);
        if (terms.amount != payment.amount) revert DetailsMismatch();
        if (budget.policy.onlyAllowed && terms.feeBps != 0) {
            _checkRecipient(budget.allowedFrom[budget.policy.term], terms.feeRecipient);
        }
        _escrowSpender[payment.paymentRef] = _opener(order.spender);
        _spendThrough(order.token, address(ESCROW), payment.amount, abi.encodeCall(IEscrow.fund, (terms)));
    }

    function _disputeEscrow(Order calldata order, Payment calldata payment) private {
        IEscrow.Terms memory terms = _escrowTerms(order, payment);
        if (terms.disputeBond != payment.amount) revert DetailsMismatch();
        _spendThrough(order.token, address(ESCROW), payment.amount, abi.encodeCall(IEscrow.dispute, (terms)));
    }

    /// @dev The terms in the details, which say what the payment says.
    function _escrowTerms(Order calldata order, Payment calldata payment)
        private
        view
        returns (IEscrow.Terms memory terms)
    {
        terms = abi.decode(order.details, (IEscrow.Terms));
        if (
            terms.buyer != address(this) || terms.seller != payment.to || terms.token != order.token
                || ESCROW.agreementId(terms) != payment.paymentRef
        ) revert DetailsMismatch();
    }

    function _callRouter(Order calldata order, Payment calldata payment) private {
        if (payment.to != ROUTER) revert DetailsMismatch();
        _spendThrough(order.token, ROUTER, payment.amount, order.details);
    }

    /// @dev Lets `target` take exactly the amount by allowance, and leaves no allowance behind.
    function _spendThrough(address token, address target, uint256 amount, bytes memory data) private {
        _checkAvailable(token, amount);
        uint256 before = IERC20(token).balanceOf(address(this));
        IERC20(token).forceApprove(target, amount);
        // slither-disable-next-line unused-return -- what counts is the balance below
        Address.functionCall(target, data);
        IERC20(token).forceApprove(target, 0);
        uint256 balance = IERC20(token).balanceOf(address(this));
        uint256 moved = before > balance ? before - balance : 0;
        if (moved != amount) revert BalanceMismatch(token, moved, amount);
    }
}
