// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { Test } from "forge-std/Test.sol";
import { SpendingLimit, SpendingRing } from "../../src/SpendingLimit.sol";

/// The limit against a naive list of everything that was ever spent.
contract SpendingLimitTest is Test {
    struct Spend {
        uint256 time;
        uint256 amount;
    }

    uint256 private constant BUCKET = 8 hours;
    uint56 private constant LIMIT = 100e6;
    /// 00:00:00 UTC of a day in October 2025, at which a bucket begins.
    uint256 private constant MIDNIGHT = 1_760_054_400;

    SpendingRing private ring;
    Spend[] private spends;

    // One spend

    function test_anEmptyRingLeavesTheWholeLimit() public view {
        assertEq(ring.remaining(LIMIT, MIDNIGHT), LIMIT);
        assertEq(ring.spent(MIDNIGHT), 0);
    }

    function test_theLimitCanBeSpentToTheLastUnitAndNotOneMore() public {
        _spend(LIMIT, LIMIT - 1, MIDNIGHT);
        _spend(LIMIT, 1, MIDNIGHT);
        _refuses(LIMIT, 1, MIDNIGHT, 0);
    }

    /// @param amount anything above the limit, also what would overflow a total
    function testFuzz_aRefusalSaysHowMuchWasLeft(uint256 amount) public {
        _spend(LIMIT, 70e6, MIDNIGHT);
        amount = bound(amount, 30e6 + 1, type(uint256).max);
        _refuses(LIMIT, amount, MIDNIGHT, 30e6);
    }

    // Time

    function test_midnightDoubleSpendIsRefused() public {
        _spend(LIMIT, LIMIT, MIDNIGHT - 1);
        _refuses(LIMIT, 1, MIDNIGHT, 0);
        _refuses(LIMIT, 1, MIDNIGHT + 1, 0);
    }

    /// @param time of the first spend
    /// @param later how long after it the second is tried
    function testFuzz_nothingMoreIn24HoursWhateverTheTimeOfDay(uint256 time, uint256 later) public {
        time = bound(time, MIDNIGHT, MIDNIGHT + 1 days);
        later = bound(later, 0, 24 hours);
        _spend(LIMIT, LIMIT, time);
        _refuses(LIMIT, 1, time + later, 0);
    }

    function test_aSpendIsFreeAgain32HoursAfterItsBucketBegan() public {
        _spend(LIMIT, 60e6, MIDNIGHT); // the first second of a bucket: counted longest
        _spend(LIMIT, 40e6, MIDNIGHT + BUCKET - 1); // its last: counted shortest, a second more than the promise
        assertEq(ring.remaining(LIMIT, MIDNIGHT + 32 hours - 1), 0);
        assertEq(ring.remaining(LIMIT, MIDNIGHT + 32 hours), LIMIT);
    }

    function test_bucketsAreForgottenOneByOne() public {
        for (uint256 i = 0; i < 4; ++i) {
            _spend(LIMIT, 10e6 * (i + 1), MIDNIGHT + i * BUCKET);
        }
        uint256[6] memory left = [uint256(0), 10e6, 30e6, 60e6, LIMIT, LIMIT];
        for (uint256 i = 0; i < left.length; ++i) {
            assertEq(ring.remaining(LIMIT, MIDNIGHT + (3 + i) * BUCKET), left[i]);
        }
    }

    /// @param time any time from a day later to the end of the ring's clock
    function testFuzz_aRingThatSleptIsEmpty(uint256 time) public {
        _spend(LIMIT, LIMIT, MIDNIGHT);
        time = bound(time, MIDNIGHT + 32 hours, uint256(type(uint32).max) * BUCKET);
        assertEq(ring.remaining(LIMIT, time), LIMIT);
        _spend(LIMIT, LIMIT, time);
        _refuses(LIMIT, 1, time, 0);
    }

    // Limits that change

    function test_aLoweredLimitHoldsAtOnce() public {
        _spend(LIMIT, 50e6, MIDNIGHT);
        assertEq(ring.remaining(60e6, MIDNIGHT), 10e6);
        _refuses(60e6, 10e6 + 1, MIDNIGHT, 10e6);
        _refuses(20e6, 1, MIDNIGHT, 0); // below what is spent already
    }

    function test_aRaisedLimitForgetsNothing() public {
        _spend(50e6, 50e6, MIDNIGHT);
        assertEq(ring.remaining(LIMIT, MIDNIGHT), 50e6);
        _refuses(LIMIT, 50e6 + 1, MIDNIGHT, 50e6);
    }

    // Layout

    /// @param bucket which of the four totals takes everything a total can hold
    function testFuzz_theLargestTotalStaysInItsPlace(uint256 bucket) public {
        uint56 most = type(uint56).max;
        uint256 time = MIDNIGHT + bound(bucket, 0, 3) * BUCKET;
        _spend(most, 1, MIDNIGHT);
        _spend(most, most - 1, time);
        assertEq(ring.spent(MIDNIGHT + 3 * BUCKET), most);
        assertEq(ring.spent(MIDNIGHT + 4 * BUCKET), time < MIDNIGHT + BUCKET ? 0 : most - 1);
    }

    /// @param amounts one spend for each bucket
    function testFuzz_theSlotHasTheDocumentedLayout(uint48[4] memory amounts) public {
        for (uint256 i = 0; i < 4; ++i) {
            _spend(type(uint56).max, amounts[i], MIDNIGHT + i * BUCKET);
        }
        assertEq(
            abi.encodePacked(SpendingRing.unwrap(ring)),
            abi.encodePacked(
                uint32(MIDNIGHT / BUCKET + 3),
                uint56(amounts[0]),
                uint56(amounts[1]),
                uint56(amounts[2]),
                uint56(amounts[3])
            )
        );
    }

    // Against the naive list

    /// In no 24 hours more than the limit, `remaining` exact, whatever the times, amounts and changes of the limit.
    /// @param seed of sixty steps
    function testFuzz_againstAListOfAllSpends(uint256 seed) public {
        uint256 time = MIDNIGHT + seed % 1 days;
        uint56 limit = LIMIT;
        for (uint256 step = 0; step < 60; ++step) {
            seed = uint256(keccak256(abi.encode(seed)));
            time = _later(time, seed);
            if (seed >> 8 & 7 == 0) limit = uint56((seed >> 32) % (2 * LIMIT)); // lowered or raised

            uint256 counted = _spentSince(time / BUCKET * BUCKET - 24 hours);
            uint256 left = limit > counted ? limit - counted : 0;
            assertEq(ring.spent(time), counted);
            assertEq(ring.remaining(limit, time), left);

            // All that is left, one unit too many, or something in between.
            uint256 amount = seed >> 16 & 3 == 0 ? left : seed >> 16 & 3 == 1 ? left + 1 : (seed >> 128) % (LIMIT / 3);
            if (amount > left) {
                _refuses(limit, amount, time, left);
                continue;
            }
            _spend(limit, amount, time);
            if (amount != 0) assertLe(_spentSince(time - 24 hours), limit);
        }
    }

    /// Times at which something changes are tried more often than others.
    function _later(uint256 time, uint256 seed) private pure returns (uint256) {
        uint256 next = (time / BUCKET + 1) * BUCKET;
        uint256 kind = seed & 7;
        if (kind == 0) return time;
        if (kind == 1) return next - 1;
        if (kind == 2) return next;
        if (kind == 3) return time + 24 hours;
        if (kind == 4) return time + (seed >> 64) % 40 hours;
        return time + (seed >> 64) % 6 hours;
    }

    function _spentSince(uint256 time) private view returns (uint256 sum) {
        for (uint256 i = spends.length; i > 0 && spends[i - 1].time >= time; --i) {
            sum += spends[i - 1].amount;
        }
    }

    function _spend(uint56 limit, uint256 amount, uint256 time) private {
        uint256 sum = ring.spent(time) + amount;
        uint256 said;
        (ring, said) = ring.spendAndSum(limit, amount, time);
        assertEq(said, sum);
        spends.push(Spend(time, amount));
    }

    function _refuses(uint56 limit, uint256 amount, uint256 time, uint256 left) private {
        vm.expectRevert(abi.encodeWithSelector(SpendingLimit.SpendingLimitExceeded.selector, amount, left));
        this.spendOutside(limit, amount, time);
    }

    /// A call of its own, so that its refusal can be expected.
    function spendOutside(uint56 limit, uint256 amount, uint256 time) external {
        ring = ring.spend(limit, amount, time);
    }
}
