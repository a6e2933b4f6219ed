//! Who calls: an agent by its key, or a wallet by its signature.

use alloy::{
    primitives::{Address, B256, Bytes, eip191_hash_message, hex},
    providers::Provider,
    sol,
};
use api::{Challenge, ChallengeRequest, Code};
use axum::{
    Json,
    extract::{FromRequestParts, OptionalFromRequestParts, State},
    http::{header, request::Parts},
};
use rand::RngCore;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, Row};
use subtle::ConstantTimeEq;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use contracts::{agent_wallet::AgentWallet, agent_wallet_factory::AgentWalletFactory};

use crate::{db, input, problem::Problem, service::Market};

/// How long a challenge can be answered.
const CHALLENGE_MINUTES: i64 = 10;
/// Longest signature read: contract wallets have long ones.
const SIGNATURE_LEN_MAX_BYTES: usize = 16 * 1024;
const KEY_PREFIX: &str = "florin_";

sol! {
    #[sol(rpc)]
    interface IERC1271 {
        function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4);
    }
}
const ERC1271_MAGIC: [u8; 4] = [0x16, 0x26, 0xba, 0x7e];

/// Who calls.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The registered agent, unless the wallet alone was proven.
    pub(crate) agent: Option<Uuid>,
    /// The proven wallet.
    pub(crate) wallet: Address,
}

impl Caller {
    /// Refuses everybody but this agent.
    pub(crate) fn must_be(&self, agent: Uuid, what: &str) -> Result<(), Problem> {
        if self.agent == Some(agent) { Ok(()) } else { Err(Problem::new(Code::Forbidden, format!("This is for {what} only"))) }
    }

    /// The agent, for what a wallet alone may not do.
    pub(crate) fn agent(&self) -> Result<Uuid, Problem> {
        self.agent.ok_or_else(|| Problem::new(Code::Unauthenticated, "Send the agent's key: Authorization: Bearer florin_..."))
    }
}

impl FromRequestParts<Market> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, market: &Market) -> Result<Self, Problem> {
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let refused = || {
            let detail = "Send Authorization: Bearer KEY of a registered agent, or Wallet NONCE.SIGNATURE of a fresh challenge";
            Problem::new(Code::Unauthenticated, detail)
        };
        let (scheme, credentials) = header.split_once(' ').ok_or_else(refused)?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return by_key(market, credentials).await?.ok_or_else(refused);
        }
        if !scheme.eq_ignore_ascii_case("wallet") {
            return Err(refused());
        }
        let (nonce, signature) = credentials.split_once('.').ok_or_else(refused)?;
        let (nonce, signature) = (nonce.parse().map_err(|_| refused())?, signature.parse().map_err(|_| refused())?);
        let proven = proven_wallet(market, nonce, &signature).await?;
        consume(&mut *market.pool.acquire().await?, nonce).await?;
        Ok(Self { agent: None, wallet: proven })
    }
}

/// Nobody, when no credentials were sent; wrong ones are refused all the same.
impl OptionalFromRequestParts<Market> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, market: &Market) -> Result<Option<Self>, Problem> {
        if !parts.headers.contains_key(header::AUTHORIZATION) {
            return Ok(None);
        }
        <Self as FromRequestParts<Market>>::from_request_parts(parts, market).await.map(Some)
    }
}

async fn by_key(market: &Market, key: &str) -> Result<Option<Caller>, Problem> {
    let parts = key.strip_prefix(KEY_PREFIX).and_then(|rest| rest.split_once('_'));
    let Some((id, secret)) = parts else { return Ok(None) };
    let (Ok(id), Ok(secret)) = (id.parse::<Uuid>(), secret.parse::<B256>()) else { return Ok(None) };
    let found = sqlx::query("SELECT key_hash, wallet FROM agents WHERE id = $1 AND active").bind(id);
    let Some(row) = found.fetch_optional(&market.pool).await? else { return Ok(None) };
    let same: bool = Sha256::digest(secret).as_slice().ct_eq(row.try_get::<&[u8], _>("key_hash")?).into();
    Ok(if same { Some(Caller { agent: Some(id), wallet: db::address(&row, "wallet")? }) } else { None })
}

/// A new key of an agent, and what is kept of it.
pub(crate) fn new_key(agent: Uuid) -> (String, B256) {
    let secret = random();
    let shown = format!("{KEY_PREFIX}{}_{secret:x}", agent.simple());
    (shown, B256::from_slice(&Sha256::digest(secret)))
}

pub(crate) fn random() -> B256 {
    let mut bytes = B256::ZERO;
    rand::rng().fill_bytes(bytes.as_mut_slice());
    bytes
}

/// `POST /api/v1/agents/challenge`
pub(crate) async fn challenge(
    State(market): State<Market>,
    input::Json(request): input::Json<ChallengeRequest>,
) -> Result<Json<Challenge>, Problem> {
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).expect("zero is a nanosecond");
    let (nonce, expires_at) = (random(), now + Duration::minutes(CHALLENGE_MINUTES));
    let time = |t: OffsetDateTime| t.format(&Rfc3339).expect("times of this century are written by RFC 3339");
    let (url, wallet) = (&market.public_url, request.wallet_address);
    let message = format!(
        "{host} wants you to sign in with your Ethereum account:\n{wallet}\n\nProve that this wallet is yours. This moves no money.\n\n\
         URI: {url}\nVersion: 1\nChain ID: {chain}\nNonce: {nonce:x}\nIssued At: {issued}\nExpiration Time: {expires}",
        host = url.authority(),
        chain = market.deployment.chain_id,
        issued = time(now),
        expires = time(expires_at),
    );
    sqlx::query("DELETE FROM challenges WHERE expires_at < now()").execute(&market.pool).await?;
    sqlx::query("INSERT INTO challenges (nonce, wallet, message, expires_at) VALUES ($1, $2, $3, $4)")
        .bind(nonce.as_slice())
        .bind(wallet.as_slice())
        .bind(&message)
        .bind(expires_at)
        .execute(&market.pool)
        .await?;
    Ok(Json(Challenge { nonce, message, expires_at }))
}

/// The wallet that answered a challenge. The challenge still has to be consumed.
pub(crate) async fn proven_wallet(market: &Market, nonce: B256, signature: &Bytes) -> Result<Address, Problem> {
    let refused = || Problem::new(Code::WalletNotProven, "Ask for a new challenge and sign exactly its message with this wallet");
    if signature.len() > SIGNATURE_LEN_MAX_BYTES {
        return Err(refused());
    }
    let found =
        sqlx::query("SELECT wallet, message FROM challenges WHERE nonce = $1 AND expires_at > now()").bind(nonce.as_slice());
    let row = found.fetch_optional(&market.pool).await?.ok_or_else(refused)?;
    let wallet = db::address(&row, "wallet")?;
    let hash = eip191_hash_message(row.try_get::<&str, _>("message")?);
    if x402::recover_strict(hash, signature) == Some(wallet) {
        return Ok(wallet);
    }
    let unreachable =
        |_| Problem::new(Code::Unavailable, "The node does not answer, so the contract's signature cannot be checked");
    let code = market.provider.get_code_at(wallet).await.map_err(unreachable)?;
    if code.is_empty() {
        return Err(refused());
    }
    let answer = IERC1271::new(wallet, &market.provider).isValidSignature(hash, signature.clone()).call().await;
    if answer.is_ok_and(|magic| magic == ERC1271_MAGIC) || is_operator(market, wallet, &code, hash, signature).await {
        return Ok(wallet);
    }
    Err(refused())
}

/// An AgentWallet vouches for nothing but payments, so here its operator speaks for it: whom the chain lets spend the wallet's money may read
/// what that money bought.
async fn is_operator(market: &Market, wallet: Address, code: &[u8], hash: B256, signature: &Bytes) -> bool {
    let Some(signer) = x402::recover_strict(hash, signature) else { return false };
    let factory = AgentWalletFactory::new(market.deployment.agent_wallet_factory, &market.provider);
    // Another contract may answer anything to a call that it does not know.
    let Ok(implementation) = factory.implementation().call().await else { return false };
    if code != clone_of(implementation) {
        return false;
    }
    let operator = AgentWallet::new(wallet, &market.provider).operatorOf(signer).call().await;
    operator.is_ok_and(|operator| operator.lane != 0 && !operator.frozen)
}

/// Uses a challenge up; of two at once only one succeeds.
pub(crate) async fn consume(conn: &mut PgConnection, nonce: B256) -> Result<(), Problem> {
    let done = sqlx::query("DELETE FROM challenges WHERE nonce = $1 AND expires_at > now()").bind(nonce.as_slice());
    match done.execute(conn).await?.rows_affected() {
        1 => Ok(()),
        _ => Err(Problem::new(Code::WalletNotProven, "The challenge was used or has expired: ask for a new one")),
    }
}

/// The code of a minimal proxy (ERC-1167), as the factory's wallets have it.
fn clone_of(implementation: Address) -> Vec<u8> {
    [hex!("363d3d373d3d3d363d73").as_slice(), implementation.as_slice(), &hex!("5af43d82803e903d91602b57fd5bf3")].concat()
}
