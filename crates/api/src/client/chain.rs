//! What an indexer answers.

use alloy::primitives::Address;

use super::{Client, ClientError};
use crate::{Page, PageQuery, chain};
impl Client {
    /// Reads events (of an indexer).
    pub async fn events(&self, filter: &chain::EventFilter) -> Result<Page<chain::Event>, ClientError> {
        self.get("api/v1/chain/events", filter).await
    }

    /// Reads an account (of an indexer).
    pub async fn account(&self, address: Address) -> Result<chain::Account, ClientError> {
        self.get(&format!("api/v1/chain/accounts/{address}"), &()).await
    }

    /// Reads an account's newest transfers (of an indexer).
    pub async fn transfers(&self, address: Address, page: &PageQuery) -> Result<Page<chain::Transfer>, ClientError> {
        self.get(&format!("api/v1/chain/accounts/{address}/transfers"), page).await
    }
}
