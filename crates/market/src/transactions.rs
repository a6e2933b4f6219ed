//! Purchases through the escrow. What is funded, released or refunded is what the mirror of the chain says, never what a caller says.

use alloy::primitives::{Address, B256, U256};
use api::{Code, Deliver, EscrowTerms, Initiate, Transaction, TransactionStatus};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use contracts::signing;
use indexer::read::{self, AgreementStatus};
use sqlx::{Row, postgres::PgRow, types};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    auth::{self, Caller},
    db,
    input::{self, Id},
    listings,
    problem::Problem,
    service::Market,
};

/// Seconds an arbiter has.
const ARBITRATION_SECONDS: u32 = 7 * 86_400;

/// The id that the Escrow contract gives an agreement on these terms.
fn agreement_id(terms: &EscrowTerms, chain_id: u64, escrow: Address) -> B256 {
    let terms = signing::escrow::Terms {
        buyer: terms.buyer,
        seller: terms.seller,
        arbiter: terms.arbiter,
        token: terms.token,
        amount: terms.amount.into(),
        feeBps: terms.fee_bps,
        feeRecipient: terms.fee_recipient,
        deliverBy: terms.deliver_by,
        reviewPeriod: terms.review_period,
        arbitrationPeriod: terms.arbitration_period,
        disputeBond: terms.dispute_bond.into(),
        defaultOutcome: terms.default_outcome,
        contentHash: terms.content_hash,
        agentId: U256::from(terms.agent_id),
        salt: terms.salt,
    };
    signing::escrow::agreement_id(&terms, escrow, chain_id)
}

/// `POST /api/v1/transactions/initiate`
pub(crate) async fn initiate(
    State(market): State<Market>,
    caller: Caller,
    input::Json(request): input::Json<Initiate>,
) -> Result<(StatusCode, Json<Transaction>), Problem> {
    let escrow = market.deployment.escrow;
    if escrow.is_zero() {
        return Err(Problem::new(Code::Unavailable, "No escrow is deployed on this chain"));
    }
    if caller.agent_id().is_none() && caller.wallet()? != request.buyer {
        return Err(Problem::new(Code::Forbidden, "A wallet starts purchases for itself; register an agent to act for another"));
    }
    let mut conn = market.pool.acquire().await?;
    let (listing, content_hash, content_size) = listings::for_sale(&mut conn, request.listing_id).await?;
    let arbiter = market.terms.arbiter.unwrap_or_default();
    if request.buyer.is_zero() || [listing.seller_wallet, arbiter].contains(&request.buyer) {
        return Err(Problem::new(Code::Inconsistent, "The buyer must be somebody, and neither the seller nor the arbiter"));
    }
    let now = OffsetDateTime::now_utc().unix_timestamp().unsigned_abs();
    let terms = EscrowTerms {
        buyer: request.buyer,
        seller: listing.seller_wallet,
        arbiter,
        token: market.deployment.usdc,
        amount: listing.price,
        fee_bps: 0,
        fee_recipient: Address::ZERO,
        deliver_by: now + u64::from(market.terms.deliver_within_seconds),
        review_period: market.terms.review_seconds,
        arbitration_period: if arbiter.is_zero() { 0 } else { ARBITRATION_SECONDS },
        dispute_bond: if arbiter.is_zero() { money::Usdc::ZERO } else { market.terms.dispute_bond.of_ceil(listing.price) },
        default_outcome: 0,
        content_hash,
        agent_id: 0,
        salt: auth::random(),
    };
    let chain_id = market.deployment.chain_id;
    let row = sqlx::query(
        "INSERT INTO transactions (id, listing_id, seller_id, buyer, initiator_id, chain_id, escrow, agreement_id, terms, content_size, content_type)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING *",
    )
    .bind(Uuid::now_v7())
    .bind(listing.id)
    .bind(listing.seller_id)
    .bind(request.buyer.as_slice())
    .bind(caller.agent_id())
    .bind(i64::try_from(chain_id).map_err(|e| Problem::internal(&e))?)
    .bind(escrow.as_slice())
    .bind(agreement_id(&terms, chain_id, escrow).as_slice())
    .bind(types::Json(&terms))
    .bind(i64::try_from(content_size).map_err(|e| Problem::internal(&e))?)
    .bind(&listing.content_type)
    .fetch_one(&mut *conn)
    .await?;
    drop(conn);
    Ok((StatusCode::CREATED, Json(transaction(&market, &row).await?)))
}

/// `GET /api/v1/transactions/{id}`
pub(crate) async fn show(State(market): State<Market>, Id(id): Id, caller: Caller) -> Result<Json<Transaction>, Problem> {
    let row = find(&market, id).await?;
    let seller = caller.agent_id() == Some(row.try_get("seller_id")?);
    if !seller && !buys(&row, &caller)? {
        return Err(Problem::not_found("transaction of yours"));
    }
    Ok(Json(transaction(&market, &row).await?))
}

/// `POST /api/v1/transactions/{id}/deliver`: the seller states what was delivered. The content still opens only with `markDelivered` on chain:
/// handed out before, the buyer could keep it and be refunded.
pub(crate) async fn deliver(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    input::Json(request): input::Json<Deliver>,
) -> Result<Json<Transaction>, Problem> {
    let row = find(&market, id).await?;
    caller.must_be(row.try_get("seller_id")?, "the seller")?;
    let now = transaction(&market, &row).await?;
    if request.delivery_hash != now.terms.content_hash {
        let detail = format!("Agreed on was content {}", now.terms.content_hash);
        return Err(Problem::new(Code::Inconsistent, detail));
    }
    match now.status {
        TransactionStatus::PaymentPending => {
            return Err(Problem::new(Code::WrongState, "The agreement is not funded on chain yet"));
        }
        TransactionStatus::Refunded => return Err(Problem::new(Code::WrongState, "The buyer was refunded")),
        _ => {}
    }
    let delivered = sqlx::query("UPDATE transactions SET delivered_at = coalesce(delivered_at, now()) WHERE id = $1 RETURNING *");
    let row = delivered.bind(id).fetch_one(&market.pool).await?;
    Ok(Json(transaction(&market, &row).await?))
}

/// `GET /api/v1/transactions/{id}/content`
pub(crate) async fn content(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = find(&market, id).await?;
    if !buys(&row, &caller)? {
        return Err(Problem::not_found("transaction of yours"));
    }
    let now = transaction(&market, &row).await?;
    if !now.content_available {
        return Err(Problem::new(Code::WrongState, "The content comes once the agreement is funded and delivered on chain"));
    }
    let blob = market.contents.get(now.terms.content_hash, row.try_get::<i64, _>("content_size")?.unsigned_abs()).await?;
    Ok(blob.asked(row.try_get("content_type")?, &headers).await?)
}

/// The buyer's wallet, or the agent that got the terms which the buyer funded.
fn buys(row: &PgRow, caller: &Caller) -> Result<bool, Problem> {
    let initiator: Option<Uuid> = row.try_get("initiator_id")?;
    Ok(db::address(row, "buyer")? == caller.wallet()? || (initiator.is_some() && initiator == caller.agent_id()))
}

async fn find(market: &Market, id: Uuid) -> Result<PgRow, Problem> {
    let found = sqlx::query("SELECT * FROM transactions WHERE id = $1").bind(id).fetch_optional(&market.pool).await?;
    found.ok_or_else(|| Problem::not_found("transaction of yours"))
}

async fn transaction(market: &Market, row: &PgRow) -> Result<Transaction, Problem> {
    let (escrow, agreement_id) = (db::address(row, "escrow")?, db::hash(row, "agreement_id")?);
    let status = on_chain(market, agreement_id).await?;
    use TransactionStatus::{Completed, Delivered, Disputed};
    let types::Json(terms) = row.try_get("terms")?;
    Ok(Transaction {
        id: row.try_get("id")?,
        listing_id: row.try_get("listing_id")?,
        seller_id: row.try_get("seller_id")?,
        status,
        chain_id: row.try_get::<i64, _>("chain_id")?.unsigned_abs(),
        escrow,
        agreement_id,
        terms,
        content_available: matches!(status, Delivered | Disputed | Completed),
        created_at: row.try_get("created_at")?,
    })
}

/// Where the agreement stands on chain. The id commits to every term, so an agreement with this id was funded with what was agreed.
async fn on_chain(market: &Market, id: B256) -> Result<TransactionStatus, Problem> {
    let mut conn = market.pool.acquire().await?;
    let head = read::head(&mut conn).await?.map_or(0, |head| head.number);
    let Some(certain) = (head + 1).checked_sub(market.terms.confirmations) else { return Ok(TransactionStatus::PaymentPending) };
    // Nothing counts on a funding that a reorganisation may still undo.
    if read::agreement(&mut conn, id, Some(certain)).await?.is_none() {
        return Ok(TransactionStatus::PaymentPending);
    }
    let now = read::agreement(&mut conn, id, None).await?;
    Ok(now.map_or(TransactionStatus::PaymentPending, |now| match now.state.status {
        AgreementStatus::Funded => TransactionStatus::PaymentConfirmed,
        AgreementStatus::Delivered => TransactionStatus::Delivered,
        AgreementStatus::Disputed => TransactionStatus::Disputed,
        AgreementStatus::Released | AgreementStatus::Resolved => TransactionStatus::Completed,
        AgreementStatus::Refunded => TransactionStatus::Refunded,
    }))
}
