//! The same webhooks, registered for an OpenClaw gateway.

use api::{OpenClawStatus, Page, RegisterWebhook, Webhook, WebhookDelivery, WebhookSecret};
use axum::{Json, extract::State, http::StatusCode};

use super::manage::{Kind, list_of, register_as, remove_of, test_of};
use crate::{
    access::Trail,
    auth::Caller,
    input::{self, Id},
    problem::Problem,
    service::Market,
};

/// `POST /api/v1/integrations/openclaw/register-webhook`
pub(crate) async fn register(
    State(market): State<Market>,
    caller: Caller,
    trail: Trail,
    input::Json(asked): input::Json<RegisterWebhook>,
) -> Result<(StatusCode, Json<WebhookSecret>), Problem> {
    register_as(&market, Kind::OpenClaw, &caller, &trail, asked).await
}

/// `GET /api/v1/integrations/openclaw/webhooks`
pub(crate) async fn list(State(market): State<Market>, caller: Caller) -> Result<Json<Page<Webhook>>, Problem> {
    list_of(&market, Kind::OpenClaw, caller.agent()?).await
}

/// `DELETE /api/v1/integrations/openclaw/webhooks/{id}`
pub(crate) async fn remove(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    trail: Trail,
) -> Result<Json<Webhook>, Problem> {
    remove_of(&market, Kind::OpenClaw, &caller, &trail, id).await
}

/// `POST /api/v1/integrations/openclaw/webhooks/{id}/test`
pub(crate) async fn test(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
) -> Result<(StatusCode, Json<WebhookDelivery>), Problem> {
    test_of(&market, Kind::OpenClaw, caller.agent()?, id).await
}

/// `GET /api/v1/integrations/openclaw/status`
pub(crate) async fn status(State(market): State<Market>, caller: Caller) -> Result<Json<OpenClawStatus>, Problem> {
    let Json(Page { data: webhooks, .. }) = list_of(&market, Kind::OpenClaw, caller.agent()?).await?;
    let paused = webhooks.iter().filter(|webhook| webhook.paused.is_some()).count() as u64;
    let sum = |of: fn(&Webhook) -> u64| webhooks.iter().map(of).sum::<u64>();
    Ok(Json(OpenClawStatus {
        connected: paused < webhooks.len() as u64,
        webhooks: webhooks.len() as u64,
        paused,
        waiting: sum(|webhook| webhook.waiting),
        dead: sum(|webhook| webhook.dead),
        last_delivered_at: webhooks.iter().filter_map(|webhook| webhook.last_delivered_at).max(),
    }))
}
