//! Purchases as they are written down, before and after their money moved.

use alloy::primitives::{Address, B256};
use api::Listing;
use money::Usdc;
use sqlx::{PgPool, Row, postgres::PgRow, types::Json};
use time::OffsetDateTime;
use uuid::Uuid;
use x402::{PaymentRequest, TransferMethod};

use crate::db;

/// Time a request has before a purchase that it wrote down is followed up.
const FIRST_LOOK_SECONDS: i32 = 70;
/// Time between two looks.
const NEXT_LOOK_SECONDS: i32 = 5;
/// Time the mirror has after a payment expired to show that it moved all the same.
const LAST_LOOK_SECONDS: i64 = 600;
/// Purchases that one instance follows up at a time.
const DUE_MAX: i64 = 16;

/// A purchase.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: Uuid,
    pub(crate) payment_key: B256,
    pub(crate) payment_hash: B256,
    pub(crate) request: PaymentRequest,
    pub(crate) payment_nonce: B256,
    pub(crate) token: Address,
    pub(crate) valid_before: u64,
    pub(crate) listing_id: Uuid,
    pub(crate) seller_id: Uuid,
    pub(crate) pay_to: Address,
    pub(crate) payer: Address,
    pub(crate) amount: Usdc,
    pub(crate) content_hash: B256,
    pub(crate) content_size: u64,
    pub(crate) content_type: String,
    pub(crate) transaction_hash: Option<B256>,
    pub(crate) settled_at: Option<OffsetDateTime>,
    /// The buyer was told that it did not settle, and may have paid anew.
    pub(crate) is_refused: bool,
}

impl Entry {
    /// `None` when the payment is not one of the scheme exact.
    pub(crate) fn new(listing: &Listing, content: (B256, u64), key: B256, hash: B256, request: PaymentRequest) -> Option<Self> {
        let exact = request.payment_payload.exact().ok()?;
        Some(Self {
            id: Uuid::now_v7(),
            payment_key: key,
            payment_hash: hash,
            payment_nonce: exact.nonce(),
            token: request.payment_requirements.asset_address()?,
            valid_before: exact.valid_before(),
            listing_id: listing.id,
            seller_id: listing.seller_id,
            pay_to: listing.seller_wallet,
            payer: exact.payer(),
            amount: listing.price,
            content_hash: content.0,
            content_size: content.1,
            content_type: listing.content_type.clone(),
            transaction_hash: None,
            settled_at: None,
            is_refused: false,
            request,
        })
    }

    /// The nonce by which the mirror knows the transfer, where the token has such.
    pub(crate) fn authorization(&self) -> Option<B256> {
        let exact = self.request.payment_payload.exact().ok()?;
        (exact.method() == TransferMethod::Eip3009).then_some(self.payment_nonce)
    }
}

pub(crate) async fn by_key(pool: &PgPool, key: B256) -> Result<Option<Entry>, sqlx::Error> {
    let found = sqlx::query("SELECT * FROM purchases WHERE payment_key = $1").bind(key.as_slice());
    found.fetch_optional(pool).await?.as_ref().map(entry).transpose()
}

/// Writes a purchase down. When another request wrote one for the same payment first, that one counts.
pub(crate) async fn write(pool: &PgPool, new: Entry) -> Result<Entry, sqlx::Error> {
    let row = sqlx::query(
        "INSERT INTO purchases (id, payment_key, payment_hash, request, payment_nonce, token, valid_before, listing_id, seller_id,
             pay_to, payer, amount, content_hash, content_size, content_type, status, next_look_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 'verified', now() + make_interval(secs => $16))
         ON CONFLICT (payment_key) DO UPDATE SET payment_key = excluded.payment_key RETURNING *",
    )
    .bind(new.id)
    .bind(new.payment_key.as_slice())
    .bind(new.payment_hash.as_slice())
    .bind(Json(&new.request))
    .bind(new.payment_nonce.as_slice())
    .bind(new.token.as_slice())
    .bind(i64::try_from(new.valid_before).unwrap_or(i64::MAX))
    .bind(new.listing_id)
    .bind(new.seller_id)
    .bind(new.pay_to.as_slice())
    .bind(new.payer.as_slice())
    .bind(new.amount)
    .bind(new.content_hash.as_slice())
    .bind(i64::try_from(new.content_size).unwrap_or(i64::MAX))
    .bind(&new.content_type)
    .bind(FIRST_LOOK_SECONDS)
    .fetch_one(pool)
    .await?;
    entry(&row)
}

/// The money moved. Whatever was thought before, this stays.
pub(crate) async fn settled(pool: &PgPool, id: Uuid, transaction: Option<B256>) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE purchases SET status = 'settled', transaction_hash = $2, settled_at = now(), failure = NULL, next_look_at = NULL
         WHERE id = $1 AND status <> 'settled'",
    )
    .bind(id)
    .bind(transaction.map(|hash| hash.to_vec()))
    .execute(pool)
    .await?;
    Ok(())
}

/// The facilitator refused. Until the payment has expired and the mirror had time to say otherwise, it is looked at again.
pub(crate) async fn failed(pool: &PgPool, entry: &Entry, reason: Option<&str>) -> Result<(), sqlx::Error> {
    let last_look = entry.valid_before.saturating_add(LAST_LOOK_SECONDS.unsigned_abs());
    let certain = u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).is_ok_and(|now| now > last_look);
    sqlx::query(
        "UPDATE purchases SET status = 'failed', failure = coalesce($2, failure),
             next_look_at = CASE WHEN $3 THEN NULL ELSE now() + make_interval(secs => $4) END
         WHERE id = $1 AND status <> 'settled'",
    )
    .bind(entry.id)
    .bind(reason)
    .bind(certain)
    .bind(NEXT_LOOK_SECONDS)
    .execute(pool)
    .await?;
    Ok(())
}

/// Takes purchases whose outcome is to be looked for; no other instance takes them meanwhile.
pub(crate) async fn due(pool: &PgPool) -> Result<Vec<Entry>, sqlx::Error> {
    let rows = sqlx::query(
        "UPDATE purchases SET next_look_at = now() + make_interval(secs => $2) WHERE id IN (
             SELECT id FROM purchases WHERE next_look_at <= now() ORDER BY next_look_at LIMIT $1 FOR UPDATE SKIP LOCKED)
         RETURNING *",
    )
    .bind(DUE_MAX)
    .bind(FIRST_LOOK_SECONDS)
    .fetch_all(pool)
    .await?;
    rows.iter().map(entry).collect()
}

fn entry(row: &PgRow) -> Result<Entry, sqlx::Error> {
    let Json(request) = row.try_get("request")?;
    Ok(Entry {
        id: row.try_get("id")?,
        payment_key: db::hash(row, "payment_key")?,
        payment_hash: db::hash(row, "payment_hash")?,
        request,
        payment_nonce: db::hash(row, "payment_nonce")?,
        token: db::address(row, "token")?,
        valid_before: row.try_get::<i64, _>("valid_before")?.unsigned_abs(),
        listing_id: row.try_get("listing_id")?,
        seller_id: row.try_get("seller_id")?,
        pay_to: db::address(row, "pay_to")?,
        payer: db::address(row, "payer")?,
        amount: row.try_get("amount")?,
        content_hash: db::hash(row, "content_hash")?,
        content_size: row.try_get::<i64, _>("content_size")?.unsigned_abs(),
        content_type: row.try_get("content_type")?,
        transaction_hash: db::maybe_hash(row, "transaction_hash")?,
        settled_at: row.try_get("settled_at")?,
        is_refused: row.try_get::<&str, _>("status")? == "failed",
    })
}
