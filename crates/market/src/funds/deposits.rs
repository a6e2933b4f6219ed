use alloy::primitives::Address;
use api::{
    Code, Page, PageQuery,
    ledger::{Amount, Asset, Assign, Deposit, DepositStatus, Kind, OpenDeposit, Unmatched},
};
use axum::{Json, extract::State, http::StatusCode};
use sqlx::{PgConnection, Row, postgres::PgRow};
use tracing::warn;
use uuid::Uuid;

use super::{must_be_anothers, walk};
use crate::{
    auth::{self, Caller},
    db,
    input::{self, Id, Params},
    ledger::{self, Key, Move, Order, What},
    problem::Problem,
    service::Market,
    wallet,
};

/// Announced deposits of one agent that nothing came for, at most.
const PENDING_MAX: i64 = 100;
/// Deposits credited in one go.
const CREDIT_MAX: i64 = 256;

/// `POST /api/v1/wallet/deposits`
pub(crate) async fn open(
    State(market): State<Market>,
    caller: Caller,
    input::Json(OpenDeposit { amount }): input::Json<OpenDeposit>,
) -> Result<(StatusCode, Json<Deposit>), Problem> {
    let (agent, pay_to) = (caller.agent()?, market.custody()?);
    if amount.is_some_and(Amount::is_zero) {
        return Err(Problem::invalid("amount must be more than nothing, or left out"));
    }
    // One statement, so that many at once do not pass the limit by much.
    let row = sqlx::query(
        "INSERT INTO deposits (id, agent_id, status, reference, amount) SELECT $1, $2, 'pending', $3, $4
         WHERE (SELECT count(*) FROM deposits WHERE agent_id = $2 AND status = 'pending') < $5 RETURNING *",
    )
    .bind(Uuid::now_v7())
    .bind(agent)
    .bind(auth::random().as_slice())
    .bind(amount.map(Amount::signed))
    .bind(PENDING_MAX)
    .fetch_optional(&market.pool)
    .await?;
    let row = row.ok_or_else(|| {
        let detail = format!("{PENDING_MAX} deposits are announced already; pay those first, their references stay good");
        Problem::new(Code::WrongState, detail)
    })?;
    Ok((StatusCode::CREATED, Json(deposit(&market, pay_to, &row)?)))
}

/// `GET /api/v1/wallet/deposits`
pub(crate) async fn list(
    State(market): State<Market>,
    caller: Caller,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<Deposit>>, Problem> {
    let (agent, pay_to, limit) = (caller.agent()?, market.custody()?, input::limit(page.limit)?);
    let rows = sqlx::query("SELECT * FROM deposits WHERE agent_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3")
        .bind(agent)
        .bind(input::before(page.cursor.as_deref())?)
        .bind(limit as i64 + 1)
        .fetch_all(&market.pool)
        .await?;
    let deposits = rows.iter().map(|row| deposit(&market, pay_to, row)).collect::<sqlx::Result<_>>()?;
    Ok(Json(input::page(deposits, limit, |deposit: &Deposit| deposit.id.to_string())))
}

/// `GET /api/v1/wallet/deposits/{id}` and, to look for it at once, `POST /api/v1/wallet/deposit/{id}/confirm`: what confirms a deposit is the
/// chain, never the caller.
pub(crate) async fn show(State(market): State<Market>, caller: Caller, Id(id): Id) -> Result<Json<Deposit>, Problem> {
    let (agent, pay_to) = (caller.agent()?, market.custody()?);
    let row = sqlx::query("SELECT * FROM deposits WHERE id = $1 AND agent_id = $2").bind(id).bind(agent);
    let row = row.fetch_optional(&market.pool).await?.ok_or_else(|| Problem::not_found("deposit of yours"))?;
    Ok(Json(deposit(&market, pay_to, &row)?))
}

/// `GET /api/v1/admin/deposits/unmatched`, largest first: anybody can send dust
pub(crate) async fn unmatched(State(market): State<Market>) -> Result<Json<Vec<Unmatched>>, Problem> {
    let rows = sqlx::query("SELECT * FROM unmatched ORDER BY amount DESC, block_number, log_index LIMIT $1")
        .bind(i64::from(api::LIMIT_MAX));
    let unmatched = |row: &PgRow| {
        Ok(Unmatched {
            block_number: row.try_get::<i64, _>("block_number")?.unsigned_abs(),
            log_index: row.try_get::<i32, _>("log_index")?.unsigned_abs(),
            transaction_hash: db::hash(row, "transaction_hash")?,
            sender: db::address(row, "sender")?,
            amount: ledger::amount(row.try_get("amount")?),
            authorization_nonce: db::maybe_hash(row, "authorization_nonce")?,
            found_at: row.try_get("found_at")?,
        })
    };
    Ok(Json(rows.fetch_all(&market.pool).await?.iter().map(unmatched).collect::<sqlx::Result<_>>()?))
}

/// `POST /api/v1/admin/deposits/assign`: an unmatched transfer becomes somebody's deposit.
pub(crate) async fn assign(
    State(market): State<Market>,
    caller: Caller,
    input::Json(Assign { block_number, log_index, agent_id }): input::Json<Assign>,
) -> Result<StatusCode, Problem> {
    let by = caller.creator()?;
    must_be_anothers(&market, by, &[agent_id]).await?;
    let mut tx = pg::begin(&market.pool).await?;
    let agent: Option<Uuid> =
        sqlx::query_scalar("SELECT id FROM agents WHERE id = $1").bind(agent_id).fetch_optional(&mut *tx).await?;
    agent.ok_or_else(|| Problem::not_found("agent"))?;
    let moved = sqlx::query(
        "WITH taken AS (DELETE FROM unmatched WHERE block_number = $1 AND log_index = $2 RETURNING *),
         noted AS (INSERT INTO decisions (subject, what, decided_by, reason) SELECT $3, 'deposit_assigned', $5, 'to ' || $4::uuid FROM taken)
         INSERT INTO deposits (id, agent_id, status, block_number, log_index, transaction_hash, amount, payer, payer_nonce)
         SELECT $3, $4, 'arrived', block_number, log_index, transaction_hash, amount,
                CASE WHEN authorization_nonce IS NOT NULL THEN sender END, authorization_nonce
         FROM taken",
    )
    .bind(walk::int(block_number))
    .bind(walk::int32(log_index))
    .bind(Uuid::now_v7())
    .bind(agent_id)
    .bind(by)
    .execute(&mut *tx)
    .await?;
    if moved.rows_affected() == 0 {
        return Err(Problem::not_found("unmatched transfer; it may have been assigned already"));
    }
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Credits what arrived. Whatever fails here is tried again with the next look.
pub(super) async fn credit_arrived(market: &Market) -> sqlx::Result<()> {
    let arrived = "SELECT id, agent_id, amount FROM deposits WHERE status = 'arrived' ORDER BY id LIMIT $1";
    for row in sqlx::query(arrived).bind(CREDIT_MAX).fetch_all(&market.pool).await? {
        let id: Uuid = row.try_get("id")?;
        if let Err(Problem(problem)) = credit(market, id, row.try_get("agent_id")?, row.try_get("amount")?).await {
            warn!(deposit = %id, %problem, "a deposit is not credited yet");
        }
    }
    Ok(())
}

/// Credits a deposit that arrived, once however often it is called: the deposit's id is the key of the transfer.
pub(super) async fn credit(market: &Market, id: Uuid, agent: Uuid, amount: i64) -> Result<(), Problem> {
    let to = wallet::account(market, agent, Asset::Usdc).await?;
    let digest = alloy::primitives::keccak256([b"deposit", id.as_bytes().as_slice()].concat());
    let key = Some(Key { key: digest, fingerprint: digest });
    let amount = ledger::amount(amount);
    let what = What::Move(Move { kind: Kind::Deposit, from: ledger::OUTSIDE, to, amount, reference: id, memo: None });
    let posted = market.ledger.submit(Order { key, what }).await?;
    let done = "UPDATE deposits SET status = 'completed', transfer = $2, completed_at = $3 WHERE id = $1 AND status = 'arrived'";
    sqlx::query(done).bind(id).bind(posted.transfer.cast_signed()).bind(posted.at).execute(&market.pool).await?;
    Ok(())
}

pub(super) async fn find(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<PgRow> {
    sqlx::query("SELECT * FROM deposits WHERE id = $1").bind(id).fetch_one(conn).await
}

pub(super) fn deposit(market: &Market, pay_to: Address, row: &PgRow) -> sqlx::Result<Deposit> {
    let status: DepositStatus = db::named(row, "status")?;
    Ok(Deposit {
        id: row.try_get("id")?,
        status,
        pay_to,
        chain_id: market.deployment.chain_id,
        token: market.deployment.usdc,
        reference: db::maybe_hash(row, "reference")?,
        amount: row.try_get::<Option<i64>, _>("amount")?.map(ledger::amount),
        transaction_hash: db::maybe_hash(row, "transaction_hash")?,
        transfer_id: row.try_get::<Option<i64>, _>("transfer")?.map(i64::unsigned_abs),
        created_at: row.try_get("created_at")?,
        completed_at: row.try_get("completed_at")?,
    })
}
