use api::{Agent, Code, Page, PageQuery, Register, Registered, UpdateAgent};
use axum::{Json, extract::State, http::StatusCode};
use sqlx::{PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    auth::{self, Caller},
    db,
    input::{self, Id, Params},
    problem::Problem,
    service::Market,
    wallet,
};

const NAME_LEN_MAX_CHARS: usize = 100;
const DESCRIPTION_LEN_MAX_CHARS: usize = 2_000;

/// `POST /api/v1/agents/register`
pub(crate) async fn register(
    State(market): State<Market>,
    input::Json(request): input::Json<Register>,
) -> Result<(StatusCode, Json<Registered>), Problem> {
    input::text("name", &request.name, 1..=NAME_LEN_MAX_CHARS)?;
    input::text("description", &request.description, 0..=DESCRIPTION_LEN_MAX_CHARS)?;
    let wallet = auth::proven_wallet(&market, request.nonce, &request.signature).await?;
    if wallet != request.wallet_address {
        return Err(Problem::new(Code::WalletNotProven, format!("The challenge was signed by {wallet}")));
    }
    let id = Uuid::now_v7();
    let (api_key, key_hash) = auth::new_key(id);
    let mut tx = market.pool.begin().await?;
    auth::consume(&mut tx, request.nonce).await?;
    let row = sqlx::query(
        "INSERT INTO agents (id, name, description, agent_type, wallet, key_hash) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (name) DO NOTHING RETURNING *",
    )
    .bind(id)
    .bind(&request.name)
    .bind(&request.description)
    .bind(db::name_of(request.agent_type))
    .bind(wallet.as_slice())
    .bind(key_hash.as_slice())
    .fetch_optional(&mut *tx)
    .await?;
    let row = row.ok_or_else(|| Problem::new(Code::NameTaken, format!("{:?} is taken, choose another name", request.name)))?;
    tx.commit().await?;
    wallet::welcome(&market, id).await;
    Ok((StatusCode::CREATED, Json(Registered { agent: agent(&row)?, api_key })))
}

/// `GET /api/v1/agents`
pub(crate) async fn list(State(market): State<Market>, Params(page): Params<PageQuery>) -> Result<Json<Page<Agent>>, Problem> {
    let limit = input::limit(page.limit)?;
    let rows = sqlx::query("SELECT * FROM agents WHERE active AND id < $1 ORDER BY id DESC LIMIT $2")
        .bind(input::before(page.cursor.as_deref())?)
        .bind(limit as i64 + 1)
        .fetch_all(&market.pool)
        .await?;
    let agents = rows.iter().map(agent).collect::<Result<_, _>>()?;
    Ok(Json(input::page(agents, limit, |agent| agent.id.to_string())))
}

/// `GET /api/v1/agents/{id}`
pub(crate) async fn show(State(market): State<Market>, Id(id): Id) -> Result<Json<Agent>, Problem> {
    let row = sqlx::query("SELECT * FROM agents WHERE id = $1").bind(id).fetch_optional(&market.pool).await?;
    Ok(Json(agent(&row.ok_or_else(|| Problem::not_found("agent"))?)?))
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
    let row = sqlx::query(
        "UPDATE agents SET description = coalesce($2, description), agent_type = coalesce($3, agent_type), last_seen_at = now()
         WHERE id = $1 RETURNING *",
    )
    .bind(id)
    .bind(&change.description)
    .bind(change.agent_type.map(db::name_of))
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

/// `DELETE /api/v1/agents/{id}`: its key stops working, and what it sells leaves the market with it.
pub(crate) async fn deactivate(State(market): State<Market>, Id(id): Id, caller: Caller) -> Result<Json<Agent>, Problem> {
    caller.must_be(id, "the agent itself")?;
    let mut tx = market.pool.begin().await?;
    let row = sqlx::query("UPDATE agents SET active = FALSE WHERE id = $1 RETURNING *").bind(id).fetch_one(&mut *tx).await?;
    sqlx::query("UPDATE listings SET status = 'delisted', updated_at = now() WHERE seller_id = $1")
        .bind(id)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(Json(agent(&row)?))
}

/// Refuses agents that do not sell. Locks the agent until the transaction ends, so that it is not deactivated in between.
pub(crate) async fn must_sell(conn: &mut PgConnection, id: Uuid) -> Result<(), Problem> {
    let row = sqlx::query("SELECT * FROM agents WHERE id = $1 AND active FOR SHARE").bind(id).fetch_optional(conn).await?;
    match row.map(|row| agent(&row)).transpose()? {
        Some(agent) if agent.agent_type.sells() => Ok(()),
        _ => Err(Problem::new(Code::Forbidden, "Only an active agent of type seller or both publishes listings")),
    }
}

fn agent(row: &PgRow) -> Result<Agent, sqlx::Error> {
    Ok(Agent {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        description: row.try_get("description")?,
        agent_type: db::named(row, "agent_type")?,
        wallet_address: db::address(row, "wallet")?,
        active: row.try_get("active")?,
        created_at: row.try_get("created_at")?,
        last_seen_at: row.try_get("last_seen_at")?,
    })
}
