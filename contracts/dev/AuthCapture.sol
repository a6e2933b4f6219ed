// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { IReceiveWithAuthorization } from "../src/interfaces/IReceiveWithAuthorization.sol";

/// All that a payer signs for. Its hash, with the chain and the escrow, is the payment's id.
struct PaymentInfo {
    address operator;
    address payer;
    address receiver;
    address token;
    uint120 maxAmount;
    uint48 preApprovalExpiry;
    uint48 authorizationExpiry;
    uint48 refundExpiry;
    uint16 minFeeBps;
    uint16 maxFeeBps;
    address feeReceiver;
    uint256 salt;
}

interface ITokenCollector {
    function collectTokens(PaymentInfo calldata info, address store, uint256 amount, bytes calldata data) external;
}

/// The dev chain's stand-in for `AuthCaptureEscrow` of commerce-payments 1.1: the functions, hashes and rules that the official x402 packages
/// rely on, written from the scheme's description. The real one is elsewhere and keeps each operator's money apart; nothing of value belongs
/// in this one.
contract AuthCaptureEscrow {
    using SafeERC20 for IERC20;

    struct PaymentState {
        bool hasCollectedPayment;
        uint120 capturableAmount;
        uint120 refundableAmount;
    }

    error InvalidSender(address sender, address expected);
    error ZeroAmount();
    error AmountOverflow(uint256 amount, uint256 limit);
    error ExceedsMaxAmount(uint256 amount, uint256 maxAmount);
    error AfterPreApprovalExpiry(uint48 timestamp, uint48 expiry);
    error InvalidExpiries(uint48 preApproval, uint48 authorization, uint48 refund);
    error FeeBpsOverflow(uint16 feeBps);
    error InvalidFeeBpsRange(uint16 minFeeBps, uint16 maxFeeBps);
    error FeeAmountOutOfRange(uint256 feeAmount, uint256 min, uint256 max);
    error ZeroFeeReceiver();
    error InvalidFeeReceiver(address attempted, address expected);
    error TokenCollectionFailed();
    error PaymentAlreadyCollected(bytes32 paymentInfoHash);
    error AfterAuthorizationExpiry(uint48 timestamp, uint48 expiry);
    error BeforeAuthorizationExpiry(uint48 timestamp, uint48 expiry);
    error InsufficientAuthorization(bytes32 paymentInfoHash, uint256 authorized, uint256 requested);
    error ZeroAuthorization(bytes32 paymentInfoHash);
    error AfterRefundExpiry(uint48 timestamp, uint48 expiry);
    error RefundExceedsCapture(uint256 refund, uint256 captured);

    event PaymentAuthorized(bytes32 indexed paymentInfoHash, PaymentInfo paymentInfo, uint256 amount, address collector);
    event PaymentCharged(
        bytes32 indexed paymentInfoHash,
        PaymentInfo paymentInfo,
        uint256 amount,
        address collector,
        uint256 feeAmount,
        address feeReceiver
    );
    event PaymentCaptured(bytes32 indexed paymentInfoHash, uint256 amount, uint256 feeAmount, address feeReceiver);
    event PaymentVoided(bytes32 indexed paymentInfoHash, uint256 amount);
    event PaymentReclaimed(bytes32 indexed paymentInfoHash, uint256 amount);
    event PaymentRefunded(bytes32 indexed paymentInfoHash, uint256 amount, address collector);

    bytes32 public constant PAYMENT_INFO_TYPEHASH = keccak256(
        "PaymentInfo(address operator,address payer,address receiver,address token,uint120 maxAmount,uint48 preApprovalExpiry,uint48 authorizationExpiry,uint48 refundExpiry,uint16 minFeeBps,uint16 maxFeeBps,address feeReceiver,uint256 salt)"
    );
    uint256 private constant WHOLE_BPS = 10_000;

    mapping(bytes32 paymentInfoHash => PaymentState) public paymentState;

    modifier onlySender(address expected) {
        if (msg.sender != expected) revert InvalidSender(msg.sender, expected);
        _;
    }

    /// Takes `amount` from the payer and holds it.
    function authorize(PaymentInfo calldata info, uint256 amount, address collector, bytes calldata data)
        external
        onlySender(info.operator)
    {
        bytes32 id = _begin(info, amount);
        paymentState[id] = PaymentState(true, uint120(amount), 0);
        emit PaymentAuthorized(id, info, amount, collector);
        _collect(info, amount, collector, data);
    }

    /// Takes `amount` from the payer and pays it out at once.
    function charge(
        PaymentInfo calldata info,
        uint256 amount,
        address collector,
        bytes calldata data,
        uint256 feeAmount,
        address feeReceiver
    ) external onlySender(info.operator) {
        bytes32 id = _begin(info, amount);
        paymentState[id] = PaymentState(true, 0, uint120(amount));
        emit PaymentCharged(id, info, amount, collector, feeAmount, feeReceiver);
        _collect(info, amount, collector, data);
        _payOut(info, amount, feeAmount, feeReceiver);
    }

    /// Pays `amount` of what is held to the receiver.
    function capture(PaymentInfo calldata info, uint256 amount, uint256 feeAmount, address feeReceiver)
        external
        onlySender(info.operator)
    {
        if (amount == 0) revert ZeroAmount();
        if (block.timestamp >= info.authorizationExpiry) {
            revert AfterAuthorizationExpiry(uint48(block.timestamp), info.authorizationExpiry);
        }
        bytes32 id = getHash(info);
        PaymentState storage state = paymentState[id];
        if (state.capturableAmount < amount) revert InsufficientAuthorization(id, state.capturableAmount, amount);
        state.capturableAmount -= uint120(amount);
        state.refundableAmount += uint120(amount);
        emit PaymentCaptured(id, amount, feeAmount, feeReceiver);
        _payOut(info, amount, feeAmount, feeReceiver);
    }

    /// Gives back what is held.
    function void(PaymentInfo calldata info) external onlySender(info.operator) {
        emit PaymentVoided(getHash(info), _giveBack(info));
    }

    /// The same by the payer, once nothing can be captured any more.
    function reclaim(PaymentInfo calldata info) external onlySender(info.payer) {
        if (block.timestamp < info.authorizationExpiry) {
            revert BeforeAuthorizationExpiry(uint48(block.timestamp), info.authorizationExpiry);
        }
        emit PaymentReclaimed(getHash(info), _giveBack(info));
    }

    /// Gives back `amount` of what was paid out; the collector brings it.
    function refund(PaymentInfo calldata info, uint256 amount, address collector, bytes calldata data)
        external
        onlySender(info.operator)
    {
        if (amount == 0) revert ZeroAmount();
        if (block.timestamp >= info.refundExpiry) revert AfterRefundExpiry(uint48(block.timestamp), info.refundExpiry);
        bytes32 id = getHash(info);
        uint120 captured = paymentState[id].refundableAmount;
        if (captured < amount) revert RefundExceedsCapture(amount, captured);
        paymentState[id].refundableAmount = captured - uint120(amount);
        emit PaymentRefunded(id, amount, collector);
        _collect(info, amount, collector, data);
        IERC20(info.token).safeTransfer(info.payer, amount);
    }

    function getHash(PaymentInfo calldata info) public view returns (bytes32) {
        return keccak256(
            abi.encode(block.chainid, address(this), keccak256(abi.encode(PAYMENT_INFO_TYPEHASH, info)))
        );
    }

    function _begin(PaymentInfo calldata info, uint256 amount) private view returns (bytes32 id) {
        if (amount == 0) revert ZeroAmount();
        if (amount > type(uint120).max) revert AmountOverflow(amount, type(uint120).max);
        if (amount > info.maxAmount) revert ExceedsMaxAmount(amount, info.maxAmount);
        if (block.timestamp >= info.preApprovalExpiry) {
            revert AfterPreApprovalExpiry(uint48(block.timestamp), info.preApprovalExpiry);
        }
        if (info.preApprovalExpiry > info.authorizationExpiry || info.authorizationExpiry > info.refundExpiry) {
            revert InvalidExpiries(info.preApprovalExpiry, info.authorizationExpiry, info.refundExpiry);
        }
        if (info.maxFeeBps > WHOLE_BPS) revert FeeBpsOverflow(info.maxFeeBps);
        if (info.minFeeBps > info.maxFeeBps) revert InvalidFeeBpsRange(info.minFeeBps, info.maxFeeBps);
        id = getHash(info);
        if (paymentState[id].hasCollectedPayment) revert PaymentAlreadyCollected(id);
    }

    function _collect(PaymentInfo calldata info, uint256 amount, address collector, bytes calldata data) private {
        uint256 before = IERC20(info.token).balanceOf(address(this));
        ITokenCollector(collector).collectTokens(info, address(this), amount, data);
        if (IERC20(info.token).balanceOf(address(this)) != before + amount) revert TokenCollectionFailed();
    }

    function _payOut(PaymentInfo calldata info, uint256 amount, uint256 feeAmount, address feeReceiver) private {
        uint256 min = amount * info.minFeeBps / WHOLE_BPS;
        uint256 max = amount * info.maxFeeBps / WHOLE_BPS;
        if (feeAmount < min || feeAmount > max) revert FeeAmountOutOfRange(feeAmount, min, max);
        if (feeAmount > 0 && feeReceiver == address(0)) revert ZeroFeeReceiver();
        if (info.feeReceiver != address(0) && info.feeReceiver != feeReceiver) {
            revert InvalidFeeReceiver(feeReceiver, info.feeReceiver);
        }
        if (feeAmount > 0) IERC20(info.token).safeTransfer(feeReceiver, feeAmount);
        if (feeAmount < amount) IERC20(info.token).safeTransfer(info.receiver, amount - feeAmount);
    }

    function _giveBack(PaymentInfo calldata info) private returns (uint256 amount) {
        bytes32 id = getHash(info);
        amount = paymentState[id].capturableAmount;
        if (amount == 0) revert ZeroAuthorization(id);
        paymentState[id].capturableAmount = 0;
        IERC20(info.token).safeTransfer(info.payer, amount);
    }
}

/// The dev chain's stand-in for `ERC3009PaymentCollector`: takes what the payer signed, and gives back what is not wanted of it.
contract Erc3009PaymentCollector is ITokenCollector {
    using SafeERC20 for IERC20;

    error NotTheEscrow();

    address private constant ESCROW = 0xf96815976523E00e65Be8f34cA5e64b4f41EB19c;

    function collectTokens(PaymentInfo calldata info, address store, uint256 amount, bytes calldata data) external {
        if (msg.sender != ESCROW) revert NotTheEscrow();
        // The nonce is the payment's id, but for the payer: whoever signs need not be known before.
        PaymentInfo memory anybody = info;
        anybody.payer = address(0);
        bytes32 nonce = AuthCaptureEscrow(ESCROW).getHash(anybody);
        IReceiveWithAuthorization(info.token)
            .receiveWithAuthorization(
                info.payer, address(this), info.maxAmount, 0, info.preApprovalExpiry, nonce, data
            );
        IERC20(info.token).safeTransfer(store, amount);
        if (amount < info.maxAmount) IERC20(info.token).safeTransfer(info.payer, info.maxAmount - amount);
    }
}
