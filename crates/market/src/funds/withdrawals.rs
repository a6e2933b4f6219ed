use alloy::primitives::Address;
use api::{
    Code, Page, PageQuery, Scope,
    ledger::{Amount, Asset, Refuse, Withdraw, Withdrawal, WithdrawalFilter, WithdrawalStatus},
};
use axum::{Json, extract::State, http::StatusCode};
use sqlx::{Row, postgres::PgRow};
use tracing::warn;
use uuid::Uuid;

use super::{must_be_anothers, set_aside};
use crate::{
    auth::Caller,
    db, fraud,
    input::{self, Id, Params},
    ledger::{self, What},
    problem::Problem,
    service::Market,
    wallet::Idempotency,
};

const REASON_LEN_MAX_CHARS: usize = 500;

/// What may be withdrawn, in base units of USDC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) least: Amount,
    pub(crate) day_max: Amount,
    pub(crate) unapproved_max: Amount,
}

/// `POST /api/v1/wallet/withdrawals`
pub(crate) async fn request(
    State(market): State<Market>,
    caller: Caller,
    key: Idempotency,
    input::Json(request): input::Json<Withdraw>,
) -> Result<(StatusCode, Json<Withdrawal>), Problem> {
    let (owner, person, custody) = (caller.holder()?, caller.person()?, market.custody()?);
    let wallet = wallet(&market, &caller).await?;
    let nowhere = "Prove a wallet first (PUT /api/v1/creators/me/wallet), or name to_address";
    let recipient = request.to_address.or(wallet.address).ok_or_else(|| Problem::new(Code::WrongState, nowhere))?;
    if caller.creator().is_err() && wallet.address != Some(recipient) {
        caller.must_have(Scope::Transfer)?;
    }
    let Limits { least, day_max, unapproved_max } = market.withdrawal_limits;
    if request.amount < least {
        return Err(Problem::invalid(format!("amount must be at least {least}")));
    }
    let contracts = [Address::ZERO, custody, market.deployment.usdc, market.deployment.payment_router];
    if contracts.contains(&recipient) {
        return Err(Problem::invalid("to_address cannot be paid: name an account of yours"));
    }
    // A stolen key or password must not be enough to send the money elsewhere.
    let is_known = wallet.is_settled && Some(recipient) == wallet.address;
    let is_held = fraud::is_held(&market.pool, person).await?;
    let unapproved_max = if is_known && !is_held { unapproved_max } else { Amount::ZERO };
    let asked = ledger::Withdrawal { owner, person, recipient, day_max, unapproved_max };
    let key = key.of(owner, "/wallet/withdrawals", &request);
    let id = set_aside(&market, owner, Asset::Usdc, request.amount, key, |hold| What::Withdraw(hold, asked)).await?;
    Ok((StatusCode::CREATED, Json(find(&market, id, Some(owner)).await?)))
}

/// Where somebody's money goes by itself.
struct ProvenWallet {
    address: Option<Address>,
    /// An agent's stays; a creator's counts from a day after it was proven.
    is_settled: bool,
}

async fn wallet(market: &Market, caller: &Caller) -> Result<ProvenWallet, Problem> {
    let Ok(creator) = caller.creator() else {
        return Ok(ProvenWallet { address: Some(caller.wallet()?), is_settled: true });
    };
    let row = sqlx::query(
        "SELECT wallet, coalesce(wallet_since < now() - interval '24 hours', FALSE) AS is_settled FROM creators WHERE id = $1",
    );
    let row = row.bind(creator).fetch_one(&market.pool).await?;
    Ok(ProvenWallet { address: db::maybe_address(&row, "wallet")?, is_settled: row.try_get("is_settled")? })
}

/// `GET /api/v1/wallet/withdrawals`
pub(crate) async fn list(
    State(market): State<Market>,
    caller: Caller,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<Withdrawal>>, Problem> {
    let filter = WithdrawalFilter { status: None, cursor: page.cursor, limit: page.limit };
    page_of(&market, Some(caller.holder()?), filter).await
}

/// `GET /api/v1/wallet/withdrawals/{id}`
pub(crate) async fn show(State(market): State<Market>, caller: Caller, Id(id): Id) -> Result<Json<Withdrawal>, Problem> {
    Ok(Json(find(&market, id, Some(caller.holder()?)).await?))
}

/// `POST /api/v1/wallet/withdrawals/{id}/cancel`: until it is in a batch.
pub(crate) async fn cancel(State(market): State<Market>, caller: Caller, Id(id): Id) -> Result<Json<Withdrawal>, Problem> {
    let owner = caller.holder()?;
    let cancel = "UPDATE withdrawals SET status = 'cancelled', ended_at = now() WHERE id = $1 AND owner = $2 AND status IN ('awaiting_approval', 'pending')";
    let cancelled = sqlx::query(cancel).bind(id).bind(owner).execute(&market.pool).await?.rows_affected() == 1;
    decided(&market, id, Some(owner), cancelled, WithdrawalStatus::Cancelled).await
}

/// `GET /api/v1/admin/withdrawals`
pub(crate) async fn list_all(
    State(market): State<Market>,
    Params(filter): Params<WithdrawalFilter>,
) -> Result<Json<Page<Withdrawal>>, Problem> {
    page_of(&market, None, filter).await
}

/// `POST /api/v1/admin/withdrawals/{id}/approve`
pub(crate) async fn approve(State(market): State<Market>, caller: Caller, Id(id): Id) -> Result<Json<Withdrawal>, Problem> {
    let by = caller.creator()?;
    must_be_anothers(&market, by, &[find(&market, id, None).await?.owner_id]).await?;
    let approve =
        "WITH done AS (UPDATE withdrawals SET status = 'pending' WHERE id = $1 AND status = 'awaiting_approval' RETURNING id)
         INSERT INTO decisions (subject, what, decided_by) SELECT id, 'withdrawal_approved', $2 FROM done";
    let approved = sqlx::query(approve).bind(id).bind(by).execute(&market.pool).await?.rows_affected() == 1;
    decided(&market, id, None, approved, WithdrawalStatus::Pending).await
}

/// `POST /api/v1/admin/withdrawals/{id}/reject`: until it is in a batch.
pub(crate) async fn reject(
    State(market): State<Market>,
    caller: Caller,
    Id(id): Id,
    input::Json(Refuse { reason }): input::Json<Refuse>,
) -> Result<Json<Withdrawal>, Problem> {
    input::text("reason", &reason, 1..=REASON_LEN_MAX_CHARS)?;
    let by = caller.creator()?;
    must_be_anothers(&market, by, &[find(&market, id, None).await?.owner_id]).await?;
    let reject = "WITH done AS (UPDATE withdrawals SET status = 'rejected', reason = $2, ended_at = now()
             WHERE id = $1 AND status IN ('awaiting_approval', 'pending') RETURNING id)
         INSERT INTO decisions (subject, what, decided_by, reason) SELECT id, 'withdrawal_rejected', $3, $2 FROM done";
    let rejected = sqlx::query(reject).bind(id).bind(reason).bind(by).execute(&market.pool).await?.rows_affected() == 1;
    decided(&market, id, None, rejected, WithdrawalStatus::Rejected).await
}

/// Ends the hold of what was decided; a decision that was taken before is not an error.
async fn decided(
    market: &Market,
    id: Uuid,
    owner: Option<Uuid>,
    done: bool,
    wanted: WithdrawalStatus,
) -> Result<Json<Withdrawal>, Problem> {
    let now = find(market, id, owner).await?;
    if !done && now.status != wanted {
        let status = db::name_of(now.status);
        return Err(Problem::new(Code::WrongState, format!("The withdrawal is {status}, so this is not possible any more")));
    }
    // What fails here is done by the next look.
    if let Err(error) = end_holds(market).await {
        warn!(%error, "holds of withdrawals are not ended yet");
    }
    Ok(Json(now))
}

/// Pays out or gives back the holds of withdrawals that ended.
pub(super) async fn end_holds(market: &Market) -> sqlx::Result<()> {
    let ended = "SELECT w.id, w.amount, w.status = 'completed' AS is_paid FROM holds AS h JOIN withdrawals AS w ON w.id = h.id
         WHERE h.state = 1 AND w.status IN ('completed', 'rejected', 'cancelled', 'failed') ORDER BY w.id LIMIT $1";
    super::end_holds(market, ended, ledger::OUTSIDE).await
}

async fn page_of(market: &Market, owner: Option<Uuid>, filter: WithdrawalFilter) -> Result<Json<Page<Withdrawal>>, Problem> {
    let limit = input::limit(filter.limit)?;
    let rows = sqlx::query(
        "SELECT w.*, b.transaction_hash FROM withdrawals AS w LEFT JOIN batches AS b ON b.id = w.batch_id
         WHERE ($1::uuid IS NULL OR w.owner = $1) AND ($2::text IS NULL OR w.status = $2) AND w.id < $3 ORDER BY w.id DESC LIMIT $4",
    )
    .bind(owner)
    .bind(filter.status.map(db::name_of))
    .bind(input::before(filter.cursor.as_deref())?)
    .bind(limit as i64 + 1)
    .fetch_all(&market.pool)
    .await?;
    let withdrawals = rows.iter().map(withdrawal).collect::<sqlx::Result<_>>()?;
    Ok(Json(input::page(withdrawals, limit, |withdrawal: &Withdrawal| withdrawal.id.to_string())))
}

async fn find(market: &Market, id: Uuid, owner: Option<Uuid>) -> Result<Withdrawal, Problem> {
    let row = sqlx::query(
        "SELECT w.*, b.transaction_hash FROM withdrawals AS w LEFT JOIN batches AS b ON b.id = w.batch_id
         WHERE w.id = $1 AND ($2::uuid IS NULL OR w.owner = $2)",
    );
    let row = row.bind(id).bind(owner).fetch_optional(&market.pool).await?;
    Ok(withdrawal(&row.ok_or_else(|| Problem::not_found("withdrawal"))?)?)
}

fn withdrawal(row: &PgRow) -> sqlx::Result<Withdrawal> {
    Ok(Withdrawal {
        id: row.try_get("id")?,
        owner_id: row.try_get("owner")?,
        status: db::named(row, "status")?,
        to_address: db::address(row, "recipient")?,
        amount: ledger::amount(row.try_get("amount")?),
        transaction_hash: db::maybe_hash(row, "transaction_hash")?,
        reason: row.try_get("reason")?,
        created_at: row.try_get("created_at")?,
        ended_at: row.try_get("ended_at")?,
    })
}
