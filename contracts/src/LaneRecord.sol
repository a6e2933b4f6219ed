// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { LaneFields } from "./LaneCodec.sol";
import { IAgentWallet } from "./interfaces/IAgentWallet.sol";

/// All that accepting an authorization needs to know of an operator's lane, in one storage slot. Zero is no lane.
type LaneRecord is uint256;

using LaneRecords for LaneRecord global;

/// @title LaneRecords
/// @notice Packs and reads a {LaneRecord}, and judges times by it.
///
/// Layout, from the lowest bit: paymentsPerPeriod 32, number 32, periodSeconds 32, epoch 32, paymentMax 40, expiresAt 40, onlyAllowed 1,
/// frozen 1. Epoch, number and freeze are copies of the operator's.
library LaneRecords {
    /// @notice How long before its beginning a period's authorizations are already accepted, so that one that ends in the next period can
    /// be used at once.
    uint256 internal constant GRACE_SECONDS = 5 minutes;

    uint256 private constant NUMBER_BIT = 32;
    uint256 private constant PERIOD_BIT = 64;
    uint256 private constant EPOCH_BIT = 96;
    uint256 private constant MAX_BIT = 128;
    uint256 private constant EXPIRY_BIT = 168;
    uint256 private constant ALLOWED_BIT = 208;
    uint256 private constant FROZEN_BIT = 209;
    uint256 private constant MASK_24 = 0xffffff;
    uint256 private constant MASK_32 = 0xffffffff;
    uint256 private constant MASK_40 = 0xffffffffff;
    /// @dev Epoch and number, in the record and in the nonce.
    // slither-disable-next-line too-many-digits -- a mask of two runs
    uint256 private constant NONCE_MASK = 0xffffffff00000000ffffffff00000000;

    function pack(IAgentWallet.Lane calldata lane, uint32 number_, uint32 epoch_, bool frozen)
        internal
        pure
        returns (LaneRecord)
    {
        uint256 flags = (lane.onlyAllowed ? 1 << ALLOWED_BIT : 0) | (frozen ? 1 << FROZEN_BIT : 0);
        return LaneRecord.wrap(
            flags | lane.paymentsPerPeriod | (uint256(number_) << NUMBER_BIT)
                | (uint256(lane.periodSeconds) << PERIOD_BIT) | (uint256(epoch_) << EPOCH_BIT)
                | (uint256(lane.paymentMax) << MAX_BIT) | (uint256(lane.expiresAt) << EXPIRY_BIT)
        );
    }

    /// @notice The same lane after its operator's epoch or freeze changed.
    function sync(LaneRecord record, uint32 epoch_, bool frozen) internal pure returns (LaneRecord) {
        uint256 kept = LaneRecord.unwrap(record) & ~((MASK_32 << EPOCH_BIT) | (1 << FROZEN_BIT));
        return LaneRecord.wrap(kept | (uint256(epoch_) << EPOCH_BIT) | (frozen ? 1 << FROZEN_BIT : 0));
    }

    function unpack(LaneRecord record, address token) internal pure returns (IAgentWallet.Lane memory lane) {
        uint256 packed = LaneRecord.unwrap(record);
        lane.token = token;
        // Every field is cut out of the word: the casts are the masks.
        // forge-lint: disable-start(unsafe-typecast)
        lane.paymentsPerPeriod = uint24(packed);
        lane.periodSeconds = uint32(packed >> PERIOD_BIT);
        lane.paymentMax = uint40(packed >> MAX_BIT);
        lane.expiresAt = uint40(packed >> EXPIRY_BIT);
        // forge-lint: disable-end(unsafe-typecast)
        lane.onlyAllowed = onlyAllowed(record);
    }

    /// @notice Whether the lane covers an authorization at `time`:
    /// it exists, is neither frozen nor expired; the slot is one of the period's; the value is above zero and at most the maximum;
    /// the authorization has not ended; and the period in which it ends has begun or begins within the grace.
    /// @return accepted the answer
    /// @return nonce of the authorization, as EIP-3009 knows it
    function accepts(LaneRecord record, LaneFields fields, uint256 time)
        internal
        pure
        returns (bool accepted, bytes32 nonce)
    {
        // In assembly, because every payment pays for it. Nothing overflows: the times are products and sums of 32-bit numbers. A value
        // of zero is caught by the wrap of the subtraction, a period of zero seconds by the expiry of zero that comes with it.
        assembly ("memory-safe") {
            let periodSeconds := and(shr(PERIOD_BIT, record), MASK_32)
            let validBefore := and(shr(184, fields), MASK_32)
            let slot := and(shr(160, fields), MASK_24)
            // slither-disable-next-line divide-before-multiply -- rounds down to the start of the period
            let period := div(validBefore, periodSeconds)
            accepted := lt(time, and(shr(EXPIRY_BIT, record), MASK_40))
            accepted := and(accepted, iszero(shr(FROZEN_BIT, record)))
            accepted := and(accepted, lt(slot, and(record, MASK_32)))
            accepted := and(accepted, lt(sub(shr(216, fields), 1), and(shr(MAX_BIT, record), MASK_40)))
            accepted := and(accepted, lt(time, validBefore))
            accepted := and(accepted, iszero(lt(add(time, GRACE_SECONDS), mul(period, periodSeconds))))
            // epoch and number stand in the record where they stand in the nonce
            nonce := or(and(record, NONCE_MASK), or(shl(64, period), slot))
        }
    }

    /// @notice Number of the operator's registration.
    function number(LaneRecord record) internal pure returns (uint32) {
        // forge-lint: disable-next-line(unsafe-typecast) -- one field of the word
        return uint32(LaneRecord.unwrap(record) >> NUMBER_BIT);
    }

    function onlyAllowed(LaneRecord record) internal pure returns (bool) {
        return (LaneRecord.unwrap(record) >> ALLOWED_BIT) & 1 == 1;
    }
}
