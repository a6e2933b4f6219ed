// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { EIP712 } from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import { PaymentRouterBatches } from "./PaymentRouterBatches.sol";
import { PaymentRouterSettlement } from "./PaymentRouterSettlement.sol";
import { PaymentRouterSubscriptions } from "./PaymentRouterSubscriptions.sol";
import { IPaymentRecords } from "./interfaces/IPaymentRecords.sol";
import { IPaymentRouter } from "./interfaces/IPaymentRouter.sol";

/// @title PaymentRouter
/// @notice Payments that only pass through: one with a record, many at once, shares of one, signed ones settled together, recurring ones.
///
/// Guarantees. After every call the router holds of a token exactly what it owes as credits. It moves a payer's money only in a call of the
/// payer, by a signature of the payer over everything that matters, or by a subscription to which the payer agreed in one of these ways.
/// Nobody owns, upgrades or pauses this contract.
///
/// Refusals. A lone payment or charge that the token refuses reverts, and the money stays where it was. In a batch or a split the payer's money
/// has left for all: what the token refuses to one payee becomes that payee's credit and holds up no other.
///
/// Authorizations. A payer without gas signs an EIP-3009 authorization to the router whose nonce is an EIP-712 hash of the whole call under the
/// router's domain. The token burns the nonce, so it executes once, on one chain, in one router, unaltered; and since it is a
/// `ReceiveWithAuthorization`, nobody can bring the money here outside of that call.
///
/// Tokens. Any ERC-20 that moves exactly what it is told; where money passes through, others are refused. An issuer may pause or upgrade its
/// token and blacklist accounts. Tokens sent here outside of a call belong to nobody and stay.
contract PaymentRouter is PaymentRouterBatches, PaymentRouterSettlement, PaymentRouterSubscriptions {
    using SafeERC20 for IERC20;

    bytes32 private constant PAYMENT_TYPEHASH =
        keccak256("Payment(address payer,bytes32 paymentId,address token,address payee,uint256 amount)");

    /// @inheritdoc IPaymentRecords
    mapping(address payer => mapping(bytes32 paymentId => bytes32 record)) public paymentRecord;

    constructor() EIP712("Florin PaymentRouter", "1") { }

    // Recorded payments

    /// @inheritdoc IPaymentRouter
    function pay(bytes32 paymentId, address token, address payee, uint256 amount) external nonReentrant {
        _record(msg.sender, paymentId, token, payee, amount);
        IERC20(token).safeTransferFrom(msg.sender, payee, amount);
    }

    /// @inheritdoc IPaymentRouter
    function payWithAuthorization(
        bytes32 paymentId,
        address token,
        address payee,
        uint256 amount,
        Authorization calldata authorization
    ) external nonReentrant {
        address payer = authorization.payer;
        _record(payer, paymentId, token, payee, amount);
        _receive(token, amount, paymentNonce(payer, paymentId, token, payee, amount), authorization);
        IERC20(token).safeTransfer(payee, amount);
    }

    /// @inheritdoc IPaymentRouter
    function paymentNonce(address payer, bytes32 paymentId, address token, address payee, uint256 amount)
        public
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(keccak256(abi.encode(PAYMENT_TYPEHASH, payer, paymentId, token, payee, amount)));
    }

    // Internals

    function _record(address payer, bytes32 paymentId, address token, address payee, uint256 amount) private {
        if (amount == 0) revert AmountZero();
        _checkPayee(payer, token, payee);
        if (paymentRecord[payer][paymentId] != 0) revert PaymentExecuted(payer, paymentId);
        paymentRecord[payer][paymentId] = keccak256(abi.encode(payee, token, amount));
        emit PaymentRecorded(paymentId, payer, payee, token, amount);
    }
}
