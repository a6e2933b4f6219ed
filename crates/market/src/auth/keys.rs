//! Keys of agents, and the tokens they are exchanged for.

use api::{AccessToken, ApiKey, Code, CreateApiKey, CreatedApiKey, Page, PageQuery, Scope, TokenRequest};
use axum::{Json, extract::State, http::StatusCode};
use serde_json::json;
use sqlx::{PgConnection, PgPool, Row, postgres::PgRow};
use subtle::ConstantTimeEq;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Caller, Who, digest, random, read_secret, token::Kind, write_secret};
use crate::{
    access::Trail,
    audit::Event,
    db,
    input::{self, Id, Params},
    problem::Problem,
    service::Market,
};

/// How every key begins.
pub(super) const PREFIX: &str = "florin_";
/// Keys of an agent that are not revoked, at most.
const KEYS_MAX: i64 = 50;
const NAME_LEN_MAX_CHARS: usize = 100;
/// How long the key of an agent is good that an AgentWallet's operator registered.
const OPERATOR_KEY_FOR: time::Duration = time::Duration::days(1);

/// Who has this key.
pub(super) async fn caller(pool: &PgPool, key: &str) -> sqlx::Result<Option<Caller>> {
    let Some((id, hash)) = read_secret(PREFIX, key) else { return Ok(None) };
    let found = sqlx::query(
        "SELECT k.agent_id, k.key_hash, k.scopes, k.expires_at, a.wallet, a.person,
             k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute' AS unseen
         FROM api_keys AS k JOIN agents AS a ON a.id = k.agent_id
         WHERE k.id = $1 AND k.revoked_at IS NULL AND coalesce(k.expires_at > now(), TRUE) AND a.active",
    );
    let Some(row) = found.bind(id).fetch_optional(pool).await? else { return Ok(None) };
    let same: bool = hash.as_slice().ct_eq(row.try_get::<&[u8], _>("key_hash")?).into();
    if !same {
        return Ok(None);
    }
    if row.try_get("unseen")? {
        sqlx::query("UPDATE api_keys SET last_used_at = now() WHERE id = $1").bind(id).execute(pool).await?;
    }
    let who = Who::Agent { id: row.try_get("agent_id")?, wallet: db::address(&row, "wallet")?, person: row.try_get("person")? };
    Ok(Some(Caller {
        who,
        scopes: scopes(&row)?.into(),
        credential: Some(id),
        by_token: false,
        until: row.try_get("expires_at")?,
    }))
}

/// Makes a key. What is returned is all there will ever be of its secret.
pub(crate) async fn make(conn: &mut PgConnection, agent: Uuid, request: &CreateApiKey) -> sqlx::Result<(String, ApiKey)> {
    let (id, secret) = (Uuid::now_v7(), random());
    let row = sqlx::query(
        "INSERT INTO api_keys (id, agent_id, name, key_hash, scopes, expires_at) VALUES ($1, $2, $3, $4, $5, $6) RETURNING *",
    )
    .bind(id)
    .bind(agent)
    .bind(&request.name)
    .bind(digest(secret).as_slice())
    .bind(request.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>())
    .bind(request.expires_at)
    .fetch_one(conn)
    .await?;
    Ok((write_secret(PREFIX, id, secret), key(&row)?))
}

/// `POST /api/v1/api-keys`: no key allows more, or for longer, than the one it was made with.
pub(crate) async fn create(
    State(market): State<Market>,
    caller: Caller,
    trail: Trail,
    input::Json(mut request): input::Json<CreateApiKey>,
) -> Result<(StatusCode, Json<CreatedApiKey>), Problem> {
    let agent = caller.agent()?;
    input::text("name", &request.name, 1..=NAME_LEN_MAX_CHARS)?;
    request.scopes.sort_unstable();
    request.scopes.dedup();
    if request.scopes.is_empty() {
        return Err(Problem::invalid("scopes must name at least one scope"));
    }
    request.scopes.iter().try_for_each(|scope| caller.must_have(*scope))?;
    if request.expires_at.is_some_and(|at| at <= OffsetDateTime::now_utc()) {
        return Err(Problem::invalid("expires_at must be in the future"));
    }
    let mut tx = pg::begin(&market.pool).await?;
    let ends: Option<Option<OffsetDateTime>> = sqlx::query_scalar("SELECT expires_at FROM api_keys WHERE id = $1")
        .bind(caller.credential)
        .fetch_optional(&mut *tx)
        .await?;
    if let Some(end) = ends.flatten()
        && request.expires_at.is_none_or(|at| at > end)
    {
        return Err(Problem::invalid(format!(
            "expires_at must not be after {end}, when the key ends that this one is made with"
        )));
    }
    // Of two at once, one waits, so that they are counted.
    sqlx::query("SELECT FROM agents WHERE id = $1 FOR UPDATE").bind(agent).execute(&mut *tx).await?;
    let count = sqlx::query_scalar("SELECT count(*) FROM api_keys WHERE agent_id = $1 AND revoked_at IS NULL").bind(agent);
    if count.fetch_one(&mut *tx).await.map(|count: i64| count >= KEYS_MAX)? {
        return Err(Problem::new(Code::WrongState, format!("An agent has at most {KEYS_MAX} keys: revoke one")));
    }
    let (api_key, key) = make(&mut tx, agent, &request).await?;
    let created = Event::new("api_key_created", caller.who.into()).about(key.id);
    created.with(json!({"scopes": key.scopes, "made_with": caller.credential})).note(&mut tx, &trail).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(CreatedApiKey { key, api_key })))
}

/// `GET /api/v1/api-keys`
pub(crate) async fn list(
    State(market): State<Market>,
    caller: Caller,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<ApiKey>>, Problem> {
    let (agent, limit) = (caller.agent()?, input::limit(page.limit)?);
    let rows = sqlx::query("SELECT * FROM api_keys WHERE agent_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3")
        .bind(agent)
        .bind(input::before(page.cursor.as_deref())?)
        .bind(limit as i64 + 1)
        .fetch_all(&market.pool)
        .await?;
    let keys = rows.iter().map(key).collect::<Result<_, _>>()?;
    Ok(Json(input::page(keys, limit, |key: &ApiKey| key.id.to_string())))
}

/// `DELETE /api/v1/api-keys/{id}`: the tokens it got end with it.
pub(crate) async fn revoke(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    trail: Trail,
) -> Result<Json<ApiKey>, Problem> {
    let mut tx = pg::begin(&market.pool).await?;
    let revoke = "UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 AND agent_id = $2
         RETURNING *, revoked_at = now() AS just_now";
    let row = sqlx::query(revoke).bind(id).bind(caller.agent()?).fetch_optional(&mut *tx).await?;
    let row = row.ok_or_else(|| Problem::not_found("key of yours"))?;
    if row.try_get("just_now")? {
        Event::new("api_key_revoked", caller.who.into()).about(id).note(&mut tx, &trail).await?;
    }
    tx.commit().await?;
    market.auth.forget();
    Ok(Json(key(&row)?))
}

/// `POST /api/v1/agents/token`: a key or a proven wallet for an access token.
pub(crate) async fn token(
    State(market): State<Market>,
    caller: Caller,
    input::Json(request): input::Json<TokenRequest>,
) -> Result<Json<AccessToken>, Problem> {
    if caller.by_token {
        return Err(Problem::new(Code::Forbidden, "A token gets no other token: send a key, or prove the wallet"));
    }
    let agent = match caller.who {
        Who::Agent { id, .. } => request.agent_id.is_none_or(|asked| asked == id).then_some(id),
        Who::Wallet(wallet) => {
            // One that was deactivated has to be named: its token takes out what it still has.
            let of_wallet = "SELECT id FROM agents WHERE wallet = $1 AND CASE WHEN $2::uuid IS NULL THEN active ELSE id = $2 END ORDER BY id LIMIT 2";
            let found = sqlx::query_scalar(of_wallet).bind(wallet.as_slice()).bind(request.agent_id);
            match found.fetch_all(&market.pool).await?[..] {
                [] => None,
                [only] => Some(only),
                _ => return Err(Problem::invalid("This wallet has several agents: name one in agent_id")),
            }
        }
        Who::Creator { .. } => caller.agent().map(Some)?,
    };
    let agent = agent.ok_or_else(|| Problem::not_found("agent of yours"))?;
    let scopes = request.scopes.unwrap_or_else(|| caller.scopes.to_vec());
    scopes.iter().try_for_each(|scope| caller.must_have(*scope))?;
    Ok(Json(market.auth.tokens.issue(agent, Kind::Agent, &scopes, caller.credential, OffsetDateTime::now_utc())))
}

/// `GET /.well-known/jwks.json`
pub(crate) async fn key_set(State(market): State<Market>) -> Result<Json<serde_json::Value>, Problem> {
    Ok(Json(market.auth.tokens.key_set(OffsetDateTime::now_utc())))
}

fn scopes(row: &PgRow) -> sqlx::Result<Vec<Scope>> {
    let names: Vec<String> = row.try_get("scopes")?;
    Ok(Scope::ALL.into_iter().filter(|scope| names.iter().any(|name| name == scope.as_str())).collect())
}

fn key(row: &PgRow) -> sqlx::Result<ApiKey> {
    let id: Uuid = row.try_get("id")?;
    Ok(ApiKey {
        id,
        name: row.try_get("name")?,
        prefix: format!("{PREFIX}{}", id.simple()),
        scopes: scopes(row)?,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        last_used_at: row.try_get("last_used_at")?,
        revoked_at: row.try_get("revoked_at")?,
    })
}

/// The key of a registration: all that who proved the wallet may do.
pub(crate) fn first(scopes: &[Scope]) -> CreateApiKey {
    // Whom the wallet's owner dismisses on chain has it for so long, and has to prove the wallet again all the while.
    let expires_at = (scopes != Scope::ALL).then(|| OffsetDateTime::now_utc() + OPERATOR_KEY_FOR);
    CreateApiKey { name: "registration".into(), scopes: scopes.into(), expires_at }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use alloy::primitives::B256;

    use super::*;

    #[test]
    fn a_secret_is_read_as_it_was_written_and_nothing_else_is() {
        let (id, secret) = (Uuid::now_v7(), random());
        let text = write_secret(PREFIX, id, secret);
        assert_eq!(read_secret(PREFIX, &text), Some((id, digest(secret))));
        for bad in ["", "florin_", "florin__", &text[..text.len() - 1], &text.replace('_', "-")] {
            assert_eq!(read_secret(PREFIX, bad), None::<(Uuid, B256)>, "{bad}");
        }
    }
}
