use alloy::primitives::{Address, B256, U256};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    number,
    objects::{At, Key, Object, read},
};
use crate::{block::Event, schema, watch::Kind};

/// An agreement in escrow. Amounts are base units of `token`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Agreement {
    /// How far it is.
    pub status: AgreementStatus,
    /// Who pays.
    #[schemars(with = "schema::Address")]
    pub buyer: Address,
    /// Who delivers and is paid.
    #[schemars(with = "schema::Address")]
    pub seller: Address,
    /// What is paid with.
    #[schemars(with = "schema::Address")]
    pub token: Address,
    /// Sum of all fundings.
    #[serde(with = "number")]
    #[schemars(with = "schema::Units")]
    pub funded: U256,
    /// Sum of all that left towards the seller, fees included.
    #[serde(with = "number")]
    #[schemars(with = "schema::Units")]
    pub released: U256,
    /// The fees in it.
    #[serde(with = "number")]
    #[schemars(with = "schema::Units")]
    pub fee: U256,
    /// Sum of all that went back to the buyer, the bond of a dispute left out.
    #[serde(with = "number")]
    #[schemars(with = "schema::Units")]
    pub refunded: U256,
    /// What the buyer staked on a dispute.
    #[serde(with = "number")]
    #[schemars(with = "schema::Units")]
    pub bond: U256,
    /// Hash of what is to be delivered.
    #[schemars(with = "schema::Hash")]
    pub content_hash: B256,
    /// Hash of what was delivered.
    #[schemars(with = "Option<schema::Hash>")]
    pub delivery_hash: Option<B256>,
    /// Delivered: end of the review. Disputed: end of the arbitration. Unix seconds.
    pub window_ends: Option<u64>,
    /// The terms as they were funded, by their names in the contract.
    pub terms: Value,
}

/// How far an agreement is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AgreementStatus {
    /// The money waits for the delivery.
    #[default]
    Funded,
    /// The delivery waits for the buyer.
    Delivered,
    /// The dispute waits for the arbiter.
    Disputed,
    /// All of it went to the seller.
    Released,
    /// What was not released went back to the buyer.
    Refunded,
    /// A dispute ended with a division.
    Resolved,
}

impl AgreementStatus {
    /// As in JSON and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Funded => "funded",
            Self::Delivered => "delivered",
            Self::Disputed => "disputed",
            Self::Released => "released",
            Self::Refunded => "refunded",
            Self::Resolved => "resolved",
        }
    }
}

#[derive(Deserialize)]
struct Terms {
    token: Address,
    #[serde(with = "number")]
    amount: U256,
    #[serde(rename = "contentHash")]
    content_hash: B256,
}

#[derive(Deserialize)]
#[serde(tag = "name", content = "args", rename_all_fields = "camelCase")]
pub(super) enum Change {
    #[serde(rename = "AgreementFunded")]
    Funded { id: B256, buyer: Address, seller: Address, terms: Value },
    #[serde(rename = "AgreementToppedUp")]
    ToppedUp {
        id: B256,
        #[serde(with = "number")]
        funded: U256,
    },
    #[serde(rename = "AgreementDelivered")]
    Delivered {
        id: B256,
        delivery_hash: B256,
        #[serde(with = "number")]
        review_ends: u64,
    },
    #[serde(rename = "AgreementReleased")]
    Released {
        id: B256,
        #[serde(with = "number")]
        fee: U256,
        #[serde(with = "number")]
        released: U256,
    },
    #[serde(rename = "AgreementRefunded")]
    Refunded {
        id: B256,
        #[serde(with = "number")]
        amount: U256,
    },
    #[serde(rename = "AgreementDisputed")]
    Disputed {
        id: B256,
        #[serde(with = "number")]
        bond: U256,
        #[serde(with = "number")]
        arbitration_ends: u64,
    },
    #[serde(rename = "AgreementResolved")]
    Resolved {
        id: B256,
        #[serde(with = "number")]
        to_buyer: U256,
        #[serde(with = "number")]
        fee: U256,
    },
}

impl Change {
    const fn id(&self) -> B256 {
        match self {
            Self::Funded { id, .. }
            | Self::ToppedUp { id, .. }
            | Self::Delivered { id, .. }
            | Self::Released { id, .. }
            | Self::Refunded { id, .. }
            | Self::Disputed { id, .. }
            | Self::Resolved { id, .. } => *id,
        }
    }
}

impl Object for Agreement {
    const TABLE: &'static str = "agreements";
    type Change = Change;

    fn change(event: &Event) -> Option<(Key, Change)> {
        (event.kind == Kind::Deployed).then_some(())?;
        let change: Change = read(event)?;
        Some((change.id().to_vec(), change))
    }

    fn apply(&mut self, change: Change, _: At) {
        match change {
            Change::Funded { buyer, seller, terms, .. } => self.fund(buyer, seller, terms),
            Change::ToppedUp { funded, .. } => self.funded = funded,
            Change::Delivered { delivery_hash, review_ends, .. } => {
                self.status = AgreementStatus::Delivered;
                self.delivery_hash = Some(delivery_hash);
                self.window_ends = Some(review_ends);
            }
            Change::Released { fee, released, .. } => {
                self.released = released;
                self.fee += fee;
                if self.released == self.funded {
                    self.end(AgreementStatus::Released);
                }
            }
            Change::Refunded { amount, .. } => {
                self.refunded += amount;
                self.end(AgreementStatus::Refunded);
            }
            Change::Disputed { bond, arbitration_ends, .. } => {
                self.status = AgreementStatus::Disputed;
                self.bond = bond;
                self.window_ends = Some(arbitration_ends);
            }
            Change::Resolved { to_buyer, fee, .. } => {
                // Everything that was still there was divided, and nothing else.
                self.refunded += to_buyer;
                self.released = self.funded.saturating_sub(self.refunded);
                self.fee += fee;
                self.end(AgreementStatus::Resolved);
            }
        }
    }
}

impl Agreement {
    fn fund(&mut self, buyer: Address, seller: Address, terms: Value) {
        *self = Self { buyer, seller, ..Default::default() };
        if let Ok(Terms { token, amount, content_hash }) = serde_json::from_value(terms.clone()) {
            self.token = token;
            self.funded = amount;
            self.content_hash = content_hash;
        }
        self.terms = terms;
    }

    fn end(&mut self, status: AgreementStatus) {
        self.status = status;
        self.window_ends = None;
    }
}
