//! People: sessions, their agents, roles.

use http::Method;
use uuid::Uuid;

use super::{Client, ClientError, Content, content};
use crate::{
    AdminDashboard, Agent, AuditEntry, AuditFilter, AuditProof, AuditVerified, ChangePassword, Consent, Creator, CreatorWallet,
    Dashboard, Decision, DecisionFilter, DeleteCreator, GiveConsent, GrantRole, Login, Page, PageQuery, ProveWallet, Refresh,
    RefreshToken, RegisterCreator, Role, Session, SessionInfo, UpdateCreator, ledger::VerifyQuery,
};
impl Client {
    /// Registers a creator, who is signed in with it.
    pub async fn register_creator(&self, request: &RegisterCreator) -> Result<Session, ClientError> {
        self.send(Method::POST, "api/v1/creators/register", request).await
    }

    /// Signs a creator in.
    pub async fn login(&self, request: &Login) -> Result<Session, ClientError> {
        self.send(Method::POST, "api/v1/creators/login", request).await
    }

    /// Goes on with a session.
    pub async fn refresh(&self, refresh_token: &RefreshToken) -> Result<Session, ClientError> {
        // The access token has probably expired.
        self.as_nobody().send(Method::POST, "api/v1/creators/refresh", &Refresh { refresh_token: refresh_token.clone() }).await
    }

    /// Ends a session.
    pub async fn end_session(&self, refresh_token: &RefreshToken) -> Result<(), ClientError> {
        let request = self.as_nobody().request(Method::POST, "api/v1/creators/revoke");
        content(request.json(&Refresh { refresh_token: refresh_token.clone() }).send().await?).await.map(drop)
    }

    /// Ends all sessions of the calling creator.
    pub async fn end_all_sessions(&self) -> Result<(), ClientError> {
        content(self.request(Method::POST, "api/v1/creators/revoke-all").send().await?).await.map(drop)
    }

    /// The calling creator's sessions that go on, newest first.
    pub async fn sessions(&self, page: &PageQuery) -> Result<Page<SessionInfo>, ClientError> {
        self.get("api/v1/creators/sessions", page).await
    }

    /// Ends one session of the calling creator.
    pub async fn end_one_session(&self, id: Uuid) -> Result<(), ClientError> {
        content(self.request(Method::DELETE, &format!("api/v1/creators/sessions/{id}")).send().await?).await.map(drop)
    }

    /// Changes the calling creator's password; all sessions but the new one end.
    pub async fn change_password(&self, request: &ChangePassword) -> Result<Session, ClientError> {
        self.send(Method::POST, "api/v1/creators/change-password", request).await
    }

    /// Reads the calling creator.
    pub async fn creator(&self) -> Result<Creator, ClientError> {
        self.get("api/v1/creators/me", &()).await
    }

    /// Changes the calling creator.
    pub async fn update_creator(&self, change: &UpdateCreator) -> Result<Creator, ClientError> {
        self.send(Method::PUT, "api/v1/creators/me", change).await
    }

    /// What the calling creator agreed to, newest first, also what was withdrawn.
    pub async fn consents(&self, page: &PageQuery) -> Result<Page<Consent>, ClientError> {
        self.get("api/v1/creators/me/consents", page).await
    }

    /// Agrees to a text.
    pub async fn give_consent(&self, given: &GiveConsent) -> Result<Consent, ClientError> {
        self.send(Method::POST, "api/v1/creators/me/consents", given).await
    }

    /// Withdraws a consent of the calling creator.
    pub async fn withdraw_consent(&self, id: Uuid) -> Result<Consent, ClientError> {
        self.send(Method::POST, &format!("api/v1/creators/me/consents/{id}/withdraw"), &()).await
    }

    /// Lists the calling creator's agents, newest first.
    pub async fn creators_agents(&self, page: &PageQuery) -> Result<Page<Agent>, ClientError> {
        self.get("api/v1/creators/me/agents", page).await
    }

    /// Makes an agent the calling creator's, by a signature of the agent's wallet.
    pub async fn claim_agent(&self, id: Uuid, proof: &ProveWallet) -> Result<Agent, ClientError> {
        self.send(Method::POST, &format!("api/v1/creators/me/agents/{id}/claim"), proof).await
    }

    /// Proves the wallet that the calling creator's USDC is withdrawn to.
    pub async fn prove_wallet(&self, proof: &ProveWallet) -> Result<Creator, ClientError> {
        self.send(Method::PUT, "api/v1/creators/me/wallet", proof).await
    }

    /// How the calling creator's agents do.
    pub async fn dashboard(&self) -> Result<Dashboard, ClientError> {
        self.get("api/v1/creators/me/dashboard", &()).await
    }

    /// What the calling creator and the creator's agents have in the ledger.
    pub async fn creator_wallet(&self) -> Result<CreatorWallet, ClientError> {
        self.get("api/v1/creators/me/wallet", &()).await
    }

    /// What people with a role decided, newest first, as an administrator.
    pub async fn decisions(&self, filter: &DecisionFilter) -> Result<Page<Decision>, ClientError> {
        self.get("api/v1/admin/decisions", filter).await
    }

    /// How the market stands, with the role `finance`.
    pub async fn admin_dashboard(&self) -> Result<AdminDashboard, ClientError> {
        self.get("api/v1/admin/dashboard", &()).await
    }

    /// Has the calling creator forgotten, for good.
    pub async fn delete_creator(&self, request: &DeleteCreator) -> Result<(), ClientError> {
        content(self.request(Method::DELETE, "api/v1/creators/me").json(request).send().await?).await.map(drop)
    }

    /// All that is kept of the calling creator and the creator's agents: a line of JSON for each row, the last of which says how many there were.
    pub async fn export_creator(&self) -> Result<Content, ClientError> {
        content(self.request(Method::GET, "api/v1/creators/me/export").send().await?).await
    }

    /// All that is kept of the calling agent, as lines of JSON.
    pub async fn export_agent(&self, id: Uuid) -> Result<Content, ClientError> {
        content(self.request(Method::GET, &format!("api/v1/agents/{id}/export")).send().await?).await
    }

    /// What happened that matters, newest first, with the role `support`.
    pub async fn audit_events(&self, filter: &AuditFilter) -> Result<Page<AuditEntry>, ClientError> {
        self.get("api/v1/audit/events", filter).await
    }

    /// Has sealed batches of events proved again by the market, with the role `support`.
    pub async fn verify_audit(&self, query: &VerifyQuery) -> Result<AuditVerified, ClientError> {
        self.get("api/v1/audit/events/verify", query).await
    }

    /// The proof that an event is in the log, with the role `support`. Have it verified: [`AuditProof::verify`].
    pub async fn audit_proof(&self, number: u64) -> Result<AuditProof, ClientError> {
        self.get(&format!("api/v1/audit/events/{number}/proof"), &()).await
    }

    /// Gives a creator a role, as an administrator.
    pub async fn grant_role(&self, creator: Uuid, role: Role) -> Result<Creator, ClientError> {
        self.send(Method::PUT, &format!("api/v1/admin/creators/{creator}/role"), &GrantRole { role }).await
    }
}
