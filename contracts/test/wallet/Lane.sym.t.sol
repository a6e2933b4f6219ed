// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { Test } from "forge-std/Test.sol";
import { LaneCodec, LaneFields } from "../../src/LaneCodec.sol";
import { LaneRecord, LaneRecords } from "../../src/LaneRecord.sol";
import { IAgentWallet } from "../../src/interfaces/IAgentWallet.sol";

/// Proofs over all inputs, for halmos: of one epoch of one operator's lane, at most `paymentsPerPeriod * paymentMax` leave per period.
///
/// USDC burns every nonce that it pays for, so it is enough that the nonces which the lane accepts for a period are at most
/// `paymentsPerPeriod` ({check_aSlotOfAPeriodHasOneNonce}: the nonce is a function of period and slot, and the slot is below that number),
/// that none carries more than `paymentMax` ({check_theLaneAcceptsExactlyWhatItCovers}), and that no other epoch, operator or period draws
/// on the same nonces ({check_epochsLanesPeriodsAndSlotsShareNoNonce}).
contract LaneProof is Test {
    /// What a lane signature says of an authorization.
    struct Said {
        uint40 value;
        uint32 validBefore;
        uint24 slot;
        /// @dev The bytes behind, of which nothing may depend.
        uint160 rest;
    }

    function check_aSlotOfAPeriodHasOneNonce(LaneRecord record, Said memory first, Said memory second, uint256 time)
        public
        pure
    {
        (, bytes32 nonce1) = record.accepts(_fields(first), time);
        (, bytes32 nonce2) = record.accepts(_fields(second), time);
        uint32 periodSeconds = uint32(LaneRecord.unwrap(record) >> 64);
        vm.assume(periodSeconds != 0);
        bool samePeriod = first.validBefore / periodSeconds == second.validBefore / periodSeconds;
        assert((nonce1 == nonce2) == (samePeriod && first.slot == second.slot));
    }

    function check_theLaneAcceptsExactlyWhatItCovers(
        IAgentWallet.Lane calldata lane,
        uint32 number,
        uint32 epoch,
        bool frozen,
        Said memory said,
        uint40 time
    ) public pure {
        vm.assume(lane.periodSeconds != 0);
        LaneRecord record = LaneRecords.pack(lane, number, epoch, frozen);
        (bool accepted, bytes32 nonce) = record.accepts(_fields(said), time);
        uint256 period = said.validBefore / lane.periodSeconds;
        bool covered = !frozen && time < lane.expiresAt && said.slot < lane.paymentsPerPeriod && said.value != 0
            && said.value <= lane.paymentMax && time < said.validBefore
            && period * lane.periodSeconds <= uint256(time) + LaneRecords.GRACE_SECONDS;
        assert(accepted == covered);
        assert(nonce == LaneCodec.nonceOf(epoch, period, number, said.slot));
    }

    function check_epochsLanesPeriodsAndSlotsShareNoNonce(uint32[4] calldata one, uint32[4] calldata other)
        public
        pure
    {
        bytes32 nonce1 = LaneCodec.nonceOf(one[0], one[1], one[2], one[3]);
        bytes32 nonce2 = LaneCodec.nonceOf(other[0], other[1], other[2], other[3]);
        bool same = one[0] == other[0] && one[1] == other[1] && one[2] == other[2] && one[3] == other[3];
        assert((nonce1 == nonce2) == same);
    }

    function check_noLaneAcceptsNothing(Said memory said, uint256 time) public pure {
        (bool accepted,) = LaneRecord.wrap(0).accepts(_fields(said), time);
        assert(!accepted);
    }

    /// Changing the epoch or freezing changes nothing else, whatever the record held.
    function check_aRecordKeepsTheRestOfItsTerms(
        IAgentWallet.Lane calldata lane,
        uint32 number,
        uint32 epoch,
        bool frozen,
        uint32 newEpoch,
        bool newFrozen
    ) public pure {
        LaneRecord changed = LaneRecords.pack(lane, number, epoch, frozen).sync(newEpoch, newFrozen);
        assert(LaneRecord.unwrap(changed) == LaneRecord.unwrap(LaneRecords.pack(lane, number, newEpoch, newFrozen)));
        assert(changed.number() == number);
        assert(changed.onlyAllowed() == lane.onlyAllowed);
    }

    /// The layout of LaneCodec, written down a second time.
    function _fields(Said memory said) private pure returns (LaneFields) {
        return LaneFields.wrap(
            uint256(said.value) << 216 | uint256(said.validBefore) << 184 | uint256(said.slot) << 160 | said.rest
        );
    }
}
