//! Who decided what. A decision and the row that says who took it are one statement.

use api::{Decision, DecisionFilter, Page};
use axum::{Json, extract::State};
use sqlx::{Row, postgres::PgRow};

use crate::{
    input::{self, Params},
    problem::Problem,
    service::Market,
};

/// `GET /api/v1/admin/decisions`: newest first.
pub(crate) async fn list(
    State(market): State<Market>,
    Params(filter): Params<DecisionFilter>,
) -> Result<Json<Page<Decision>>, Problem> {
    let limit = input::limit(filter.limit)?;
    let before: i64 = match &filter.cursor {
        Some(cursor) => cursor.parse().map_err(|_| Problem::invalid("cursor must be the next_cursor of another page"))?,
        None => i64::MAX,
    };
    let rows =
        sqlx::query("SELECT * FROM decisions WHERE id < $1 AND ($2::uuid IS NULL OR subject = $2) ORDER BY id DESC LIMIT $3");
    let rows = rows.bind(before).bind(filter.subject).bind(limit as i64 + 1).fetch_all(&market.pool).await?;
    let decision = |row: &PgRow| {
        Ok(Decision {
            id: row.try_get("id")?,
            subject: row.try_get("subject")?,
            what: row.try_get("what")?,
            decided_by: row.try_get("decided_by")?,
            decided_at: row.try_get("decided_at")?,
            reason: row.try_get("reason")?,
        })
    };
    let decisions = rows.iter().map(decision).collect::<sqlx::Result<_>>()?;
    Ok(Json(input::page(decisions, limit, |decision: &Decision| decision.id.to_string())))
}
