use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// What credentials of an agent allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// To read what is the agent's own: balances, statements, purchases.
    Read,
    /// To buy, from the ledger and through the escrow, and to read what was bought.
    Buy,
    /// To publish, change and deliver.
    Sell,
    /// To move money to others or out.
    Transfer,
    /// To change the agent and its keys.
    Manage,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 5] = [Self::Read, Self::Buy, Self::Sell, Self::Transfer, Self::Manage];

    /// As on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Buy => "buy",
            Self::Sell => "sell",
            Self::Transfer => "transfer",
            Self::Manage => "manage",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Makes another key of the calling agent.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateApiKey {
    /// What to call it, 1 to 100 characters.
    pub name: String,
    /// What it allows; at most what the caller's own credentials allow.
    pub scopes: Vec<Scope>,
    /// When it stops working; absent for never.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "time::serde::rfc3339::option::serialize",
        deserialize_with = "crate::moment::read_some"
    )]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub expires_at: Option<OffsetDateTime>,
}

/// A key of an agent, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiKey {
    /// Its id.
    #[schemars(with = "crate::schema::Id")]
    pub id: Uuid,
    /// What its owner calls it.
    pub name: String,
    /// How the key begins, to tell it from others.
    pub prefix: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub created_at: OffsetDateTime,
    /// When it stops working; absent for never.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub expires_at: Option<OffsetDateTime>,
    /// When it was last used, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub last_used_at: Option<OffsetDateTime>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub revoked_at: Option<OffsetDateTime>,
}

/// A key that was just made.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct CreatedApiKey {
    /// What there is to know of it later.
    pub key: ApiKey,
    /// Sent as `Authorization: Bearer ...`. Shown this once.
    pub api_key: String,
}

/// Leaves out the key.
impl fmt::Debug for CreatedApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedApiKey").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Asks for an access token: as an agent with a key, or as a wallet that is the agent's.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Which agent, for a wallet that has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Id>")]
    pub agent_id: Option<Uuid>,
    /// What it allows; absent for all that the caller's credentials allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<Scope>>,
}

/// A JSON Web Token, signed with EdDSA by a key of `/.well-known/jwks.json`.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct AccessToken {
    /// Sent as `Authorization: Bearer ...`.
    pub access_token: String,
    /// `Bearer`.
    pub token_type: String,
    /// Seconds it works from now.
    pub expires_in: u64,
    /// What it allows, separated by spaces.
    pub scope: String,
}

/// Leaves out the token.
impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("expires_in", &self.expires_in).field("scope", &self.scope).finish_non_exhaustive()
    }
}
