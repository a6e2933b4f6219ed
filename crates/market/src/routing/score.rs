//! Scores of those that are compared, in whole numbers. [`Strategy`] and [`RouteFact`] say the formulas to whoever asks.

use api::{Region, RouteFact, RouteTerm, Strategy};
use money::Bps;

const WHOLE: u64 = 10_000;
const FRESH_SECONDS: u64 = 24 * 3_600;
/// A price from which on nothing is affordable: 0.1 USDC.
const DEAR: u64 = 100_000;
/// So that who is new has a chance.
const NEWCOMER: u64 = 1_000;
/// What a quality is multiplied by before it is divided by a price.
const VALUE: u64 = 1_000_000;
/// Sales in an hour that are looked at.
pub(super) const LOOKED_AT_MAX: u64 = 1_000;

/// What is known of one of those that are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// In base units.
    pub(super) price: u64,
    pub(super) length: u64,
    pub(super) quality: u64,
    /// Whether a moderator found that quality.
    pub(super) judged: bool,
    pub(super) reputation: u64,
    pub(super) age_seconds: u64,
    pub(super) region: Option<Region>,
    /// Sold in the last hour, and what is taken in an hour.
    pub(super) sold: u64,
    pub(super) capacity: u64,
    /// Of those that are compared, so many are chosen before.
    pub(super) before: u64,
}

/// What a strategy goes by, and how much each counts.
pub(super) const fn weights(strategy: Strategy) -> &'static [(RouteFact, u16)] {
    use RouteFact::{Affordability, Chance, Freshness, Length, Nearness, Price, Quality, Reputation, Room, Turn, Value};
    match strategy {
        Strategy::Cheapest => &[(Price, 10_000)],
        Strategy::Fastest => &[(Length, 10_000)],
        Strategy::HighestQuality => &[(Quality, 5_000), (Reputation, 3_000), (Freshness, 2_000)],
        Strategy::BestValue => &[(Value, 4_000), (Reputation, 2_500), (Freshness, 2_000), (Price, 1_500)],
        Strategy::RoundRobin => &[(Turn, 10_000)],
        Strategy::WeightedRandom | Strategy::Random => &[(Chance, 10_000)],
        Strategy::Locality => &[(Nearness, 5_000), (Quality, 3_000), (Affordability, 2_000)],
        Strategy::LeastLoaded => &[(Room, 10_000)],
    }
}

/// The terms of each of those that are compared.
pub(super) fn terms(weights: &[(RouteFact, u16)], all: &[Facts], from: Option<Region>, even: bool) -> Vec<Vec<RouteTerm>> {
    let columns: Vec<Vec<u64>> = weights.iter().map(|(fact, _)| column(*fact, all, from, even)).collect();
    let term = |row: usize, (at, (fact, weight)): (usize, &(RouteFact, u16))| RouteTerm {
        fact: *fact,
        weight_bps: bps(u64::from(*weight)),
        value_bps: bps(columns[at][row]),
    };
    (0..all.len()).map(|row| weights.iter().enumerate().map(|weight| term(row, weight)).collect()).collect()
}

pub(super) fn score(terms: &[RouteTerm]) -> Bps {
    let part = |term: &RouteTerm| u64::from(term.weight_bps.get()) * u64::from(term.value_bps.get());
    bps(terms.iter().map(part).sum::<u64>() / WHOLE)
}

/// One fact of each.
fn column(fact: RouteFact, all: &[Facts], from: Option<Region>, even: bool) -> Vec<u64> {
    let each = |of: &dyn Fn(&Facts) -> u64| all.iter().map(of).collect::<Vec<_>>();
    let less = |values: Vec<u64>| beside(&values).into_iter().map(|value| WHOLE - value).collect();
    match fact {
        RouteFact::Price => less(each(&|facts| facts.price)),
        RouteFact::Length => less(each(&|facts| facts.length)),
        RouteFact::Quality => each(&|facts| facts.quality.min(WHOLE)),
        RouteFact::Reputation => each(&|facts| facts.reputation.min(WHOLE)),
        RouteFact::Freshness => each(&|facts| FRESH_SECONDS.saturating_sub(facts.age_seconds) * WHOLE / FRESH_SECONDS),
        RouteFact::Value => beside(&each(&|facts| facts.quality.min(WHOLE) * VALUE / facts.price.max(1))),
        RouteFact::Turn => each(&|facts| WHOLE - facts.before.min(all.len() as u64) * WHOLE / all.len().max(1) as u64),
        RouteFact::Chance => {
            let chances = chances(all, even);
            let sum: u128 = chances.iter().sum();
            chances.iter().map(|chance| u64::try_from(chance * u128::from(WHOLE) / sum.max(1)).unwrap_or(WHOLE)).collect()
        }
        RouteFact::Nearness => each(&|facts| nearness(from, facts.region)),
        RouteFact::Affordability => each(&|facts| WHOLE - facts.price.min(DEAR) * WHOLE / DEAR),
        RouteFact::Room => each(&|facts| WHOLE - loaded(facts)),
    }
}

/// How much of what is taken in an hour was sold.
pub(super) fn loaded(facts: &Facts) -> u64 {
    let capacity = facts.capacity.clamp(1, LOOKED_AT_MAX);
    facts.sold.min(capacity) * WHOLE / capacity
}

/// Where each is between the least and the most.
fn beside(values: &[u64]) -> Vec<u64> {
    let (least, most) = (values.iter().min().copied().unwrap_or_default(), values.iter().max().copied().unwrap_or_default());
    let range = u128::from(most - least);
    let share = |value: &u64| match range {
        0 => WHOLE / 2,
        _ => u64::try_from(u128::from(value - least) * u128::from(WHOLE) / range).unwrap_or(WHOLE),
    };
    values.iter().map(share).collect()
}

fn nearness(from: Option<Region>, to: Option<Region>) -> u64 {
    match (from, to) {
        (Some(from), Some(to)) if from == to => WHOLE,
        (Some(from), Some(to)) if is_beside(from, to) || is_beside(to, from) => WHOLE / 2,
        _ => WHOLE / 5,
    }
}

const fn is_beside(one: Region, other: Region) -> bool {
    use Region::{Africa, AsiaEast, AsiaWest, Europe, NorthAmericaEast, NorthAmericaWest, Oceania, SouthAmerica};
    matches!(
        (one, other),
        (NorthAmericaEast, NorthAmericaWest | SouthAmerica | Europe)
            | (NorthAmericaWest, SouthAmerica)
            | (Europe, Africa | AsiaWest)
            | (Africa, AsiaWest)
            | (AsiaEast, AsiaWest | Oceania | NorthAmericaWest)
    )
}

/// In proportion to which each is drawn.
fn chances(all: &[Facts], even: bool) -> Vec<u128> {
    let chance = |facts: &Facts| {
        if even {
            return 1;
        }
        let worth = u128::from(facts.quality.min(WHOLE)) * u128::from(facts.reputation.min(WHOLE) + NEWCOMER);
        (worth * u128::from(VALUE) / u128::from(facts.price.max(1))).max(1)
    };
    all.iter().map(chance).collect()
}

/// The order in which they are drawn, none twice.
pub(super) fn draw(all: &[Facts], even: bool, seed: u32) -> Vec<usize> {
    let (mut chances, mut numbers) = (chances(all, even), Numbers(seed.into()));
    let mut order = Vec::with_capacity(all.len());
    for _ in all {
        let sum: u128 = chances.iter().sum();
        // Chances are below 2^64 together: at most 200 of 10,000 * 11,000 * 1,000,000.
        let mut left = (u128::from(numbers.next()) * sum) >> 64;
        let drawn = chances.iter().position(|chance| {
            let here = left < *chance;
            left = left.saturating_sub(*chance);
            here
        });
        let Some(drawn) = drawn else { break };
        chances[drawn] = 0;
        order.push(drawn);
    }
    order
}

/// SplitMix64: the same numbers for the same seed, in every version.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn bps(units: u64) -> Bps {
    u16::try_from(units).ok().and_then(Bps::new).unwrap_or(Bps::WHOLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(price: u64) -> Facts {
        Facts { price, quality: 5_000, capacity: 30, ..Facts::default() }
    }

    fn values(fact: RouteFact, all: &[Facts]) -> Vec<u16> {
        terms(&[(fact, 10_000)], all, None, false).iter().map(|terms| terms[0].value_bps.get()).collect()
    }

    #[test]
    fn weights_of_each_strategy_are_a_whole() {
        for strategy in Strategy::ALL {
            assert_eq!(weights(strategy).iter().map(|(_, weight)| *weight).sum::<u16>(), 10_000, "{strategy:?}");
        }
    }

    #[test]
    fn what_is_measured_beside_others_goes_from_nothing_to_all() {
        let all = [facts(1_000), facts(2_000), facts(5_000)];
        assert_eq!(values(RouteFact::Price, &all), [10_000, 7_500, 0]);
        assert_eq!(values(RouteFact::Price, &[facts(7), facts(7)]), [5_000, 5_000], "all equal");
        // Not saturated by what everything costs: half as dear is twice the value.
        assert_eq!(values(RouteFact::Value, &all), [10_000, 3_750, 0]);
        assert_eq!(values(RouteFact::Affordability, &[facts(0), facts(50_000), facts(u64::MAX)]), [10_000, 5_000, 0]);
        let aged = |age_seconds| Facts { age_seconds, ..facts(1) };
        assert_eq!(values(RouteFact::Freshness, &[aged(0), aged(43_200), aged(u64::MAX)]), [10_000, 5_000, 0]);
        let sold = |sold, capacity| Facts { sold, capacity, ..facts(1) };
        assert_eq!(
            values(RouteFact::Room, &[sold(0, 30), sold(15, 30), sold(99, 30), sold(500, 1_000_000)]),
            [10_000, 5_000, 0, 5_000]
        );
        let turn = |before| Facts { before, ..facts(1) };
        assert_eq!(values(RouteFact::Turn, &[turn(1), turn(0)]), [5_000, 10_000]);
    }

    #[test]
    fn a_score_is_the_sum_of_its_terms() {
        let one = Facts { quality: 8_000, reputation: 5_000, age_seconds: 12 * 3_600, ..facts(1_000) };
        let terms = terms(weights(Strategy::HighestQuality), &[one], None, false);
        assert_eq!(score(&terms[0]).get(), 4_000 + 1_500 + 1_000);
    }

    #[test]
    fn near_is_near_from_both_sides() {
        use Region::{AsiaEast, Europe, NorthAmericaWest, Oceania};
        let near = |from, to| nearness(Some(from), Some(to));
        assert_eq!((near(Europe, Europe), near(AsiaEast, Oceania), near(Oceania, AsiaEast)), (10_000, 5_000, 5_000));
        assert_eq!((near(Europe, NorthAmericaWest), nearness(Some(Europe), None)), (2_000, 2_000));
    }

    #[test]
    fn a_seed_draws_the_same_and_chances_are_kept() {
        let all = [facts(1_000), facts(3_000), facts(u64::MAX)];
        assert_eq!(draw(&all, false, 7), draw(&all, false, 7));
        let mut firsts = [0_u32; 3];
        for seed in 0..4_000 {
            let order = draw(&all, false, seed);
            assert_eq!(order.len(), 3, "each once");
            firsts[order[0]] += 1;
        }
        assert!((2_900..3_100).contains(&firsts[0]) && firsts[2] < 5, "three in four are cheap: {firsts:?}");
        let even = (0..3_000).filter(|seed| draw(&all, true, *seed)[0] == 2).count();
        assert!((900..1_100).contains(&even), "{even}");
    }
}
