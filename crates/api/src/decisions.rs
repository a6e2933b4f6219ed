use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// Which decisions an administrator sees, newest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionFilter {
    /// Only those about this withdrawal, redemption, deposit, listing or creator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Id>")]
    pub subject: Option<Uuid>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Rows wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// What somebody with a role decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Decision {
    /// In the order of the decisions.
    pub id: i64,
    /// What it is about.
    #[schemars(with = "crate::schema::Id")]
    pub subject: Uuid,
    /// What was decided, as `withdrawal_approved`.
    pub what: String,
    /// The creator who did; none for whoever runs the market's commands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Id>")]
    pub decided_by: Option<Uuid>,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub decided_at: OffsetDateTime,
    /// Why, or with what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
