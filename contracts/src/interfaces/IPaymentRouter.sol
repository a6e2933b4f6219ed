// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { IPaymentRecords } from "./IPaymentRecords.sol";
import { IPayouts } from "./IPayouts.sol";

/// @title IPaymentRouter
/// @notice Payments that only pass through: one payment with a record, many payments in one, many signed payments settled together.
/// Subscriptions are {ISubscriptions}. Amounts are base units of the token.
interface IPaymentRouter is IPayouts, IPaymentRecords {
    /// @notice One payment of a batch.
    struct Leg {
        /// @dev never zero, the payer, the token or the router
        address payee;
        /// @dev never zero
        uint96 amount;
    }

    /// @notice One part of a split.
    struct Share {
        /// @dev as in {Leg}
        address payee;
        /// @dev basis points; never zero, all shares together 10,000
        uint16 bps;
    }

    /// @notice The caller's EIP-2612 permit to the router, over exactly what the call pays.
    struct Permit {
        uint256 deadline;
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    /// @notice A payer's EIP-3009 `ReceiveWithAuthorization` to the router, over exactly what the call pays. Its nonce is the hash of everything
    /// else in the call ({paymentNonce}, {batchNonce}, {splitNonce}), so whoever relays it can alter nothing.
    struct Authorization {
        address payer;
        uint256 validAfter;
        uint256 validBefore;
        /// @dev 65 bytes `r ‖ s ‖ v`, or whatever the payer's contract accepts (EIP-1271)
        bytes signature;
    }

    /// @notice A recorded payment was made: {paymentRecord} proves it from now on.
    event PaymentRecorded(
        bytes32 indexed paymentId, address indexed payer, address indexed payee, address token, uint256 amount
    );
    /// @notice A batch was paid. A leg that the token refused was credited, see {PayoutCredited}, whose id is `paymentRef`.
    /// @param paymentRef the payer's reference of the batch; not unique
    /// @param legs each in one word, 20 bytes payee and 12 bytes amount
    event BatchPaid(
        bytes32 indexed paymentRef, address indexed payer, address indexed token, uint256 total, bytes32[] legs
    );
    /// @notice An amount was split. Each share was rounded down, and the first payee got what that left. Refused shares as in {BatchPaid}.
    event SplitPaid(
        bytes32 indexed paymentRef, address indexed payer, address indexed token, uint256 amount, Share[] shares
    );
    /// @notice Signed payments were submitted to the token, see {settleBatch}. Those that passed have the token's own events.
    /// @param count how many
    /// @param settled bit `i`, from the lowest, is set if the token executed payment `i`
    event BatchSettled(address indexed token, address indexed submitter, uint256 count, uint256 settled);

    error AmountZero();
    /// @notice The signer did not sign this, or not with this signature.
    error SignatureInvalid(address signer);
    /// @notice A payment id executes once per payer.
    error PaymentExecuted(address payer, bytes32 paymentId);
    error NoPayees();
    error SharesInvalid(uint256 bps, uint256 bpsExpected);
    error NotAToken(address token);
    /// @notice The packed bytes hold no payment, or end within one.
    /// @param missing how many bytes are missing
    error PackedInvalid(uint256 missing, uint256 length);
    error TooManyPayments(uint256 count, uint256 countMax);

    // Recorded payments

    /// @notice Pays `payee` by the caller's allowance, and records it under the caller and `paymentId`, see {paymentRecord}. Reverts if the
    /// token refuses.
    function pay(bytes32 paymentId, address token, address payee, uint256 amount) external;

    /// @notice The same for a payer who signed for it; anyone relays. The nonce is {paymentNonce}.
    function payWithAuthorization(
        bytes32 paymentId,
        address token,
        address payee,
        uint256 amount,
        Authorization calldata authorization
    ) external;

    function paymentNonce(address payer, bytes32 paymentId, address token, address payee, uint256 amount)
        external
        view
        returns (bytes32);

    // Batches

    /// @notice Pays every leg by one pull of their sum from the caller's allowance. A leg that the token refuses is credited to its payee and
    /// holds up nobody.
    /// @param paymentRef for the books; free to choose
    function batchPay(bytes32 paymentRef, address token, Leg[] calldata legs) external;

    /// @notice The same with a permit. A permit that somebody used first does no harm.
    function batchPayWithPermit(bytes32 paymentRef, address token, Leg[] calldata legs, Permit calldata permit) external;

    /// @notice The same for a payer who signed for it; anyone relays. The nonce is {batchNonce}, so the same batch twice needs two references.
    function batchPayWithAuthorization(
        bytes32 paymentRef,
        address token,
        Leg[] calldata legs,
        Authorization calldata authorization
    ) external;

    function batchNonce(address payer, bytes32 paymentRef, address token, Leg[] calldata legs)
        external
        view
        returns (bytes32);

    // Splits

    /// @notice Pays `amount` in shares, each rounded down, by the caller's allowance. What rounding leaves goes to the first payee.
    /// Refused shares are credited.
    function splitPay(bytes32 paymentRef, address token, uint256 amount, Share[] calldata shares) external;

    /// @notice The same with a permit. A permit that somebody used first does no harm.
    function splitPayWithPermit(
        bytes32 paymentRef,
        address token,
        uint256 amount,
        Share[] calldata shares,
        Permit calldata permit
    ) external;

    /// @notice The same for a payer who signed for it; anyone relays. The nonce is {splitNonce}, so the same split twice needs two references.
    function splitPayWithAuthorization(
        bytes32 paymentRef,
        address token,
        uint256 amount,
        Share[] calldata shares,
        Authorization calldata authorization
    ) external;

    function splitNonce(address payer, bytes32 paymentRef, address token, uint256 amount, Share[] calldata shares)
        external
        view
        returns (bytes32);

    // Settlement

    /// @notice Submits many signed EIP-3009 `TransferWithAuthorization` (x402 `exact` payments) of one token, each straight from payer to payee.
    /// One that the token refuses (used, expired, unsigned, unfunded, blacklisted) leaves its bit unset and stops no other.
    /// Whether one was used because somebody submitted it before, the token knows (`authorizationState`).
    ///
    /// `packed`, integers big-endian, nothing padded, at most 256 payments:
    /// ```
    /// 20        token
    ///  1        P, the number of payers less one
    /// 20 (P+1)  payers
    ///  1        Q, the number of payees less one
    /// 20 (Q+1)  payees
    /// then, to the end, payments of
    ///  1        index of the payer
    ///  1        index of the payee
    ///  8        value
    ///  5        validAfter
    ///  5        validBefore
    /// 32        nonce
    ///  2        N, the length of the signature; 0 for a compact one
    ///  N or 64  signature: whatever the payer's contract accepts (EIP-1271), or compact (EIP-2098, `r ‖ yParity << 255 | s`), which the token
    ///           takes for the 65 bytes `r ‖ s ‖ v`
    /// ```
    ///
    /// Gas. Every payment may use {SETTLEMENT_GAS}, whatever the transaction brought; with less left the call reverts by {InsufficientGas}. So a
    /// shortage never passes for a refusal, and `eth_estimateGas` finds a limit with which every payment is tried in full: about 250,000 more
    /// than is used in the end.
    /// @return settled the bitmap of {BatchSettled}
    function settleBatch(bytes calldata packed) external returns (uint256 settled);

    /// @notice The most gas that one payment of {settleBatch} can use.
    function SETTLEMENT_GAS() external view returns (uint256);
}
