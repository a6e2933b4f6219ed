// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { PaymentRouterFunding } from "./PaymentRouterFunding.sol";
import { IPaymentRouter } from "./interfaces/IPaymentRouter.sol";

/// @title PaymentRouterBatches
/// @notice Many payees by one pull of a payer's money.
///
/// The payer's money has left when the first payee is paid, so a payee whom the token refuses is credited, and all others are paid.
abstract contract PaymentRouterBatches is PaymentRouterFunding {
    uint256 private constant BPS = 10_000;
    bytes32 private constant LEG_TYPEHASH = keccak256("Leg(address payee,uint96 amount)");
    bytes32 private constant BATCH_TYPEHASH =
        keccak256("Batch(address payer,bytes32 paymentRef,address token,Leg[] legs)Leg(address payee,uint96 amount)");
    bytes32 private constant SHARE_TYPEHASH = keccak256("Share(address payee,uint16 bps)");
    bytes32 private constant SPLIT_TYPEHASH = keccak256(
        "Split(address payer,bytes32 paymentRef,address token,uint256 amount,Share[] shares)Share(address payee,uint16 bps)"
    );

    // Batches

    /// @inheritdoc IPaymentRouter
    function batchPay(bytes32 paymentRef, address token, Leg[] calldata legs) external nonReentrant {
        (uint256 total, bytes32[] memory packed) = _checkBatch(msg.sender, token, legs);
        _pull(token, msg.sender, total);
        _payBatch(msg.sender, paymentRef, token, total, packed);
    }

    /// @inheritdoc IPaymentRouter
    function batchPayWithPermit(bytes32 paymentRef, address token, Leg[] calldata legs, Permit calldata permit)
        external
        nonReentrant
    {
        (uint256 total, bytes32[] memory packed) = _checkBatch(msg.sender, token, legs);
        _pullWithPermit(token, total, permit);
        _payBatch(msg.sender, paymentRef, token, total, packed);
    }

    /// @inheritdoc IPaymentRouter
    function batchPayWithAuthorization(
        bytes32 paymentRef,
        address token,
        Leg[] calldata legs,
        Authorization calldata authorization
    ) external nonReentrant {
        address payer = authorization.payer;
        (uint256 total, bytes32[] memory packed) = _checkBatch(payer, token, legs);
        _receive(token, total, batchNonce(payer, paymentRef, token, legs), authorization);
        _payBatch(payer, paymentRef, token, total, packed);
    }

    /// @inheritdoc IPaymentRouter
    function batchNonce(address payer, bytes32 paymentRef, address token, Leg[] calldata legs)
        public
        view
        returns (bytes32)
    {
        bytes32[] memory hashes = new bytes32[](legs.length);
        for (uint256 i = 0; i < legs.length; ++i) {
            hashes[i] = keccak256(abi.encode(LEG_TYPEHASH, legs[i]));
        }
        bytes32 legsHash = keccak256(abi.encodePacked(hashes));
        return _hashTypedDataV4(keccak256(abi.encode(BATCH_TYPEHASH, payer, paymentRef, token, legsHash)));
    }

    // Splits

    /// @inheritdoc IPaymentRouter
    function splitPay(bytes32 paymentRef, address token, uint256 amount, Share[] calldata shares)
        external
        nonReentrant
    {
        _checkSplit(msg.sender, token, amount, shares);
        _pull(token, msg.sender, amount);
        _paySplit(msg.sender, paymentRef, token, amount, shares);
    }

    /// @inheritdoc IPaymentRouter
    function splitPayWithPermit(
        bytes32 paymentRef,
        address token,
        uint256 amount,
        Share[] calldata shares,
        Permit calldata permit
    ) external nonReentrant {
        _checkSplit(msg.sender, token, amount, shares);
        _pullWithPermit(token, amount, permit);
        _paySplit(msg.sender, paymentRef, token, amount, shares);
    }

    /// @inheritdoc IPaymentRouter
    function splitPayWithAuthorization(
        bytes32 paymentRef,
        address token,
        uint256 amount,
        Share[] calldata shares,
        Authorization calldata authorization
    ) external nonReentrant {
        address payer = authorization.payer;
        _checkSplit(payer, token, amount, shares);
        _receive(token, amount, splitNonce(payer, paymentRef, token, amount, shares), authorization);
        _paySplit(payer, paymentRef, token, amount, shares);
    }

    /// @inheritdoc IPaymentRouter
    function splitNonce(address payer, bytes32 paymentRef, address token, uint256 amount, Share[] calldata shares)
        public
        view
        returns (bytes32)
    {
        bytes32[] memory hashes = new bytes32[](shares.length);
        for (uint256 i = 0; i < shares.length; ++i) {
            hashes[i] = keccak256(abi.encode(SHARE_TYPEHASH, shares[i]));
        }
        bytes32 sharesHash = keccak256(abi.encodePacked(hashes));
        return _hashTypedDataV4(keccak256(abi.encode(SPLIT_TYPEHASH, payer, paymentRef, token, amount, sharesHash)));
    }

    // Internals

    /// @dev Their sum, and each leg in one word, `payee << 96 | amount`, after two words that are left for {_emitBatchPaid}.
    ///
    /// The legs of a batch are walked twice, here and in {_transferEach}, which is what a batch costs besides the token's own work. Compiled
    /// from Solidity the walks cost a thousand gas a leg more.
    function _checkBatch(address payer, address token, Leg[] calldata legs)
        private
        view
        returns (uint256 total, bytes32[] memory packed)
    {
        uint256 flaws = legs.length == 0 ? 1 : 0;
        assembly ("memory-safe") {
            packed := add(mload(0x40), 0x40)
            mstore(packed, legs.length)
            let word := add(packed, 0x20)
            let end := add(legs.offset, shl(6, legs.length))
            for { let leg := legs.offset } lt(leg, end) { leg := add(leg, 0x40) } {
                let payee := calldataload(leg)
                let amount := calldataload(add(leg, 0x20))
                // No amount is over 96 bits, or the call reverts; so the sum does not overflow.
                total := add(total, amount)
                flaws := or(flaws, or(iszero(amount), or(shr(96, amount), or(iszero(payee), shr(160, payee)))))
                flaws := or(flaws, or(eq(payee, payer), or(eq(payee, token), eq(payee, address()))))
                mstore(word, or(shl(96, payee), amount))
                word := add(word, 0x20)
            }
            mstore(0x40, word)
        }
        if (flaws != 0) _revertFlawed(payer, token, legs);
    }

    /// @dev Says what is wrong. What is no address or over 96 bits reverts when it is read.
    function _revertFlawed(address payer, address token, Leg[] calldata legs) private view {
        for (uint256 i = 0; i < legs.length; ++i) {
            _checkPayee(payer, token, legs[i].payee);
            if (legs[i].amount == 0) revert AmountZero();
        }
        revert NoPayees();
    }

    function _payBatch(address payer, bytes32 paymentRef, address token, uint256 total, bytes32[] memory packed)
        private
    {
        _emitBatchPaid(payer, paymentRef, token, total, packed);
        uint256 word;
        uint256 end;
        assembly ("memory-safe") {
            word := add(packed, 0x20)
            end := add(word, shl(5, mload(packed)))
        }
        while (true) {
            word = _transferEach(token, word, end);
            if (word == end) return;
            address payee;
            uint256 amount;
            assembly ("memory-safe") {
                payee := shr(96, mload(word))
                amount := and(mload(word), 0xffffffffffffffffffffffff)
                word := add(word, 0x20)
            }
            // Tries once more, with the gas that a transfer can need: a shortage does not pass for a refusal.
            _pay(paymentRef, token, payee, amount);
        }
    }

    /// @dev Pays the packed legs from `word` on, up to `end` or the first that fails.
    function _transferEach(address token, uint256 word, uint256 end) private returns (uint256 stopped) {
        assembly ("memory-safe") {
            let data := mload(0x40)
            mstore(data, 0xa9059cbb) // transfer(address,uint256)
            for { } lt(word, end) { word := add(word, 0x20) } {
                let leg := mload(word)
                mstore(add(data, 0x20), shr(96, leg))
                mstore(add(data, 0x40), and(leg, 0xffffffffffffffffffffffff))
                // The token has code, for it has moved money here. It answers nothing or true.
                if iszero(call(gas(), token, 0, add(data, 0x1c), 0x44, 0, 0x20)) { break }
                if iszero(or(iszero(returndatasize()), eq(mload(0), 1))) { break }
            }
            stopped := word
        }
    }

    /// @dev `emit BatchPaid(paymentRef, payer, token, total, packed)` without a copy of the legs.
    function _emitBatchPaid(address payer, bytes32 paymentRef, address token, uint256 total, bytes32[] memory packed)
        private
    {
        bytes32 topic = BatchPaid.selector;
        assembly ("memory-safe") {
            let data := sub(packed, 0x40)
            mstore(data, total)
            mstore(add(data, 0x20), 0x40)
            log4(data, add(0x60, shl(5, mload(packed))), topic, paymentRef, payer, token)
        }
    }

    function _checkSplit(address payer, address token, uint256 amount, Share[] calldata shares) private view {
        if (amount == 0) revert AmountZero();
        uint256 bps;
        for (uint256 i = 0; i < shares.length; ++i) {
            _checkPayee(payer, token, shares[i].payee);
            if (shares[i].bps == 0) revert AmountZero();
            bps += shares[i].bps;
        }
        if (bps != BPS) revert SharesInvalid(bps, BPS);
    }

    function _paySplit(address payer, bytes32 paymentRef, address token, uint256 amount, Share[] calldata shares)
        private
    {
        emit SplitPaid(paymentRef, payer, token, amount, shares);
        uint256 rest = amount;
        for (uint256 i = 1; i < shares.length; ++i) {
            uint256 part = amount * shares[i].bps / BPS;
            rest -= part;
            _pay(paymentRef, token, shares[i].payee, part);
        }
        _pay(paymentRef, token, shares[0].payee, rest);
    }
}
