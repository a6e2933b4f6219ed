// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { Test } from "forge-std/Test.sol";
import { SpendingRing } from "../../src/SpendingLimit.sol";

/// Proofs over all inputs, for halmos: no window of 24 hours sees more than the limit.
///
/// - {check_aWindowOf24HoursTouchesFourBuckets}: so it is enough to look at a bucket and the three before it.
/// - The five {check_aSpend...} are the step of an induction over any number of spends, at any times, under limits that change. Whatever the
///   ring holds, a spend moves every total to the place that its age has, drops what is older than three buckets, adds its amount to the
///   newest and leaves a sum within the limit of that moment.
/// - {check_noThreeSpendsAreOverTheLimitTogether}: the same from the outside, with nothing to believe in between.
///
/// Times are taken by the bucket that they are in; that a time is in bucket `time / 8 hours` is left to arithmetic, because solvers are slow
/// to see through a division. Every proof has a single path for each case, no loops.
contract SpendingLimitProof is Test {
    uint256 private constant BUCKET = 8 hours;

    /// @param second of the first bucket, @param lastSecond of one that is `gap` later
    function check_aWindowOf24HoursTouchesFourBuckets(uint16 second, uint32 gap, uint16 lastSecond) public pure {
        vm.assume(second < BUCKET);
        vm.assume(gap > 3);
        unchecked {
            assert(gap * BUCKET + lastSecond > second + 24 hours);
        }
    }

    function check_aSpendInTheSameBucket(uint256 ring, uint56 limit, uint56 amount, uint256 time) public pure {
        uint256 updated = _spend(ring, limit, amount, time, 0);
        _has(updated, _total(ring, 0) + amount, _total(ring, 1), _total(ring, 2), _total(ring, 3));
    }

    function check_aSpendOneBucketLater(uint256 ring, uint56 limit, uint56 amount, uint256 time) public pure {
        uint256 updated = _spend(ring, limit, amount, time, 1);
        _has(updated, amount, _total(ring, 0), _total(ring, 1), _total(ring, 2));
    }

    function check_aSpendTwoBucketsLater(uint256 ring, uint56 limit, uint56 amount, uint256 time) public pure {
        uint256 updated = _spend(ring, limit, amount, time, 2);
        _has(updated, amount, 0, _total(ring, 0), _total(ring, 1));
    }

    function check_aSpendThreeBucketsLater(uint256 ring, uint56 limit, uint56 amount, uint256 time) public pure {
        uint256 updated = _spend(ring, limit, amount, time, 3);
        _has(updated, amount, 0, 0, _total(ring, 0));
    }

    function check_aSpendFourBucketsLaterOrMore(uint256 ring, uint56 limit, uint56 amount, uint256 time) public pure {
        uint256 newest = ring >> 224;
        vm.assume(time / BUCKET <= type(uint32).max);
        vm.assume(time / BUCKET > newest + 3);
        (SpendingRing updated, uint256 sum) = SpendingRing.wrap(ring).spendAndSum(limit, amount, time);
        assert(sum == amount);
        assert(SpendingRing.unwrap(updated) == (time / BUCKET << 224) + amount);
    }

    /// What `remaining` says is accepted, and not one unit more.
    function check_remainingIsExact(SpendingRing ring, uint56 limit, uint256 amount, uint256 time) public view {
        uint256 left = ring.remaining(limit, time);
        try this.spend(ring, limit, amount, time) {
            assert(amount <= left);
        } catch {
            assert(amount > left);
        }
    }

    /// @param gap1 @param gap2 buckets between each spend and the next, all three in four buckets
    function check_noThreeSpendsAreOverTheLimitTogether(
        uint56 limit,
        uint56 a,
        uint56 b,
        uint56 c,
        uint8 gap1,
        uint8 gap2
    ) public pure {
        uint256 second = _constant(gap1);
        uint256 third = second + _constant(gap2);
        if (third > 3) return;
        SpendingRing ring = SpendingRing.wrap(0).spend(limit, a, 0);
        ring = ring.spend(limit, b, second * BUCKET);
        ring.spend(limit, c, third * BUCKET);
        unchecked {
            assert(uint256(a) + b + c <= limit);
        }
    }

    function spend(SpendingRing ring, uint56 limit, uint256 amount, uint256 time) external pure returns (SpendingRing) {
        return ring.spend(limit, amount, time);
    }

    /// A spend that many buckets after the ring's newest. Checks what it must leave whatever the ring held: the bucket and the sum.
    function _spend(uint256 ring, uint56 limit, uint56 amount, uint256 time, uint256 elapsed)
        private
        pure
        returns (uint256 updated)
    {
        vm.assume(time / BUCKET == (ring >> 224) + elapsed);
        vm.assume(time / BUCKET <= type(uint32).max);
        (SpendingRing result, uint256 sum) = SpendingRing.wrap(ring).spendAndSum(limit, amount, time);
        updated = SpendingRing.unwrap(result);
        assert(updated >> 224 == time / BUCKET);
        assert(sum == _total(updated, 0) + _total(updated, 1) + _total(updated, 2) + _total(updated, 3));
        if (amount != 0) assert(sum <= limit);
    }

    function _has(uint256 ring, uint256 total0, uint256 total1, uint256 total2, uint256 total3) private pure {
        assert(_total(ring, 0) == total0);
        assert(_total(ring, 1) == total1);
        assert(_total(ring, 2) == total2);
        assert(_total(ring, 3) == total3);
    }

    /// The layout of SpendingLimit, written down a second time.
    function _total(uint256 ring, uint256 index) private pure returns (uint256) {
        return uint56(ring >> (56 * index));
    }

    /// The gap, as a constant on each path; four stands for all that is more.
    function _constant(uint8 gap) private pure returns (uint256) {
        if (gap == 0) return 0;
        if (gap == 1) return 1;
        if (gap == 2) return 2;
        if (gap == 3) return 3;
        return 4;
    }
}
