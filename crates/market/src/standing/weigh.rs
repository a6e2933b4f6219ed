//! What counterparties weigh, in whole numbers. [`api::Reputation`] says it to whoever asks.
//!
//! Agents, wallets and trades cost nothing to make, so counting them says nothing; what somebody brought from the chain, spent here and let the
//! house keep its part of is gone whoever they are. So a counterparty weighs by its *own money*, and:
//!
//! - Money that a ring passes around is somebody's own once: who got it from another account here brought none. However often it goes around, the
//!   ring weighs no more than what its members brought, each bounded by a whole counterparty.
//! - The first of everybody's own money counts for nothing, so the same money weighs less the more accounts it is spread over.
//! - What costs nothing (ARD, which the house gives away, and payments on chain, of which the house takes nothing) makes nobody weigh more. All
//!   counterparties without weight are together half of one, and only where there is nobody with more.
//!
//! What remains is to take the money out and bring it in again for each further account: that costs the fee each time, to the house.

use money::Bps;

/// One counterparty.
pub(crate) const WHOLE: i128 = 10_000;
/// Own money up to which it counts for nothing, and from which on it makes a whole counterparty: 0.5 and 5 USDC.
const FIRST: i64 = 500_000;
const FULL: i64 = 5_000_000;
/// Weights have steps, so that a purchase seldom changes what the buyer says of others.
const STEP: i64 = 500;
/// Own money is at most so many times what the house kept of it: with a fee of 2 %, what was spent.
const FEE_WORTH: i64 = 50;
/// What a counterparty without weight counts, and all of them together at most.
const UNPROVEN: i128 = 500;
const UNPROVEN_MAX: i128 = 5_000;
/// So many whole counterparties make half of the best score.
const HALF_AT: i128 = 10 * WHOLE;
/// What turned out bad counts so many times.
const BAD_TIMES: i128 = 4;
/// Days after which something counts half.
const HALF_LIFE_DAYS: i32 = 90;
/// 2026-01-01, in days from 1970.
const ORIGIN_DAY: i32 = 20_454;
const DOUBLINGS_MAX: i32 = 80;

/// What a person brought here and lost here, in base units of USDC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Money {
    pub(super) deposited: i64,
    pub(super) withdrawn: i64,
    pub(super) earned: i64,
    pub(super) fees: i64,
}

impl Money {
    /// Brought from the chain and not taken out again, beyond what was earned here; at most what the fees that it paid are the fee of.
    fn own(self) -> i64 {
        let taken = self.withdrawn.saturating_sub(self.earned.max(0)).max(0);
        let brought = self.deposited.saturating_sub(taken);
        brought.min(self.fees.saturating_mul(FEE_WORTH)).max(0)
    }

    /// In basis points of a counterparty.
    pub(super) fn weight(self) -> i64 {
        weight(self.own())
    }
}

fn weight(units: i64) -> i64 {
    let counts = units.clamp(FIRST, FULL) - FIRST;
    counts * 10_000 / (FULL - FIRST) / STEP * STEP
}

/// What somebody bought from an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) paid: i64,
    pub(super) good: i64,
    pub(super) bad: i64,
    pub(super) good_day: i32,
    pub(super) bad_day: i32,
}

/// What counterparties add to the figures of an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) trust: i128,
    pub(super) distrust: i128,
    pub(super) unproven: i128,
    pub(super) persons: i64,
    pub(super) proven: i64,
}

impl Parts {
    pub(super) fn add(&mut self, other: Self, sign: i64) {
        self.trust += other.trust * i128::from(sign);
        self.distrust += other.distrust * i128::from(sign);
        self.unproven += other.unproven * i128::from(sign);
        self.persons += other.persons * sign;
        self.proven += other.proven * sign;
    }
}

impl Pair {
    /// What it adds, of a person who weighs so much.
    pub(super) fn parts(self, person_weight: i64) -> Parts {
        let of = i128::from((self.good + self.bad).max(1));
        let (good, bad) = (i128::from(self.good.max(0)), i128::from(self.bad.max(0)));
        let weight = person_weight.min(weight(self.paid));
        let stayed = i64::from(good > 0);
        Parts {
            trust: i128::from(weight) * good / of * growth(self.good_day),
            // Decided by people of the house or by an arbiter, so it does not matter who the buyer is.
            distrust: WHOLE * bad / of * growth(self.bad_day),
            unproven: if weight == 0 && good > 0 { UNPROVEN * growth(self.good_day) } else { 0 },
            persons: stayed,
            proven: if weight > 0 { stayed } else { 0 },
        }
    }
}

/// What a day counts beside others: twice as much every ninety days, in a straight line between. Sums of it need not change as time passes: divided
/// by today's they have decayed.
fn growth(day: i32) -> i128 {
    let days = (day - ORIGIN_DAY).clamp(0, DOUBLINGS_MAX * HALF_LIFE_DAYS);
    i128::from(HALF_LIFE_DAYS + days % HALF_LIFE_DAYS) << (days / HALF_LIFE_DAYS)
}

/// What counterparties say of an agent today, in basis points of a counterparty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) trust: u64,
    pub(crate) unproven: u64,
    pub(crate) distrust: u64,
}

impl Terms {
    /// Of the sums of [`Parts`].
    pub(super) fn of(trust: i128, distrust: i128, unproven: i128, today: i32) -> Self {
        let now = |sum: i128| u64::try_from(sum / growth(today)).unwrap_or_default();
        Self { trust: now(trust), unproven: now(unproven).min(UNPROVEN_MAX as u64), distrust: now(distrust) }
    }

    /// Whole counterparties, in basis points of one.
    pub(crate) fn counted(self) -> u64 {
        self.trust.max(self.unproven)
    }

    pub(crate) fn score(self) -> Bps {
        let trust = i128::from(self.counted());
        let score = WHOLE * trust / (trust + BAD_TIMES * i128::from(self.distrust) + HALF_AT);
        u16::try_from(score).ok().and_then(Bps::new).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TODAY: i32 = ORIGIN_DAY + 1_000;

    fn spent(units: i64) -> Money {
        Money { deposited: units, fees: units / FEE_WORTH, ..Money::default() }
    }

    #[test]
    fn own_money_is_what_was_brought_spent_and_not_taken_out() {
        assert_eq!((spent(5_000_000).weight(), spent(500_000).weight(), spent(2_750_000).weight()), (10_000, 0, 5_000));
        assert_eq!(Money { fees: i64::MAX, ..Money::default() }.weight(), 0, "who only passes money on brought none");
        assert_eq!(Money { withdrawn: 5_000_000, ..spent(5_000_000) }.weight(), 0);
        assert_eq!(Money { withdrawn: 5_000_000, earned: 5_000_000, ..spent(5_000_000) }.weight(), 10_000, "earnings may leave");
        assert_eq!(Money { deposited: i64::MAX, ..Money::default() }.weight(), 0, "what is not spent proves nothing");
    }

    #[test]
    fn a_score_halves_its_way_to_the_best_and_decays_by_half_in_ninety_days() {
        let one = Pair { paid: FULL, good: 1, good_day: TODAY, ..Pair::default() }.parts(10_000);
        let terms = |many: i128, today| Terms::of(one.trust * many, 0, 0, today);
        assert_eq!((terms(10, TODAY).score().get(), terms(1, TODAY).score().get()), (5_000, 909));
        assert_eq!(terms(10, TODAY + 90).trust, 50_000);
        assert_eq!(terms(10, TODAY + 180).trust, 25_000);
        let bad = Pair { paid: FULL, good: 0, bad: 1, bad_day: TODAY, ..Pair::default() }.parts(0);
        let score = Terms::of(one.trust * 10, bad.distrust, 0, TODAY).score();
        assert_eq!(score.get(), 4_166, "one that was taken back counts as four");
    }

    #[test]
    fn those_without_weight_are_half_of_one_at_most() {
        let free = Pair { paid: i64::MAX, good: 1_000, good_day: TODAY, ..Pair::default() }.parts(0);
        let terms = Terms::of(free.trust, 0, free.unproven * 1_000_000, TODAY);
        assert_eq!((terms.counted(), terms.score().get()), (5_000, 476));
        assert_eq!(Terms { trust: 10_000, unproven: 5_000, distrust: 0 }.counted(), 10_000, "and nothing beside others");
    }

    proptest! {
        #[test]
        fn the_same_money_weighs_less_the_more_accounts_it_is_spread_over(money in 1_i64..=FULL, parts in 2_i64..1_000) {
            prop_assert!(parts * spent(money / parts).weight() <= spent(money).weight());
        }
    }
}
