// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @title LaneCodec
/// @notice The byte layouts of the x402 lane: the EIP-3009 nonce, and the signature that carries an authorization to
/// {IAgentWallet-isValidSignature}. All integers are big-endian, nothing is padded.
///
/// Nonce, 32 bytes:
/// ```
///   offset  length  field
///        0      16  zero
///       16       4  epoch    of the operator, as `operatorOf(operator).epoch`
///       20       4  period   floor(timestamp / periodSeconds)
///       24       4  lane     number of the operator's registration, as `operatorOf(operator).lane`
///       28       4  slot     0 <= slot < paymentsPerPeriod
/// ```
/// The token burns it, so each slot of each period is spent at most once. In a wallet not yet created, the operator at index `i` of its
/// configuration will have lane and epoch `i + 1`.
///
/// Signature, 145 bytes:
/// ```
///   offset  length  field
///        0      32  domainSeparator  of the token, its `DOMAIN_SEPARATOR()`
///       32      20  to
///       52       8  value
///       60       6  validAfter
///       66       6  validBefore
///       72       4  period           as in the nonce
///       76       4  slot             as in the nonce
///       80      65  r ‖ s ‖ v        the operator's ECDSA signature, low s, v 27 or 28
/// ```
/// What the operator signs is nothing of our own but the token's EIP-712 digest of
/// `TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)`
/// with `from` the wallet and the nonce above. The wallet rebuilds that digest from these bytes and its own state and compares it with
/// the hash that it is asked about, so no byte of them can be wrong or mean anything else.
library LaneCodec {
    uint256 internal constant SIGNATURE_BYTES = 145;

    bytes32 internal constant TRANSFER_WITH_AUTHORIZATION_TYPEHASH = keccak256(
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );

    /// @notice The fields in front of the ECDSA signature.
    struct LanePayment {
        bytes32 domainSeparator;
        address to;
        uint64 value;
        uint48 validAfter;
        uint48 validBefore;
        uint32 period;
        uint32 slot;
    }

    function nonceOf(
        uint32 epoch,
        uint32 period,
        uint32 lane,
        uint32 slot
    ) internal pure returns (bytes32) {
        return bytes32((uint256(epoch) << 96) | (uint256(period) << 64) | (uint256(lane) << 32) | slot);
    }

    /// @dev `signature` must be SIGNATURE_BYTES long.
    function decode(
        bytes calldata signature
    ) internal pure returns (LanePayment memory payment) {
        payment.domainSeparator = bytes32(signature[0:32]);
        payment.to = address(bytes20(signature[32:52]));
        payment.value = uint64(bytes8(signature[52:60]));
        payment.validAfter = uint48(bytes6(signature[60:66]));
        payment.validBefore = uint48(bytes6(signature[66:72]));
        payment.period = uint32(bytes4(signature[72:76]));
        payment.slot = uint32(bytes4(signature[76:80]));
    }

    /// @notice The token's digest of the authorization that `payment` describes.
    function digest(
        LanePayment memory payment,
        address from,
        bytes32 nonce
    ) internal pure returns (bytes32) {
        bytes32 structHash = keccak256(
            abi.encode(
                TRANSFER_WITH_AUTHORIZATION_TYPEHASH,
                from,
                payment.to,
                payment.value,
                payment.validAfter,
                payment.validBefore,
                nonce
            )
        );
        return keccak256(abi.encodePacked(hex"1901", payment.domainSeparator, structHash));
    }
}
