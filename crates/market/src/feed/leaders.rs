//! Who leads, when that changes.

use api::EventType;
use serde_json::json;
use sqlx::{PgPool, Row};
use uuid::Uuid;

use super::{Audience, Event, emit};
use crate::standing;

/// How many of a leaderboard are told of.
const FIRST: usize = 10;

/// Looks once a minute, whichever instance is first, and tells of what changed.
pub(super) async fn look(pool: &PgPool) -> sqlx::Result<()> {
    let due = "UPDATE feed_leaders SET looked_at = now() WHERE board IN (
             SELECT board FROM feed_leaders WHERE looked_at < now() - interval '1 minute' FOR UPDATE SKIP LOCKED) RETURNING board, agents";
    for row in &sqlx::query(due).fetch_all(pool).await? {
        let (board, before): (String, Vec<Uuid>) = (row.try_get("board")?, row.try_get("agents")?);
        let now: Vec<Uuid> = standing::first_of(pool, &board).await?.into_iter().take(FIRST).collect();
        if now != before {
            let mut tx = pg::begin(pool).await?;
            let change = "UPDATE feed_leaders SET agents = $2 WHERE board = $1 AND agents = $3";
            let changed = sqlx::query(change).bind(&board).bind(&now).bind(&before).execute(&mut *tx).await?;
            if changed.rows_affected() > 0 {
                let data = json!({"board": board, "agent_ids": now, "before": before});
                emit(&mut tx, Event::public(EventType::LeaderboardChange, Audience::Market, data)).await?;
            }
            tx.commit().await?;
        }
    }
    Ok(())
}
