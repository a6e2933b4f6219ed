//! Sign-ins of creators: a short access token, and a refresh token that is replaced each time it is used.

use alloy::primitives::B256;
use api::{ChangePassword, Code, Creator, Login, Page, PageQuery, Refresh, RefreshToken, Session, SessionInfo, Severity};
use axum::{Json, extract::State, http::StatusCode};
use serde_json::json;
use sqlx::{PgConnection, Row, postgres::PgRow};
use subtle::ConstantTimeEq;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{
    Caller, after, digest, password, random, read_secret, refused,
    token::Kind,
    tries::{self, Counted, Places},
    write_secret,
};
use crate::{
    access::Trail,
    audit::{Actor, Event},
    creators, db,
    input::{self, Id, Params},
    problem::Problem,
    service::Market,
};

const PREFIX: &str = "florin_refresh_";
/// How long a session lasts that is not used.
const LIFE: Duration = Duration::days(30);
/// How long the refresh token before still works: its answer may have been lost on the way.
const GRACE_SECONDS: i64 = 60;

/// `POST /api/v1/creators/login`
pub(crate) async fn login(
    State(market): State<Market>,
    trail: Trail,
    input::Json(request): input::Json<Login>,
) -> Result<Json<Session>, Problem> {
    let email = request.email.trim().to_lowercase();
    let who = sqlx::query("SELECT * FROM creators WHERE email = $1 AND active").bind(&email).fetch_optional(&market.pool).await?;
    let places = places(&market, who.as_ref(), &email, request.device, &trail).await?;
    let creator = right(&market, who.as_ref(), request.password, &places, &trail).await?;
    let mut tx = pg::begin(&market.pool).await?;
    places.forgive(&mut tx).await?;
    let session = begin(&market, &mut tx, creator, &trail).await?;
    tx.commit().await?;
    Ok(Json(session))
}

/// What a try from here is counted for.
async fn places(
    market: &Market,
    who: Option<&PgRow>,
    email: &str,
    device: Option<RefreshToken>,
    trail: &Trail,
) -> Result<Places, Problem> {
    let Some(who) = who else { return Ok(Places::of_address(email, trail, false)) };
    let shown = device.and_then(|RefreshToken(token)| read_secret(PREFIX, &token));
    let known = sqlx::query(
        "SELECT EXISTS (SELECT FROM sessions WHERE creator_id = $1 AND id = $2 AND $3 IN (token_hash, previous_hash)) AS by_session,
             EXISTS (SELECT FROM sessions WHERE creator_id = $1 AND network = $4) AS by_network",
    );
    let known = known.bind(who.try_get::<Uuid, _>("id")?).bind(shown.map(|(id, _)| id));
    let known = known.bind(shown.map(|(_, secret)| secret.to_vec())).bind(trail.network()).fetch_one(&market.pool).await?;
    Ok(match shown {
        Some((session, _)) if known.try_get("by_session")? => Places::of_session(session),
        _ => Places::of_address(email, trail, known.try_get("by_network")?),
    })
}

/// The creator, if this is the password. Whether there is such a creator is not told, neither by the answer nor by the time it takes.
async fn right(
    market: &Market,
    who: Option<&PgRow>,
    password: String,
    places: &Places,
    trail: &Trail,
) -> Result<Creator, Problem> {
    let counted = places.count(&market.pool).await?;
    if let Counted::Locked(seconds) = counted {
        return Err(Problem::too_often("Too many wrong passwords: wait, then try again", seconds));
    }
    let hash = who.map(|row| row.try_get("password_hash")).transpose()?;
    let right = password::is_right(password, hash).await?;
    if let Some(row) = who.filter(|_| right) {
        return Ok(creators::creator(row)?);
    }
    let subject = who.map(|row| row.try_get::<Uuid, _>("id")).transpose()?;
    let failed = Event::new("login_failed", Actor::Nobody);
    let failed = subject.into_iter().fold(failed, Event::about);
    // The first and those after which one has to wait: who guesses a million times does not fill the log.
    let failed = match counted {
        Counted::Last(failures) => Some(failed.severe(Severity::Warning).with(json!({"failures": failures, "locked": true}))),
        Counted::Free(1) if subject.is_some() => Some(failed.with(json!({"failures": 1}))),
        _ => None,
    };
    if let Some(failed) = failed {
        failed.note(&mut *market.pool.acquire().await?, trail).await?;
    }
    Err(Problem::new(Code::Unauthenticated, "Email or password is wrong"))
}

/// The caller, who says the password again: for what a stolen token must not be enough.
pub(crate) async fn again(market: &Market, caller: &Caller, password: String, trail: &Trail) -> Result<Creator, Problem> {
    let who = sqlx::query("SELECT * FROM creators WHERE id = $1 AND active").bind(caller.creator()?);
    let who = who.fetch_optional(&market.pool).await?.ok_or_else(refused)?;
    // Nobody else's tries are counted with those of a session.
    let places = Places::of_session(caller.credential.ok_or_else(refused)?);
    let creator = right(market, Some(&who), password, &places, trail).await?;
    places.forgive(&mut *market.pool.acquire().await?).await?;
    Ok(creator)
}

/// A new session.
pub(crate) async fn begin(market: &Market, conn: &mut PgConnection, creator: Creator, trail: &Trail) -> Result<Session, Problem> {
    let (id, secret) = (Uuid::now_v7(), random());
    let open =
        "INSERT INTO sessions (id, creator_id, token_hash, expires_at, network, user_agent) VALUES ($1, $2, $3, $4, $5, $6)";
    sqlx::query(open)
        .bind(id)
        .bind(creator.id)
        .bind(digest(secret).as_slice())
        .bind(after(LIFE))
        .bind(trail.network())
        .bind(&trail.user_agent)
        .execute(&mut *conn)
        .await?;
    Event::new("login", Actor::Creator(creator.id)).about(id).note(conn, trail).await?;
    Ok(session(market, creator, id, secret))
}

fn session(market: &Market, creator: Creator, id: Uuid, secret: B256) -> Session {
    let access = market.auth.tokens.issue(creator.id, Kind::Creator, &[], Some(id), OffsetDateTime::now_utc());
    Session { creator, access, refresh_token: RefreshToken(write_secret(PREFIX, id, secret)) }
}

/// `POST /api/v1/creators/refresh`: a refresh token that is neither the newest nor just replaced ends the session, since one of two has stolen it.
pub(crate) async fn refresh(
    State(market): State<Market>,
    trail: Trail,
    input::Json(Refresh { refresh_token: RefreshToken(token) }): input::Json<Refresh>,
) -> Result<Json<Session>, Problem> {
    let refused = || Problem::new(Code::Unauthenticated, "The session has ended: sign in again");
    let (id, shown) = read_secret(PREFIX, &token).ok_or_else(refused)?;
    let mut tx = pg::begin(&market.pool).await?;
    let found = sqlx::query(
        "SELECT s.token_hash, s.previous_hash, s.rotated_at > now() - make_interval(secs => $2) AS just_now, c.*
         FROM sessions AS s JOIN creators AS c ON c.id = s.creator_id
         WHERE s.id = $1 AND s.revoked_at IS NULL AND s.expires_at > now() AND c.active FOR UPDATE OF s",
    );
    let row = found.bind(id).bind(GRACE_SECONDS as f64).fetch_optional(&mut *tx).await?.ok_or_else(refused)?;
    let (newest, before) = (db::hash(&row, "token_hash")?, db::maybe_hash(&row, "previous_hash")?);
    let is = |hash: B256| bool::from(hash.as_slice().ct_eq(shown.as_slice()));
    let was_before = before.is_some_and(is);
    let is_good = is(newest) || was_before && row.try_get("just_now")?;
    if !is_good {
        sqlx::query("UPDATE sessions SET revoked_at = now() WHERE id = $1").bind(id).execute(&mut *tx).await?;
        let stolen = Event::new("session_stolen", Actor::Nobody).about(row.try_get("id")?).severe(Severity::Critical);
        stolen.with(json!({"session": id})).note(&mut tx, &trail).await?;
        tx.commit().await?;
        market.auth.forget();
        return Err(refused());
    }
    let secret = random();
    // What was shown stays the one before: who repeats the request because its answer was lost gets another.
    let rotate = "UPDATE sessions SET token_hash = $2, previous_hash = $3, expires_at = $4,
             rotated_at = CASE WHEN $5 THEN rotated_at ELSE now() END, network = $6, user_agent = $7 WHERE id = $1";
    sqlx::query(rotate)
        .bind(id)
        .bind(digest(secret).as_slice())
        .bind(shown.as_slice())
        .bind(after(LIFE))
        .bind(was_before)
        .bind(trail.network())
        .bind(&trail.user_agent)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(Json(session(&market, creators::creator(&row)?, id, secret)))
}

/// `POST /api/v1/creators/revoke`: ends the session of a refresh token. Whether there was one is not told.
pub(crate) async fn revoke(
    State(market): State<Market>,
    trail: Trail,
    input::Json(Refresh { refresh_token: RefreshToken(token) }): input::Json<Refresh>,
) -> Result<StatusCode, Problem> {
    let (id, shown) = read_secret(PREFIX, &token).ok_or_else(refused)?;
    let revoke =
        "UPDATE sessions SET revoked_at = now() WHERE id = $1 AND $2 IN (token_hash, previous_hash) AND revoked_at IS NULL
         RETURNING creator_id";
    let mut tx = pg::begin(&market.pool).await?;
    let whose: Option<Uuid> = sqlx::query_scalar(revoke).bind(id).bind(shown.as_slice()).fetch_optional(&mut *tx).await?;
    if let Some(creator) = whose {
        Event::new("session_ended", Actor::Creator(creator)).about(id).note(&mut tx, &trail).await?;
    }
    tx.commit().await?;
    market.auth.forget();
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/v1/creators/sessions`: those that go on, newest first.
pub(crate) async fn list(
    State(market): State<Market>,
    caller: Caller,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<SessionInfo>>, Problem> {
    let (creator, limit) = (caller.creator()?, input::limit(page.limit)?);
    let rows = sqlx::query(
        "SELECT id, created_at, rotated_at, expires_at, network, user_agent FROM sessions
         WHERE creator_id = $1 AND revoked_at IS NULL AND expires_at > now() AND id < $2 ORDER BY id DESC LIMIT $3",
    );
    let rows = rows.bind(creator).bind(input::before(page.cursor.as_deref())?).bind(limit as i64 + 1);
    let session = |row: &PgRow| {
        let id = row.try_get("id")?;
        Ok(SessionInfo {
            id,
            created_at: row.try_get("created_at")?,
            last_used_at: row.try_get("rotated_at")?,
            expires_at: row.try_get("expires_at")?,
            network: row.try_get("network")?,
            user_agent: row.try_get("user_agent")?,
            is_current: caller.credential == Some(id),
        })
    };
    let sessions = rows.fetch_all(&market.pool).await?.iter().map(session).collect::<sqlx::Result<_>>()?;
    Ok(Json(input::page(sessions, limit, |session: &SessionInfo| session.id.to_string())))
}

/// `DELETE /api/v1/creators/sessions/{id}`: its tokens end with it.
pub(crate) async fn end(State(market): State<Market>, Id(id): Id, caller: Caller, trail: Trail) -> Result<StatusCode, Problem> {
    let mut tx = pg::begin(&market.pool).await?;
    let end = sqlx::query("UPDATE sessions SET revoked_at = now() WHERE id = $1 AND creator_id = $2 AND revoked_at IS NULL");
    let ended = end.bind(id).bind(caller.creator()?).execute(&mut *tx).await?.rows_affected();
    if ended == 0 {
        return Err(Problem::not_found("session of yours"));
    }
    Event::new("session_ended", caller.who.into()).about(id).note(&mut tx, &trail).await?;
    tx.commit().await?;
    market.auth.forget();
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/v1/creators/revoke-all`: ends all sessions of the caller.
pub(crate) async fn revoke_all(State(market): State<Market>, caller: Caller, trail: Trail) -> Result<StatusCode, Problem> {
    let mut tx = pg::begin(&market.pool).await?;
    let creator = caller.creator()?;
    end_all(&mut tx, creator).await?;
    Event::new("sessions_ended", caller.who.into()).about(creator).note(&mut tx, &trail).await?;
    tx.commit().await?;
    market.auth.forget();
    Ok(StatusCode::NO_CONTENT)
}

async fn end_all(conn: &mut PgConnection, creator: Uuid) -> sqlx::Result<()> {
    let end = sqlx::query("UPDATE sessions SET revoked_at = now() WHERE creator_id = $1 AND revoked_at IS NULL");
    end.bind(creator).execute(conn).await?;
    Ok(())
}

/// `POST /api/v1/creators/change-password`: all sessions end, and a new one begins.
pub(crate) async fn change_password(
    State(market): State<Market>,
    caller: Caller,
    trail: Trail,
    input::Json(request): input::Json<ChangePassword>,
) -> Result<Json<Session>, Problem> {
    let id = caller.creator()?;
    let until_now = sqlx::query("SELECT email, display_name, password_hash FROM creators WHERE id = $1");
    let until_now = until_now.bind(id).fetch_one(&market.pool).await?;
    password::check("new_password", &request.new_password, until_now.try_get("email")?, until_now.try_get("display_name")?)?;
    let creator = again(&market, &caller, request.password, &trail).await?;
    let hash = password::hash(request.new_password).await?;
    let mut tx = pg::begin(&market.pool).await?;
    let change = "UPDATE creators SET password_hash = $2, updated_at = now() WHERE id = $1 AND password_hash = $3";
    let change = sqlx::query(change).bind(id).bind(hash).bind(until_now.try_get::<&str, _>("password_hash")?);
    if change.execute(&mut *tx).await?.rows_affected() == 0 {
        return Err(Problem::new(Code::WrongState, "The password was changed meanwhile"));
    }
    end_all(&mut tx, id).await?;
    let changed = Event::new("password_changed", caller.who.into()).about(id).severe(Severity::Warning);
    changed.note(&mut tx, &trail).await?;
    let session = begin(&market, &mut tx, creator, &trail).await?;
    tx.commit().await?;
    market.auth.forget();
    Ok(Json(session))
}

/// Removes what can prove nothing any more.
pub(crate) async fn clean(market: &Market) -> sqlx::Result<()> {
    for over in [
        "DELETE FROM sessions WHERE expires_at < now() - interval '30 days'",
        "DELETE FROM challenges WHERE expires_at < now()",
        "DELETE FROM sign_ins WHERE expires_at < now()",
    ] {
        sqlx::query(over).execute(&market.pool).await?;
    }
    tries::clean(&market.pool).await
}
