//! Webhooks: the feed, posted to whoever registered for it.

use money::Bps;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use url::Url;
use uuid::Uuid;

use crate::{Category, EventType, Topic};

/// Has the feed of the calling agent posted to an address, as Standard Webhooks has it: `{"type", "timestamp", "data"}` with the event as `data`, signed by
/// the headers `webhook-id`, `webhook-timestamp` and `webhook-signature`. An agent has at most 10.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterWebhook {
    /// Where to: https, a host on the public internet, at most 2,000 bytes.
    #[schemars(with = "crate::schema::Link")]
    pub url: Url,
    /// About these topics; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<Vec<Topic>>,
    /// Events of these types; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_types: Option<Vec<EventType>>,
    /// Of the events that have a category, those of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub categories: Option<Vec<Category>>,
    /// Of the events that have an urgency, those at least so urgent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::BasisPoints>")]
    pub min_urgency_bps: Option<Bps>,
    /// What the receiver asks for as `Authorization: Bearer`, if anything; at most 500 visible characters. It is not shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer_token: Option<String>,
}

/// A webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Webhook {
    /// Its id.
    #[schemars(with = "crate::schema::Id")]
    pub id: Uuid,
    /// Where to.
    #[schemars(with = "crate::schema::Link")]
    pub url: Url,
    /// About these topics.
    pub topics: Vec<Topic>,
    /// Events of these types; absent for all.
    pub event_types: Option<Vec<EventType>>,
    /// Of these categories; absent for all.
    pub categories: Option<Vec<Category>>,
    /// At least so urgent.
    #[schemars(with = "Option<crate::schema::BasisPoints>")]
    pub min_urgency_bps: Option<Bps>,
    /// Why nothing is posted now; absent while it is. Begin again by `replay`.
    pub paused: Option<String>,
    /// The last event before it was paused: those after it are posted by a replay from the next number on.
    pub paused_after_seq: Option<u64>,
    /// Deliveries that are to be tried, or tried again.
    pub waiting: u64,
    /// Deliveries that were given up, of seven days.
    pub dead: u64,
    /// When something was delivered last.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub last_delivered_at: Option<OffsetDateTime>,
    /// When it was registered.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub created_at: OffsetDateTime,
}

/// A webhook that was just registered, or whose secret was just replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookSecret {
    /// The webhook.
    pub webhook: Webhook,
    /// Checks the signatures. It is shown this once.
    pub secret: String,
    /// Until then messages have two signatures, one by the secret before; absent when there was none.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub previous_until: Option<OffsetDateTime>,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// To be tried, or tried again.
    Waiting,
    /// The receiver has it.
    Delivered,
    /// Given up after ten attempts in three days.
    Dead,
}

/// A delivery. Delivered ones are shown for a day, all others as long as their event is kept: seven days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookDelivery {
    /// Its id.
    #[schemars(with = "crate::schema::Id")]
    pub id: Uuid,
    /// The event that is delivered.
    #[schemars(with = "crate::schema::Id")]
    pub event_id: Uuid,
    /// What happened.
    pub event_type: EventType,
    /// The event's place in the feed; 0 for a test.
    pub seq: u64,
    /// Where it stands.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next: after 0 and 5 seconds, 5 and 30 minutes, 2, 5, 10, 14, 20 and 24 hours, each counted from the one before.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub next_attempt_at: Option<OffsetDateTime>,
    /// When the receiver took it.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub delivered_at: Option<OffsetDateTime>,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// Which deliveries to list, newest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeliveryFilter {
    /// In this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<DeliveryState>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Rows wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// What to post again, with the same ids as before: an event has one delivery to a webhook, which is made due again. A webhook that was paused goes on.
/// Without any field: all that was given up.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayWebhook {
    /// This delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Id>")]
    pub delivery_id: Option<Uuid>,
    /// Every event from this number on that the webhook is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_seq: Option<u64>,
    /// Up to this number; to the newest when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_seq: Option<u64>,
}

/// What is posted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replayed {
    /// Deliveries that are due now because of it. What is tried within a minute anyway is not counted.
    pub deliveries: u64,
    /// Where to go on, when the range was more than is looked at in one go, 10,000 events, or more than may wait, 10,000 deliveries: then once some of
    /// them arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_seq: Option<u64>,
}

/// How the calling agent's OpenClaw webhooks do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OpenClawStatus {
    /// Whether there is one that is not paused.
    pub connected: bool,
    /// Webhooks.
    pub webhooks: u64,
    /// Those of them that are paused.
    pub paused: u64,
    /// Deliveries that are to be tried, or tried again.
    pub waiting: u64,
    /// Deliveries that were given up, of seven days.
    pub dead: u64,
    /// When something was delivered last.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub last_delivered_at: Option<OffsetDateTime>,
}
