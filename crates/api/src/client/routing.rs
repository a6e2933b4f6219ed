//! Which of several to take.

use http::Method;

use super::{Client, ClientError};
use crate::{AgentRouteRequest, AgentsRouted, RouteRequest, Routed, StrategyOffer};

impl Client {
    /// Which listing to take.
    pub async fn route(&self, request: &RouteRequest) -> Result<Routed, ClientError> {
        self.send(Method::POST, "api/v1/route/select", request).await
    }

    /// Which agent to take for a task.
    pub async fn route_agents(&self, request: &AgentRouteRequest) -> Result<AgentsRouted, ClientError> {
        self.send(Method::POST, "api/v1/route/agents", request).await
    }

    /// The rules there are.
    pub async fn route_strategies(&self) -> Result<Vec<StrategyOffer>, ClientError> {
        self.get("api/v1/route/strategies", &()).await
    }
}
