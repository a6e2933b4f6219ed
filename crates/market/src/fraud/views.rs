use api::{ClearFinding, Code, Finding, FindingFilter, Page};
use axum::{Json, extract::State};
use sqlx::{Row, postgres::PgRow};

use crate::{
    auth::Caller,
    db,
    funds::must_be_anothers,
    input::{self, Id, Params},
    problem::Problem,
    service::Market,
};

const REASON_LEN_MAX_CHARS: usize = 500;

/// `GET /api/v1/admin/fraud/findings`
pub(crate) async fn list(State(market): State<Market>, Params(f): Params<FindingFilter>) -> Result<Json<Page<Finding>>, Problem> {
    let limit = input::limit(f.limit)?;
    let rows = sqlx::query(
        "SELECT * FROM fraud_findings WHERE id < $1 AND ($2::text IS NULL OR rule = $2) AND ($3::text IS NULL OR status = $3)
             AND ($4::uuid IS NULL OR $4 = ANY(agents))
         ORDER BY id DESC LIMIT $5",
    )
    .bind(input::before(f.cursor.as_deref())?)
    .bind(f.rule.map(db::name_of))
    .bind(f.status.map(db::name_of))
    .bind(f.agent_id)
    .bind(limit as i64 + 1)
    .fetch_all(&market.pool)
    .await?;
    let findings = rows.iter().map(finding).collect::<sqlx::Result<_>>()?;
    Ok(Json(input::page(findings, limit, |finding: &Finding| finding.id.to_string())))
}

/// `POST /api/v1/admin/fraud/findings/{id}/clear`: nobody clears what is about their own agents. What is done again is found again.
pub(crate) async fn clear(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    input::Json(ClearFinding { reason }): input::Json<ClearFinding>,
) -> Result<Json<Finding>, Problem> {
    input::text("reason", &reason, 1..=REASON_LEN_MAX_CHARS)?;
    let by = caller.creator()?;
    let found = sqlx::query("SELECT * FROM fraud_findings WHERE id = $1").bind(id).fetch_optional(&market.pool).await?;
    let found = finding(&found.ok_or_else(|| Problem::not_found("finding"))?)?;
    must_be_anothers(&market, by, &found.agents).await?;
    let clear = "WITH done AS (UPDATE fraud_findings SET status = 'cleared', cleared_at = now() WHERE id = $1 AND status = 'open' RETURNING *),
              noted AS (INSERT INTO decisions (subject, what, decided_by, reason) SELECT id, 'finding_cleared', $2, $3 FROM done)
         SELECT * FROM done";
    let row = sqlx::query(clear).bind(id).bind(by).bind(reason).fetch_optional(&market.pool).await?;
    let row = row.ok_or_else(|| Problem::new(Code::WrongState, "The finding was cleared before"))?;
    market.refused.read(&market.pool).await?;
    Ok(Json(finding(&row)?))
}

fn finding(row: &PgRow) -> sqlx::Result<Finding> {
    Ok(Finding {
        id: row.try_get("id")?,
        rule: db::named(row, "rule")?,
        subject: row.try_get("subject")?,
        action: db::named(row, "action")?,
        agents: row.try_get("agents")?,
        evidence: row.try_get("evidence")?,
        hits: row.try_get::<i64, _>("hits")?.unsigned_abs(),
        first_at: row.try_get("first_at")?,
        last_at: row.try_get("last_at")?,
        status: db::named(row, "status")?,
        cleared_at: row.try_get("cleared_at")?,
    })
}
