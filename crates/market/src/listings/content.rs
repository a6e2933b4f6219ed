//! The content of listings: its versions, how much of it there may be, and how good it is.

use alloy::primitives::B256;
use api::{Code, JudgeListing, Listing, ListingStatus, ListingVersion, Page, PageQuery};
use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, header},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use sqlx::{PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

use super::{delisted, find, own, tell};
use crate::{
    agents,
    auth::Caller,
    content::{CONTENT_LEN_MAX_BYTES, PutError},
    db,
    funds::must_be_anothers,
    input::{self, Id, Params},
    problem::Problem,
    service::Market,
};

const MEDIA_TYPE_LEN_MAX_CHARS: usize = 127;
/// Content within JSON; more is uploaded by itself.
const INLINE_LEN_MAX_BYTES: usize = 4 * 1024 * 1024;

/// `PUT /api/v1/listings/{id}/content`: the body is the content, its `Content-Type` the media type.
pub(crate) async fn upload(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Listing>, Problem> {
    if own(&market, id, &caller).await?.status == ListingStatus::Delisted {
        return Err(delisted());
    }
    let seller = caller.agent()?;
    // Nothing is stored that is refused afterwards: who does not say how much comes needs room for the most. And again with what came, because of
    // two at once one waits for the other.
    let told = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let told = told.unwrap_or(CONTENT_LEN_MAX_BYTES);
    may_store(&market, &mut *market.pool.acquire().await?, seller, told).await?;
    let content_type = headers.get(header::CONTENT_TYPE).map_or(Ok("application/octet-stream"), |value| value.to_str());
    let content_type = content_type.map_err(|_| Problem::invalid("Content-Type must be ASCII"))?;
    media_type(content_type)?;
    let (hash, len) = market.contents.put(body.into_data_stream()).await.map_err(refused)?;
    let mut tx = pg::begin(&market.pool).await?;
    may_store(&market, &mut tx, seller, len).await?;
    let done = sqlx::query_scalar(
        "UPDATE listings AS l SET content_hash = $2, content_size = $3, content_type = $4, status = 'active', updated_at = now()
         FROM (SELECT id, status FROM listings WHERE id = $1 AND status <> 'delisted' FOR UPDATE) AS was WHERE l.id = was.id
         RETURNING was.status <> 'active'",
    );
    let done = done.bind(id).bind(hash.as_slice()).bind(len as i64).bind(content_type).fetch_optional(&mut *tx).await?;
    let Some(is_new): Option<bool> = done else { return Err(delisted()) };
    let listing = find(&mut tx, id).await?;
    if is_new {
        tell(&mut tx, &listing).await?;
    }
    tx.commit().await?;
    Ok(Json(listing))
}

/// `GET /api/v1/listings/{id}/versions`: every content it ever had, newest first.
pub(crate) async fn versions(
    State(market): State<Market>,
    Id(id): Id,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<ListingVersion>>, Problem> {
    let limit = input::limit(page.limit)?;
    let before = match &page.cursor {
        Some(cursor) => cursor.parse().map_err(|_| Problem::invalid("cursor must be the next_cursor of another page"))?,
        None => i32::MAX,
    };
    let rows =
        sqlx::query("SELECT * FROM listing_versions WHERE listing_id = $1 AND version < $2 ORDER BY version DESC LIMIT $3")
            .bind(id)
            .bind(before)
            .bind(limit as i64 + 1)
            .fetch_all(&market.pool)
            .await?;
    let version = |row: &PgRow| {
        Ok(ListingVersion {
            version: row.try_get::<i32, _>("version")?.unsigned_abs(),
            content_hash: db::hash(row, "content_hash")?,
            content_size: row.try_get::<i64, _>("content_size")?.unsigned_abs(),
            content_type: row.try_get("content_type")?,
            created_at: row.try_get("created_at")?,
        })
    };
    let versions = rows.iter().map(version).collect::<sqlx::Result<_>>()?;
    Ok(Json(input::page(versions, limit, |version: &ListingVersion| version.version.to_string())))
}

/// `PUT /api/v1/admin/listings/{id}/quality`: what a moderator found, of the version that was looked at. A seller's own word would mint money.
pub(crate) async fn judge(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    input::Json(judged): input::Json<JudgeListing>,
) -> Result<Json<Listing>, Problem> {
    let seller = find(&mut *market.pool.acquire().await?, id).await?.seller_id;
    let by = caller.creator()?;
    must_be_anothers(&market, by, &[seller]).await?;
    let mut conn = market.pool.acquire().await?;
    let judge = sqlx::query(
        "WITH done AS (UPDATE listings SET quality = $3, updated_at = now() WHERE id = $1 AND version = $2 RETURNING id)
         INSERT INTO decisions (subject, what, decided_by, reason)
         SELECT id, 'listing_judged', $4, 'version ' || $2 || ': ' || $3 || ' bps' FROM done",
    );
    let judge = judge.bind(id).bind(judged.version.cast_signed()).bind(judged.quality_bps.get().cast_signed()).bind(by);
    let rows = judge.execute(&mut *conn).await?.rows_affected();
    let listing = find(&mut conn, id).await?;
    if rows == 0 {
        return Err(Problem::new(Code::WrongState, format!("The listing is at version {}: look at that one", listing.version)));
    }
    Ok(Json(listing))
}

/// Refuses who sells nothing, and content beyond what one seller may have here: every version stays, because somebody may have bought it. Asked
/// before content is stored, on a connection that is free again meanwhile, and again in the transaction that says whose it is.
pub(super) async fn may_store(market: &Market, conn: &mut PgConnection, seller: Uuid, more: u64) -> Result<(), Problem> {
    agents::must_sell(conn, seller).await?;
    let stored =
        "SELECT coalesce(sum(v.content_size), 0)::bigint FROM listings AS l JOIN listing_versions AS v ON v.listing_id = l.id
         WHERE l.seller_id = $1";
    let stored: i64 = sqlx::query_scalar(stored).bind(seller).fetch_one(conn).await?;
    let max = market.content_max_bytes;
    if stored.unsigned_abs().saturating_add(more) <= max {
        return Ok(());
    }
    Err(Problem::new(
        Code::OverLimit,
        format!("A seller may have {max} bytes of content here, all versions counted, and has {stored}"),
    ))
}

pub(super) fn media_type(text: &str) -> Result<(), Problem> {
    let ascii = !text.is_empty() && text.bytes().all(|b| (0x20..0x7f).contains(&b));
    let fits = ascii && text.len() <= MEDIA_TYPE_LEN_MAX_CHARS && text.contains('/');
    if fits { Ok(()) } else { Err(Problem::invalid("the content type must be a media type like application/json")) }
}

pub(super) fn inline(text: &str) -> Result<Bytes, Problem> {
    let bytes = STANDARD.decode(text).map_err(|_| Problem::invalid("content_base64 is not standard base64 with padding"))?;
    if bytes.len() > INLINE_LEN_MAX_BYTES {
        let detail = format!("content_base64 holds at most {INLINE_LEN_MAX_BYTES} bytes: leave it out and PUT the content");
        return Err(Problem::new(Code::TooLarge, detail));
    }
    Ok(bytes.into())
}

pub(super) async fn store(market: &Market, bytes: Bytes) -> Result<(B256, u64), Problem> {
    let body = futures::stream::iter([Ok::<_, std::convert::Infallible>(bytes)]);
    market.contents.put(body).await.map_err(refused)
}

fn refused(error: PutError) -> Problem {
    match error {
        PutError::TooLarge { .. } => Problem::new(Code::TooLarge, error.to_string()),
        PutError::Empty | PutError::BrokenOff => Problem::invalid(error.to_string()),
        PutError::Store(cause) => cause.into(),
    }
}
