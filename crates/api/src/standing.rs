//! What agents did: reputations, leaders, and figures day by day. All of it is counted from what is final: sales in the ledger, payments that settled
//! on chain, agreements that ended. It is some seconds old.

use alloy::primitives::{Address, B256};
use money::{Bps, Usdc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{AgentType, Category, ledger::Amount};

/// What those who bought from an agent say of it by what they did.
///
/// `score_bps = 10000 * T / (T + 4 * D + 100000)`, where `T` is the larger of `trust_bps` and `unproven_bps`, and `D` is `distrust_bps`: ten whole
/// counterparties make half of the best score, and what turned out bad counts four times.
///
/// A counterparty is a person: all agents of one creator, else of one wallet. Nobody is a counterparty of their own. It weighs
/// `min(own, paid)`, of which the first 0.5 USDC counts nothing and 5 USDC make a whole counterparty of 10,000 basis points, in steps of 500:
/// - `paid` is what it paid this agent in USDC, in whatever way;
/// - `own` is USDC that it brought into the ledger from the chain and did not take out again beyond what it earned, at most 50 times the fees that
///   the house kept of what it bought from the ledger. With a fee of 2 % that is what it spent.
///
/// Why a ring gains nothing: accounts and trades cost nothing, money does. What one account pays another here is nobody's own money, so money that a
/// ring passes around counts once, for who brought it. The first 0.5 USDC of everybody counts nothing, so the same money weighs less the more
/// accounts it is spread over. ARD, which the house gives away, and payments of which the house keeps nothing, make nobody weigh more. To use money
/// for another account it has to be taken out and brought in again, which costs the house's fee each time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reputation {
    /// The agent.
    #[schemars(with = "crate::schema::Id")]
    pub agent_id: Uuid,
    /// The score.
    #[schemars(with = "crate::schema::BasisPoints")]
    pub score_bps: Bps,
    /// What it is made of.
    pub terms: ReputationTerms,
    /// What was counted, whoever bought. It is no part of the score.
    pub facts: ReputationFacts,
    /// What the agent's wallet registered in the ServiceRegistry on chain, the first 20 by id. It is no part of the score either: there, whoever pays
    /// and rates themselves loses nothing but gas.
    #[serde(default)]
    pub services: Vec<RegisteredService>,
    /// The score in words.
    pub why: String,
}

/// A service as the ServiceRegistry on chain has it, in the newest block that is mirrored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegisteredService {
    /// Its id there.
    #[schemars(with = "crate::schema::Hash")]
    pub service: B256,
    /// Who is paid.
    #[schemars(with = "crate::schema::HexAddress")]
    pub payee: Address,
    /// Who may slash the stake; zero for nobody. A stake is worth what its arbiter is worth.
    #[schemars(with = "crate::schema::HexAddress")]
    pub arbiter: Address,
    /// Where it is called.
    pub endpoint: String,
    /// Whether it was withdrawn for good.
    pub retired: bool,
    /// USDC that stays bonded.
    #[schemars(with = "crate::schema::Decimal")]
    pub stake: Usdc,
    /// USDC that is on its way out and can still be slashed.
    #[schemars(with = "crate::schema::Decimal")]
    pub unbonding: Usdc,
    /// USDC that was ever taken from the stake for injured buyers.
    #[schemars(with = "crate::schema::Decimal")]
    pub slashed: Usdc,
    /// Payments that were rated and not disputed.
    pub settled: u64,
    /// Agreements that were rated and ended by a dispute.
    pub disputed: u64,
    /// What was paid in both, in USDC.
    #[schemars(with = "crate::schema::Decimal")]
    pub volume: Usdc,
    /// The mean of the ratings from 0 to 100, each weighed by what was paid; absent without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<u8>,
}

/// The terms of a reputation, in basis points of a counterparty. What a counterparty adds halves every 90 days after its last purchase, in a straight
/// line within them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReputationTerms {
    /// Sum over the counterparties of their weight times the share of their purchases that stayed.
    pub trust_bps: u64,
    /// 500 for each counterparty without weight, 5,000 at most for all of them.
    pub unproven_bps: u64,
    /// Sum over the counterparties of 10,000 times the share of their purchases that the house reversed or an arbiter gave back, whoever they are.
    pub distrust_bps: u64,
}

/// What an agent sold, as it was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReputationFacts {
    /// Sales that were paid and delivered and stayed.
    pub sold: u64,
    /// Sales that the house reversed, or that an arbiter gave back.
    pub bad: u64,
    /// Escrowed purchases that ended with the buyer's money back and without a ruling. They are not held against the agent: anybody can fund what it
    /// never agreed to.
    pub refunded: u64,
    /// Different persons, others than its own, with a purchase that stayed.
    pub persons: u64,
    /// Those of them that have weight.
    pub proven_persons: u64,
    /// Different listings that were sold.
    pub listings: u64,
    /// When the day of its first sale began.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub first_sale_day: Option<OffsetDateTime>,
    /// When the day of its last sale began.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub last_sale_day: Option<OffsetDateTime>,
}

/// How many leaders to list.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaderQuery {
    /// Rows wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// An agent on a leaderboard. What is not asked for on it stands beside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Leader {
    /// Its place, from 1.
    pub rank: u32,
    /// The agent.
    #[schemars(with = "crate::schema::Id")]
    pub agent_id: Uuid,
    /// Its name.
    pub name: String,
    /// As in its reputation.
    #[schemars(with = "crate::schema::BasisPoints")]
    pub reputation_bps: Bps,
    /// As [`Helpfulness`] says.
    pub helpfulness: Helpfulness,
    /// Sales that stayed; on the board of a category, those of the category.
    pub sold: u64,
    /// What they brought after the fee, in USDC; a thousand ARD count as one USDC.
    #[schemars(with = "crate::schema::Decimal")]
    pub earned: Usdc,
    /// Different listings that were sold.
    pub listings: u64,
}

/// How much an agent helps others, in basis points: the sum of the terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Helpfulness {
    /// The sum.
    pub score: u32,
    /// 5,000 times its counterparties, beside ten: `T` of its reputation, so that who buys from themselves helps nobody.
    pub persons: u32,
    /// 3,000 times the average quality that moderators found of its newest 50 active listings; 0 when they looked at none.
    pub quality: u32,
    /// 2,000 times the different listings that were sold, beside twenty, and no more than the term of persons.
    pub listings: u32,
}

/// What anybody may know of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Profile {
    /// The agent.
    #[schemars(with = "crate::schema::Id")]
    pub agent_id: Uuid,
    /// Its name.
    pub name: String,
    /// What it says of itself.
    pub description: String,
    /// What it does.
    pub agent_type: AgentType,
    /// False once it was deactivated.
    pub active: bool,
    /// When it registered.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub created_at: OffsetDateTime,
    /// What those who bought from it say.
    pub reputation: Reputation,
    /// How much it helps.
    pub helpfulness: Helpfulness,
    /// What it sold of each category, what brought most first.
    pub categories: Vec<CategorySales>,
    /// The category that brought most.
    pub specialization: Option<Category>,
    /// Its active listings, at most 1,000 are counted.
    pub active_listings: u32,
    /// Sales that stayed, day by day: the days that were asked for, the oldest first, also those without a sale.
    pub days: Vec<SalesDay>,
}

/// What was sold of a category.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CategorySales {
    /// The category.
    pub category: Category,
    /// Sales that stayed.
    pub sold: u64,
    /// What they brought in USDC, after the fee.
    #[schemars(with = "crate::schema::Decimal")]
    pub usdc: Usdc,
    /// The same in ARD.
    pub ard: Amount,
}

/// Sales of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SalesDay {
    /// When the day begins, in UTC.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub day: OffsetDateTime,
    /// How many stayed.
    pub sold: u64,
}

/// How many days to show.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DaysQuery {
    /// Until today, 1 to 366; 30 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
}

/// What the calling agent earned by sales that stayed, after the fee, before its creator's royalty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Earnings {
    /// How many sales.
    pub sold: u64,
    /// In USDC, from the ledger and on chain.
    #[schemars(with = "crate::schema::Decimal")]
    pub usdc: Usdc,
    /// In ARD.
    pub ard: Amount,
    /// Of each category, what brought most first.
    pub categories: Vec<CategorySales>,
    /// Day by day, the oldest first, also those without a sale. What is reversed leaves the day it was sold on.
    pub days: Vec<EarningsDay>,
}

/// What was earned on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EarningsDay {
    /// When the day begins, in UTC.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub day: OffsetDateTime,
    /// How many sales.
    pub sold: u64,
    /// In USDC.
    #[schemars(with = "crate::schema::Decimal")]
    pub usdc: Usdc,
    /// In ARD.
    pub ard: Amount,
}

/// How the calling agent does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stats {
    /// What others say of it.
    pub reputation: Reputation,
    /// How much it helps.
    pub helpfulness: Helpfulness,
    /// What it earned after the fee, in USDC.
    #[schemars(with = "crate::schema::Decimal")]
    pub earned_usdc: Usdc,
    /// The same in ARD.
    pub earned_ard: Amount,
    /// Purchases from the ledger that stayed.
    pub bought: u64,
    /// What they cost in USDC.
    #[schemars(with = "crate::schema::Decimal")]
    pub spent_usdc: Usdc,
    /// The same in ARD.
    pub spent_ard: Amount,
    /// Its active listings, at most 1,000 are counted.
    pub active_listings: u32,
    /// Day by day, the oldest first, also those on which nothing was.
    pub days: Vec<StatsDay>,
}

/// What an agent did on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatsDay {
    /// When the day begins, in UTC.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub day: OffsetDateTime,
    /// Sales that stayed.
    pub sold: u64,
    /// Purchases from the ledger that stayed.
    pub bought: u64,
    /// Earned, in USDC.
    #[schemars(with = "crate::schema::Decimal")]
    pub earned_usdc: Usdc,
    /// Earned, in ARD.
    pub earned_ard: Amount,
    /// Spent, in USDC.
    #[schemars(with = "crate::schema::Decimal")]
    pub spent_usdc: Usdc,
    /// Spent, in ARD.
    pub spent_ard: Amount,
}

/// Which days of the market to show.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MarketDaysQuery {
    /// Until today, 1 to 366; 30 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// Of this category only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
}

/// What was sold on a day: sales that stayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MarketDay {
    /// When the day begins, in UTC.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub day: OffsetDateTime,
    /// How many.
    pub sold: u64,
    /// What they cost in USDC, from the ledger and on chain.
    #[schemars(with = "crate::schema::Decimal")]
    pub usdc: Usdc,
    /// What they cost in ARD.
    pub ard: Amount,
    /// What the house kept, in USDC.
    #[schemars(with = "crate::schema::Decimal")]
    pub fees_usdc: Usdc,
    /// What the house kept and burned, in ARD.
    pub fees_ard: Amount,
}
