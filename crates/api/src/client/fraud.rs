//! What looks like fraud, for the role `finance`.

use http::Method;
use uuid::Uuid;

use super::{Client, ClientError};
use crate::{ClearFinding, Finding, FindingFilter, Page};

impl Client {
    /// What looks like fraud, newest first.
    pub async fn findings(&self, filter: &FindingFilter) -> Result<Page<Finding>, ClientError> {
        self.get("api/v1/admin/fraud/findings", filter).await
    }

    /// Says that a finding is harmless, and why.
    pub async fn clear_finding(&self, id: Uuid, reason: &str) -> Result<Finding, ClientError> {
        let request = ClearFinding { reason: reason.to_owned() };
        self.send(Method::POST, &format!("api/v1/admin/fraud/findings/{id}/clear"), &request).await
    }
}
