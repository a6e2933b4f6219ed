// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { ITreasury } from "./interfaces/ITreasury.sol";

/// @title TreasuryHash
/// @notice The EIP-712 struct hashes that owners of a treasury sign. Every struct names the treasury besides the domain doing so.
library TreasuryHash {
    bytes32 internal constant PAYMENT_TYPEHASH = keccak256("Payment(address to,uint256 amount,bytes32 paymentRef)");
    bytes32 internal constant ORDER_TYPEHASH = keccak256(
        "Order(address treasury,address spender,address token,uint8 operation,bytes32 category,Payment[] payments,bytes details,uint256 nonce,uint64 validUntil,uint32 policyEpoch,uint32 ownerEpoch)Payment(address to,uint256 amount,bytes32 paymentRef)"
    );
    bytes32 internal constant CHANGE_TYPEHASH =
        keccak256("Change(address treasury,bytes[] calls,uint256 nonce,uint64 validUntil,uint32 ownerEpoch)");
    bytes32 internal constant CANCELLATION_TYPEHASH = keccak256("Cancellation(address treasury,bytes32 change)");

    bytes32 internal constant TOP_UP_TYPEHASH = keccak256(
        "TopUp(address treasury,address token,address from,uint256 amount,uint256 validAfter,uint256 validBefore,bytes32 category,bytes32 paymentRef,uint256 salt)"
    );

    /// @dev The members of an order lie in calldata as EIP-712 wants them, except that the two dynamic ones are offsets; these are
    /// overwritten by their hashes. Whoever reads the members as Solidity values has them checked for dirty upper bits.
    function orderHash(ITreasury.Order calldata order) internal view returns (bytes32 result) {
        bytes32 paymentsHash = _paymentsHash(order.payments);
        bytes32 detailsHash = keccak256(order.details);
        bytes32 typehash = ORDER_TYPEHASH;
        assembly ("memory-safe") {
            let pointer := mload(0x40)
            mstore(pointer, typehash)
            mstore(add(pointer, 0x20), address())
            calldatacopy(add(pointer, 0x40), order, 0x140)
            mstore(add(pointer, 0xc0), paymentsHash)
            mstore(add(pointer, 0xe0), detailsHash)
            result := keccak256(pointer, 0x180)
        }
    }

    /// @dev The hash of the concatenated hashes of the payments, each three static words.
    function _paymentsHash(ITreasury.Payment[] calldata payments) private pure returns (bytes32 result) {
        bytes32 typehash = PAYMENT_TYPEHASH;
        assembly ("memory-safe") {
            let hashes := add(mload(0x40), 0x80)
            let pointer := mload(0x40)
            mstore(pointer, typehash)
            for { let i := 0 } lt(i, payments.length) { i := add(i, 1) } {
                calldatacopy(add(pointer, 0x20), add(payments.offset, mul(i, 0x60)), 0x60)
                mstore(add(hashes, shl(5, i)), keccak256(pointer, 0x80))
            }
            result := keccak256(hashes, shl(5, payments.length))
        }
    }

    function changeHash(ITreasury.Change calldata change) internal view returns (bytes32) {
        bytes32[] memory calls = new bytes32[](change.calls.length);
        for (uint256 i = 0; i < calls.length; ++i) {
            calls[i] = keccak256(change.calls[i]);
        }
        return keccak256(
            abi.encode(
                CHANGE_TYPEHASH,
                address(this),
                keccak256(abi.encodePacked(calls)),
                change.nonce,
                change.validUntil,
                change.ownerEpoch
            )
        );
    }

    function cancellationHash(bytes32 change) internal view returns (bytes32) {
        return keccak256(abi.encode(CANCELLATION_TYPEHASH, address(this), change));
    }

    function topUpHash(ITreasury.TopUp calldata terms) internal view returns (bytes32) {
        return keccak256(abi.encode(TOP_UP_TYPEHASH, address(this), terms));
    }
}
