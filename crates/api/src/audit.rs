//! What happened that matters to who looks after the market: only added to, and sealed as the ledger is.

use alloy::primitives::{B256, Bytes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::ledger::{AnchorProof, ProofError, Seal};

/// How much something matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It is as it should be.
    Info,
    /// Somebody should know.
    Warning,
    /// Somebody should look.
    Critical,
}

/// What somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// An agent.
    Agent,
    /// A person.
    Creator,
    /// A wallet.
    Wallet,
    /// Whoever runs the market's commands.
    Operator,
    /// The market itself.
    Market,
    /// Nobody who is known.
    Nobody,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEvent {
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub at: OffsetDateTime,
    /// What, as `login_failed`; of a decision, what was decided, as `withdrawal_approved`.
    pub event_type: String,
    /// How much it matters.
    pub severity: Severity,
    /// What did it.
    pub actor_kind: ActorKind,
    /// Who did it: an agent or a creator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Id>")]
    pub actor: Option<Uuid>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Id>")]
    pub subject: Option<Uuid>,
    /// The network that the request came from: 24 bits of an IPv4 address, 48 of an IPv6 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The request's `User-Agent`, its first 120 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The request's `X-Request-Id`, its first 64 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// More of it, at most 4 KiB.
    #[serde(default)]
    pub details: Map<String, Value>,
}

/// An event of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// In the order of writing.
    pub id: i64,
    /// Its place in the chain, by which its proof is asked for; absent until it is sealed, some seconds later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// What happened.
    #[serde(flatten)]
    pub event: AuditEvent,
}

/// Which events, newest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditFilter {
    /// Only of this type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Only those that matter so much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// Only those that this agent or creator did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Id>")]
    pub actor: Option<Uuid>,
    /// Only those about this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Id>")]
    pub subject: Option<Uuid>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Rows wanted, 1 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The number of a page, from 1, instead of `cursor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// Rows of a page with a number, 1 to 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_size: Option<u32>,
}

/// What a look at sealed batches of events found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditVerified {
    /// Whether all is as it was sealed.
    pub valid: bool,
    /// Batches that were looked at; fewer than asked for when they hold many events: go on behind them.
    pub seals: u64,
    /// Events in them.
    pub events: u64,
    /// Of the batches from the first on, those that the LedgerAnchor contract vouches for.
    pub anchored_seals: u64,
    /// The first thing that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// That an event is in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditProof {
    /// Its place in the chain.
    pub number: u64,
    /// The event's bytes, as they were sealed: its JSON.
    #[schemars(with = "crate::schema::Hex")]
    pub body: Bytes,
    /// The inclusion proof of RFC 9162, section 2.1.3: hashes of the siblings, leaf first.
    #[schemars(with = "Vec<crate::schema::Hash>")]
    pub path: Vec<B256>,
    /// The seal. Compare its head with one you kept, or with the chain by [`Self::anchor`].
    pub seal: Seal,
    /// The way from the seal's head to the LedgerAnchor contract, once it is anchored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<AnchorProof>,
}

impl AuditProof {
    /// The event, if it is what was sealed. Takes nobody's word but the seal's.
    ///
    /// # Errors
    /// When it is not.
    pub fn verify(&self) -> Result<AuditEvent, ProofError> {
        self.seal.includes(self.number, &self.body, &self.path)?;
        serde_json::from_slice(&self.body).map_err(|error| ProofError::Event(error.to_string()))
    }
}
