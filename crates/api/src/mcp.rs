use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What there is for models, and how it is spoken with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct McpHealth {
    /// `ok`; a market that does not work answers nothing.
    pub status: String,
    /// Revisions of the Model Context Protocol that are spoken, newest first.
    pub protocol_versions: Vec<String>,
    /// Tools that there are.
    pub tools: u64,
    /// Resources, and templates of them.
    pub resources: u64,
    /// Streams that are open at this instance.
    pub streams: u64,
}

/// Where the answer to a message goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct McpMessageQuery {
    /// To this stream, as its first event `endpoint` has it; without one, the answer to the message is the answer to the request.
    #[serde(default, rename = "sessionId", skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
}
