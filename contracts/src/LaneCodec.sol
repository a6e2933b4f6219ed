// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// The numbers of an authorization as a lane signature has them: its bytes 52 to 64 on top, 20 bytes to ignore below.
type LaneFields is uint256;

/// @title LaneCodec
/// @notice The byte layouts of the x402 lane: the EIP-3009 nonce, and the signature that carries an authorization to
/// {IAgentWallet-isValidSignature}. All integers are big-endian, nothing is padded.
///
/// Nonce, 32 bytes:
/// ```
///   offset  length  field
///        0      16  zero
///       16       4  epoch    of the operator, as `operatorOf(operator).epoch`
///       20       4  period   floor(validBefore / periodSeconds)
///       24       4  lane     number of the operator's registration, as `operatorOf(operator).lane`
///       28       4  slot     0 <= slot < paymentsPerPeriod
/// ```
/// The token burns it, so each slot of each period is spent at most once. In a wallet not yet created, the operator at index `i` of its
/// configuration will have lane and epoch `i + 1`.
///
/// Signature, 128 bytes:
/// ```
///   offset  length  field
///        0      32  domainSeparator  of the token, its `DOMAIN_SEPARATOR()`
///       32      20  to
///       52       5  value
///       57       4  validBefore
///       61       3  slot             as in the nonce
///       64      32  r                of the operator's ECDSA signature,
///       96      32  yParityAndS      compact as in ERC-2098: s, with the parity of y (v - 27) as its top bit
/// ```
/// What the operator signs is nothing of our own but the token's EIP-712 digest of
/// `TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)`
/// with `from` the wallet, `validAfter` zero and the nonce above. The wallet rebuilds that digest from these bytes and its own state and
/// compares it with the hash that it is asked about, so no byte of them can be wrong or mean anything else. A compact signature has no
/// malleable twin: its `s` is below 2^255, and the wallet refuses it above half the order of the curve.
library LaneCodec {
    uint256 internal constant SIGNATURE_BYTES = 128;

    bytes32 internal constant TRANSFER_WITH_AUTHORIZATION_TYPEHASH = keccak256(
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );

    /// @dev Half of the order of secp256k1.
    uint256 private constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    uint256 private constant S_MASK = 0x7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff;

    /// @dev All arguments below 2^32.
    function nonceOf(uint256 epoch, uint256 period, uint256 lane, uint256 slot) internal pure returns (bytes32) {
        return bytes32((epoch << 96) | (period << 64) | (lane << 32) | slot);
    }

    /// @dev `signature` must be SIGNATURE_BYTES long.
    function decode(bytes calldata signature)
        internal
        pure
        returns (bytes32 domainSeparator, address to, LaneFields fields)
    {
        assembly ("memory-safe") {
            domainSeparator := calldataload(signature.offset)
            to := shr(96, calldataload(add(signature.offset, 32)))
            fields := calldataload(add(signature.offset, 52))
        }
    }

    /// @notice Who signed `hash` with the compact signature inside a lane signature; zero when nobody did.
    function recover(bytes32 hash, bytes calldata signature) internal view returns (address signer) {
        assembly ("memory-safe") {
            let compact := calldataload(add(signature.offset, 96))
            let s := and(compact, S_MASK)
            if iszero(gt(s, HALF_ORDER)) {
                // ecrecover(hash, v, r, s); it answers with nothing when there is no signer
                let free := mload(0x40)
                mstore(free, hash)
                mstore(add(free, 32), add(27, shr(255, compact)))
                mstore(add(free, 64), calldataload(add(signature.offset, 64)))
                mstore(add(free, 96), s)
                mstore(0, 0)
                pop(staticcall(gas(), 1, free, 128, 0, 32))
                signer := mload(0)
            }
        }
    }

    /// @notice The token's EIP-712 digest of the authorization.
    function digest(bytes32 domainSeparator, address from, address to, LaneFields fields, bytes32 nonce)
        internal
        pure
        returns (bytes32 hash)
    {
        bytes32 typehash = TRANSFER_WITH_AUTHORIZATION_TYPEHASH;
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, typehash)
            mstore(add(free, 32), from)
            mstore(add(free, 64), to)
            mstore(add(free, 96), shr(216, fields))
            mstore(add(free, 128), 0)
            mstore(add(free, 160), and(shr(184, fields), 0xffffffff))
            mstore(add(free, 192), nonce)
            // keccak256(0x1901 ‖ domainSeparator ‖ keccak256(struct))
            mstore(add(free, 34), keccak256(free, 224))
            mstore(add(free, 2), domainSeparator)
            mstore8(free, 0x19)
            mstore8(add(free, 1), 0x01)
            hash := keccak256(free, 66)
        }
    }
}
