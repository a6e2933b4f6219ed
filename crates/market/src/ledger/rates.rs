//! What a sale costs and brings, to the last unit.

use std::str::FromStr;

use api::ledger::{Amount, Asset};
use money::Bps;

/// Denominator of rates.
const FULL: u64 = 10_000;

/// A class of accounts by all they ever earned and spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Its name.
    pub name: String,
    /// From this volume on, in ARD (USDC counts 1,000 for 1).
    pub from: Amount,
    /// Off the fee of what its members sell.
    pub discount: Bps,
}

/// All tiers, the lowest first, which begins at zero. Written as `NAME:FROM_ARD:DISCOUNT_BPS`, with commas between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiers(Vec<Tier>);

/// What the house takes and gives.
#[derive(Clone, Debug, clap::Args)]
pub struct Rates {
    /// Basis points of the price that the house takes from the seller. All instances have the same rates
    #[arg(long = "fee-bps", env = "FLORIN_MARKET_FEE_BPS", default_value = "200", value_name = "BPS", value_parser = bps)]
    pub fee: Bps,
    /// Basis points of the fee that are destroyed. ARD only: USDC is never burned
    #[arg(long = "burned-bps", env = "FLORIN_MARKET_BURNED_BPS", default_value = "5000", value_name = "BPS", value_parser = bps)]
    pub burned: Bps,
    /// Basis points of the seller's net that are minted for the seller of good content, but never more than the sale burns: whoever buys from
    /// themselves loses what the house keeps of the fee. ARD only: USDC is never minted
    #[arg(long = "bonus-bps", env = "FLORIN_MARKET_BONUS_BPS", default_value = "1000", value_name = "BPS", value_parser = bps)]
    pub bonus: Bps,
    /// Content is good from this quality on, in basis points
    #[arg(long = "bonus-from-bps", env = "FLORIN_MARKET_BONUS_FROM_BPS", default_value = "8000", value_name = "BPS", value_parser = bps)]
    pub bonus_from: Bps,
    /// Basis points of the seller's net that go to the creator whose agent the seller is
    #[arg(long = "royalty-bps", env = "FLORIN_MARKET_ROYALTY_BPS", default_value = "10000", value_name = "BPS", value_parser = bps)]
    pub royalty: Bps,
    /// Tiers as NAME:FROM_ARD:DISCOUNT_BPS, lowest first: from what volume on a seller is in it, and what that takes off the fee
    #[arg(long, env = "FLORIN_MARKET_TIERS", default_value = Tiers::DEFAULT, value_name = "TIERS")]
    pub tiers: Tiers,
}

fn bps(text: &str) -> Result<Bps, String> {
    let parsed = text.parse().ok().and_then(Bps::new);
    parsed.ok_or_else(|| format!("{text:?} is not a whole number of basis points from 0 to 10000"))
}

impl Default for Rates {
    /// The defaults of the command line.
    fn default() -> Self {
        let bps = |number| Bps::new(number).expect("at most the whole");
        let tiers = Tiers::DEFAULT.parse().expect("tested");
        Self { fee: bps(200), burned: bps(5_000), bonus: bps(1_000), bonus_from: bps(8_000), royalty: Bps::WHOLE, tiers }
    }
}

impl Tiers {
    const DEFAULT: &str = "bronze:0:0,silver:10000:1000,gold:100000:2500,platinum:1000000:5000";

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Tier> {
        self.0.iter()
    }
}

impl FromStr for Tiers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let tier = |text: &str| {
            let wrong = || format!("{text:?} is not NAME:FROM_ARD:DISCOUNT_BPS, as in silver:10000:1000");
            let (name, rest) = text.trim().split_once(':').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
            let (from, discount) = rest.split_once(':').ok_or_else(wrong)?;
            Ok(Tier { name: name.into(), from: from.parse().map_err(|_| wrong())?, discount: bps(discount)? })
        };
        let tiers: Vec<_> = text.split(',').map(tier).collect::<Result<_, String>>()?;
        if !tiers[0].from.is_zero() || tiers.windows(2).any(|pair| pair[0].from >= pair[1].from) {
            return Err("the first tier begins at 0, and each later one at more than the one before".into());
        }
        Ok(Self(tiers))
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
        self.tiers.iter().rev().find(|tier| tier.from <= volume).unwrap_or(&self.tiers.0[0])
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
    fn model(rates: &Rates, price: u64, asset: Asset, discount: Bps, quality: Bps, royalty: Bps) -> Option<[Decimal; 5]> {
        let part = |share: Bps| Decimal::from(share.get()) / Decimal::from(10_000);
        let down = |d: Decimal| d.round_dp_with_strategy(0, RoundingStrategy::ToZero);
        let price = Decimal::from(price);
        let fee = price * part(rates.fee) * (Decimal::ONE - part(discount));
        let fee = fee.round_dp_with_strategy(0, RoundingStrategy::AwayFromZero);
        let net = price - fee;
        let ard = if asset == Asset::Ard { Decimal::ONE } else { Decimal::ZERO };
        let burned = ard * down(fee * part(rates.burned));
        let bonus = if quality >= rates.bonus_from { ard * down(net * part(rates.bonus)).min(burned) } else { Decimal::ZERO };
        (net > Decimal::ZERO).then(|| [fee - burned, burned, net, bonus, down(net * part(royalty))])
    }

    fn share() -> impl Strategy<Value = Bps> {
        (0_u16..=10_000).prop_map(bps)
    }

    fn rates() -> impl Strategy<Value = Rates> {
        let other = (share(), share(), share(), share()).prop_map(|(fee, burned, bonus, bonus_from)| Rates {
            fee,
            burned,
            bonus,
            bonus_from,
            ..Rates::default()
        });
        prop_oneof![Just(Rates::default()), other]
    }

    proptest! {
        #[test]
        fn a_price_is_divided_as_documented(
            rates in rates(), price in prop_oneof![1_u64..1_000, 1_u64..1_000_000_000_000_000],
            usdc in any::<bool>(), tier in 0_usize..4, quality in share(), royalty in share(),
        ) {
            let asset = if usdc { Asset::Usdc } else { Asset::Ard };
            let tier = &rates.tiers.0[tier];
            let divided = rates.divide(Amount::from_units(price).unwrap(), asset, tier, quality, royalty);
            let divided = divided.map(|d| [d.house, d.burned, d.net, d.bonus, d.royalty].map(|part| Decimal::from(part.units())));
            prop_assert_eq!(divided, model(&rates, price, asset, tier.discount, quality, royalty));
            if let Some([house, burned, net, bonus, _]) = divided {
                prop_assert!(bonus <= burned && net + bonus <= Decimal::from(price) - house, "nobody gains by buying from themselves");
            }
        }
    }

    #[test]
    fn tiers_are_read_as_they_are_written_and_in_order() {
        for wrong in
            ["", "bronze", "bronze:0", ":0:0", "bronze:0:10001", "bronze:1:0", "bronze:0:0,silver:0:10", "bronze:0:0,x:-1:0"]
        {
            wrong.parse::<Tiers>().unwrap_err();
        }
        let tiers: Tiers = "all:0:0, large:0.5:9999".parse().unwrap();
        assert_eq!((tiers.0[1].from.units(), tiers.0[1].discount.get()), (500_000, 9_999));
    }

    #[test]
    fn a_tier_begins_where_it_says() {
        let (rates, ard) = (Rates::default(), |ard: u64| Amount::from_units(ard).unwrap());
        assert_eq!(rates.tier(ard(9_999_999_999)).name, "bronze");
        assert_eq!(rates.tier(ard(10_000_000_000)).name, "silver");
        assert_eq!(rates.tier(Amount::MAX).name, "platinum");
    }
}
