//! What people agreed to, and what of it they withdrew. Rows stay: that somebody once agreed is what has to be shown later.

use api::{Code, Consent, GiveConsent, Page, PageQuery};
use axum::{Json, extract::State, http::StatusCode};
use serde_json::json;
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    access::Trail,
    audit::Event,
    auth::Caller,
    db,
    input::{self, Id, Params},
    problem::Problem,
    service::Market,
};

const VERSION_LEN_MAX_CHARS: usize = 64;
/// Of one creator: nobody withdraws and agrees again without end.
const CONSENTS_MAX: i64 = 500;

/// `GET /api/v1/creators/me/consents`: newest first, withdrawn ones included.
pub(crate) async fn list(
    State(market): State<Market>,
    caller: Caller,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<Consent>>, Problem> {
    let (creator, limit) = (caller.creator()?, input::limit(page.limit)?);
    let rows = sqlx::query("SELECT * FROM consents WHERE creator_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
    let rows = rows.bind(creator).bind(input::before(page.cursor.as_deref())?).bind(limit as i64 + 1);
    let consents = rows.fetch_all(&market.pool).await?.iter().map(consent).collect::<sqlx::Result<_>>()?;
    Ok(Json(input::page(consents, limit, |consent: &Consent| consent.id.to_string())))
}

/// `POST /api/v1/creators/me/consents`
pub(crate) async fn give(
    State(market): State<Market>,
    caller: Caller,
    trail: Trail,
    input::Json(given): input::Json<GiveConsent>,
) -> Result<(StatusCode, Json<Consent>), Problem> {
    let creator = caller.creator()?;
    input::text("version", &given.version, 1..=VERSION_LEN_MAX_CHARS)?;
    // It is written down where nothing is ever erased.
    if !given.version.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c)) {
        return Err(Problem::invalid("version has letters, digits, dots, hyphens and underscores only"));
    }
    let hash = given.text_hash.map(|hash| hash.to_vec());
    let mut tx = pg::begin(&market.pool).await?;
    // One after the other, so that they are counted and none is there twice.
    let here = "SELECT FROM creators WHERE id = $1 AND active FOR NO KEY UPDATE";
    // Who leaves meanwhile is erased, and stays so.
    if sqlx::query(here).bind(creator).fetch_optional(&mut *tx).await?.is_none() {
        return Err(Problem::not_found("creator"));
    }
    let same = "SELECT * FROM consents
         WHERE creator_id = $1 AND kind = $2 AND version = $3 AND text_hash IS NOT DISTINCT FROM $4 AND withdrawn_at IS NULL LIMIT 1";
    let same = sqlx::query(same).bind(creator).bind(db::name_of(given.kind)).bind(&given.version).bind(&hash);
    if let Some(row) = same.fetch_optional(&mut *tx).await? {
        return Ok((StatusCode::CREATED, Json(consent(&row)?)));
    }
    let count = sqlx::query_scalar("SELECT count(*) FROM consents WHERE creator_id = $1").bind(creator);
    let count: i64 = count.fetch_one(&mut *tx).await?;
    if count >= CONSENTS_MAX {
        return Err(Problem::new(Code::OverLimit, format!("At most {CONSENTS_MAX} consents are kept of anybody")));
    }
    let keep =
        "INSERT INTO consents (id, creator_id, kind, version, text_hash, network) VALUES ($1, $2, $3, $4, $5, $6) RETURNING *";
    let keep = sqlx::query(keep).bind(Uuid::now_v7()).bind(creator).bind(db::name_of(given.kind)).bind(&given.version);
    let kept = consent(&keep.bind(&hash).bind(trail.network()).fetch_one(&mut *tx).await?)?;
    let noted = Event::new("consent_given", caller.who.into()).about(kept.id);
    noted.with(json!({"kind": kept.kind, "version": kept.version, "text_hash": kept.text_hash})).note(&mut tx, &trail).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(kept)))
}

/// `POST /api/v1/creators/me/consents/{id}/withdraw`: what was withdrawn before is answered as it is.
pub(crate) async fn withdraw(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    trail: Trail,
) -> Result<Json<Consent>, Problem> {
    let creator = caller.creator()?;
    let mut tx = pg::begin(&market.pool).await?;
    let withdraw =
        "UPDATE consents SET withdrawn_at = now() WHERE id = $1 AND creator_id = $2 AND withdrawn_at IS NULL RETURNING *";
    let row = sqlx::query(withdraw).bind(id).bind(creator).fetch_optional(&mut *tx).await?;
    let Some(row) = row else {
        let known = sqlx::query("SELECT * FROM consents WHERE id = $1 AND creator_id = $2").bind(id).bind(creator);
        let known = known.fetch_optional(&mut *tx).await?;
        return Ok(Json(consent(&known.ok_or_else(|| Problem::not_found("consent of yours"))?)?));
    };
    let withdrawn = consent(&row)?;
    let noted = Event::new("consent_withdrawn", caller.who.into()).about(id);
    noted.with(json!({"kind": withdrawn.kind, "version": withdrawn.version})).note(&mut tx, &trail).await?;
    tx.commit().await?;
    Ok(Json(withdrawn))
}

fn consent(row: &PgRow) -> sqlx::Result<Consent> {
    Ok(Consent {
        id: row.try_get("id")?,
        kind: db::named(row, "kind")?,
        version: row.try_get("version")?,
        text_hash: db::maybe_hash(row, "text_hash")?,
        network: row.try_get("network")?,
        given_at: row.try_get("given_at")?,
        withdrawn_at: row.try_get("withdrawn_at")?,
    })
}
