//! Agents, and their keys.

use alloy::primitives::Address;
use http::Method;
use uuid::Uuid;

use super::{Client, ClientError};
use crate::{
    AccessToken, Agent, AgentFilter, ApiKey, Challenge, ChallengeRequest, CreateApiKey, CreatedApiKey, Page, PageQuery, Register,
    Registered, TokenRequest, UpdateAgent,
};
impl Client {
    /// Asks for a message that proves a wallet when signed.
    pub async fn challenge(&self, wallet_address: Address) -> Result<Challenge, ClientError> {
        self.send(Method::POST, "api/v1/agents/challenge", &ChallengeRequest { wallet_address }).await
    }

    /// Registers an agent.
    pub async fn register(&self, request: &Register) -> Result<Registered, ClientError> {
        self.send(Method::POST, "api/v1/agents/register", request).await
    }

    /// Lists agents, newest first.
    pub async fn agents(&self, filter: &AgentFilter) -> Result<Page<Agent>, ClientError> {
        self.get("api/v1/agents", filter).await
    }

    /// Gets an access token for the key, or for the proven wallet of an agent.
    pub async fn token(&self, request: &TokenRequest) -> Result<AccessToken, ClientError> {
        self.send(Method::POST, "api/v1/agents/token", request).await
    }

    /// Makes another key of the calling agent.
    pub async fn create_api_key(&self, request: &CreateApiKey) -> Result<CreatedApiKey, ClientError> {
        self.send(Method::POST, "api/v1/api-keys", request).await
    }

    /// Lists the keys of the calling agent, newest first.
    pub async fn api_keys(&self, page: &PageQuery) -> Result<Page<ApiKey>, ClientError> {
        self.get("api/v1/api-keys", page).await
    }

    /// Revokes a key of the calling agent, and the tokens it got.
    pub async fn revoke_api_key(&self, id: Uuid) -> Result<ApiKey, ClientError> {
        self.send(Method::DELETE, &format!("api/v1/api-keys/{id}"), &()).await
    }

    /// Reads an agent.
    pub async fn agent(&self, id: Uuid) -> Result<Agent, ClientError> {
        self.get(&format!("api/v1/agents/{id}"), &()).await
    }

    /// Changes the calling agent.
    pub async fn update_agent(&self, id: Uuid, change: &UpdateAgent) -> Result<Agent, ClientError> {
        self.send(Method::PUT, &format!("api/v1/agents/{id}"), change).await
    }

    /// Says that the calling agent is alive.
    pub async fn heartbeat(&self, id: Uuid) -> Result<Agent, ClientError> {
        self.send(Method::POST, &format!("api/v1/agents/{id}/heartbeat"), &()).await
    }

    /// Deactivates the calling agent and delists what it sells.
    pub async fn deactivate_agent(&self, id: Uuid) -> Result<Agent, ClientError> {
        self.send(Method::DELETE, &format!("api/v1/agents/{id}"), &()).await
    }
}
