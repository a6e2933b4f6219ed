use api::{
    Code, Page,
    ledger::{
        Asset, HandedOver, Redeem, Redemption, RedemptionFilter, RedemptionMethod, RedemptionOffer, RedemptionStatus, Refuse,
    },
};
use axum::{Json, extract::State, http::StatusCode};
use sqlx::{Row, postgres::PgRow};
use tracing::warn;
use uuid::Uuid;

use super::{END_MAX, must_be_anothers, set_aside};
use crate::{
    auth::Caller,
    db,
    input::{self, Id, Params},
    ledger::{self, What},
    problem::Problem,
    service::Market,
    wallet::Idempotency,
};

const TEXT_LEN_MAX_CHARS: usize = 500;

/// `GET /api/v1/redemptions/methods`
pub(crate) async fn methods(State(_): State<Market>) -> Result<Json<Vec<RedemptionOffer>>, Problem> {
    let offer = |method: RedemptionMethod| RedemptionOffer {
        method,
        least: method.least(),
        margin_bps: method.margin_bps(),
        at_once: method == RedemptionMethod::ApiCredits,
    };
    Ok(Json(RedemptionMethod::ALL.map(offer).to_vec()))
}

/// `POST /api/v1/redemptions`
pub(crate) async fn request(
    State(market): State<Market>,
    caller: Caller,
    key: Idempotency,
    input::Json(request): input::Json<Redeem>,
) -> Result<(StatusCode, Json<Redemption>), Problem> {
    let owner = caller.holder()?;
    let Redeem { method, amount, details } = request.clone();
    if amount < method.least() {
        return Err(Problem::invalid(format!("amount must be at least {} ARD for this method", method.least())));
    }
    let at_once = method == RedemptionMethod::ApiCredits;
    let details_min = if at_once { 0 } else { 3 };
    input::text("details", details.as_deref().unwrap_or_default(), details_min..=TEXT_LEN_MAX_CHARS)?;
    let asked = ledger::Redemption { owner, method: db::name_of(method), details, needs_approval: !at_once, payout_month: None };
    let key = key.of(owner, "/redemptions", &request);
    let id = set_aside(&market, owner, Asset::Ard, amount, key, |hold| What::Redeem(hold, asked)).await?;
    follow_up(&market).await;
    Ok((StatusCode::CREATED, Json(find(&market, id, Some(owner)).await?)))
}

/// `GET /api/v1/redemptions`
pub(crate) async fn list(
    State(market): State<Market>,
    caller: Caller,
    Params(filter): Params<RedemptionFilter>,
) -> Result<Json<Page<Redemption>>, Problem> {
    page_of(&market, Some(caller.holder()?), filter).await
}

/// `GET /api/v1/redemptions/admin`: everybody's
pub(crate) async fn list_all(
    State(market): State<Market>,
    Params(filter): Params<RedemptionFilter>,
) -> Result<Json<Page<Redemption>>, Problem> {
    page_of(&market, None, filter).await
}

/// `GET /api/v1/redemptions/{id}`
pub(crate) async fn show(State(market): State<Market>, caller: Caller, Id(id): Id) -> Result<Json<Redemption>, Problem> {
    Ok(Json(find(&market, id, Some(caller.holder()?)).await?))
}

/// `POST /api/v1/redemptions/{id}/cancel`: until it is approved.
pub(crate) async fn cancel(State(market): State<Market>, caller: Caller, Id(id): Id) -> Result<Json<Redemption>, Problem> {
    find(&market, id, Some(caller.holder()?)).await?;
    decide(&market, id, None, &[RedemptionStatus::Pending], RedemptionStatus::Cancelled, None, None).await
}

/// `POST /api/v1/redemptions/admin/{id}/approve`
pub(crate) async fn approve(State(market): State<Market>, caller: Caller, Id(id): Id) -> Result<Json<Redemption>, Problem> {
    let by = caller.creator()?;
    must_be_anothers(&market, by, &[find(&market, id, None).await?.owner_id]).await?;
    decide(&market, id, Some(by), &[RedemptionStatus::Pending], RedemptionStatus::Processing, None, None).await
}

/// `POST /api/v1/redemptions/admin/{id}/complete`
pub(crate) async fn complete(
    State(market): State<Market>,
    caller: Caller,
    Id(id): Id,
    input::Json(HandedOver { receipt }): input::Json<HandedOver>,
) -> Result<Json<Redemption>, Problem> {
    input::text("receipt", &receipt, 1..=TEXT_LEN_MAX_CHARS)?;
    let by = caller.creator()?;
    must_be_anothers(&market, by, &[find(&market, id, None).await?.owner_id]).await?;
    decide(&market, id, Some(by), &[RedemptionStatus::Processing], RedemptionStatus::Completed, Some(receipt), None).await
}

/// `POST /api/v1/redemptions/admin/{id}/reject`: what was approved fails.
pub(crate) async fn reject(
    State(market): State<Market>,
    caller: Caller,
    Id(id): Id,
    input::Json(Refuse { reason }): input::Json<Refuse>,
) -> Result<Json<Redemption>, Problem> {
    input::text("reason", &reason, 1..=TEXT_LEN_MAX_CHARS)?;
    let asked = find(&market, id, None).await?;
    must_be_anothers(&market, caller.creator()?, &[asked.owner_id]).await?;
    let to = match asked.status {
        RedemptionStatus::Processing | RedemptionStatus::Failed => RedemptionStatus::Failed,
        _ => RedemptionStatus::Rejected,
    };
    let from = if to == RedemptionStatus::Failed { RedemptionStatus::Processing } else { RedemptionStatus::Pending };
    decide(&market, id, caller.creator().ok(), &[from], to, None, Some(reason)).await
}

/// One statement decides, so of two words at once one counts. A decision that was taken before is not an error.
async fn decide(
    market: &Market,
    id: Uuid,
    by: Option<Uuid>,
    from: &[RedemptionStatus],
    to: RedemptionStatus,
    receipt: Option<String>,
    reason: Option<String>,
) -> Result<Json<Redemption>, Problem> {
    let decided = sqlx::query_scalar(
        "WITH done AS (UPDATE redemptions SET status = $3, receipt = $4, reason = $5,
                 ended_at = CASE WHEN $3 = 'processing' THEN NULL ELSE now() END
             WHERE id = $1 AND status = ANY($2) RETURNING id),
         noted AS (INSERT INTO decisions (subject, what, decided_by, reason)
             SELECT id, 'redemption_' || $3, $6, coalesce($4, $5) FROM done WHERE $6::uuid IS NOT NULL)
         SELECT count(*) FROM done",
    );
    let from: Vec<String> = from.iter().map(db::name_of).collect();
    let decided = decided.bind(id).bind(from).bind(db::name_of(to)).bind(receipt).bind(reason).bind(by);
    let decided: i64 = decided.fetch_one(&market.pool).await?;
    let now = find(market, id, None).await?;
    if decided == 0 && now.status != to {
        let detail = format!("The redemption is {}, so this is not possible any more", db::name_of(now.status));
        return Err(Problem::new(Code::WrongState, detail));
    }
    follow_up(market).await;
    Ok(Json(now))
}

/// What fails here is done by the next look.
async fn follow_up(market: &Market) {
    if let Err(error) = end(market).await {
        warn!(%error, "redemptions are not dealt with yet");
    }
}

/// Hands out API credits, then ends the holds of what ended. Any number of instances may: each does what is not done.
pub(crate) async fn end(market: &Market) -> sqlx::Result<()> {
    // One statement: the credits are there if and only if the redemption is completed.
    sqlx::query(
        "WITH due AS (SELECT id FROM redemptions WHERE status = 'processing' AND method = 'api_credits' ORDER BY id LIMIT $1
                      FOR UPDATE SKIP LOCKED),
              done AS (UPDATE redemptions AS r SET status = 'completed', ended_at = now() FROM due WHERE r.id = due.id
                       RETURNING r.owner, r.amount)
         INSERT INTO api_credits (owner, credits) SELECT owner, sum(amount)::bigint FROM done GROUP BY owner
         ON CONFLICT (owner) DO UPDATE SET credits = api_credits.credits + excluded.credits",
    )
    .bind(END_MAX)
    .execute(&market.pool)
    .await?;
    let ended = "SELECT r.id, r.amount, r.status = 'completed' AS is_paid FROM holds AS h JOIN redemptions AS r ON r.id = h.id
         WHERE h.state = 1 AND r.status IN ('completed', 'failed', 'rejected', 'cancelled') ORDER BY r.id LIMIT $1";
    super::end_holds(market, ended, ledger::MINT).await
}

async fn page_of(market: &Market, owner: Option<Uuid>, f: RedemptionFilter) -> Result<Json<Page<Redemption>>, Problem> {
    let limit = input::limit(f.limit)?;
    let rows = sqlx::query(
        "SELECT * FROM redemptions WHERE ($1::uuid IS NULL OR owner = $1) AND id < $2 AND ($3::text IS NULL OR status = $3)
         ORDER BY id DESC LIMIT $4",
    );
    let rows = rows.bind(owner).bind(input::before(f.cursor.as_deref())?).bind(f.status.map(db::name_of)).bind(limit as i64 + 1);
    let redemptions = rows.fetch_all(&market.pool).await?.iter().map(redemption).collect::<sqlx::Result<_>>()?;
    Ok(Json(input::page(redemptions, limit, |redemption: &Redemption| redemption.id.to_string())))
}

async fn find(market: &Market, id: Uuid, owner: Option<Uuid>) -> Result<Redemption, Problem> {
    let row = sqlx::query("SELECT * FROM redemptions WHERE id = $1 AND ($2::uuid IS NULL OR owner = $2)").bind(id).bind(owner);
    let row = row.fetch_optional(&market.pool).await?;
    Ok(redemption(&row.ok_or_else(|| Problem::not_found("redemption"))?)?)
}

fn redemption(row: &PgRow) -> sqlx::Result<Redemption> {
    let (method, amount): (RedemptionMethod, _) = (db::named(row, "method")?, ledger::amount(row.try_get("amount")?));
    Ok(Redemption {
        id: row.try_get("id")?,
        owner_id: row.try_get("owner")?,
        method,
        amount,
        worth_usd: method.worth(amount),
        status: db::named(row, "status")?,
        details: row.try_get("details")?,
        receipt: row.try_get("receipt")?,
        reason: row.try_get("reason")?,
        payout_month: row.try_get("payout_month")?,
        created_at: row.try_get("created_at")?,
        ended_at: row.try_get("ended_at")?,
    })
}
