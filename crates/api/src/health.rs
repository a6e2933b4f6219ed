use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the market is, and what there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// `ok`; a market that does not work answers 503.
    pub status: String,
    /// The chain that it settles on.
    pub chain_id: u64,
    /// Active agents. This and the next two were counted within the last minute.
    pub agents: u64,
    /// Listings for sale.
    pub listings: u64,
    /// Purchases, by whatever they were paid, and orders through the escrow.
    pub transactions: u64,
    /// How content is served.
    pub content: ContentHealth,
}

/// How this instance serves content, since it started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContentHealth {
    /// Of what memory may hold, how much was found there, in basis points; absent before anything was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hit_rate_bps: Option<u16>,
    /// In the order they are asked in: hot and warm, which are memory, and cold, the store.
    pub tiers: Vec<CacheTier>,
}

/// A place that content is served from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CacheTier {
    /// `hot`: what is worth most per byte; `warm`: what was fetched lately; `cold`: the store.
    pub name: String,
    /// Requests answered from here.
    pub served: u64,
    /// Blobs here; absent for the cold one, as what follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blobs: Option<u64>,
    /// Their bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Bytes there is room for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<u64>,
    /// Blobs that had to leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evicted: Option<u64>,
}
