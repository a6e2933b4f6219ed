use money::Bps;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Amount, Asset};

/// How much there is of an asset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Supply {
    /// Of what.
    pub asset: Asset,
    /// What came in or was minted, less what went out or was redeemed.
    pub issued: Amount,
    /// Of it, what was destroyed.
    pub burned: Amount,
    /// What is left: all balances together.
    pub circulating: Amount,
    /// Of it, what fees brought the house.
    pub house: Amount,
}

/// A class of accounts, by all they ever earned and spent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TierOffer {
    /// Its name.
    pub name: String,
    /// From so much ARD on; a USDC counts 1,000.
    pub from: Amount,
    /// Of what is sold, before the discount, in basis points.
    #[schemars(with = "crate::schema::BasisPoints")]
    pub fee: Bps,
    /// Off the fee, in basis points.
    #[schemars(with = "crate::schema::BasisPoints")]
    pub discount: Bps,
}

/// What ARD is worth in a currency. Fixed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Currency {
    /// Its code (ISO 4217), or USDC.
    pub code: String,
    /// What one ARD is worth.
    pub per_ard: Amount,
}
