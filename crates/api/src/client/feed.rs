//! What happens, as it happens.

use std::{collections::VecDeque, time::Duration};

use http::{Method, StatusCode};
use serde::Serialize;
use uuid::Uuid;

use super::{Client, ClientError, json_of};
use crate::{
    DeliveryFilter, FeedEvent, FeedQuery, FeedTicket, OpenClawStatus, Page, RegisterWebhook, ReplayWebhook, Replayed, Webhook,
    WebhookDelivery, WebhookSecret,
};

/// How long a reader may go on.
const READ_FOR: Duration = Duration::from_secs(365 * 86_400);
/// Longest event read.
const EVENT_LEN_MAX_BYTES: usize = 1024 * 1024;

/// A reader of the live feed.
#[derive(Debug)]
pub struct Feed {
    response: reqwest::Response,
    read: Vec<u8>,
    events: VecDeque<FeedEvent>,
    after: Option<u64>,
    dropped: Option<String>,
}

impl Feed {
    /// The next event; `None` when the market ended the feed. Come back with [`Feed::after`].
    ///
    /// # Errors
    /// When the connection breaks off, or what comes is not an event.
    pub async fn next(&mut self) -> Result<Option<FeedEvent>, ClientError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                self.after = Some(event.seq);
                return Ok(Some(event));
            }
            let Some(part) = self.response.chunk().await? else { return Ok(None) };
            self.read.extend_from_slice(&part);
            let unreadable = |what: String| ClientError::Unreadable { status: 200, what };
            let mut begin = 0;
            while let Some(len) = self.read[begin..].windows(2).position(|two| two == b"\n\n") {
                let message = std::str::from_utf8(&self.read[begin..begin + len]).map_err(|e| unreadable(e.to_string()))?;
                begin += len + 2;
                let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                match (field("event:"), field("data:")) {
                    (Some("dropped"), reason) => self.dropped = reason.map(str::to_owned),
                    (Some("ready") | None, _) => {}
                    (Some(_), data) => {
                        let event = serde_json::from_str(data.unwrap_or_default()).map_err(|e| unreadable(e.to_string()))?;
                        self.events.push_back(event);
                        continue;
                    }
                }
                // Where it stands, although nothing came that is for this reader. What is not handed out yet comes before.
                if self.events.is_empty() {
                    self.after = field("id:").and_then(|id| id.parse().ok()).or(self.after);
                }
            }
            self.read.drain(..begin);
            if self.read.len() > EVENT_LEN_MAX_BYTES {
                return Err(unreadable(format!("an event is longer than {EVENT_LEN_MAX_BYTES} bytes")));
            }
        }
    }

    /// Where to go on after a disconnect: the number behind which nothing was handed out yet.
    pub const fn after(&self) -> Option<u64> {
        self.after
    }

    /// Why the market ended it, if it said so.
    pub fn dropped(&self) -> Option<&str> {
        self.dropped.as_deref()
    }
}

impl Client {
    /// Reads the live feed by server-sent events.
    pub async fn feed(&self, query: &FeedQuery) -> Result<Feed, ClientError> {
        let response = self.asking("api/v1/feed", query).timeout(READ_FOR).send().await?;
        if response.status() != StatusCode::OK {
            return Err(json_of::<crate::Problem>(response).await.map_or_else(|error| error, ClientError::Refused));
        }
        Ok(Feed { response, read: Vec::new(), events: VecDeque::new(), after: query.after, dropped: None })
    }

    /// A ticket for the parameter `ticket` of the feed.
    pub async fn feed_ticket(&self) -> Result<FeedTicket, ClientError> {
        self.send(Method::POST, "api/v1/feed/ticket", &()).await
    }

    /// Has the calling agent's feed posted to an address.
    pub async fn register_webhook(&self, webhook: &RegisterWebhook) -> Result<WebhookSecret, ClientError> {
        self.send(Method::POST, "api/v1/seller/webhook", webhook).await
    }

    /// The calling agent's webhooks, newest first.
    pub async fn webhooks(&self) -> Result<Page<Webhook>, ClientError> {
        self.get("api/v1/seller/webhooks", &()).await
    }

    /// Removes a webhook with all that waits for it.
    pub async fn remove_webhook(&self, id: Uuid) -> Result<Webhook, ClientError> {
        self.webhook(Method::DELETE, id, "", &()).await
    }

    /// Posts a test to a webhook.
    pub async fn test_webhook(&self, id: Uuid) -> Result<WebhookDelivery, ClientError> {
        self.webhook(Method::POST, id, "/test", &()).await
    }

    /// Replaces the secret of a webhook.
    pub async fn rotate_webhook(&self, id: Uuid) -> Result<WebhookSecret, ClientError> {
        self.webhook(Method::POST, id, "/rotate", &()).await
    }

    /// Posts again what was given up, or a range.
    pub async fn replay_webhook(&self, id: Uuid, what: &ReplayWebhook) -> Result<Replayed, ClientError> {
        self.webhook(Method::POST, id, "/replay", what).await
    }

    /// Deliveries of a webhook.
    pub async fn webhook_deliveries(&self, id: Uuid, filter: &DeliveryFilter) -> Result<Page<WebhookDelivery>, ClientError> {
        self.get(&format!("api/v1/seller/webhooks/{id}/deliveries"), filter).await
    }

    async fn webhook<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        id: Uuid,
        action: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.send(method, &format!("api/v1/seller/webhooks/{id}{action}"), body).await
    }

    /// Has the calling agent's feed posted to an OpenClaw gateway.
    pub async fn register_openclaw(&self, webhook: &RegisterWebhook) -> Result<WebhookSecret, ClientError> {
        self.send(Method::POST, "api/v1/integrations/openclaw/register-webhook", webhook).await
    }

    /// How the calling agent's OpenClaw webhooks do.
    pub async fn openclaw_status(&self) -> Result<OpenClawStatus, ClientError> {
        self.get("api/v1/integrations/openclaw/status", &()).await
    }
}
