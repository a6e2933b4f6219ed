use alloy::primitives::{Address, B256, U256};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    number,
    objects::{At, Key, Object, read},
};
use crate::{block::Event, schema, watch::Kind};

/// Last period of a subscription that nobody cancelled, as the contract writes it.
const NEVER: u64 = u32::MAX as u64;

/// A subscription. Amounts are base units of `token`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Subscription {
    /// Whether it can still be charged.
    pub status: SubscriptionStatus,
    /// Who pays.
    #[schemars(with = "schema::Address")]
    pub payer: Address,
    /// Who is paid.
    #[schemars(with = "schema::Address")]
    pub payee: Address,
    /// What is paid with.
    #[schemars(with = "schema::Address")]
    pub token: Address,
    /// Of a period, from the next charge on.
    #[serde(with = "number")]
    #[schemars(with = "schema::Units")]
    pub price: U256,
    /// Charged so far.
    #[serde(with = "number")]
    #[schemars(with = "schema::Units")]
    pub charged: U256,
    /// Most that is ever charged.
    #[serde(with = "number")]
    #[schemars(with = "schema::Units")]
    pub total_max: U256,
    /// First period that was neither charged nor forgiven.
    pub next_period: u64,
    /// When that period begins, and with it the right to charge it. Unix seconds.
    pub next_due: u64,
    /// First period that is never charged; none until it is cancelled.
    pub end_period: Option<u64>,
    /// The terms as they were agreed on, by their names in the contract.
    pub terms: Value,
}

/// Whether a subscription goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SubscriptionStatus {
    /// It goes on.
    #[default]
    Active,
    /// It was cancelled; periods before `end_period` may still be charged.
    Cancelled,
}

impl SubscriptionStatus {
    /// As in JSON and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Cancelled => "cancelled",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Terms {
    token: Address,
    #[serde(with = "number")]
    amount: U256,
    #[serde(with = "number")]
    total_max: U256,
    #[serde(with = "number")]
    start: u64,
    #[serde(with = "number")]
    trial: u64,
    #[serde(with = "number")]
    period: u64,
}

#[derive(Deserialize)]
#[serde(tag = "name", content = "args", rename_all_fields = "camelCase")]
pub(super) enum Change {
    #[serde(rename = "SubscriptionCreated")]
    Created {
        id: B256,
        payer: Address,
        payee: Address,
        #[serde(with = "number")]
        first_period: u64,
        terms: Value,
    },
    #[serde(rename = "SubscriptionCharged")]
    Charged {
        id: B256,
        #[serde(with = "number")]
        first_period: u64,
        #[serde(with = "number")]
        periods: u64,
        #[serde(with = "number")]
        charged: U256,
    },
    #[serde(rename = "SubscriptionCancelled")]
    Cancelled {
        id: B256,
        #[serde(with = "number")]
        end_period: u64,
    },
    #[serde(rename = "SubscriptionPriceChanged")]
    PriceChanged {
        id: B256,
        #[serde(with = "number")]
        price: U256,
    },
}

impl Change {
    const fn id(&self) -> B256 {
        match self {
            Self::Created { id, .. } | Self::Charged { id, .. } | Self::Cancelled { id, .. } | Self::PriceChanged { id, .. } => {
                *id
            }
        }
    }
}

impl Object for Subscription {
    const TABLE: &'static str = "subscriptions";
    type Change = Change;

    fn change(event: &Event) -> Option<(Key, Change)> {
        (event.kind == Kind::Deployed).then_some(())?;
        let change: Change = read(event)?;
        Some((change.id().to_vec(), change))
    }

    fn apply(&mut self, change: Change, _: At) {
        match change {
            Change::Created { payer, payee, first_period, terms, .. } => {
                *self = Self { payer, payee, terms, ..Default::default() };
                if let Some(terms) = self.terms() {
                    (self.token, self.price, self.total_max) = (terms.token, terms.amount, terms.total_max);
                }
                self.next(first_period);
            }
            Change::Charged { first_period, periods, charged, .. } => {
                self.charged = charged;
                self.next(first_period.saturating_add(periods));
            }
            Change::Cancelled { end_period, .. } => {
                self.status = SubscriptionStatus::Cancelled;
                self.end_period = Some(end_period).filter(|end| *end < NEVER);
            }
            Change::PriceChanged { price, .. } => self.price = price,
        }
    }
}

impl Subscription {
    fn terms(&self) -> Option<Terms> {
        serde_json::from_value(self.terms.clone()).ok()
    }

    fn next(&mut self, period: u64) {
        self.next_period = period;
        if let Some(terms) = self.terms() {
            self.next_due = terms.start.saturating_add(terms.trial).saturating_add(terms.period.saturating_mul(period));
        }
    }
}
