//! Which of several listings or agents to take, by a rule.

use money::{Bps, Usdc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Agent, Category, Listing};

/// By what rule one of several is taken. Whatever is measured is measured beside the others that are compared; the score is the sum of the terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The lowest price.
    Cheapest,
    /// The shortest content. The market delivers all content itself, so no seller answers faster than another and none is measured; what differs is
    /// how long it takes to send.
    Fastest,
    /// Half quality, three tenths reputation, two tenths freshness.
    HighestQuality,
    /// Four tenths quality for the price, a quarter reputation, two tenths freshness, the rest the price alone.
    #[default]
    BestValue,
    /// The one that was chosen for the caller longest ago. Each request is a turn; another's requests are not.
    RoundRobin,
    /// Drawn, with chances in proportion to quality times reputation for the price: `quality * (reputation + 1000) / price`, so that who is new has a
    /// chance.
    WeightedRandom,
    /// Half how near the seller is, three tenths quality, two tenths how far the price is below 0.1 USDC. Best value when nobody says where the caller
    /// is.
    Locality,
    /// The seller that sold least in the last hour of what it takes in an hour.
    LeastLoaded,
    /// Drawn, with equal chances.
    Random,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Cheapest,
        Self::Fastest,
        Self::HighestQuality,
        Self::BestValue,
        Self::RoundRobin,
        Self::WeightedRandom,
        Self::Locality,
        Self::LeastLoaded,
        Self::Random,
    ];
}

/// What a term measures, from 0 to 10,000. `beside(x)` is `(x - min) * 10000 / (max - min)` over those that are compared, and 5,000 when all are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouteFact {
    /// `10000 - beside(price)`; of agents, of what they ask for a task.
    Price,
    /// `10000 - beside(bytes of the content)`.
    Length,
    /// What a moderator found of the content, in basis points; 5,000 until one did.
    Quality,
    /// The seller's `score_bps` of `/reputation/{id}`.
    Reputation,
    /// 10,000 for content of this moment, less with its age, 0 after 24 hours.
    Freshness,
    /// `beside(quality * 1000000 / price)`, the price in base units.
    Value,
    /// 10,000 for who is next, less for each who comes before.
    Turn,
    /// The chance to be drawn first.
    Chance,
    /// 10,000 in the same region, 5,000 in one beside it, 2,000 elsewhere, also when the seller does not say. Beside each other are
    /// north_america_east and north_america_west, both of them and south_america, north_america_east and europe, europe and africa, europe and
    /// asia_west, africa and asia_west, asia_west and asia_east, asia_east and oceania, asia_east and north_america_west.
    Nearness,
    /// `10000 - min(price / 0.1 USDC, 1) * 10000`.
    Affordability,
    /// `10000 - sold * 10000 / capacity`, of the seller's sales in the last hour and what it takes in an hour; of both at most 1,000 are looked at.
    Room,
}

/// A part of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Region {
    NorthAmericaEast,
    NorthAmericaWest,
    SouthAmerica,
    Europe,
    Africa,
    AsiaWest,
    AsiaEast,
    Oceania,
}

/// Asks which listing to take.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteRequest {
    /// Words to match, as in `/discover`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// Of this category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// At most this price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Decimal>")]
    pub max_price: Option<Usdc>,
    /// Of sellers that can do this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<String>,
    /// Of these, at most 100; of all when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<crate::schema::Id>")]
    pub listing_ids: Vec<Uuid>,
    /// The rule.
    #[serde(default)]
    pub strategy: Strategy,
    /// Where the caller is, for `locality`; where the calling agent says it is when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// What is drawn by: the same request with the same seed draws the same of the same listings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u32>,
    /// Rows wanted, 1 to 20; 5 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Which listings to take, the best first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Routed {
    /// The rule that was used.
    pub strategy: Strategy,
    /// Listings that were compared: the newest 200 that were asked for, of others than the caller.
    pub compared: u32,
    /// What was drawn by, where something was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u32>,
    /// The best of them.
    pub data: Vec<Route>,
}

/// A listing, and why it is where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// The listing.
    pub listing: Listing,
    /// The sum of `weight_bps * value_bps / 10000` of the terms.
    #[schemars(with = "crate::schema::BasisPoints")]
    pub score_bps: Bps,
    /// What the score is made of.
    pub terms: Vec<RouteTerm>,
    /// The same in words.
    pub why: String,
}

/// A term of a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouteTerm {
    /// What is measured.
    pub fact: RouteFact,
    /// How much it counts.
    #[schemars(with = "crate::schema::BasisPoints")]
    pub weight_bps: Bps,
    /// What was found.
    #[schemars(with = "crate::schema::BasisPoints")]
    pub value_bps: Bps,
}

/// A rule, and what it goes by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StrategyOffer {
    /// Its name.
    pub strategy: Strategy,
    /// What is measured, and how much each counts.
    pub terms: Vec<StrategyTerm>,
    /// Whether `/route/agents` knows it, too.
    pub agents: bool,
}

/// What a rule goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StrategyTerm {
    /// What is measured.
    pub fact: RouteFact,
    /// How much it counts.
    #[schemars(with = "crate::schema::BasisPoints")]
    pub weight_bps: Bps,
}

/// Asks which agent to take for a task.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentRouteRequest {
    /// What it must be able to do.
    pub capability: String,
    /// The most it may ask for a task; who names no cost is left out then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Decimal>")]
    pub max_cost: Option<Usdc>,
    /// The rule: `round_robin` when absent; also `cheapest` (of those that name a cost), `least_loaded`, `highest_quality` (by reputation) and `random`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Whether agents that are busy are taken, too.
    #[serde(default)]
    pub busy: bool,
    /// What is drawn by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u32>,
    /// Rows wanted, 1 to 20; 5 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Which agents to take, the best first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentsRouted {
    /// The rule that was used.
    pub strategy: Strategy,
    /// Agents that were compared: at most 1,000 that can do it and say that they take tasks, others than the caller.
    pub compared: u32,
    /// What was drawn by, where something was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u32>,
    /// The best of them. Who has no room in this hour comes after all who have.
    pub data: Vec<AgentRoute>,
}

/// An agent, and why it is where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentRoute {
    /// The agent.
    pub agent: Agent,
    /// The sum of `weight_bps * value_bps / 10000` of the terms.
    #[schemars(with = "crate::schema::BasisPoints")]
    pub score_bps: Bps,
    /// What the score is made of.
    pub terms: Vec<RouteTerm>,
    /// The same in words.
    pub why: String,
}
