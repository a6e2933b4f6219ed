//! What the house says of its money: how much there is, what tiers are worth, what ARD is worth elsewhere.

use api::ledger::{Amount, Asset, Currency, Supply, TierOffer};
use axum::{Json, extract::State};
use sqlx::Row;

use crate::{
    ledger::{self, House},
    problem::Problem,
    service::Market,
};

/// `GET /api/v1/wallet/supply`
pub(crate) async fn supply(State(market): State<Market>) -> Result<Json<Vec<Supply>>, Problem> {
    let assets = [Asset::Usdc, Asset::Ard];
    let ids: Vec<_> = assets.map(House::of).iter().flat_map(|house| [house.revenue, house.outside, house.burned]).collect();
    let rows = sqlx::query("SELECT id, balance FROM accounts WHERE id = ANY($1)").bind(ids).fetch_all(&market.pool).await?;
    let balance = |account: ledger::AccountId| {
        let row = rows.iter().find(|row| row.try_get("id").is_ok_and(|id: ledger::AccountId| id == account));
        row.map_or(Ok(0), |row| row.try_get::<i64, _>("balance"))
    };
    let of = |asset: Asset| {
        let house = House::of(asset);
        let issued = balance(house.outside)?.saturating_neg();
        let burned = if house.burned == house.revenue { 0 } else { balance(house.burned)? };
        let [issued, burned, circulating, house] = [issued, burned, issued - burned, balance(house.revenue)?].map(ledger::amount);
        Ok(Supply { asset, issued, burned, circulating, house })
    };
    Ok(Json(assets.into_iter().map(of).collect::<sqlx::Result<_>>()?))
}

/// `GET /api/v1/wallet/tiers`
pub(crate) async fn tiers(State(market): State<Market>) -> Result<Json<Vec<TierOffer>>, Problem> {
    let fee = market.rates.fee;
    let offer = |tier: &ledger::Tier| TierOffer { name: tier.name.clone(), from: tier.from, fee, discount: tier.discount };
    Ok(Json(market.rates.tiers.iter().map(offer).collect()))
}

/// `GET /api/v1/wallet/currencies`: fixed, to show what ARD is worth. What moves is ARD and USDC only.
pub(crate) async fn currencies(State(_): State<Market>) -> Result<Json<Vec<Currency>>, Problem> {
    let worth = [("USD", 1_000), ("USDC", 1_000), ("INR", 84_000), ("EUR", 920), ("GBP", 790)];
    let currency =
        |(code, units): (&str, u64)| Currency { code: code.into(), per_ard: Amount::from_units(units).unwrap_or_default() };
    Ok(Json(worth.map(currency).to_vec()))
}
