//! What was delivered, compared with what was agreed on.

use alloy::primitives::B256;
use api::{
    Code,
    proofs::{CheckDelivery, Delivery},
};
use axum::{Json, extract::State};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use sqlx::Row;

use crate::{auth::Caller, input, problem::Problem, purchases, service::Market, transactions};

const CONTENT_LEN_MAX_BYTES: usize = 4 * 1024 * 1024;

/// `POST /api/v1/verify`: for buyer and seller. What one showed last is kept, whatever the other showed.
pub(crate) async fn check(
    State(market): State<Market>,
    caller: Caller,
    input::Json(shown): input::Json<CheckDelivery>,
) -> Result<Json<Delivery>, Problem> {
    let content = STANDARD.decode(&shown.content_base64);
    let content = content.map_err(|_| Problem::invalid("content_base64 is not standard base64 with padding"))?;
    if content.len() > CONTENT_LEN_MAX_BYTES {
        let detail =
            format!("content_base64 holds at most {CONTENT_LEN_MAX_BYTES} bytes: compare the SHA-256 of what is longer yourself");
        return Err(Problem::new(Code::TooLarge, detail));
    }
    let (expected_hash, by_seller) = match purchases::agreed(&market, shown.purchase_id, &caller).await? {
        Some(agreed) => agreed,
        None => transactions::agreed(&market, shown.purchase_id, &caller).await?,
    };
    let actual_hash = B256::from_slice(&Sha256::digest(&content));
    let keep = "INSERT INTO deliveries (purchase_id, by_seller, expected, actual) VALUES ($1, $2, $3, $4)
         ON CONFLICT (purchase_id, by_seller) DO UPDATE SET actual = excluded.actual, verified_at = excluded.verified_at RETURNING verified_at";
    let keep =
        sqlx::query(keep).bind(shown.purchase_id).bind(by_seller).bind(expected_hash.as_slice()).bind(actual_hash.as_slice());
    let verified_at = keep.fetch_one(&market.pool).await?.try_get("verified_at")?;
    let verified = actual_hash == expected_hash;
    Ok(Json(Delivery { purchase_id: shown.purchase_id, expected_hash, actual_hash, verified, verified_at }))
}
