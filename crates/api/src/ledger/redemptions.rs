//! ARD on its way out of the ledger.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Amount;

/// What ARD is redeemed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RedemptionMethod {
    /// Credits of the market's API, at once: one for each ARD.
    ApiCredits,
    /// A gift card, sent to an e-mail address.
    GiftCard,
    /// A payment to a UPI address.
    Upi,
    /// A bank transfer.
    Bank,
}

impl RedemptionMethod {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::ApiCredits, Self::GiftCard, Self::Upi, Self::Bank];

    /// The least ARD it is done for.
    pub const fn least(self) -> Amount {
        let units = match self {
            Self::ApiCredits => 100_000_000,
            Self::GiftCard => 1_000_000_000,
            Self::Upi => 5_000_000_000,
            Self::Bank => 10_000_000_000,
        };
        match Amount::from_units(units) {
            Some(least) => least,
            None => Amount::MAX,
        }
    }

    /// What the house keeps, in basis points.
    pub const fn margin_bps(self) -> u16 {
        if matches!(self, Self::GiftCard) { 500 } else { 0 }
    }

    /// What so much ARD is worth in USD, after the margin, rounded down.
    pub fn worth(self, ard: Amount) -> Amount {
        ard.mul_div_floor(u64::from(10_000 - self.margin_bps()), 10_000_000).unwrap_or_default()
    }
}

/// A way to redeem ARD.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RedemptionOffer {
    /// Which way.
    pub method: RedemptionMethod,
    /// The least ARD it is done for.
    pub least: Amount,
    /// What the house keeps, in basis points.
    pub margin_bps: u16,
    /// Whether nobody has to approve.
    pub at_once: bool,
}

/// Asks for ARD to be redeemed. Goes with the header `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redeem {
    /// For what.
    pub method: RedemptionMethod,
    /// How much ARD.
    pub amount: Amount,
    /// Where to hand it over: an e-mail address, a UPI address, a bank account. Not for API credits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
}

/// Where a redemption stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RedemptionStatus {
    /// An operator has to approve. Can be cancelled.
    Pending,
    /// Approved, to be handed over.
    Processing,
    /// Handed over.
    Completed,
    /// Could not be handed over; the ARD is free again.
    Failed,
    /// Refused; the ARD is free again.
    Rejected,
    /// Taken back; the ARD is free again.
    Cancelled,
}

/// ARD that is redeemed. While it is, the amount is held in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Redemption {
    /// Of the redemption and of its hold in the ledger.
    #[schemars(with = "crate::schema::Id")]
    pub id: Uuid,
    /// Whose.
    #[schemars(with = "crate::schema::Id")]
    pub owner_id: Uuid,
    /// For what.
    pub method: RedemptionMethod,
    /// How much ARD.
    pub amount: Amount,
    /// What is handed over, in USD.
    pub worth_usd: Amount,
    /// Where it stands.
    pub status: RedemptionStatus,
    /// Where it is handed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
    /// What the operator calls the handing over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// Why it was refused or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The month whose payout to the creator it is, as 2026-11; absent for what was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payout_month: Option<String>,
    /// When it was asked for.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub created_at: OffsetDateTime,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub ended_at: Option<OffsetDateTime>,
}

/// Which redemptions, newest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedemptionFilter {
    /// Only those that stand so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<RedemptionStatus>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Rows wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// An operator's word that a redemption was handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HandedOver {
    /// What the operator calls it: number of the transfer, code of the card.
    pub receipt: String,
}
