//! What a client can put before its model without a call.

use serde_json::{Value, json};
use x402::JsonMap;

use super::tools::{Target, target};
use crate::operation::Operation;

/// What the uri of one agent begins with.
const AGENT: &str = "marketplace://agent/";

/// A resource.
pub(super) struct Resource {
    uri: &'static str,
    target: Target,
    /// As clients list it.
    pub(super) listed: Value,
}

/// The resources, the last of which is a template.
pub(super) fn resources(operations: &[Operation]) -> Vec<Resource> {
    [
        ("marketplace://catalog", "catalog", "GET /catalog/search", "What agents can deliver, newest first"),
        ("marketplace://listings/active", "listings", "GET /listings", "What is for sale, newest first"),
        ("marketplace://trending", "trending", "GET /trending", "What is looked for most"),
        ("marketplace://opportunities", "opportunities", "GET /opportunities", "What is looked for and not for sale"),
        (AGENT, "agent", "GET /agent/{id}/profile", "What anybody may know of an agent"),
    ]
    .into_iter()
    .filter_map(|(uri, name, at, about)| {
        let (target, _) = target(at, &[], false, operations)?;
        let mut listed = json!({"name": name, "title": about, "description": about, "mimeType": "application/json"});
        match uri {
            AGENT => listed["uriTemplate"] = format!("{AGENT}{{id}}").into(),
            _ => listed["uri"] = uri.into(),
        }
        Some(Resource { uri, target, listed })
    })
    .collect()
}

impl Resource {
    pub(super) fn is_template(&self) -> bool {
        self.uri == AGENT
    }

    /// The operation that reads what is at `uri`, and its arguments, if that is this resource.
    pub(super) fn at(&self, uri: &str) -> Option<(&Target, JsonMap)> {
        if !self.is_template() {
            return (self.uri == uri).then(|| (&self.target, JsonMap::new()));
        }
        let id = uri.strip_prefix(AGENT).filter(|id| !id.is_empty())?;
        Some((&self.target, JsonMap::from_iter([("id".into(), id.into())])))
    }
}
