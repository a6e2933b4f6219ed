// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { IPaymentRouter } from "./interfaces/IPaymentRouter.sol";

/// @title PaymentRouterSettlement
/// @notice Settles many signed payments in one transaction.
///
/// No guard, no storage, no money. Each payment goes straight from payer to payee by the payer's signature, which anyone may submit to the token
/// anyway: who calls this, even from within another call of the router, can do nothing that it could not do without the router. What the
/// token is called with has no meaning that depends on the caller.
///
/// Nothing in the packed bytes is trusted. An index beyond its table reads other bytes as an address, and a length beyond the end reads what
/// follows; the payer has signed neither, and the token refuses.
abstract contract PaymentRouterSettlement is IPaymentRouter {
    /// @inheritdoc IPaymentRouter
    /// @dev An ordinary payment takes under 70,000; the rest is for the code of payers that are contracts.
    uint256 public constant SETTLEMENT_GAS = 300_000;

    /// @dev `SETTLEMENT_GAS * 64 / 63`, for a call keeps 1/64 back, and what the call itself costs.
    uint256 private constant SETTLEMENT_GAS_MIN = 310_000;
    uint256 private constant PAYMENTS_MAX = 256;

    /// @inheritdoc IPaymentRouter
    function settleBatch(bytes calldata packed) external returns (uint256 settled) {
        // All positions are in the calldata of the transaction.
        (address token, uint256 payers, uint256 payees, uint256 payments, uint256 end) = _layout(packed);
        if (token.code.length == 0) revert NotAToken(token);
        uint256 count;
        uint256 stopped;
        (settled, count, stopped) = _settle(token, payers, payees, payments, end);
        if (stopped == 0) revert InsufficientGas(gasleft(), SETTLEMENT_GAS_MIN);
        if (stopped > end || count == 0) revert PackedInvalid(stopped - end, packed.length);
        if (count > PAYMENTS_MAX) revert TooManyPayments(count, PAYMENTS_MAX);
        emit BatchSettled(token, msg.sender, count, settled);
    }

    function _layout(bytes calldata packed)
        private
        pure
        returns (address token, uint256 payers, uint256 payees, uint256 payments, uint256 end)
    {
        assembly ("memory-safe") {
            token := shr(96, calldataload(packed.offset))
            payers := add(packed.offset, 21)
            payees := add(add(payers, 21), mul(byte(0, calldataload(sub(payers, 1))), 20))
            payments := add(add(payees, 20), mul(byte(0, calldataload(sub(payees, 1))), 20))
            end := add(packed.offset, packed.length)
        }
    }

    /// @dev Submits the payments from `payment` to `end`. `stopped` is where the last one ends, or zero if the gas did not suffice for it.
    function _settle(address token, uint256 payers, uint256 payees, uint256 payment, uint256 end)
        private
        returns (uint256 settled, uint256 count, uint256 stopped)
    {
        assembly ("memory-safe") {
            // A call is written to free memory: its selector into the last bytes of the first word, its arguments behind.
            let data := mload(0x40)
            for { } lt(payment, end) { count := add(count, 1) } {
                {
                    let word := calldataload(payment)
                    mstore(add(data, 0x20), shr(96, calldataload(add(payers, mul(byte(0, word), 20)))))
                    mstore(add(data, 0x40), shr(96, calldataload(add(payees, mul(byte(1, word), 20)))))
                    mstore(add(data, 0x60), and(shr(176, word), 0xffffffffffffffff)) // value
                    mstore(add(data, 0x80), and(shr(136, word), 0xffffffffff)) // validAfter
                    mstore(add(data, 0xa0), and(shr(96, word), 0xffffffffff)) // validBefore
                    mstore(add(data, 0xc0), calldataload(add(payment, 20))) // nonce
                }
                let size := shr(240, calldataload(add(payment, 52))) // of the signature, then of the call
                payment := add(payment, 54)
                switch size
                case 0 {
                    let s := calldataload(add(payment, 32))
                    // transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)
                    mstore(data, 0xe3ee160e)
                    mstore(add(data, 0xe0), add(27, shr(255, s))) // v
                    mstore(add(data, 0x100), calldataload(payment)) // r
                    mstore(add(data, 0x120), shr(1, shl(1, s)))
                    payment := add(payment, 64)
                    size := 0x124
                }
                default {
                    // transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)
                    mstore(data, 0xcf092995)
                    mstore(add(data, 0xe0), 0xe0)
                    mstore(add(data, 0x100), size)
                    mstore(add(add(data, 0x120), size), 0)
                    calldatacopy(add(data, 0x120), payment, size)
                    payment := add(payment, size)
                    size := add(0x104, and(add(size, 31), not(31)))
                }
                if lt(gas(), SETTLEMENT_GAS_MIN) {
                    payment := 0
                    break
                }
                // What the token answers stays unread, for it could be long.
                settled := or(settled, shl(count, call(SETTLEMENT_GAS, token, 0, add(data, 0x1c), size, 0, 0)))
            }
            stopped := payment
        }
    }
}
