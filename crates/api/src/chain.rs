//! Answers of the query API of the indexer.

use alloy::primitives::{Address, B256};
use money::Usdc;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// Where a row is on the chain, and how sure it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Block number.
    pub block_number: u64,
    /// Block hash.
    pub block_hash: B256,
    /// Time of the block.
    #[serde(with = "time::serde::rfc3339")]
    pub timestamp: OffsetDateTime,
    /// Transaction hash.
    pub transaction_hash: B256,
    /// Index of the log within the block.
    pub log_index: u32,
    /// Blocks mirrored from this one on, itself included.
    pub confirmations: u64,
    /// `pending` or `final`.
    pub finality: String,
}

/// An event of one of our contracts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its name, if known.
    pub name: Option<String>,
    /// Who emitted it.
    pub contract: Address,
    /// Arguments by name: integers as decimal strings, addresses and bytes as hex.
    pub args: Option<serde_json::Value>,
    /// Where it is.
    #[serde(flatten)]
    pub place: Place,
}

/// A transfer of USDC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Who paid.
    pub from: Address,
    /// Who was paid.
    pub to: Address,
    /// How much.
    pub amount: Usdc,
    /// Nonce of the EIP-3009 authorization it executed.
    pub authorization_nonce: Option<B256>,
    /// Where it is.
    #[serde(flatten)]
    pub place: Place,
}

/// What the mirror knows of an account's USDC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The account.
    pub address: Address,
    /// Decimal USDC, with a minus when the account held USDC before the mirror begins.
    pub balance: String,
    /// Transfers it took part in.
    pub transfers: u64,
    /// The block that last changed it.
    pub changed_in_block: Option<u64>,
}

/// Which events to read.
#[derive(Clone, Debug, Default, Serialize)]
pub struct EventFilter {
    /// Emitted by this contract.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contract: Option<Address>,
    /// Of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// With this address among the arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<Address>,
    /// With this bytes32 among the arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<B256>,
    /// Of this transaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx: Option<B256>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Rows wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}
