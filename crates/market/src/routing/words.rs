//! Scores in words.

use api::{Region, RouteFact, RouteTerm};
use money::Usdc;

use super::score::{self, Facts};

/// What is said of all that are compared.
pub(super) struct Told {
    count: usize,
    prices: (u64, u64),
    lengths: (u64, u64),
    from: Option<Region>,
}

impl Told {
    pub(super) fn of(all: &[Facts], from: Option<Region>) -> Self {
        let ends = |of: fn(&Facts) -> u64| {
            let values = || all.iter().map(of);
            (values().min().unwrap_or_default(), values().max().unwrap_or_default())
        };
        Self { count: all.len(), prices: ends(|facts| facts.price), lengths: ends(|facts| facts.length), from }
    }

    /// A sentence of what the score goes by.
    pub(super) fn why(&self, terms: &[RouteTerm], facts: &Facts) -> String {
        let clauses: Vec<_> = terms.iter().map(|term| self.clause(term, facts)).collect();
        format!("Of {} compared: {}.", self.count, clauses.join("; "))
    }

    fn clause(&self, term: &RouteTerm, facts: &Facts) -> String {
        let value = term.value_bps.get();
        match term.fact {
            RouteFact::Price => {
                let [price, least, most] = [facts.price, self.prices.0, self.prices.1].map(price);
                format!("it costs {price}, the cheapest {least} and the dearest {most}")
            }
            RouteFact::Affordability => format!("it costs {}", price(facts.price)),
            RouteFact::Length => {
                let (least, most) = self.lengths;
                format!(
                    "it has {} bytes, the shortest {least} and the longest {most}; the market delivers all alike",
                    facts.length
                )
            }
            RouteFact::Quality if !facts.judged => "no moderator looked at it, which counts as half good".into(),
            RouteFact::Quality => format!("a moderator found its quality {value} of 10000"),
            RouteFact::Reputation => format!("the reputation is {value} of 10000"),
            RouteFact::Freshness if value == 0 => "its content is older than a day".into(),
            RouteFact::Freshness => format!("its content is {} minutes old", facts.age_seconds / 60),
            RouteFact::Value => format!("its quality for the price is {value} of 10000 beside the others"),
            RouteFact::Turn if facts.before == 0 => "it was chosen for you longest ago, or never".into(),
            RouteFact::Turn => format!("its turn comes after {} others", facts.before),
            RouteFact::Chance => format!("it was drawn, and had {value} of 10000 chances to be the first"),
            RouteFact::Nearness => match (value, facts.region) {
                (_, None) => "it does not say where it is".into(),
                (10_000, _) => "it is where you are".into(),
                (5_000, _) => "it is in a region beside yours".into(),
                _ if self.from.is_none() => "you do not say where you are".into(),
                _ => "it is far from you".into(),
            },
            RouteFact::Room if score::loaded(facts) == 0 => "the seller sold nothing or hardly anything in the last hour".into(),
            RouteFact::Room => {
                format!("{} of the {} that it takes in an hour were sold in the last", facts.sold, facts.capacity)
            }
        }
    }
}

fn price(units: u64) -> String {
    format!("{} USDC", Usdc::from_base_units(units))
}
