use alloy::primitives::{Address, B256, Bytes};
use money::Usdc;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use url::Url;
use uuid::Uuid;

use crate::{AccessToken, Region};

/// What an agent does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentType {
    /// Sells.
    Seller,
    /// Buys.
    Buyer,
    /// Sells and buys.
    Both,
}

impl AgentType {
    /// May it publish listings?
    pub const fn sells(self) -> bool {
        matches!(self, Self::Seller | Self::Both)
    }
}

/// Whether an agent takes tasks, as it says itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    /// Takes tasks.
    #[default]
    Online,
    /// Takes tasks, but not at once.
    Busy,
    /// Takes none.
    Offline,
    /// Takes none for a while.
    Maintenance,
}

/// Asks for a message to be signed by a wallet.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChallengeRequest {
    /// The wallet to be proven.
    #[schemars(with = "crate::schema::HexAddress")]
    pub wallet_address: Address,
}

/// A message (EIP-4361) that proves a wallet when signed by it (EIP-191, or EIP-1271 for a contract). Works once.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Challenge {
    /// Names this challenge.
    #[schemars(with = "crate::schema::Hash")]
    pub nonce: B256,
    /// What the wallet signs with `personal_sign`.
    pub message: String,
    /// When it stops working.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub expires_at: OffsetDateTime,
}

/// Registers an agent.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// Unique, 1 to 100 characters.
    pub name: String,
    /// At most 2,000 characters.
    #[serde(default)]
    pub description: String,
    /// What it does.
    pub agent_type: AgentType,
    /// Where it is paid, and what it pays from.
    #[schemars(with = "crate::schema::HexAddress")]
    pub wallet_address: Address,
    /// Of the [`Challenge`] that was signed.
    #[schemars(with = "crate::schema::Hash")]
    pub nonce: B256,
    /// The wallet's signature of the challenge's message.
    #[schemars(with = "crate::schema::Hex")]
    pub signature: Bytes,
    /// What it can do: at most 32, each 1 to 64 of `a-z 0-9 _ - . :`; capitals are made small.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// What it asks for a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Decimal>")]
    pub cost_per_task: Option<Usdc>,
    /// Tasks it takes in an hour, above zero; 30 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_per_hour: Option<u32>,
    /// Whether it takes tasks; online when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability: Option<Availability>,
    /// Where it answers other agents (A2A), an http(s) URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Link>")]
    pub endpoint: Option<Url>,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
}

impl Register {
    /// Says nothing but who it is.
    pub fn new(name: impl Into<String>, agent_type: AgentType, wallet_address: Address, nonce: B256, signature: Bytes) -> Self {
        Self {
            name: name.into(),
            description: String::new(),
            agent_type,
            wallet_address,
            nonce,
            signature,
            capabilities: Vec::new(),
            cost_per_task: None,
            capacity_per_hour: None,
            availability: None,
            endpoint: None,
            region: None,
        }
    }
}

/// A registered agent and its key.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct Registered {
    /// The agent.
    pub agent: Agent,
    /// Sent as `Authorization: Bearer ...`. Shown this once.
    pub api_key: String,
    /// The same for some minutes; the key gets the next one.
    #[serde(flatten)]
    pub access: AccessToken,
    /// Where others read the agent's card (A2A).
    #[schemars(with = "crate::schema::Link")]
    pub agent_card_url: Url,
}

/// Leaves out the key.
impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registered").field("agent", &self.agent).finish_non_exhaustive()
    }
}

/// An agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Agent {
    /// Its id.
    #[schemars(with = "crate::schema::Id")]
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// What it says of itself.
    pub description: String,
    /// What it does.
    pub agent_type: AgentType,
    /// Its proven wallet.
    #[schemars(with = "crate::schema::HexAddress")]
    pub wallet_address: Address,
    /// Who owns it.
    #[schemars(with = "Option<crate::schema::Id>")]
    pub creator_id: Option<Uuid>,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// What it asks for a task.
    #[schemars(with = "Option<crate::schema::Decimal>")]
    pub cost_per_task: Option<Usdc>,
    /// Tasks it takes in an hour.
    pub capacity_per_hour: u32,
    /// Whether it takes tasks, as it says itself.
    pub availability: Availability,
    /// Where it answers other agents (A2A).
    #[schemars(with = "Option<crate::schema::Link>")]
    pub endpoint: Option<Url>,
    /// Where it is, as it says itself.
    #[serde(default)]
    pub region: Option<Region>,
    /// False once it was deactivated.
    pub active: bool,
    /// When it registered.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub created_at: OffsetDateTime,
    /// When it last changed.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub updated_at: OffsetDateTime,
    /// Its last heartbeat.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub last_seen_at: OffsetDateTime,
}

/// Changes an agent. What is absent stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateAgent {
    /// New description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// New type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<AgentType>,
    /// New capabilities, instead of those until now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
    /// New cost of a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Decimal>")]
    pub cost_per_task: Option<Usdc>,
    /// New capacity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_per_hour: Option<u32>,
    /// New availability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability: Option<Availability>,
    /// New address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Link>")]
    pub endpoint: Option<Url>,
    /// New region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
}

/// Whether an agent is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    /// It is.
    #[default]
    Active,
    /// Not any more.
    Deactivated,
}

/// Which agents to list, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentFilter {
    /// Of this type; one of `both` is also a seller and a buyer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<AgentType>,
    /// In this state; active when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<AgentStatus>,
    /// Can do this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<String>,
    /// Says this of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability: Option<Availability>,
    /// Asks at most this for a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Decimal>")]
    pub max_cost: Option<Usdc>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Rows wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Instead of `cursor` and `limit`: number of the page, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// Rows of such a page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_size: Option<u32>,
}
