use alloy::primitives::{Address, B256, U256};
use serde::{Deserialize, Serialize};

use super::{
    number,
    objects::{At, Key, Object, read},
};
use crate::{block::Event, schema, watch::Kind};

/// A service that its owner registered. Amounts are base units: the price of the offer's token, stakes of USDC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Service {
    /// Who may change it.
    #[schemars(with = "schema::Address")]
    pub owner: Address,
    /// Who may become the owner.
    #[schemars(with = "Option<schema::Address>")]
    pub pending_owner: Option<Address>,
    /// Who is paid.
    #[schemars(with = "schema::Address")]
    pub payee: Address,
    /// Who may slash the stake; zero for nobody.
    #[schemars(with = "schema::Address")]
    pub arbiter: Address,
    /// Who will be payee and arbiter, and from when on.
    pub announced: Option<Announced>,
    /// Whether the offer was withdrawn for good.
    pub retired: bool,
    /// What is offered.
    pub offer: Offer,
    /// What stays bonded.
    #[serde(with = "number")]
    #[schemars(with = "schema::Units")]
    pub stake: U256,
    /// What is on its way out and can still be slashed.
    #[serde(with = "number")]
    #[schemars(with = "schema::Units")]
    pub unbonding: U256,
    /// When that can be withdrawn. Unix seconds.
    pub unbonds_at: Option<u64>,
    /// What was ever taken from the stake for injured buyers.
    #[serde(with = "number")]
    #[schemars(with = "schema::Units")]
    pub slashed: U256,
    /// Rated payments without a dispute.
    pub settled: u64,
    /// Rated agreements that ended by a dispute.
    pub disputed: u64,
    /// Sum of the amounts of both.
    #[serde(with = "number")]
    #[schemars(with = "schema::Units")]
    pub volume: U256,
    /// Sum of score (0 to 100) times amount; divided by `volume`, the mean score.
    #[serde(with = "number")]
    #[schemars(with = "schema::Units")]
    pub score_sum: U256,
}

/// What a service offers, as its owner published it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all(deserialize = "camelCase"))]
pub struct Offer {
    /// Where it is called.
    pub endpoint: String,
    /// Where its description is.
    #[serde(alias = "metadataURI", alias = "metadata_uri")]
    pub metadata_uri: String,
    /// keccak256 of that description.
    #[serde(alias = "metadata_hash")]
    #[schemars(with = "schema::Hash")]
    pub metadata_hash: B256,
    /// 0 per call, 1 subscription, 2 metered.
    #[serde(with = "number")]
    #[schemars(with = "schema::Units")]
    pub pricing: u8,
    /// What is paid with.
    #[schemars(with = "schema::Address")]
    pub token: Address,
    /// Per call, per period or per unit.
    #[serde(with = "number")]
    #[schemars(with = "schema::Units")]
    pub price: U256,
    /// Seconds in a period of a subscription.
    #[serde(with = "number")]
    #[schemars(with = "schema::Units")]
    pub period: u64,
    /// ERC-8004 id that the owner claims.
    #[serde(with = "number", alias = "agent_id")]
    #[schemars(with = "schema::Units")]
    pub agent_id: U256,
}

/// Parties that take effect without a further event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Announced {
    /// Who will be paid.
    #[schemars(with = "schema::Address")]
    pub payee: Address,
    /// Who may slash then.
    #[schemars(with = "schema::Address")]
    pub arbiter: Address,
    /// From when on. Unix seconds.
    pub from: u64,
}

#[derive(Deserialize)]
#[serde(tag = "name", content = "args", rename_all_fields = "camelCase")]
pub(super) enum Change {
    #[serde(rename = "ServiceRegistered")]
    Registered {
        service: B256,
        owner: Address,
        payee: Address,
        arbiter: Address,
    },
    #[serde(rename = "OfferPublished")]
    Published {
        service: B256,
        offer: Offer,
    },
    #[serde(rename = "ServiceRetired")]
    Retired {
        service: B256,
    },
    OwnershipOffered {
        service: B256,
        pending_owner: Address,
    },
    OwnershipAccepted {
        service: B256,
        new_owner: Address,
    },
    #[serde(rename = "PartiesAnnounced")]
    Announced {
        service: B256,
        payee: Address,
        arbiter: Address,
        #[serde(with = "number")]
        changes_at: u64,
    },
    StakeAdded {
        service: B256,
        #[serde(with = "number")]
        stake: U256,
    },
    UnbondingBegun {
        service: B256,
        #[serde(with = "number")]
        amount: U256,
        #[serde(with = "number")]
        unbonding: U256,
        #[serde(with = "number")]
        unbonds_at: u64,
    },
    UnbondingCancelled {
        service: B256,
        #[serde(with = "number")]
        stake: U256,
    },
    StakeWithdrawn {
        service: B256,
        #[serde(with = "number")]
        amount: U256,
    },
    StakeSlashed {
        service: B256,
        #[serde(with = "number")]
        amount: U256,
        #[serde(with = "number")]
        from_unbonding: U256,
    },
    FeedbackGiven {
        service: B256,
        #[serde(with = "number")]
        amount: U256,
        disputed: bool,
        #[serde(with = "number")]
        score: u8,
    },
}

impl Change {
    const fn service(&self) -> B256 {
        match self {
            Self::Registered { service, .. }
            | Self::Published { service, .. }
            | Self::Retired { service }
            | Self::OwnershipOffered { service, .. }
            | Self::OwnershipAccepted { service, .. }
            | Self::Announced { service, .. }
            | Self::StakeAdded { service, .. }
            | Self::UnbondingBegun { service, .. }
            | Self::UnbondingCancelled { service, .. }
            | Self::StakeWithdrawn { service, .. }
            | Self::StakeSlashed { service, .. }
            | Self::FeedbackGiven { service, .. } => *service,
        }
    }
}

impl Object for Service {
    const TABLE: &'static str = "services";
    type Change = Change;

    fn change(event: &Event) -> Option<(Key, Change)> {
        (event.kind == Kind::Deployed).then_some(())?;
        let change: Change = read(event)?;
        // The owner and a salt make the id: the next registry has the same one for another service.
        Some(([event.log.address.as_slice(), change.service().as_slice()].concat(), change))
    }

    fn apply(&mut self, change: Change, at: At) {
        self.advance(at.time);
        match change {
            Change::Registered { owner, payee, arbiter, .. } => *self = Self { owner, payee, arbiter, ..Default::default() },
            Change::Published { offer, .. } => self.offer = offer,
            Change::Retired { .. } => self.retired = true,
            Change::OwnershipOffered { pending_owner, .. } => {
                self.pending_owner = Some(pending_owner).filter(|owner| !owner.is_zero());
            }
            Change::OwnershipAccepted { new_owner, .. } => (self.owner, self.pending_owner) = (new_owner, None),
            Change::Announced { payee, arbiter, changes_at, .. } => {
                self.announced = Some(Announced { payee, arbiter, from: changes_at });
            }
            Change::StakeAdded { stake, .. } => self.stake = stake,
            Change::UnbondingBegun { amount, unbonding, unbonds_at, .. } => {
                self.stake = self.stake.saturating_sub(amount);
                (self.unbonding, self.unbonds_at) = (unbonding, Some(unbonds_at));
            }
            Change::UnbondingCancelled { stake, .. } => {
                (self.stake, self.unbonding, self.unbonds_at) = (stake, U256::ZERO, None);
            }
            Change::StakeWithdrawn { amount, .. } => {
                self.unbonding = self.unbonding.saturating_sub(amount);
                self.unbonds_at = None;
            }
            Change::StakeSlashed { amount, from_unbonding, .. } => {
                self.unbonding = self.unbonding.saturating_sub(from_unbonding);
                self.stake = self.stake.saturating_sub(amount.saturating_sub(from_unbonding));
                self.slashed += amount;
            }
            Change::FeedbackGiven { amount, disputed, score, .. } => {
                *(if disputed { &mut self.disputed } else { &mut self.settled }) += 1;
                self.volume += amount;
                self.score_sum += amount.saturating_mul(U256::from(score));
            }
        }
    }
}

impl Service {
    /// Lets parties that were announced take effect, if their time has come: the registry does it without an event.
    pub(crate) fn advance(&mut self, time: u64) {
        if let Some(due) = self.announced.filter(|announced| announced.from <= time) {
            (self.payee, self.arbiter, self.announced) = (due.payee, due.arbiter, None);
        }
    }
}
