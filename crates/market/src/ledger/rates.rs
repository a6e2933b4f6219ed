//! What a sale costs and brings, to the last unit.

use api::ledger::{Amount, Asset};
use money::Bps;

/// Denominator of rates.
const FULL: u64 = 10_000;

/// A class of accounts by all they ever earned and spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Its name.
    pub name: &'static str,
    /// From this volume on, in ARD (USDC counts 1,000 for 1).
    pub from: Amount,
    /// Off the fee of what its members sell.
    pub discount: Bps,
}

/// What the house takes and gives.
#[derive(Clone, Debug)]
pub struct Rates {
    /// Of the price, from the seller.
    pub fee: Bps,
    /// Of the fee, destroyed. ARD only: USDC is never burned.
    pub burned: Bps,
    /// Of the seller's net, minted for the seller of good content, but never more than the sale burns: whoever buys from themselves loses what
    /// the house keeps of the fee. ARD only: USDC is never minted.
    pub bonus: Bps,
    /// Content is good from this quality on.
    pub bonus_from: Bps,
    /// Of the seller's net, for the creator whose agent the seller is.
    pub royalty: Bps,
    /// Lowest first; the first from zero.
    pub tiers: [Tier; 4],
}

impl Default for Rates {
    fn default() -> Self {
        const fn bps(number: u16) -> Bps {
            match Bps::new(number) {
                Some(bps) => bps,
                None => unreachable!(),
            }
        }
        const fn tier(name: &'static str, from_ard: u64, discount: u16) -> Tier {
            match Amount::from_units(from_ard * 1_000_000) {
                Some(from) => Tier { name, from, discount: bps(discount) },
                None => unreachable!(),
            }
        }
        Self {
            fee: bps(200),
            burned: bps(5_000),
            bonus: bps(1_000),
            bonus_from: bps(8_000),
            royalty: Bps::WHOLE,
            tiers: [
                tier("bronze", 0, 0),
                tier("silver", 10_000, 1_000),
                tier("gold", 100_000, 2_500),
                tier("platinum", 1_000_000, 5_000),
            ],
        }
    }
}

/// How the price of a sale is divided. `price = fee + net`, `fee = house + burned`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Division {
    /// What the house keeps of the fee.
    pub(crate) house: Amount,
    /// What is destroyed of the fee.
    pub(crate) burned: Amount,
    /// What is left for the seller, of which the royalty is a part.
    pub(crate) net: Amount,
    /// What is minted for the seller.
    pub(crate) bonus: Amount,
    /// What the seller's creator gets of the net.
    pub(crate) royalty: Amount,
}

impl Rates {
    /// The tier of who earned and spent so much ARD.
    pub(crate) fn tier(&self, volume: Amount) -> &Tier {
        self.tiers.iter().rev().find(|tier| tier.from <= volume).unwrap_or(&self.tiers[0])
    }

    /// Divides a price. The fee is rounded up, so that it never vanishes; burn, bonus and royalty are rounded down. `None` when the fee would
    /// leave the seller nothing: the price is too small to be charged.
    pub(crate) fn divide(&self, price: Amount, asset: Asset, seller: &Tier, quality: Bps, royalty: Bps) -> Option<Division> {
        let rate = u64::from(self.fee.get()) * (FULL - u64::from(seller.discount.get()));
        let fee = price.mul_div_ceil(rate, FULL * FULL)?;
        let net = price.checked_sub(fee).filter(|net| !net.is_zero())?;
        let house_money = asset == Asset::Ard;
        let burned = if house_money { fee.mul_div_floor(self.burned.get().into(), FULL)? } else { Amount::ZERO };
        let good = house_money && quality >= self.bonus_from;
        let bonus = if good { net.mul_div_floor(self.bonus.get().into(), FULL)?.min(burned) } else { Amount::ZERO };
        let royalty = net.mul_div_floor(royalty.get().into(), FULL)?;
        Some(Division { house: fee.checked_sub(burned)?, burned, net, bonus, royalty })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use rust_decimal::{Decimal, RoundingStrategy};

    use super::*;

    fn bps(number: u16) -> Bps {
        Bps::new(number).unwrap()
    }

    /// The same in decimals, from the words of the documentation.
    fn model(price: u64, asset: Asset, discount: u16, quality: u16, royalty: u16) -> Option<[Decimal; 5]> {
        let part = |number: u16| Decimal::from(number) / Decimal::from(10_000);
        let down = |d: Decimal| d.round_dp_with_strategy(0, RoundingStrategy::ToZero);
        let price = Decimal::from(price);
        let fee = (price * part(200) * (Decimal::ONE - part(discount))).round_dp_with_strategy(0, RoundingStrategy::AwayFromZero);
        let net = price - fee;
        let ard = if asset == Asset::Ard { Decimal::ONE } else { Decimal::ZERO };
        let burned = ard * down(fee * part(5_000));
        let bonus = if quality >= 8_000 { ard * down(net * part(1_000)).min(burned) } else { Decimal::ZERO };
        (net > Decimal::ZERO).then(|| [fee - burned, burned, net, bonus, down(net * part(royalty))])
    }

    proptest! {
        #[test]
        fn a_price_is_divided_as_documented(
            price in prop_oneof![1_u64..1_000, 1_u64..1_000_000_000_000_000],
            usdc in any::<bool>(), tier in 0_usize..4, quality in 0_u16..=10_000, royalty in 0_u16..=10_000,
        ) {
            let (rates, asset) = (Rates::default(), if usdc { Asset::Usdc } else { Asset::Ard });
            let tier = &rates.tiers[tier];
            let divided = rates.divide(Amount::from_units(price).unwrap(), asset, tier, bps(quality), bps(royalty));
            let divided = divided.map(|d| [d.house, d.burned, d.net, d.bonus, d.royalty].map(|part| Decimal::from(part.units())));
            prop_assert_eq!(divided, model(price, asset, tier.discount.get(), quality, royalty));
            if let Some([_, burned, net, bonus, _]) = divided {
                prop_assert!(bonus <= burned && net + bonus < Decimal::from(price), "whoever is buyer and seller loses");
            }
        }
    }

    #[test]
    fn a_tier_begins_where_it_says() {
        let (rates, ard) = (Rates::default(), |ard: u64| Amount::from_units(ard).unwrap());
        assert_eq!(rates.tier(ard(9_999_999_999)).name, "bronze");
        assert_eq!(rates.tier(ard(10_000_000_000)).name, "silver");
        assert_eq!(rates.tier(Amount::MAX).name, "platinum");
    }
}
