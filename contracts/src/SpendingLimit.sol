// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// What was spent in the last 24 to 32 hours, in one storage slot. Zero is an empty ring.
type SpendingRing is uint256;

using SpendingLimit for SpendingRing global;

/// @title SpendingLimit
/// @notice A strict sliding limit: in no 24-hour window is more than the limit spent.
///
/// Guarantee. Every spend goes through {spend} with the time of its block and the limit of that moment. Then for every time `t` the
/// spends made in `[t - 24 hours, t]` add up to at most the limit that the last of them was checked against. There is no boundary at
/// which two allowances can be spent together, as with calendar windows, and no refill while spending, as with token buckets.
///
/// How. Time is cut into buckets of eight hours. The ring holds the totals of the current bucket and of the three before it, which
/// together cover any closed window of 24 hours that ends now; a spend must fit into what the four leave of the limit. Up to eight hours
/// more than needed are counted, so a spend frees its amount 24 to 32 hours later: strict, and never too generous.
///
/// Changing the limit. The limit is an argument, not part of the ring: lowering it takes effect at once, raising it revives nothing and
/// forgets nothing.
///
/// Layout, from the lowest bit: four totals of 56 bits, the current bucket first, then the bucket number (`timestamp / 8 hours`) of the
/// newest total in 32 bits. 56 bits of a six-decimal token are 72,057 million tokens.
library SpendingLimit {
    /// @dev Seconds in one bucket.
    uint256 internal constant BUCKET_SECONDS = 8 hours;

    /// @dev Bits of one total.
    uint256 private constant TOTAL_BITS = 56;

    /// @dev Bits of the four totals together; the bucket number sits above them.
    uint256 private constant RING_BITS = 4 * TOTAL_BITS;

    uint256 private constant TOTAL_MASK = (1 << TOTAL_BITS) - 1;
    uint256 private constant RING_MASK = (1 << RING_BITS) - 1;

    /// @notice A spend does not fit into the limit.
    /// @param amount what was to be spent, in token base units
    /// @param remaining what could have been spent at that moment
    error SpendingLimitExceeded(uint256 amount, uint256 remaining);

    /// @notice Records a spend, or reverts when it does not fit.
    /// @param limit the most that may be spent in 24 hours, in token base units
    /// @param amount what is spent, in token base units
    /// @param timestamp the time of the block, never earlier than that of a spend already recorded
    /// @return updated the ring to store
    function spend(SpendingRing ring, uint56 limit, uint256 amount, uint256 timestamp)
        internal
        pure
        returns (SpendingRing updated)
    {
        (updated,) = spendAndSum(ring, limit, amount, timestamp);
    }

    /// @notice {spend}, for callers who also want to judge what has been spent in all.
    /// @return updated the ring to store
    /// @return sum what {spent} says of it
    function spendAndSum(SpendingRing ring, uint56 limit, uint256 amount, uint256 timestamp)
        internal
        pure
        returns (SpendingRing updated, uint256 sum)
    {
        uint256 totals = _totals(ring, timestamp);
        uint256 before = _sum(totals);
        // None of these sums overflows: four totals of 56 bits, and an amount that was checked against the limit. The current total
        // stays within its 56 bits, because with the amount it is at most the limit.
        unchecked {
            uint256 left = before < limit ? limit - before : 0;
            if (amount > left) revert SpendingLimitExceeded(amount, left);
            return (SpendingRing.wrap(((timestamp / BUCKET_SECONDS) << RING_BITS) | (totals + amount)), before + amount);
        }
    }

    /// @notice The most that {spend} would accept at `timestamp`.
    function remaining(SpendingRing ring, uint56 limit, uint256 timestamp) internal pure returns (uint256) {
        uint256 before = _sum(_totals(ring, timestamp));
        unchecked {
            return before < limit ? limit - before : 0;
        }
    }

    /// @notice What counts against the limit at `timestamp`: the spends of the last 24 to 32 hours.
    function spent(SpendingRing ring, uint256 timestamp) internal pure returns (uint256) {
        return _sum(_totals(ring, timestamp));
    }

    /// @dev The four totals as they stand at `timestamp`: each bucket boundary passed shifts the oldest total out.
    function _totals(SpendingRing ring, uint256 timestamp) private pure returns (uint256) {
        uint256 packed = SpendingRing.unwrap(ring);
        // Blocks do not go back in time, and the product of a timestamp with 56 / 28,800 is smaller than the timestamp.
        unchecked {
            uint256 elapsed = timestamp / BUCKET_SECONDS - (packed >> RING_BITS);
            return (packed & RING_MASK) << (elapsed * TOTAL_BITS) & RING_MASK;
        }
    }

    function _sum(uint256 totals) private pure returns (uint256) {
        unchecked {
            return (totals & TOTAL_MASK) + ((totals >> TOTAL_BITS) & TOTAL_MASK)
                + ((totals >> (2 * TOTAL_BITS)) & TOTAL_MASK) + (totals >> (3 * TOTAL_BITS));
        }
    }
}
