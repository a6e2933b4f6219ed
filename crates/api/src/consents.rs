use alloy::primitives::B256;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// What a text is about that somebody agrees to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConsentKind {
    /// The terms that the market is used on.
    Terms,
    /// What is kept of people, and why.
    Privacy,
    /// News that nobody asked for.
    Marketing,
    /// That others get what is kept.
    DataSharing,
}

/// Agrees to a text. The same again, while it was not withdrawn, is the same consent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GiveConsent {
    /// What it is about.
    pub kind: ConsentKind,
    /// Of which version: 1 to 64 letters, digits, dots, hyphens and underscores.
    pub version: String,
    /// SHA-256 of the text as it was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Hash>")]
    pub text_hash: Option<B256>,
}

/// That somebody agreed to a text. It stays when it is withdrawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Consent {
    /// Its id.
    #[schemars(with = "crate::schema::Id")]
    pub id: Uuid,
    /// What the text is about.
    pub kind: ConsentKind,
    /// Its version.
    pub version: String,
    /// SHA-256 of it as it was shown, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Hash>")]
    pub text_hash: Option<B256>,
    /// The network it was given from: 24 bits of an IPv4 address, 48 of an IPv6 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// When it was given.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub given_at: OffsetDateTime,
    /// When it was withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub withdrawn_at: Option<OffsetDateTime>,
}
