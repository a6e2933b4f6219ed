use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes as Hex};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use reqwest::RequestBuilder;
use serde::{Serialize, de::DeserializeOwned};
use url::Url;
use uuid::Uuid;

use crate::*;

/// How long an answer may take, content included.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Longest answer read.
const ANSWER_LEN_MAX_BYTES: usize = 128 * 1024 * 1024;

/// Talks to a marketplace, or to the query API of an indexer. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    credentials: Option<String>,
}

/// Leaves out the credentials.
impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// Why a request did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The service refused, and said why.
    #[error(transparent)]
    Refused(#[from] Problem),
    /// The service cannot be reached, or broke off.
    #[error("the service does not answer: {0}")]
    Transport(#[from] reqwest::Error),
    /// The answer is not what this version understands.
    #[error("answer {status} cannot be read: {what}")]
    Unreadable {
        /// HTTP status.
        status: u16,
        /// What is wrong.
        what: String,
    },
}

impl ClientError {
    /// The code of the refusal, if it is one.
    pub fn code(&self) -> Option<&Code> {
        if let Self::Refused(problem) = self { Some(&problem.code) } else { None }
    }
}

/// Content, as delivered.
#[derive(Clone, Debug)]
pub struct Content {
    /// The bytes.
    pub body: Bytes,
    /// All headers.
    pub headers: HeaderMap,
}

/// Answer to an express request.
#[derive(Clone, Debug)]
pub enum Bought {
    /// Paid; here it is.
    Content(Content),
    /// To be paid: the value of `PAYMENT-REQUIRED`.
    PaymentRequired(String),
}

/// Answer to a top-up.
#[derive(Clone, Debug)]
pub enum ToppedUp {
    /// Paid and credited.
    Credited(ledger::Deposit),
    /// To be paid: the value of `PAYMENT-REQUIRED`.
    PaymentRequired(String),
}

impl Client {
    /// A client of the service at `base`, as nobody in particular.
    pub fn new(base: Url) -> Self {
        let http = reqwest::Client::builder().timeout(TIMEOUT).build().unwrap_or_default();
        Self { http, base, credentials: None }
    }

    /// The same client at another address of the service.
    #[must_use]
    pub fn at(&self, base: Url) -> Self {
        Self { base, ..self.clone() }
    }

    /// The same client as the agent with this key.
    #[must_use]
    pub fn with_api_key(&self, api_key: &str) -> Self {
        Self { credentials: Some(format!("Bearer {api_key}")), ..self.clone() }
    }

    fn as_nobody(&self) -> Self {
        Self { credentials: None, ..self.clone() }
    }

    /// The same client as whom this access token is of.
    #[must_use]
    pub fn with_token(&self, token: &AccessToken) -> Self {
        self.with_api_key(&token.access_token)
    }

    /// The same client as the wallet that signed this challenge. Good for one request.
    #[must_use]
    pub fn with_wallet_proof(&self, nonce: B256, signature: &Hex) -> Self {
        Self { credentials: Some(format!("Wallet {nonce}.{signature}")), ..self.clone() }
    }

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

    /// Lists the calling creator's agents, newest first.
    pub async fn creators_agents(&self, page: &PageQuery) -> Result<Page<Agent>, ClientError> {
        self.get("api/v1/creators/me/agents", page).await
    }

    /// Makes an agent the calling creator's, by a key of the agent.
    pub async fn claim_agent(&self, id: Uuid, agent_token: &str) -> Result<Agent, ClientError> {
        let claim = Claim { agent_token: agent_token.into() };
        self.send(Method::POST, &format!("api/v1/creators/me/agents/{id}/claim"), &claim).await
    }

    /// How the calling creator's agents do.
    pub async fn dashboard(&self) -> Result<Dashboard, ClientError> {
        self.get("api/v1/creators/me/dashboard", &()).await
    }

    /// What the calling creator and the creator's agents have in the ledger.
    pub async fn creator_wallet(&self) -> Result<CreatorWallet, ClientError> {
        self.get("api/v1/creators/me/wallet", &()).await
    }

    /// Gives a creator a role, as an administrator.
    pub async fn grant_role(&self, creator: Uuid, role: Role) -> Result<Creator, ClientError> {
        self.send(Method::PUT, &format!("api/v1/admin/creators/{creator}/role"), &GrantRole { role }).await
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

    /// Publishes a listing.
    pub async fn create_listing(&self, request: &CreateListing) -> Result<Listing, ClientError> {
        self.send(Method::POST, "api/v1/listings", request).await
    }

    /// Uploads the content of a listing, up to 100 MiB, and makes it active.
    pub async fn upload(&self, id: Uuid, content_type: &str, body: impl Into<reqwest::Body>) -> Result<Listing, ClientError> {
        let request = self.request(Method::PUT, &format!("api/v1/listings/{id}/content"));
        json(request.header("content-type", content_type).body(body)).await
    }

    /// Reads a listing.
    pub async fn listing(&self, id: Uuid) -> Result<Listing, ClientError> {
        self.get(&format!("api/v1/listings/{id}"), &()).await
    }

    /// Lists listings.
    pub async fn listings(&self, filter: &ListingFilter) -> Result<Page<Listing>, ClientError> {
        self.get("api/v1/listings", filter).await
    }

    /// Changes a listing.
    pub async fn update_listing(&self, id: Uuid, change: &UpdateListing) -> Result<Listing, ClientError> {
        self.send(Method::PUT, &format!("api/v1/listings/{id}"), change).await
    }

    /// Lists every content that a listing ever had, newest first.
    pub async fn listing_versions(&self, id: Uuid, page: &PageQuery) -> Result<Page<ListingVersion>, ClientError> {
        self.get(&format!("api/v1/listings/{id}/versions"), page).await
    }

    /// Says how good a listing's content is, as a moderator.
    pub async fn judge_listing(&self, id: Uuid, judged: &JudgeListing) -> Result<Listing, ClientError> {
        self.send(Method::PUT, &format!("api/v1/admin/listings/{id}/quality"), judged).await
    }

    /// Takes a listing from the market.
    pub async fn delist(&self, id: Uuid) -> Result<Listing, ClientError> {
        self.send(Method::DELETE, &format!("api/v1/listings/{id}"), &()).await
    }

    /// Looks for listings.
    pub async fn discover(&self, search: &Discover) -> Result<Page<Listing>, ClientError> {
        self.get("api/v1/discover", search).await
    }

    /// Where a listing is bought in one request.
    pub fn express_url(&self, id: Uuid) -> Url {
        self.url(&format!("api/v1/express/{id}"))
    }

    /// Buys in one request: without `payment` to learn what to sign, with the value of `PAYMENT-SIGNATURE` to get the content.
    /// When this fails midway, repeat it with the same payment: it is never charged twice.
    pub async fn express(&self, id: Uuid, payment: Option<&str>) -> Result<Bought, ClientError> {
        let mut request = self.request(Method::GET, &format!("api/v1/express/{id}"));
        if let Some(payment) = payment {
            request = request.header("payment-signature", payment);
        }
        let response = request.send().await?;
        if response.status() == StatusCode::PAYMENT_REQUIRED {
            return required(&response).map(Bought::PaymentRequired);
        }
        content(response).await.map(Bought::Content)
    }

    /// Buys in one request from the ledger, in USDC or ARD. When this fails midway, repeat it with the same key: it is never charged twice.
    pub async fn express_from_ledger(&self, id: Uuid, asset: ledger::Asset, key: &str) -> Result<Content, ClientError> {
        let method = if asset == ledger::Asset::Ard { "token" } else { "balance" };
        let request = self.request(Method::POST, &format!("api/v1/express/{id}?payment_method={method}"));
        content(request.header(header::IDEMPOTENCY_KEY, key).send().await?).await
    }

    /// What the calling agent has in the ledger.
    pub async fn wallet(&self) -> Result<ledger::Wallet, ClientError> {
        self.get("api/v1/wallet/balance", &()).await
    }

    /// The calling agent's statement, newest first.
    pub async fn statement(&self, query: &ledger::StatementQuery) -> Result<Page<ledger::StatementLine>, ClientError> {
        self.get("api/v1/wallet/history", query).await
    }

    /// Sends money to another agent. When this fails midway, repeat it with the same key: it is never sent twice.
    pub async fn send_money(&self, request: &ledger::Send, key: &str) -> Result<ledger::Sent, ClientError> {
        json(self.request(Method::POST, "api/v1/wallet/transfer").header(header::IDEMPOTENCY_KEY, key).json(request)).await
    }

    /// The proof that a transfer of the calling agent is in the ledger. Have it verified: [`ledger::InclusionProof::verify`].
    pub async fn ledger_proof(&self, transfer: u64) -> Result<ledger::InclusionProof, ClientError> {
        self.get(&format!("api/v1/wallet/ledger/proof/{transfer}"), &()).await
    }

    /// Has sealed batches proved again by the market.
    pub async fn verify_ledger(&self, query: &ledger::VerifyQuery) -> Result<ledger::Verified, ClientError> {
        self.get("api/v1/wallet/ledger/verify", query).await
    }

    /// Announces a deposit of the calling agent: the answer says where to send USDC, and what names it on chain.
    pub async fn open_deposit(&self, request: &ledger::OpenDeposit) -> Result<ledger::Deposit, ClientError> {
        self.send(Method::POST, "api/v1/wallet/deposits", request).await
    }

    /// Lists the calling agent's deposits, newest first.
    pub async fn deposits(&self, page: &PageQuery) -> Result<Page<ledger::Deposit>, ClientError> {
        self.get("api/v1/wallet/deposits", page).await
    }

    /// Reads a deposit of the calling agent.
    pub async fn deposit(&self, id: Uuid) -> Result<ledger::Deposit, ClientError> {
        self.get(&format!("api/v1/wallet/deposits/{id}"), &()).await
    }

    /// Pays USDC into the calling agent's balance in one request: without `payment` to learn what to sign (the value of `PAYMENT-REQUIRED`), with
    /// the value of `PAYMENT-SIGNATURE` to be credited. When this fails midway, repeat it with the same payment: it is never charged twice.
    pub async fn top_up(&self, amount: ledger::Amount, payment: Option<&str>) -> Result<ToppedUp, ClientError> {
        let mut request = self.request(Method::POST, &format!("api/v1/wallet/deposits/x402?amount={amount}"));
        if let Some(payment) = payment {
            request = request.header("payment-signature", payment);
        }
        let response = request.send().await?;
        if response.status() == StatusCode::PAYMENT_REQUIRED {
            return required(&response).map(ToppedUp::PaymentRequired);
        }
        json_of(response).await.map(ToppedUp::Credited)
    }

    /// Asks for USDC to be paid out. When this fails midway, repeat it with the same key: it is never paid twice.
    pub async fn withdraw(&self, request: &ledger::Withdraw, key: &str) -> Result<ledger::Withdrawal, ClientError> {
        json(self.request(Method::POST, "api/v1/wallet/withdrawals").header(header::IDEMPOTENCY_KEY, key).json(request)).await
    }

    /// Lists the calling agent's withdrawals, newest first.
    pub async fn withdrawals(&self, page: &PageQuery) -> Result<Page<ledger::Withdrawal>, ClientError> {
        self.get("api/v1/wallet/withdrawals", page).await
    }

    /// Reads a withdrawal of the calling agent.
    pub async fn withdrawal(&self, id: Uuid) -> Result<ledger::Withdrawal, ClientError> {
        self.get(&format!("api/v1/wallet/withdrawals/{id}"), &()).await
    }

    /// Takes a withdrawal back that is not being paid yet.
    pub async fn cancel_withdrawal(&self, id: Uuid) -> Result<ledger::Withdrawal, ClientError> {
        self.send(Method::POST, &format!("api/v1/wallet/withdrawals/{id}/cancel"), &()).await
    }

    /// Asks for ARD to be redeemed. When this fails midway, repeat it with the same key: it is never done twice.
    pub async fn redeem(&self, request: &ledger::Redeem, key: &str) -> Result<ledger::Redemption, ClientError> {
        json(self.request(Method::POST, "api/v1/redemptions").header(header::IDEMPOTENCY_KEY, key).json(request)).await
    }

    /// Reads a redemption of the caller.
    pub async fn redemption(&self, id: Uuid) -> Result<ledger::Redemption, ClientError> {
        self.get(&format!("api/v1/redemptions/{id}"), &()).await
    }

    /// Takes a redemption back that is not approved yet.
    pub async fn cancel_redemption(&self, id: Uuid) -> Result<ledger::Redemption, ClientError> {
        self.send(Method::POST, &format!("api/v1/redemptions/{id}/cancel"), &()).await
    }

    /// Lists the caller's purchases and sales.
    pub async fn purchases(&self, filter: &PurchaseFilter) -> Result<Page<Purchase>, ClientError> {
        self.get("api/v1/purchases", filter).await
    }

    /// Reads again what the caller bought.
    pub async fn purchase_content(&self, id: Uuid) -> Result<Content, ClientError> {
        content(self.request(Method::GET, &format!("api/v1/purchases/{id}/content")).send().await?).await
    }

    /// Starts a purchase through the escrow.
    pub async fn initiate(&self, request: &Initiate) -> Result<Transaction, ClientError> {
        self.send(Method::POST, "api/v1/transactions/initiate", request).await
    }

    /// Reads a purchase through the escrow.
    pub async fn transaction(&self, id: Uuid) -> Result<Transaction, ClientError> {
        self.get(&format!("api/v1/transactions/{id}"), &()).await
    }

    /// Delivers, as the seller.
    pub async fn deliver(&self, id: Uuid, delivery_hash: B256) -> Result<Transaction, ClientError> {
        self.send(Method::POST, &format!("api/v1/transactions/{id}/deliver"), &Deliver { delivery_hash }).await
    }

    /// Reads what was delivered, as the buyer.
    pub async fn transaction_content(&self, id: Uuid) -> Result<Content, ClientError> {
        content(self.request(Method::GET, &format!("api/v1/transactions/{id}/content")).send().await?).await
    }

    /// Reads events (of an indexer).
    pub async fn events(&self, filter: &chain::EventFilter) -> Result<Page<chain::Event>, ClientError> {
        self.get("api/v1/chain/events", filter).await
    }

    /// Reads an account (of an indexer).
    pub async fn account(&self, address: Address) -> Result<chain::Account, ClientError> {
        self.get(&format!("api/v1/chain/accounts/{address}"), &()).await
    }

    /// Reads an account's newest transfers (of an indexer).
    pub async fn transfers(&self, address: Address, page: &PageQuery) -> Result<Page<chain::Transfer>, ClientError> {
        self.get(&format!("api/v1/chain/accounts/{address}/transfers"), page).await
    }

    fn url(&self, path: &str) -> Url {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        url.set_query(query);
        url
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, self.url(path));
        if let Some(credentials) = &self.credentials { request.header("authorization", credentials) } else { request }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Result<T, ClientError> {
        let mut request = self.request(Method::GET, path);
        if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(query) {
            let mut url = self.url(path);
            for (key, value) in fields {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                url.query_pairs_mut().append_pair(&key, &text);
            }
            request = self.http.get(url);
            if let Some(credentials) = &self.credentials {
                request = request.header("authorization", credentials);
            }
        }
        json(request).await
    }

    async fn send<T: DeserializeOwned>(&self, method: Method, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        json(self.request(method, path).json(body)).await
    }
}

async fn json<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, ClientError> {
    json_of(request.send().await?).await
}

fn required(response: &reqwest::Response) -> Result<String, ClientError> {
    let required = response.headers().get("payment-required").and_then(|value| value.to_str().ok());
    let unreadable = || ClientError::Unreadable { status: 402, what: "PAYMENT-REQUIRED is missing".into() };
    Ok(required.ok_or_else(unreadable)?.to_owned())
}

async fn json_of<T: DeserializeOwned>(response: reqwest::Response) -> Result<T, ClientError> {
    let status = response.status().as_u16();
    let Content { body, .. } = content(response).await?;
    serde_json::from_slice(&body).map_err(|e| ClientError::Unreadable { status, what: e.to_string() })
}

async fn content(mut response: reqwest::Response) -> Result<Content, ClientError> {
    let status = response.status();
    let mut parts = Vec::new();
    while let Some(part) = response.chunk().await? {
        if parts.len() + part.len() > ANSWER_LEN_MAX_BYTES {
            let what = format!("longer than {ANSWER_LEN_MAX_BYTES} bytes");
            return Err(ClientError::Unreadable { status: status.as_u16(), what });
        }
        parts.extend_from_slice(&part);
    }
    let body = Bytes::from(parts);
    if status.is_success() {
        return Ok(Content { body, headers: response.headers().clone() });
    }
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => Err(problem.into()),
        Err(e) => Err(ClientError::Unreadable { status: status.as_u16(), what: e.to_string() }),
    }
}
