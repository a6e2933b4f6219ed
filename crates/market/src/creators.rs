//! People: they own agents, get the royalties of what these sell, and some of them look after the market.

use api::{
    Agent, Code, Creator, CreatorWallet, Dashboard, GrantRole, Page, PageQuery, PayoutMethod, ProveWallet, RegisterCreator, Role,
    Session, Severity, UpdateCreator, ledger::Wallet,
};
use axum::{Json, extract::State, http::StatusCode};
use serde_json::json;
use sqlx::{PgPool, Row, postgres::PgRow, types};
use uuid::Uuid;

use crate::{
    access::Trail,
    agents,
    audit::{Actor, Event},
    auth::{Caller, password, sessions, wallet as proof},
    db, fraud,
    input::{self, Id, Params},
    ledger,
    problem::Problem,
    service::Market,
    wallet,
};

const EMAIL_LEN_MAX_CHARS: usize = 254;
const NAME_LEN_MAX_CHARS: usize = 100;
const PHONE_LEN_MAX_CHARS: usize = 32;
const PAYOUT_DETAILS_LEN_MAX_BYTES: usize = 4_000;

/// `POST /api/v1/creators/register`
pub(crate) async fn register(
    State(market): State<Market>,
    trail: Trail,
    input::Json(request): input::Json<RegisterCreator>,
) -> Result<(StatusCode, Json<Session>), Problem> {
    let email = email(&request.email)?;
    password::check("password", &request.password, &email, &request.display_name)?;
    check(Some(&request.display_name), request.phone.as_deref(), request.country.as_deref())?;
    let hash = password::hash(request.password).await?;
    let mut tx = pg::begin(&market.pool).await?;
    let row = sqlx::query(
        "INSERT INTO creators (id, email, password_hash, display_name, phone, country) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (email) DO NOTHING RETURNING *",
    )
    .bind(Uuid::now_v7())
    .bind(email)
    .bind(hash)
    .bind(&request.display_name)
    .bind(&request.phone)
    .bind(&request.country)
    .fetch_optional(&mut *tx)
    .await?;
    let row = row.ok_or_else(|| Problem::new(Code::EmailTaken, "Sign in, or use another address"))?;
    let session = sessions::begin(&market, &mut tx, creator(&row)?, &trail).await?;
    let id = session.creator.id;
    Event::new("creator_registered", Actor::Creator(id)).about(id).note(&mut tx, &trail).await?;
    fraud::registered(&mut tx, id, &trail).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(session)))
}

/// `GET /api/v1/creators/me`
pub(crate) async fn me(State(market): State<Market>, caller: Caller) -> Result<Json<Creator>, Problem> {
    let row = sqlx::query("SELECT * FROM creators WHERE id = $1").bind(caller.creator()?).fetch_one(&market.pool).await?;
    Ok(Json(creator(&row)?))
}

/// `PUT /api/v1/creators/me`
pub(crate) async fn update(
    State(market): State<Market>,
    caller: Caller,
    trail: Trail,
    input::Json(change): input::Json<UpdateCreator>,
) -> Result<Json<Creator>, Problem> {
    let id = caller.creator()?;
    check(change.display_name.as_deref(), change.phone.as_deref(), change.country.as_deref())?;
    let pays_elsewhere = change.payout_method.is_some() || change.payout_details.is_some();
    let details = change.payout_details.map(types::Json);
    if details
        .as_ref()
        .is_some_and(|details| serde_json::to_vec(&details.0).map_or(0, |json| json.len()) > PAYOUT_DETAILS_LEN_MAX_BYTES)
    {
        return Err(Problem::invalid(format!("payout_details has at most {PAYOUT_DETAILS_LEN_MAX_BYTES} bytes")));
    }
    let mut tx = pg::begin(&market.pool).await?;
    let row = sqlx::query(
        "UPDATE creators SET display_name = coalesce($2, display_name), phone = coalesce($3, phone), country = coalesce($4, country),
             payout_method = coalesce($5, payout_method), payout_details = coalesce($6, payout_details), updated_at = now()
         WHERE id = $1 RETURNING *",
    )
    .bind(id)
    .bind(&change.display_name)
    .bind(&change.phone)
    .bind(&change.country)
    .bind(change.payout_method.map(db::name_of))
    .bind(details)
    .fetch_one(&mut *tx)
    .await?;
    let creator = creator(&row)?;
    let nowhere = creator.payout_details.as_ref().is_none_or(serde_json::Map::is_empty);
    if creator.payout_method != PayoutMethod::None && nowhere {
        return Err(Problem::invalid("payout_details must say where the payout goes, such as {\"upi\": \"name@bank\"}"));
    }
    if pays_elsewhere {
        let changed = Event::new("payout_changed", Actor::Creator(id)).about(id).severe(Severity::Warning);
        changed.with(json!({"method": creator.payout_method})).note(&mut tx, &trail).await?;
    }
    tx.commit().await?;
    Ok(Json(creator))
}

/// `GET /api/v1/creators/me/agents`
pub(crate) async fn agents(
    State(market): State<Market>,
    caller: Caller,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<Agent>>, Problem> {
    let (id, limit) = (caller.creator()?, input::limit(page.limit)?);
    let rows = sqlx::query("SELECT * FROM agents WHERE creator_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3")
        .bind(id)
        .bind(input::before(page.cursor.as_deref())?)
        .bind(limit as i64 + 1)
        .fetch_all(&market.pool)
        .await?;
    let agents = rows.iter().map(agents::agent).collect::<Result<_, _>>()?;
    Ok(Json(input::page(agents, limit, |agent: &Agent| agent.id.to_string())))
}

/// `PUT /api/v1/creators/me/wallet`: where the creator's USDC goes.
pub(crate) async fn prove_wallet(
    State(market): State<Market>,
    caller: Caller,
    trail: Trail,
    input::Json(ProveWallet { nonce, signature }): input::Json<ProveWallet>,
) -> Result<Json<Creator>, Problem> {
    let wallet = proof::proven(&market, nonce, &signature).await?.by_owner()?;
    let mut tx = pg::begin(&market.pool).await?;
    proof::consume(&mut tx, nonce).await?;
    let row = sqlx::query(
        "UPDATE creators SET wallet = $2, wallet_since = CASE WHEN wallet = $2 THEN wallet_since ELSE now() END, updated_at = now()
         WHERE id = $1 RETURNING *",
    );
    let id = caller.creator()?;
    let row = row.bind(id).bind(wallet.as_slice()).fetch_one(&mut *tx).await?;
    let proven = Event::new("payout_wallet_proven", Actor::Creator(id)).about(id).severe(Severity::Warning);
    proven.note(&mut tx, &trail).await?;
    tx.commit().await?;
    Ok(Json(creator(&row)?))
}

/// `POST /api/v1/creators/me/agents/{id}/claim`: whose an agent is, its wallet says, once. A key is not enough: from then on what the agent sells
/// pays the creator.
pub(crate) async fn claim(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    trail: Trail,
    input::Json(ProveWallet { nonce, signature }): input::Json<ProveWallet>,
) -> Result<Json<Agent>, Problem> {
    let creator = caller.creator()?;
    let wallet = proof::proven(&market, nonce, &signature).await?.by_owner()?;
    let mut tx = pg::begin(&market.pool).await?;
    proof::consume(&mut tx, nonce).await?;
    let claim = "UPDATE agents SET creator_id = $3, updated_at = now()
         WHERE id = $1 AND wallet = $2 AND (creator_id IS NULL OR creator_id = $3) RETURNING *";
    let row = sqlx::query(claim).bind(id).bind(wallet.as_slice()).bind(creator).fetch_optional(&mut *tx).await?;
    let refused =
        || Problem::new(Code::WrongState, format!("No such agent of the wallet {wallet}, or it belongs to another creator"));
    let agent = agents::agent(&row.ok_or_else(refused)?)?;
    Event::new("agent_claimed", Actor::Creator(creator)).about(id).note(&mut tx, &trail).await?;
    tx.commit().await?;
    market.auth.forget();
    Ok(Json(agent))
}

/// `GET /api/v1/creators/me/dashboard`
pub(crate) async fn dashboard(State(market): State<Market>, caller: Caller) -> Result<Json<Dashboard>, Problem> {
    let row = sqlx::query(
        "WITH mine AS (SELECT id, active FROM agents WHERE creator_id = $1),
              money AS (SELECT asset, sum(earned)::bigint AS earned, sum(spent)::bigint AS spent
                        FROM accounts WHERE purpose = 1 AND owner IN (SELECT id FROM mine) GROUP BY asset)
         SELECT (SELECT count(*) FROM mine) AS agents, (SELECT count(*) FROM mine WHERE active) AS active_agents,
             (SELECT count(*) FROM listings WHERE status = 'active' AND seller_id IN (SELECT id FROM mine)) AS active_listings,
             (SELECT count(*) FROM sales WHERE seller_id IN (SELECT id FROM mine)) AS sales,
             coalesce((SELECT earned FROM money WHERE asset = 2), 0) AS earned_ard,
             coalesce((SELECT earned FROM money WHERE asset = 1), 0) AS earned_usdc,
             coalesce((SELECT spent FROM money WHERE asset = 2), 0) AS spent_ard,
             coalesce((SELECT spent FROM money WHERE asset = 1), 0) AS spent_usdc",
    );
    let row = row.bind(caller.creator()?).fetch_one(&market.pool).await?;
    let count = |column: &str| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
    let amount = |column: &str| row.try_get(column).map(ledger::amount);
    Ok(Json(Dashboard {
        agents: count("agents")?,
        active_agents: count("active_agents")?,
        active_listings: count("active_listings")?,
        sales: count("sales")?,
        earned_ard: amount("earned_ard")?,
        earned_usdc: amount("earned_usdc")?,
        spent_ard: amount("spent_ard")?,
        spent_usdc: amount("spent_usdc")?,
    }))
}

/// `GET /api/v1/creators/me/wallet`
pub(crate) async fn wallet(State(market): State<Market>, caller: Caller) -> Result<Json<CreatorWallet>, Problem> {
    let creator_id = caller.creator()?;
    let mine = "SELECT id FROM agents WHERE creator_id = $1 ORDER BY id LIMIT 100";
    let mine: Vec<Uuid> = sqlx::query_scalar(mine).bind(creator_id).fetch_all(&market.pool).await?;
    let owners: Vec<_> = [creator_id].into_iter().chain(mine).collect();
    let mut balances = wallet::balances(&market, &owners).await?.into_iter();
    let own = balances.next().unwrap_or_default();
    let agents = owners[1..].iter().zip(balances).map(|(id, balances)| Wallet { agent_id: *id, balances });
    Ok(Json(CreatorWallet { creator_id, balances: own, agents: agents.collect() }))
}

/// `PUT /api/v1/admin/creators/{id}/role`
pub(crate) async fn grant(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    input::Json(GrantRole { role }): input::Json<GrantRole>,
) -> Result<Json<Creator>, Problem> {
    if caller.staff(Role::Admin)? == id {
        return Err(Problem::new(Code::Forbidden, "Nobody changes their own role: ask another administrator"));
    }
    let grant = sqlx::query(
        "WITH done AS (UPDATE creators SET role = $2, updated_at = now() WHERE id = $1 RETURNING *),
         noted AS (INSERT INTO decisions (subject, what, decided_by, reason) SELECT id, 'role_granted', $3, $2 FROM done)
         SELECT * FROM done",
    );
    let row = grant.bind(id).bind(db::name_of(role)).bind(caller.creator()?).fetch_optional(&market.pool).await?;
    market.auth.forget();
    Ok(Json(creator(&row.ok_or_else(|| Problem::not_found("creator"))?)?))
}

/// Gives the creator with this email address a role, from the outside of the market: how it gets its first administrator.
///
/// # Errors
/// When the database fails. `false` when nobody has registered that address.
pub(crate) async fn grant_by_email(pool: &PgPool, email: &str, role: Role) -> sqlx::Result<bool> {
    let grant = sqlx::query(
        "WITH done AS (UPDATE creators SET role = $2, updated_at = now() WHERE email = $1 RETURNING id)
         INSERT INTO decisions (subject, what, reason) SELECT id, 'role_granted', $2 FROM done",
    );
    Ok(grant.bind(email.trim().to_lowercase()).bind(db::name_of(role)).execute(pool).await?.rows_affected() == 1)
}

/// The address as it is kept.
fn email(text: &str) -> Result<String, Problem> {
    let email = text.trim().to_lowercase();
    input::text("email", &email, 3..=EMAIL_LEN_MAX_CHARS)?;
    let parts = email.split_once('@').filter(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
    let plain = !email.contains(|c: char| c.is_whitespace() || c.is_control());
    if parts.is_some() && plain { Ok(email) } else { Err(Problem::invalid("email must be like name@example.com")) }
}

fn check(name: Option<&str>, phone: Option<&str>, country: Option<&str>) -> Result<(), Problem> {
    name.map_or(Ok(()), |text| input::text("display_name", text, 1..=NAME_LEN_MAX_CHARS))?;
    phone.map_or(Ok(()), |text| input::text("phone", text, 0..=PHONE_LEN_MAX_CHARS))?;
    match country {
        Some(code) if code.len() != 2 || !code.bytes().all(|byte| byte.is_ascii_uppercase()) => {
            Err(Problem::invalid("country must be two capital letters, as ISO 3166-1 has it"))
        }
        _ => Ok(()),
    }
}

pub(crate) fn creator(row: &PgRow) -> sqlx::Result<Creator> {
    let details: Option<types::Json<_>> = row.try_get("payout_details")?;
    Ok(Creator {
        id: row.try_get("id")?,
        email: row.try_get("email")?,
        display_name: row.try_get("display_name")?,
        phone: row.try_get("phone")?,
        country: row.try_get("country")?,
        payout_method: db::named(row, "payout_method")?,
        payout_details: details.map(|types::Json(details)| details),
        wallet_address: db::maybe_address(row, "wallet")?,
        role: db::named(row, "role")?,
        created_at: row.try_get("created_at")?,
    })
}
