//! Sign-ins of creators: a short access token, and a refresh token that is replaced each time it is used.

use alloy::primitives::B256;
use api::{ChangePassword, Code, Creator, Login, Refresh, RefreshToken, Session};
use axum::{Json, extract::State, http::StatusCode};
use sqlx::{PgConnection, Row};
use subtle::ConstantTimeEq;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{Caller, after, digest, password, random, read_secret, refused, token::Kind, write_secret};
use crate::{creators, db, input, problem::Problem, service::Market};

const PREFIX: &str = "florin_refresh_";
/// How long a session lasts that is not used.
const LIFE: Duration = Duration::days(30);
/// How long the refresh token before still works: its answer may have been lost on the way.
const GRACE_SECONDS: i64 = 60;
/// Wrong passwords in a row before the account is locked for a while.
const FAILURES_MAX: i32 = 5;
/// How long it is locked at first; twice as long each further time.
const LOCK_SECONDS: i64 = 30;
const LOCK_MAX_SECONDS: i64 = 900;

/// `POST /api/v1/creators/login`
pub(crate) async fn login(
    State(market): State<Market>,
    input::Json(request): input::Json<Login>,
) -> Result<Json<Session>, Problem> {
    let wrong = || Problem::new(Code::Unauthenticated, "Email or password is wrong");
    let email = request.email.trim().to_lowercase();
    // Counted before it is tried: many at once get no more tries than one after the other.
    let tried = sqlx::query(
        "UPDATE creators SET failed_logins = failed_logins + 1, locked_until = CASE WHEN failed_logins + 1 >= $2
             THEN now() + make_interval(secs => least($3 * power(2, least(failed_logins + 1 - $2, 20)), $4)) END
         WHERE email = $1 AND active AND (locked_until IS NULL OR locked_until <= now()) RETURNING *",
    );
    let tried = tried.bind(&email).bind(FAILURES_MAX).bind(LOCK_SECONDS as f64).bind(LOCK_MAX_SECONDS as f64);
    let row = tried.fetch_optional(&market.pool).await?;
    if row.is_none() {
        let locked = "SELECT ceil(extract(epoch FROM locked_until - now()))::bigint FROM creators WHERE email = $1 AND active";
        let seconds: Option<Option<i64>> = sqlx::query_scalar(locked).bind(&email).fetch_optional(&market.pool).await?;
        if let Some(Some(seconds)) = seconds {
            return Err(Problem::too_often("Too many wrong passwords: wait, then try again", seconds.max(1).unsigned_abs()));
        }
    }
    let hash = row.as_ref().map(|row| row.try_get("password_hash")).transpose()?;
    let right = password::is_right(request.password, hash).await?;
    let Some(row) = row.filter(|_| right) else { return Err(wrong()) };
    let creator = creators::creator(&row)?;
    let mut conn = market.pool.acquire().await?;
    sqlx::query("UPDATE creators SET failed_logins = 0, locked_until = NULL WHERE id = $1")
        .bind(creator.id)
        .execute(&mut *conn)
        .await?;
    Ok(Json(begin(&market, &mut conn, creator).await?))
}

/// A new session.
pub(crate) async fn begin(market: &Market, conn: &mut PgConnection, creator: Creator) -> Result<Session, Problem> {
    let (id, secret) = (Uuid::now_v7(), random());
    let open = "INSERT INTO sessions (id, creator_id, token_hash, expires_at) VALUES ($1, $2, $3, $4)";
    sqlx::query(open).bind(id).bind(creator.id).bind(digest(secret).as_slice()).bind(after(LIFE)).execute(conn).await?;
    Ok(session(market, creator, id, secret))
}

fn session(market: &Market, creator: Creator, id: Uuid, secret: B256) -> Session {
    let access = market.auth.tokens.issue(creator.id, Kind::Creator, &[], Some(id), OffsetDateTime::now_utc());
    Session { creator, access, refresh_token: RefreshToken(write_secret(PREFIX, id, secret)) }
}

/// `POST /api/v1/creators/refresh`: a refresh token that is neither the newest nor just replaced ends the session, since one of two has stolen it.
pub(crate) async fn refresh(
    State(market): State<Market>,
    input::Json(Refresh { refresh_token: RefreshToken(token) }): input::Json<Refresh>,
) -> Result<Json<Session>, Problem> {
    let refused = || Problem::new(Code::Unauthenticated, "The session has ended: sign in again");
    let (id, shown) = read_secret(PREFIX, &token).ok_or_else(refused)?;
    let mut tx = market.pool.begin().await?;
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
        tx.commit().await?;
        market.auth.forget();
        return Err(refused());
    }
    let secret = random();
    // What was shown stays the one before: who repeats the request because its answer was lost gets another.
    let rotate = "UPDATE sessions SET token_hash = $2, previous_hash = $3, expires_at = $4,
             rotated_at = CASE WHEN $5 THEN rotated_at ELSE now() END WHERE id = $1";
    sqlx::query(rotate)
        .bind(id)
        .bind(digest(secret).as_slice())
        .bind(shown.as_slice())
        .bind(after(LIFE))
        .bind(was_before)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(Json(session(&market, creators::creator(&row)?, id, secret)))
}

/// `POST /api/v1/creators/revoke`: ends the session of a refresh token. Whether there was one is not told.
pub(crate) async fn revoke(
    State(market): State<Market>,
    input::Json(Refresh { refresh_token: RefreshToken(token) }): input::Json<Refresh>,
) -> Result<StatusCode, Problem> {
    let (id, shown) = read_secret(PREFIX, &token).ok_or_else(refused)?;
    let revoke =
        "UPDATE sessions SET revoked_at = now() WHERE id = $1 AND $2 IN (token_hash, previous_hash) AND revoked_at IS NULL";
    sqlx::query(revoke).bind(id).bind(shown.as_slice()).execute(&market.pool).await?;
    market.auth.forget();
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/v1/creators/revoke-all`: ends all sessions of the caller.
pub(crate) async fn revoke_all(State(market): State<Market>, caller: Caller) -> Result<StatusCode, Problem> {
    end_all(&mut *market.pool.acquire().await?, caller.creator()?).await?;
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
    input::Json(request): input::Json<ChangePassword>,
) -> Result<Json<Session>, Problem> {
    let id = caller.creator()?;
    password::check("new_password", &request.new_password)?;
    let row = sqlx::query("SELECT * FROM creators WHERE id = $1").bind(id).fetch_one(&market.pool).await?;
    let creator = creators::creator(&row)?;
    let until_now: String = row.try_get("password_hash")?;
    // The same door as signing in, with the same lock.
    let login = Login { email: creator.email, password: request.password };
    let Json(Session { creator, .. }) = self::login(State(market.clone()), input::Json(login)).await?;
    let hash = password::hash(request.new_password).await?;
    let mut tx = market.pool.begin().await?;
    let change = "UPDATE creators SET password_hash = $2, updated_at = now() WHERE id = $1 AND password_hash = $3";
    let changed = sqlx::query(change).bind(id).bind(hash).bind(until_now).execute(&mut *tx).await?;
    if changed.rows_affected() == 0 {
        return Err(Problem::new(Code::WrongState, "The password was changed meanwhile"));
    }
    end_all(&mut tx, id).await?;
    let session = begin(&market, &mut tx, creator).await?;
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
    Ok(())
}
