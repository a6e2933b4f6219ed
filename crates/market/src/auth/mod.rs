//! Who calls: an agent by a key or a token, a creator by a token, or a wallet by its signature.

pub(crate) mod keys;
pub(crate) mod password;
pub(crate) mod sessions;
pub(crate) mod token;
mod tries;
pub(crate) mod wallet;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use alloy::primitives::{Address, B256};
use api::{Code, Role, Scope};
use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{HeaderMap, header, request::Parts},
};
use cache::Hot;
use rand::RngCore;
use sha2::{Digest, Sha256};
use sqlx::{PgPool, Row};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::{access, db, moment, problem::Problem, service::Market};
use token::{Kind, Tokens};

/// Credentials remembered for a [`moment`] as good.
const REMEMBERED_MAX: u64 = 50_000;
/// Longest credentials read.
const CREDENTIALS_LEN_MAX_BYTES: usize = 4 * 1024;

/// Who calls.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) who: Who,
    pub(crate) scopes: Arc<[Scope]>,
    /// The key or session that it goes back to, if any.
    pub(crate) credential: Option<Uuid>,
    /// Whether it showed an access token, which gets no other one.
    pub(crate) by_token: bool,
    /// When the credentials stop working.
    pub(crate) until: Option<OffsetDateTime>,
}

/// Who somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// A registered agent, its proven wallet, and who is behind it.
    Agent { id: Uuid, wallet: Address, person: Uuid },
    /// A wallet that was proven just now.
    Wallet(Address),
    /// A person.
    Creator { id: Uuid, role: Role },
}

impl Caller {
    /// The agent, for what nobody else may do.
    pub(crate) fn agent(&self) -> Result<Uuid, Problem> {
        self.agent_id().ok_or_else(|| Problem::new(Code::Forbidden, "This is for agents: send the agent's key or token"))
    }

    pub(crate) fn agent_id(&self) -> Option<Uuid> {
        if let Who::Agent { id, .. } = self.who { Some(id) } else { None }
    }

    /// The proven wallet, for what creators may not do.
    pub(crate) fn wallet(&self) -> Result<Address, Problem> {
        match self.who {
            Who::Agent { wallet, .. } | Who::Wallet(wallet) => Ok(wallet),
            Who::Creator { .. } => Err(Problem::new(Code::Forbidden, "This is for agents and wallets")),
        }
    }

    /// The creator, for what nobody else may do.
    pub(crate) fn creator(&self) -> Result<Uuid, Problem> {
        match self.who {
            Who::Creator { id, .. } => Ok(id),
            _ => Err(Problem::new(Code::Forbidden, "This is for creators: sign in at /api/v1/creators/login")),
        }
    }

    /// Who is behind whoever can have money in the ledger.
    pub(crate) fn person(&self) -> Result<Uuid, Problem> {
        match self.who {
            Who::Agent { person, .. } => Ok(person),
            _ => self.creator(),
        }
    }

    /// Whoever can have money in the ledger: the agent or the creator.
    pub(crate) fn holder(&self) -> Result<Uuid, Problem> {
        match self.who {
            Who::Agent { id, .. } | Who::Creator { id, .. } => Ok(id),
            Who::Wallet(_) => Err(Problem::new(Code::Forbidden, "This is for agents and creators")),
        }
    }

    /// The creator, if its role is enough.
    pub(crate) fn staff(&self, needed: Role) -> Result<Uuid, Problem> {
        match self.who {
            Who::Creator { id, role } if role.covers(needed) => Ok(id),
            _ => Err(Problem::new(Code::Forbidden, format!("This is for the role {} only", db::name_of(needed)))),
        }
    }

    /// Refuses everybody but this agent.
    pub(crate) fn must_be(&self, agent: Uuid, what: &str) -> Result<(), Problem> {
        if self.agent_id() == Some(agent) {
            Ok(())
        } else {
            Err(Problem::new(Code::Forbidden, format!("This is for {what} only")))
        }
    }

    /// Refuses credentials without this scope.
    pub(crate) fn must_have(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        Err(Problem::new(Code::Forbidden, format!("The credentials lack the scope {scope}: use a key that has it")))
    }
}

/// What callers are checked with.
#[derive(Debug)]
pub(crate) struct Auth {
    pub(crate) tokens: Tokens,
    remembered: Hot<B256, Good>,
    /// How often credentials ended: what was looked up before the last time is not good any more.
    ended: AtomicU64,
}

/// Credentials that were good a moment ago.
#[derive(Clone, Debug)]
struct Good {
    caller: Caller,
    until: Instant,
    ended: u64,
}

impl Auth {
    pub(crate) fn new(tokens: Tokens) -> Self {
        Self { tokens, remembered: Hot::of_equals(REMEMBERED_MAX), ended: AtomicU64::new(0) }
    }

    /// Credentials ended: all are looked at again.
    pub(crate) fn forget(&self) {
        self.ended.fetch_add(1, Ordering::AcqRel);
    }

    /// Who sends this after `Bearer`.
    pub(crate) async fn bearer(&self, pool: &PgPool, text: &str) -> Result<Option<Caller>, Problem> {
        if text.len() > CREDENTIALS_LEN_MAX_BYTES {
            return Ok(None);
        }
        if let Some(caller) = self.remembered(text) {
            return Ok(Some(caller));
        }
        let ended = self.ended.load(Ordering::Acquire);
        let found = if text.starts_with(keys::PREFIX) { keys::caller(pool, text).await? } else { self.token(pool, text).await? };
        if let Some(caller) = &found {
            let (key, good) = (key(text), Good { caller: caller.clone(), until: Instant::now() + moment::some(), ended });
            self.remembered.remove(&key);
            self.remembered.offer(key, good, 1);
        }
        Ok(found)
    }

    /// Who sent this after `Bearer` a moment ago, and may still.
    pub(crate) fn remembered(&self, text: &str) -> Option<Caller> {
        let Good { caller, until, ended } = self.remembered.get(&key(text))?;
        let good = ended == self.ended.load(Ordering::Acquire) && Instant::now() < until;
        (good && caller.until.is_none_or(|until| OffsetDateTime::now_utc() < until)).then_some(caller)
    }

    async fn token(&self, pool: &PgPool, text: &str) -> Result<Option<Caller>, Problem> {
        let Some(claims) = self.tokens.read(text, OffsetDateTime::now_utc()) else { return Ok(None) };
        let query = match claims.kind {
            // What a key got ends with the key. What a wallet got outlives the agent, so that what the agent has can be taken out.
            Kind::Agent => {
                "SELECT a.wallet, a.person, a.active, NULL AS role FROM agents AS a LEFT JOIN api_keys AS k ON k.id = $2
                 WHERE a.id = $1 AND ($2 IS NULL OR (a.active AND k.agent_id = a.id AND k.revoked_at IS NULL AND coalesce(k.expires_at > now(), TRUE)))"
            }
            Kind::Creator => {
                "SELECT NULL::bytea AS wallet, NULL::uuid AS person, c.active, c.role FROM creators AS c JOIN sessions AS s ON s.creator_id = c.id
                 WHERE c.id = $1 AND s.id = $2 AND c.active AND s.revoked_at IS NULL AND s.expires_at > now()"
            }
        };
        let Some(row) = sqlx::query(query).bind(claims.sub).bind(claims.sid).fetch_optional(pool).await? else { return Ok(None) };
        let who = match claims.kind {
            Kind::Agent => Who::Agent { id: claims.sub, wallet: db::address(&row, "wallet")?, person: row.try_get("person")? },
            Kind::Creator => Who::Creator { id: claims.sub, role: db::named(&row, "role")? },
        };
        let until = OffsetDateTime::from_unix_timestamp(claims.exp).ok();
        let mut scopes = claims.scopes();
        if !row.try_get::<bool, _>("active")? {
            scopes.retain(|scope| [Scope::Read, Scope::Transfer].contains(scope));
        }
        Ok(Some(Caller { who, scopes: scopes.into(), credential: claims.sid, by_token: true, until }))
    }
}

/// Credentials are remembered by this: what is compared with what somebody sent tells nothing about it.
fn key(text: &str) -> B256 {
    B256::from_slice(&Sha256::digest(text))
}

/// What these headers have after `Bearer`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, credentials) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(credentials)
}

/// Whether these headers are to prove a wallet.
pub(crate) fn proves_wallet(headers: &HeaderMap) -> bool {
    let scheme = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.split_once(' '));
    headers.contains_key(x402::SIGN_IN_WITH_X) || scheme.is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("wallet"))
}

/// Who sends these headers; nobody, when they bring no credentials. Wrong ones are refused.
pub(crate) async fn authenticate(market: &Market, headers: &HeaderMap) -> Result<Option<Caller>, Problem> {
    if let Some(value) = headers.get(x402::SIGN_IN_WITH_X) {
        return Ok(Some(Caller::of(&wallet::signed_in(market, value.as_bytes()).await?)));
    }
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let (scheme, credentials) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(refused)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return market.auth.bearer(&market.pool, credentials).await?.ok_or_else(refused).map(Some);
    }
    if scheme.eq_ignore_ascii_case("wallet") {
        return Ok(Some(Caller::of(&wallet::answered(market, credentials).await?)));
    }
    Err(refused())
}

/// Whether an agent may still do what it began with these credentials: a key or what a key got, or none that can be revoked.
pub(crate) async fn agent_may(pool: &PgPool, id: Uuid, credential: Option<Uuid>) -> sqlx::Result<bool> {
    let may = "SELECT EXISTS (SELECT FROM agents AS a LEFT JOIN api_keys AS k ON k.id = $2 WHERE a.id = $1 AND a.active
             AND ($2 IS NULL OR (k.agent_id = a.id AND k.revoked_at IS NULL AND coalesce(k.expires_at > now(), TRUE))))";
    sqlx::query_scalar(may).bind(id).bind(credential).fetch_one(pool).await
}

/// The same of a creator, whose credentials go back to a session.
pub(crate) async fn creator_may(pool: &PgPool, id: Uuid, session: Option<Uuid>) -> sqlx::Result<bool> {
    let may = "SELECT EXISTS (SELECT FROM creators AS c JOIN sessions AS s ON s.creator_id = c.id
             WHERE c.id = $1 AND s.id = $2 AND c.active AND s.revoked_at IS NULL AND s.expires_at > now())";
    sqlx::query_scalar(may).bind(id).bind(session).fetch_one(pool).await
}

pub(crate) fn refused() -> Problem {
    let detail = "Send Authorization: Bearer with a key or token that is valid, or Wallet NONCE.SIGNATURE of a fresh challenge";
    Problem::new(Code::Unauthenticated, detail)
}

impl Caller {
    fn of(proven: &wallet::Proven) -> Self {
        let (who, scopes) = (Who::Wallet(proven.wallet), proven.scopes.into());
        Self { who, scopes, credential: None, by_token: false, until: None }
    }
}

impl FromRequestParts<Market> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Market) -> Result<Self, Problem> {
        access::found(&parts.extensions)?.ok_or_else(refused)
    }
}

/// Nobody, when no credentials were sent; wrong ones were refused all the same.
impl OptionalFromRequestParts<Market> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Market) -> Result<Option<Self>, Problem> {
        access::found(&parts.extensions)
    }
}

pub(crate) fn random() -> B256 {
    let mut bytes = B256::ZERO;
    rand::rng().fill_bytes(bytes.as_mut_slice());
    bytes
}

/// A secret with the id of what it belongs to: `PREFIXid_secret`.
fn write_secret(prefix: &str, id: Uuid, secret: B256) -> String {
    format!("{prefix}{}_{}", id.simple(), alloy::hex::encode(secret))
}

/// The id, and the SHA-256 of the secret.
fn read_secret(prefix: &str, text: &str) -> Option<(Uuid, B256)> {
    let (id, secret) = text.strip_prefix(prefix)?.split_once('_')?;
    Some((id.parse().ok()?, digest(secret.parse().ok()?)))
}

fn digest(secret: B256) -> B256 {
    B256::from_slice(&Sha256::digest(secret))
}

/// How long from now.
fn after(duration: Duration) -> OffsetDateTime {
    OffsetDateTime::now_utc() + duration
}
