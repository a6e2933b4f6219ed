//! Tickets: what stands in a URL ends up in logs, so it is good for one connection within a minute.

use alloy::hex;
use api::{Code, FeedTicket};
use axum::{Json, extract::State, http::StatusCode};
use sha2::{Digest, Sha256};
use sqlx::{PgPool, Row};
use time::{Duration, OffsetDateTime};

use super::viewer::{Viewer, Who};
use crate::{
    auth::{self, Caller},
    problem::Problem,
    service::Market,
};

/// How long a ticket can be used.
const GOOD_FOR: Duration = Duration::seconds(60);
/// Tickets of one asker that were not used yet.
const UNUSED_MAX: i64 = 100;

/// `POST /api/v1/feed/ticket`
pub(crate) async fn ticket(State(market): State<Market>, caller: Caller) -> Result<(StatusCode, Json<FeedTicket>), Problem> {
    let viewer = Viewer::of(&caller)?;
    let (ticket, expires_at) = (hex::encode(auth::random()), OffsetDateTime::now_utc() + GOOD_FOR);
    let (agent, creator) = match viewer.who {
        Who::Agent(id) => (Some(id), None),
        Who::Creator(id) => (None, Some(id)),
    };
    let keep = "INSERT INTO feed_tickets (hash, agent_id, creator_id, credential, until, expires_at) SELECT $1, $2, $3, $4, $5, $6
         WHERE (SELECT count(*) FROM feed_tickets WHERE coalesce(agent_id, creator_id) = coalesce($2, $3) AND expires_at > now()) < $7";
    let kept = sqlx::query(keep)
        .bind(digest(&ticket))
        .bind(agent)
        .bind(creator)
        .bind(viewer.credential)
        .bind(viewer.until)
        .bind(expires_at)
        .bind(UNUSED_MAX)
        .execute(&market.pool)
        .await?;
    if kept.rows_affected() == 0 {
        return Err(Problem::new(Code::OverLimit, format!("{UNUSED_MAX} tickets wait to be used: use them, or wait a minute")));
    }
    Ok((StatusCode::CREATED, Json(FeedTicket { ticket, expires_at })))
}

/// Uses a ticket up. Of two at once only one gets in, at whichever instance.
pub(super) async fn take(pool: &PgPool, ticket: &str) -> sqlx::Result<Option<Viewer>> {
    let take = "DELETE FROM feed_tickets WHERE hash = $1 RETURNING *, expires_at > now() AS good";
    let Some(row) = sqlx::query(take).bind(digest(ticket)).fetch_optional(pool).await? else { return Ok(None) };
    let who = match row.try_get("agent_id")? {
        Some(agent) => Who::Agent(agent),
        None => Who::Creator(row.try_get("creator_id")?),
    };
    let viewer = Viewer::new(who, row.try_get("credential")?, row.try_get("until")?);
    Ok(row.try_get::<bool, _>("good")?.then_some(viewer))
}

fn digest(ticket: &str) -> Vec<u8> {
    Sha256::digest(ticket).to_vec()
}
