use api::{Code, Page, Purchase, PurchaseFilter};
use axum::{Json, extract::State, response::Response};
use sqlx::{Row, postgres::PgRow};

use crate::{
    auth::Caller,
    db, express,
    input::{self, Id, Params},
    problem::Problem,
    service::Market,
};

/// `GET /api/v1/purchases`: what the caller paid for or sold, nobody else's.
pub(crate) async fn list(
    State(market): State<Market>,
    caller: Caller,
    Params(f): Params<PurchaseFilter>,
) -> Result<Json<Page<Purchase>>, Problem> {
    let limit = input::limit(f.limit)?;
    let rows = sqlx::query(
        "SELECT * FROM purchases WHERE (payer = $1 OR seller_id = $2) AND ($3::bytea IS NULL OR payer = $3) AND id < $4
         ORDER BY id DESC LIMIT $5",
    )
    .bind(caller.wallet.as_slice())
    .bind(caller.agent)
    .bind(f.payer.map(|payer| payer.to_vec()))
    .bind(input::before(f.cursor.as_deref())?)
    .bind(limit as i64 + 1)
    .fetch_all(&market.pool)
    .await?;
    let purchases = rows.iter().map(purchase).collect::<Result<_, _>>()?;
    Ok(Json(input::page(purchases, limit, |purchase| purchase.id.to_string())))
}

/// `GET /api/v1/purchases/{id}/content`: what the caller bought, again and without charge.
pub(crate) async fn content(State(market): State<Market>, Id(id): Id, caller: Caller) -> Result<Response, Problem> {
    let found = sqlx::query("SELECT * FROM purchases WHERE id = $1 AND payer = $2").bind(id).bind(caller.wallet.as_slice());
    let row = found.fetch_optional(&market.pool).await?.ok_or_else(|| Problem::not_found("purchase of yours"))?;
    let bought = purchase(&row)?;
    if bought.status != api::PurchaseStatus::Settled {
        return Err(Problem::new(Code::WrongState, "The payment has not settled"));
    }
    let size = row.try_get::<i64, _>("content_size")?.unsigned_abs();
    let blob = market.contents.get(bought.content_hash, size).await?;
    Ok(express::content(bought.content_hash, row.try_get("content_type")?, blob))
}

fn purchase(row: &PgRow) -> Result<Purchase, sqlx::Error> {
    Ok(Purchase {
        id: row.try_get("id")?,
        listing_id: row.try_get("listing_id")?,
        seller_id: row.try_get("seller_id")?,
        payer: db::address(row, "payer")?,
        amount: row.try_get("amount")?,
        content_hash: db::hash(row, "content_hash")?,
        status: db::named(row, "status")?,
        transaction_hash: db::maybe_hash(row, "transaction_hash")?,
        created_at: row.try_get("created_at")?,
    })
}
