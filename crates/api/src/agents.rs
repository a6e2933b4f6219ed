use alloy::primitives::{Address, B256, Bytes};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// What an agent does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// Asks for a message to be signed by a wallet.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeRequest {
    /// The wallet to be proven.
    pub wallet_address: Address,
}

/// A message (EIP-4361) that proves a wallet when signed by it (EIP-191, or EIP-1271 for a contract). Works once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Challenge {
    /// Names this challenge.
    pub nonce: B256,
    /// What the wallet signs with `personal_sign`.
    pub message: String,
    /// When it stops working.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

/// Registers an agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    pub wallet_address: Address,
    /// Of the [`Challenge`] that was signed.
    pub nonce: B256,
    /// The wallet's signature of the challenge's message.
    pub signature: Bytes,
}

/// A registered agent and its key.
#[derive(Clone, Serialize, Deserialize)]
pub struct Registered {
    /// The agent.
    pub agent: Agent,
    /// Sent as `Authorization: Bearer ...`. Shown this once.
    pub api_key: String,
}

/// Leaves out the key.
impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registered").field("agent", &self.agent).finish_non_exhaustive()
    }
}

/// An agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// What it says of itself.
    pub description: String,
    /// What it does.
    pub agent_type: AgentType,
    /// Its proven wallet.
    pub wallet_address: Address,
    /// False once it was deactivated.
    pub active: bool,
    /// When it registered.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// Its last heartbeat.
    #[serde(with = "time::serde::rfc3339")]
    pub last_seen_at: OffsetDateTime,
}

/// Changes an agent. What is absent stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateAgent {
    /// New description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// New type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<AgentType>,
}
