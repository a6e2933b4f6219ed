//! What looks like fraud, for people to look at.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FraudRule {
    /// Buyer and seller are one person, or have one wallet.
    SelfDealing,
    /// An agent pays very often within an hour, or a wallet by x402.
    RapidTransactions,
    /// An agent pays often on its first day.
    NewAccount,
    /// A payment is large.
    LargeTransaction,
    /// Many register from one address within an hour.
    RegistrationBurst,
    /// Agents whose money comes from one source buy from each other, most of them from most, and from hardly anybody else.
    SybilCluster,
}

/// What follows from a finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FraudAction {
    /// Somebody should look.
    #[default]
    Flag,
    /// And until then withdrawals of whoever is behind the agents wait for approval, and they transfer nothing to others.
    Hold,
    /// And until then the agents pay nothing from the ledger, and neither they nor wallets that the finding is about by x402.
    Refuse,
}

/// What follows from findings of a rule, written as `RULE=ACTION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleAction {
    /// Of which.
    pub rule: FraudRule,
    /// What follows.
    pub action: FraudAction,
}

impl FromStr for RuleAction {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is not RULE=ACTION, with self_dealing, rapid_transactions, new_account, large_transaction, registration_burst or \
                 sybil_cluster, and flag, hold or refuse"
            )
        };
        let (rule, action) = text.split_once('=').ok_or_else(wrong)?;
        let rule = serde_json::from_value(rule.trim().into()).map_err(|_| wrong())?;
        Ok(Self { rule, action: serde_json::from_value(action.trim().into()).map_err(|_| wrong())? })
    }
}

/// Where a finding stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingStatus {
    /// Nobody has found it harmless.
    Open,
    /// Somebody has.
    Cleared,
}

/// Something that looks like fraud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Its id.
    #[schemars(with = "crate::schema::Id")]
    pub id: Uuid,
    /// By which rule.
    pub rule: FraudRule,
    /// What was found: an agent, or a wallet that paid by x402 (the last 16 bytes of its address); for a cluster where its money came from; for a burst
    /// a hash of the address.
    #[schemars(with = "crate::schema::Id")]
    pub subject: Uuid,
    /// What follows from it while it is open.
    pub action: FraudAction,
    /// Whom it is about, at most 1,000: agents, and wallets as above.
    #[schemars(with = "Vec<crate::schema::Id>")]
    pub agents: Vec<Uuid>,
    /// Why: the first 20 transfers of the ledger that say so, purchases by x402, or agents and creators that registered.
    pub evidence: Vec<String>,
    /// How many say so.
    pub hits: u64,
    /// When the first was.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub first_at: OffsetDateTime,
    /// When the last was.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub last_at: OffsetDateTime,
    /// Where it stands.
    pub status: FindingStatus,
    /// When it was cleared.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub cleared_at: Option<OffsetDateTime>,
}

/// Which findings, newest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FindingFilter {
    /// Only of this rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<FraudRule>,
    /// Only those that stand so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<FindingStatus>,
    /// Only those about this agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Id>")]
    pub agent_id: Option<Uuid>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Rows wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Says that a finding is harmless.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClearFinding {
    /// Why; kept with the decision. 1 to 500 characters.
    pub reason: String,
}
