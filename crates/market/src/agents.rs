use api::{Agent, AgentFilter, AgentStatus, Code, Page, Register, Registered, UpdateAgent};
use axum::{Json, extract::State, http::StatusCode};
use money::Usdc;
use serde_json::{Value, json};
use sqlx::{PgConnection, Row, postgres::PgRow};
use time::OffsetDateTime;
use url::Url;
use uuid::Uuid;

use crate::{
    access::Trail,
    audit::{Actor, Event},
    auth::{Caller, keys, token::Kind, wallet as proof},
    db, fraud,
    input::{self, Id, Params},
    problem::Problem,
    service::Market,
    wallet::welcome,
};

const NAME_LEN_MAX_CHARS: usize = 100;
const DESCRIPTION_LEN_MAX_CHARS: usize = 2_000;
const CAPABILITIES_MAX: usize = 32;
const CAPABILITY_LEN_MAX_BYTES: usize = 64;
const CAPACITY_PER_HOUR: i32 = 30;
const CAPACITY_MAX: u32 = 1_000_000_000;
const ENDPOINT_LEN_MAX_BYTES: usize = 2_000;

/// `POST /api/v1/agents/register`
pub(crate) async fn register(
    State(market): State<Market>,
    trail: Trail,
    input::Json(request): input::Json<Register>,
) -> Result<(StatusCode, Json<Registered>), Problem> {
    input::text("name", &request.name, 1..=NAME_LEN_MAX_CHARS)?;
    input::text("description", &request.description, 0..=DESCRIPTION_LEN_MAX_CHARS)?;
    let proof::Proven { wallet, scopes } = proof::proven(&market, request.nonce, &request.signature).await?;
    if wallet != request.wallet_address {
        return Err(Problem::new(Code::WalletNotProven, format!("The challenge was signed by {wallet}")));
    }
    let capabilities = capabilities(&request.capabilities)?;
    check(request.cost_per_task, request.capacity_per_hour, request.endpoint.as_ref())?;
    let id = Uuid::now_v7();
    let mut tx = pg::begin(&market.pool).await?;
    proof::consume(&mut tx, request.nonce).await?;
    let row = sqlx::query(
        "INSERT INTO agents (id, name, description, agent_type, wallet, capabilities, cost_per_task, capacity_per_hour, availability, endpoint,
             welcomed, region)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (name) DO NOTHING RETURNING *",
    )
    .bind(id)
    .bind(&request.name)
    .bind(&request.description)
    .bind(db::name_of(request.agent_type))
    .bind(wallet.as_slice())
    .bind(capabilities)
    .bind(request.cost_per_task)
    .bind(request.capacity_per_hour.map_or(CAPACITY_PER_HOUR, u32::cast_signed))
    .bind(db::name_of(request.availability.unwrap_or_default()))
    .bind(request.endpoint.as_ref().map(Url::as_str))
    .bind(market.signup_bonus.is_zero())
    .bind(request.region.map(db::name_of))
    .fetch_optional(&mut *tx)
    .await?;
    let row = row.ok_or_else(|| Problem::new(Code::NameTaken, format!("{:?} is taken, choose another name", request.name)))?;
    let (api_key, key) = keys::make(&mut tx, id, &keys::first(scopes)).await?;
    let registered = Event::new("agent_registered", Actor::Agent(id)).about(id);
    registered.with(json!({"key": key.id, "scopes": scopes})).note(&mut tx, &trail).await?;
    fraud::registered(&mut tx, id, &trail).await?;
    tx.commit().await?;
    welcome(&market, id, wallet).await;
    let access = market.auth.tokens.issue(id, Kind::Agent, scopes, Some(key.id), OffsetDateTime::now_utc());
    let agent_card_url = card_url(&market, id);
    Ok((StatusCode::CREATED, Json(Registered { agent: agent(&row)?, api_key, access, agent_card_url })))
}

/// `GET /api/v1/agents`
pub(crate) async fn list(State(market): State<Market>, Params(f): Params<AgentFilter>) -> Result<Json<Page<Agent>>, Problem> {
    let (skip, limit) = input::place(f.cursor.as_deref(), f.limit, f.page, f.page_size)?;
    let rows = sqlx::query(
        "SELECT * FROM agents WHERE active = $7 AND id < $1 AND ($2::text IS NULL OR agent_type IN ($2, 'both'))
             AND ($3::text[] IS NULL OR capabilities @> $3) AND ($4::text IS NULL OR availability = $4)
             AND ($5::bigint IS NULL OR cost_per_task <= $5)
         ORDER BY id DESC LIMIT $6 OFFSET $8",
    )
    .bind(input::before(f.cursor.as_deref())?)
    .bind(f.agent_type.map(db::name_of))
    .bind(f.capability.map(|name| vec![name.to_lowercase()]))
    .bind(f.availability.map(db::name_of))
    .bind(f.max_cost.map(|cost| i64::try_from(cost.base_units()).unwrap_or(i64::MAX)))
    .bind(limit as i64 + 1)
    .bind(f.status.unwrap_or_default() == AgentStatus::Active)
    .bind(skip)
    .fetch_all(&market.pool)
    .await?;
    let agents = rows.iter().map(agent).collect::<Result<_, _>>()?;
    Ok(Json(input::page(agents, limit, |agent: &Agent| agent.id.to_string())))
}

/// `GET /api/v1/agents/{id}`
pub(crate) async fn show(State(market): State<Market>, Id(id): Id) -> Result<Json<Agent>, Problem> {
    let row = sqlx::query("SELECT * FROM agents WHERE id = $1").bind(id).fetch_optional(&market.pool).await?;
    Ok(Json(agent(&row.ok_or_else(|| Problem::not_found("agent"))?)?))
}

/// `GET /api/v1/agents/{id}/card`: the agent's card, as A2A has it.
pub(crate) async fn card(State(market): State<Market>, Id(id): Id) -> Result<Json<Value>, Problem> {
    let row = sqlx::query("SELECT * FROM agents WHERE id = $1 AND active").bind(id).fetch_optional(&market.pool).await?;
    let agent = agent(&row.ok_or_else(|| Problem::not_found("agent"))?)?;
    let skill = |name: &String| json!({"id": name, "name": name, "description": name, "tags": [name]});
    let skills: Vec<_> = agent.capabilities.iter().map(skill).collect();
    Ok(Json(json!({
        "protocolVersion": "0.3.0",
        "name": agent.name,
        "description": agent.description,
        "url": agent.endpoint.unwrap_or_else(|| card_url(&market, id)),
        "version": agent.updated_at.unix_timestamp().to_string(),
        "capabilities": {},
        "defaultInputModes": ["application/json"],
        "defaultOutputModes": ["application/json"],
        "skills": skills,
    })))
}

fn card_url(market: &Market, id: Uuid) -> Url {
    let path = format!("api/v1/agents/{id}/card");
    market.public_url.join(&path).unwrap_or_else(|_| market.public_url.clone())
}

/// `PUT /api/v1/agents/{id}`
pub(crate) async fn update(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    input::Json(change): input::Json<UpdateAgent>,
) -> Result<Json<Agent>, Problem> {
    caller.must_be(id, "the agent itself")?;
    if let Some(description) = &change.description {
        input::text("description", description, 0..=DESCRIPTION_LEN_MAX_CHARS)?;
    }
    let capabilities = change.capabilities.as_deref().map(capabilities).transpose()?;
    check(change.cost_per_task, change.capacity_per_hour, change.endpoint.as_ref())?;
    let row = sqlx::query(
        "UPDATE agents SET description = coalesce($2, description), agent_type = coalesce($3, agent_type),
             capabilities = coalesce($4, capabilities), cost_per_task = coalesce($5, cost_per_task),
             capacity_per_hour = coalesce($6, capacity_per_hour), availability = coalesce($7, availability),
             endpoint = coalesce($8, endpoint), region = coalesce($9, region), last_seen_at = now(), updated_at = now()
         WHERE id = $1 RETURNING *",
    )
    .bind(id)
    .bind(&change.description)
    .bind(change.agent_type.map(db::name_of))
    .bind(capabilities)
    .bind(change.cost_per_task)
    .bind(change.capacity_per_hour.map(u32::cast_signed))
    .bind(change.availability.map(db::name_of))
    .bind(change.endpoint.as_ref().map(Url::as_str))
    .bind(change.region.map(db::name_of))
    .fetch_one(&market.pool)
    .await?;
    Ok(Json(agent(&row)?))
}

/// `POST /api/v1/agents/{id}/heartbeat`
pub(crate) async fn heartbeat(State(market): State<Market>, Id(id): Id, caller: Caller) -> Result<Json<Agent>, Problem> {
    caller.must_be(id, "the agent itself")?;
    let row = sqlx::query("UPDATE agents SET last_seen_at = now() WHERE id = $1 RETURNING *").bind(id);
    Ok(Json(agent(&row.fetch_one(&market.pool).await?)?))
}

/// `DELETE /api/v1/agents/{id}`: its keys stop working, and what it sells or can deliver leaves the market with it. What it has is its wallet's, as before.
pub(crate) async fn deactivate(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    trail: Trail,
) -> Result<Json<Agent>, Problem> {
    caller.must_be(id, "the agent itself")?;
    let mut tx = pg::begin(&market.pool).await?;
    end(&mut tx, &[id]).await?;
    let row = sqlx::query("SELECT * FROM agents WHERE id = $1").bind(id).fetch_one(&mut *tx).await?;
    Event::new("agent_deactivated", caller.who.into()).about(id).note(&mut tx, &trail).await?;
    tx.commit().await?;
    market.auth.forget();
    Ok(Json(agent(&row)?))
}

/// Deactivates agents, with what they sell or can deliver, and what was not paid yet to them or by them.
pub(crate) async fn end(conn: &mut PgConnection, agents: &[Uuid]) -> sqlx::Result<()> {
    for ended in [
        "UPDATE agents SET active = FALSE, updated_at = now() WHERE id = ANY($1)",
        "UPDATE listings SET status = 'delisted', updated_at = now() WHERE seller_id = ANY($1) AND status <> 'delisted'",
        // What is not paid yet; what was decided to be paid ends by its deadlines.
        "WITH failed AS (
             UPDATE transactions SET status = 'failed', due_at = NULL, ended_at = now()
             WHERE (seller_id = ANY($1) OR initiator_id = ANY($1)) AND status = 'payment_pending' AND step IS NULL RETURNING id, seller_id)
         INSERT INTO transaction_changes (transaction_id, from_status, to_status, actor, why)
         SELECT id, 'payment_pending', 'failed', 'market',
             CASE WHEN seller_id = ANY($1) THEN 'the seller' ELSE 'the buyer' END || ' left the market before it was paid' FROM failed",
        "DELETE FROM catalog WHERE agent_id = ANY($1)",
        "DELETE FROM catalog_subscriptions WHERE agent_id = ANY($1)",
        "DELETE FROM webhooks WHERE agent_id = ANY($1)",
        "DELETE FROM feed_subscribers WHERE agent_id = ANY($1)",
    ] {
        sqlx::query(ended).bind(agents).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Refuses sellers that were deactivated, which none is until the transaction ends: what is started with one by then is ended with it.
pub(crate) async fn must_be_there(conn: &mut PgConnection, seller: Uuid) -> Result<(), Problem> {
    let active = sqlx::query("SELECT FROM agents WHERE id = $1 AND active FOR SHARE").bind(seller);
    match active.fetch_optional(conn).await? {
        Some(_) => Ok(()),
        None => Err(Problem::new(Code::WrongState, "The seller has left the market; nothing was paid")),
    }
}

/// Refuses agents that do not sell. Locks the agent until the transaction ends, so that it is not deactivated in between, and publishes one
/// thing after the other.
pub(crate) async fn must_sell(conn: &mut PgConnection, id: Uuid) -> Result<(), Problem> {
    let row =
        sqlx::query("SELECT * FROM agents WHERE id = $1 AND active FOR NO KEY UPDATE").bind(id).fetch_optional(conn).await?;
    match row.map(|row| agent(&row)).transpose()? {
        Some(agent) if agent.agent_type.sells() => Ok(()),
        _ => Err(Problem::new(Code::Forbidden, "Only an active agent of type seller or both publishes listings")),
    }
}

/// As they are kept: in small letters, in order, each once.
fn capabilities(names: &[String]) -> Result<Vec<String>, Problem> {
    if names.len() > CAPABILITIES_MAX {
        return Err(Problem::invalid(format!("an agent has at most {CAPABILITIES_MAX} capabilities")));
    }
    let mut names: Vec<_> = names.iter().map(|name| name.trim().to_lowercase()).collect();
    names.sort_unstable();
    names.dedup();
    let fits = |name: &String| {
        (1..=CAPABILITY_LEN_MAX_BYTES).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte))
    };
    if names.iter().all(fits) { Ok(names) } else { Err(Problem::invalid("a capability has 1 to 64 of a-z 0-9 _ - . :")) }
}

fn check(cost: Option<Usdc>, capacity: Option<u32>, endpoint: Option<&Url>) -> Result<(), Problem> {
    if cost.is_some_and(|cost| i64::try_from(cost.base_units()).is_err()) {
        return Err(Problem::invalid("cost_per_task is too large"));
    }
    if capacity.is_some_and(|tasks| tasks == 0 || tasks > CAPACITY_MAX) {
        return Err(Problem::invalid(format!("capacity_per_hour must be from 1 to {CAPACITY_MAX}")));
    }
    match endpoint {
        Some(url) if !["http", "https"].contains(&url.scheme()) || url.as_str().len() > ENDPOINT_LEN_MAX_BYTES => {
            Err(Problem::invalid(format!("endpoint must be an http(s) URL of at most {ENDPOINT_LEN_MAX_BYTES} bytes")))
        }
        _ => Ok(()),
    }
}

pub(crate) fn agent(row: &PgRow) -> Result<Agent, sqlx::Error> {
    Ok(Agent {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        description: row.try_get("description")?,
        agent_type: db::named(row, "agent_type")?,
        wallet_address: db::address(row, "wallet")?,
        creator_id: row.try_get("creator_id")?,
        capabilities: row.try_get("capabilities")?,
        cost_per_task: row.try_get("cost_per_task")?,
        capacity_per_hour: row.try_get::<i32, _>("capacity_per_hour")?.unsigned_abs(),
        availability: db::named(row, "availability")?,
        endpoint: row.try_get::<Option<&str>, _>("endpoint")?.and_then(|url| url.parse().ok()),
        region: row.try_get::<Option<&str>, _>("region")?.map(|_| db::named(row, "region")).transpose()?,
        active: row.try_get("active")?,
        updated_at: row.try_get("updated_at")?,
        created_at: row.try_get("created_at")?,
        last_seen_at: row.try_get("last_seen_at")?,
    })
}
