//! Wallets that prove themselves by a signature: of a challenge of this market, or of a message of the x402 extension sign-in-with-x.

use alloy::{
    primitives::{Address, B256, Bytes, eip191_hash_message, hex},
    providers::Provider,
    sol,
};
use api::{Challenge, ChallengeRequest, Code, Scope};
use axum::{Json, extract::State};
use contracts::{agent_wallet::AgentWallet, agent_wallet_factory::AgentWalletFactory};
use sqlx::{PgConnection, Row};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use x402::{SignIn, SignInError};

use super::{random, refused};
use crate::{db, input, problem::Problem, service::Market};

/// How long a challenge can be answered.
const CHALLENGE_MINUTES: i64 = 10;
/// Longest signature read: contract wallets have long ones.
const SIGNATURE_LEN_MAX_BYTES: usize = 16 * 1024;

sol! {
    #[sol(rpc)]
    interface IERC1271 {
        function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4);
    }
}
const ERC1271_MAGIC: [u8; 4] = [0x16, 0x26, 0xba, 0x7e];

/// What an operator may do that the chain lets spend an AgentWallet's money: buy, and read what was bought. Of what the wallet's agent has in the
/// ledger it has some paid out to the wallet itself; all else, and the agent, are its owner's.
const OPERATOR: &[Scope] = &[Scope::Read, Scope::Buy];

/// A wallet that somebody spoke for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proven {
    pub(crate) wallet: Address,
    /// What they may do for it.
    pub(crate) scopes: &'static [Scope],
}

impl Proven {
    /// The wallet, unless only an operator spoke for it.
    pub(crate) fn by_owner(self) -> Result<Address, Problem> {
        let refused = || Problem::new(Code::Forbidden, "An operator of the wallet may not do this: its owner has to sign");
        if self.scopes == Scope::ALL { Ok(self.wallet) } else { Err(refused()) }
    }
}

/// The wallet that answered a challenge: `NONCE.SIGNATURE`. The challenge is used up.
pub(super) async fn answered(market: &Market, credentials: &str) -> Result<Proven, Problem> {
    let (nonce, signature) = credentials.split_once('.').ok_or_else(refused)?;
    let (nonce, signature) = (nonce.parse().map_err(|_| refused())?, signature.parse().map_err(|_| refused())?);
    let proven = proven(market, nonce, &signature).await?;
    consume(&mut *market.pool.acquire().await?, nonce).await?;
    Ok(proven)
}

/// The wallet that signed the header `sign-in-with-x`. Its nonce works once.
pub(super) async fn signed_in(market: &Market, header: &[u8]) -> Result<Proven, Problem> {
    let refused = |error: SignInError| Problem::new(Code::WalletNotProven, format!("sign-in-with-x: {error}"));
    let signed: SignIn = x402::header::decode(header).map_err(|_| refused(SignInError::Header))?;
    let now = OffsetDateTime::now_utc();
    signed.check(&market.public_url, now.unix_timestamp().unsigned_abs()).map_err(refused)?;
    if signed.chain_id != format!("eip155:{}", market.deployment.chain_id) {
        return Err(refused(SignInError::UnsupportedChain));
    }
    let (wallet, hash) = (signed.address().map_err(refused)?, signed.signing_hash().map_err(refused)?);
    let scopes = may(market, wallet, hash, &signed.signature().map_err(refused)?).await?;
    let scopes = scopes.ok_or_else(|| refused(SignInError::Signature))?;
    let until = now + Duration::seconds(SignIn::NONCE_LIFE_SECS.cast_signed());
    let used = sqlx::query("INSERT INTO sign_ins (nonce, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING");
    match used.bind(&signed.info.nonce).bind(until).execute(&market.pool).await?.rows_affected() {
        1 => Ok(Proven { wallet, scopes }),
        _ => Err(refused(SignInError::Nonce)),
    }
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
pub(crate) async fn proven(market: &Market, nonce: B256, signature: &Bytes) -> Result<Proven, Problem> {
    let refused = || Problem::new(Code::WalletNotProven, "Ask for a new challenge and sign exactly its message with this wallet");
    let found =
        sqlx::query("SELECT wallet, message FROM challenges WHERE nonce = $1 AND expires_at > now()").bind(nonce.as_slice());
    let row = found.fetch_optional(&market.pool).await?.ok_or_else(refused)?;
    let wallet = db::address(&row, "wallet")?;
    let hash = eip191_hash_message(row.try_get::<&str, _>("message")?);
    let scopes = may(market, wallet, hash, signature).await?.ok_or_else(refused)?;
    Ok(Proven { wallet, scopes })
}

/// What a signer may do for a wallet: for an account without code its key may do all, for a contract whom it vouches for by EIP-1271, and for our
/// AgentWallet the key of its owner all and an operator's some. Nothing, when they may not speak for it.
async fn may(market: &Market, wallet: Address, hash: B256, signature: &Bytes) -> Result<Option<&'static [Scope]>, Problem> {
    if signature.len() > SIGNATURE_LEN_MAX_BYTES {
        return Ok(None);
    }
    if x402::recover_strict(hash, signature) == Some(wallet) {
        return Ok(Some(&Scope::ALL));
    }
    let unreachable =
        |_| Problem::new(Code::Unavailable, "The node does not answer, so the contract's signature cannot be checked");
    let code = market.provider.get_code_at(wallet).await.map_err(unreachable)?;
    if code.is_empty() {
        return Ok(None);
    }
    let answer = IERC1271::new(wallet, &market.provider).isValidSignature(hash, signature.clone()).call().await;
    if answer.is_ok_and(|magic| magic == ERC1271_MAGIC) {
        return Ok(Some(&Scope::ALL));
    }
    Ok(of_agent_wallet(market, wallet, &code, hash, signature).await)
}

/// An AgentWallet vouches for nothing but payments, so here its owner and its operators speak for it.
async fn of_agent_wallet(
    market: &Market,
    wallet: Address,
    code: &[u8],
    hash: B256,
    signature: &Bytes,
) -> Option<&'static [Scope]> {
    let signer = x402::recover_strict(hash, signature)?;
    let factory = AgentWalletFactory::new(market.deployment.agent_wallet_factory, &market.provider);
    // Another contract may answer anything to a call that it does not know.
    if code != clone_of(factory.implementation().call().await.ok()?) {
        return None;
    }
    let contract = AgentWallet::new(wallet, &market.provider);
    if contract.owner().call().await.ok()? == signer {
        return Some(&Scope::ALL);
    }
    let operator = contract.operatorOf(signer).call().await.ok()?;
    (operator.lane != 0 && !operator.frozen).then_some(OPERATOR)
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
