pub(crate) mod content;
mod once;

use alloy::primitives::B256;
use api::{
    BulkList, BulkListed, BulkResult, Code, CreateListing, EventType, Listing, ListingFilter, ListingStatus, Page, UpdateListing,
    ledger::Asset,
};
use axum::{Json, extract::State, http::StatusCode};
use money::{Bps, Usdc};
use serde_json::{Map, Value, json};
use sqlx::{PgConnection, Row, postgres::PgRow, types};
use time::OffsetDateTime;
use uuid::Uuid;

use content::{inline, may_store, media_type, store};

use crate::{
    auth::Caller,
    db,
    feed::{self, Audience, Event},
    input::{self, Id, Params},
    ledger::Key,
    problem::Problem,
    service::Market,
    wallet::{self, Idempotency},
};

const TITLE_LEN_MAX_CHARS: usize = 255;
const DESCRIPTION_LEN_MAX_CHARS: usize = 10_000;
const TAGS_MAX: usize = 20;
/// Listings published by one request.
const BULK_MAX: usize = 100;
const TAG_LEN_MAX_CHARS: usize = 64;
const METADATA_LEN_MAX_BYTES: usize = 4_096;
/// Listings with the wallet of their seller, to be completed by a condition.
pub(crate) const SELECT: &str =
    "SELECT l.*, a.wallet AS seller_wallet, a.creator_id FROM listings AS l JOIN agents AS a ON a.id = l.seller_id";

/// `POST /api/v1/listings`
pub(crate) async fn create(
    State(market): State<Market>,
    caller: Caller,
    key: Option<Idempotency>,
    input::Json(request): input::Json<CreateListing>,
) -> Result<(StatusCode, Json<Listing>), Problem> {
    let seller = caller.agent()?;
    let key = key.map(|key| key.of(seller, "/listings", &request));
    Ok((StatusCode::CREATED, Json(publish(&market, seller, request, key).await?)))
}

/// `POST /api/v1/seller/bulk-list`: one after the other, so that who has room for some of them has these published. Repeated with its key, it publishes
/// those that it did not publish before.
pub(crate) async fn bulk(
    State(market): State<Market>,
    caller: Caller,
    key: Option<Idempotency>,
    input::Json(request): input::Json<BulkList>,
) -> Result<Json<BulkListed>, Problem> {
    let seller = caller.agent()?;
    if !(1..=BULK_MAX).contains(&request.listings.len()) {
        return Err(Problem::invalid(format!("listings must be 1 to {BULK_MAX}")));
    }
    let key = key.map(|key| key.of(seller, "/seller/bulk-list", &request));
    if let Some(key) = key {
        once::same_request(&mut *market.pool.acquire().await?, key, BULK_MAX).await?;
    }
    let mut data = Vec::with_capacity(request.listings.len());
    for (at, listing) in request.listings.into_iter().enumerate() {
        // Each counts as a request of its own; the first has been counted.
        let counted = if at == 0 { Ok(()) } else { market.limits.take_known(&market.pool, caller.who.into()).await };
        let published = match counted {
            Ok(()) => publish(&market, seller, listing, key.map(|key| wallet::part(key, at))).await,
            Err(problem) => Err(problem),
        };
        data.push(match published {
            Ok(listing) => BulkResult::Listing(listing.into()),
            Err(Problem(problem)) => BulkResult::Problem(problem),
        });
    }
    let published = data.iter().filter(|result| matches!(result, BulkResult::Listing(_))).count();
    Ok(Json(BulkListed { data, published: u32::try_from(published).unwrap_or(u32::MAX) }))
}

async fn publish(market: &Market, seller: Uuid, request: CreateListing, key: Option<Key>) -> Result<Listing, Problem> {
    if key.is_some()
        && let Some(listing) = once::published(&mut *market.pool.acquire().await?, key).await?
    {
        return Ok(listing);
    }
    check(Some(&request.title), Some(&request.description), Some(&request.tags), Some(request.price))?;
    fits(&request.metadata)?;
    media_type(&request.content_type)?;
    in_future(request.expires_at)?;
    let content = request.content_base64.as_deref().map(inline).transpose()?;
    let len = content.as_ref().map_or(0, |content| content.len() as u64);
    may_store(market, &mut *market.pool.acquire().await?, seller, len).await?;
    let content = match content {
        Some(content) => Some(store(market, content).await?),
        None => None,
    };
    let id = Uuid::now_v7();
    let mut tx = pg::begin(&market.pool).await?;
    // From here on nothing else of this seller is published.
    may_store(market, &mut tx, seller, len).await?;
    if let Some(listing) = once::published(&mut tx, key).await? {
        return Ok(listing);
    }
    has_room(market, &mut tx, seller).await?;
    sqlx::query(
        "INSERT INTO listings (id, seller_id, title, description, category, tags, price, content_type, content_hash, content_size, status, expires_at,
             metadata, key, fingerprint)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    )
    .bind(id)
    .bind(seller)
    .bind(&request.title)
    .bind(&request.description)
    .bind(db::name_of(request.category))
    .bind(&request.tags)
    .bind(request.price)
    .bind(&request.content_type)
    .bind(content.map(|(hash, _)| hash.to_vec()))
    .bind(content.map(|(_, len)| len as i64))
    .bind(db::name_of(if content.is_some() { ListingStatus::Active } else { ListingStatus::Draft }))
    .bind(request.expires_at)
    .bind(types::Json(&request.metadata))
    .bind(key.map(|key| key.key.to_vec()))
    .bind(key.map(|key| key.fingerprint.to_vec()))
    .execute(&mut *tx)
    .await?;
    let listing = find(&mut tx, id).await?;
    if listing.status == ListingStatus::Active {
        tell(&mut tx, &listing).await?;
    }
    tx.commit().await?;
    Ok(listing)
}

/// Refuses one more listing of who has as many as a seller may have. Drafts become active and what has expired can be renewed, so they count.
async fn has_room(market: &Market, conn: &mut PgConnection, seller: Uuid) -> Result<(), Problem> {
    let max = market.listings_max;
    let there = "SELECT count(*) FROM (SELECT FROM listings WHERE seller_id = $1 AND status <> 'delisted' LIMIT $2) AS kept";
    let there: i64 = sqlx::query_scalar(there).bind(seller).bind(i64::from(max)).fetch_one(conn).await?;
    if there < i64::from(max) {
        return Ok(());
    }
    let detail = format!(
        "A seller may have {max} listings, drafts and expired ones too, and has as many: take some from the market with DELETE /api/v1/listings/{{id}}"
    );
    Err(Problem::new(Code::OverLimit, detail))
}

/// Tells everybody of a listing that came for sale.
async fn tell(conn: &mut PgConnection, listing: &Listing) -> sqlx::Result<()> {
    let data = json!({
        "listing_id": listing.id,
        "seller_id": listing.seller_id,
        "title": listing.title,
        "category": listing.category,
        "tags": listing.tags,
        "price": listing.price,
    });
    let event = Event::public(EventType::ListingCreated, Audience::Market, data);
    feed::emit(conn, event.of(listing.category).by(listing.seller_id)).await
}

/// `PUT /api/v1/listings/{id}`
pub(crate) async fn update(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    input::Json(change): input::Json<UpdateListing>,
) -> Result<Json<Listing>, Problem> {
    own(&market, id, &caller).await?;
    check(change.title.as_deref(), change.description.as_deref(), change.tags.as_deref(), change.price)?;
    change.metadata.as_ref().map_or(Ok(()), fits)?;
    in_future(change.expires_at)?;
    let done = sqlx::query(
        "UPDATE listings SET title = coalesce($2, title), description = coalesce($3, description), tags = coalesce($4, tags),
             price = coalesce($5, price), expires_at = coalesce($6, expires_at), metadata = coalesce($7, metadata), updated_at = now()
         WHERE id = $1 AND status <> 'delisted'",
    )
    .bind(id)
    .bind(&change.title)
    .bind(&change.description)
    .bind(&change.tags)
    .bind(change.price)
    .bind(change.expires_at)
    .bind(change.metadata.as_ref().map(types::Json))
    .execute(&market.pool)
    .await?;
    changed(&market, id, done.rows_affected()).await
}

/// `DELETE /api/v1/listings/{id}`
pub(crate) async fn delist(State(market): State<Market>, Id(id): Id, caller: Caller) -> Result<Json<Listing>, Problem> {
    own(&market, id, &caller).await?;
    let query = sqlx::query("UPDATE listings SET status = 'delisted', updated_at = now() WHERE id = $1 AND status <> 'delisted'");
    query.bind(id).execute(&market.pool).await?;
    Ok(Json(find(&mut *market.pool.acquire().await?, id).await?))
}

/// `GET /api/v1/listings/{id}`
pub(crate) async fn show(State(market): State<Market>, Id(id): Id) -> Result<Json<Listing>, Problem> {
    Ok(Json(find(&mut *market.pool.acquire().await?, id).await?))
}

/// `GET /api/v1/listings`
pub(crate) async fn list(State(market): State<Market>, Params(f): Params<ListingFilter>) -> Result<Json<Page<Listing>>, Problem> {
    let (skip, limit) = input::place(f.cursor.as_deref(), f.limit, f.page, f.page_size)?;
    let asked = f.status.unwrap_or(ListingStatus::Active);
    // What has expired is active in the table.
    let stored = if asked == ListingStatus::Expired { ListingStatus::Active } else { asked };
    let condition = "WHERE l.status = $1 AND ($2::text IS NULL OR l.category = $2) AND l.id < $3
             AND (l.status <> 'active' OR coalesce(l.expires_at <= now(), FALSE) = $5) ORDER BY l.id DESC LIMIT $4 OFFSET $6";
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!("{SELECT} {condition}")))
        .bind(db::name_of(stored))
        .bind(f.category.map(db::name_of))
        .bind(input::before(f.cursor.as_deref())?)
        .bind(limit as i64 + 1)
        .bind(asked == ListingStatus::Expired)
        .bind(skip)
        .fetch_all(&market.pool)
        .await?;
    let listings = rows.iter().map(listing).collect::<Result<_, _>>()?;
    Ok(Json(input::page(listings, limit, |listing| listing.id.to_string())))
}

pub(crate) async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Listing, Problem> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!("{SELECT} WHERE l.id = $1"))).bind(id).fetch_optional(conn).await?;
    Ok(listing(&row.ok_or_else(|| Problem::not_found("listing"))?)?)
}

/// A listing that can be bought, with its content's hash and length.
pub(crate) async fn for_sale(conn: &mut PgConnection, id: Uuid) -> Result<(Listing, B256, u64), Problem> {
    let listing = find(conn, id).await?;
    match (listing.status, listing.content_hash, listing.content_size) {
        (ListingStatus::Active, Some(hash), Some(len)) => Ok((listing, hash, len)),
        _ => Err(Problem::new(Code::WrongState, "The listing is not for sale")),
    }
}

async fn own(market: &Market, id: Uuid, caller: &Caller) -> Result<Listing, Problem> {
    let listing = find(&mut *market.pool.acquire().await?, id).await?;
    caller.must_be(listing.seller_id, "the seller of the listing")?;
    Ok(listing)
}

fn delisted() -> Problem {
    Problem::new(Code::WrongState, "The listing was delisted; publish a new one")
}

async fn changed(market: &Market, id: Uuid, rows: u64) -> Result<Json<Listing>, Problem> {
    if rows == 0 {
        return Err(delisted());
    }
    Ok(Json(find(&mut *market.pool.acquire().await?, id).await?))
}

fn check(title: Option<&str>, description: Option<&str>, tags: Option<&[String]>, price: Option<Usdc>) -> Result<(), Problem> {
    title.map_or(Ok(()), |text| input::text("title", text, 1..=TITLE_LEN_MAX_CHARS))?;
    description.map_or(Ok(()), |text| input::text("description", text, 0..=DESCRIPTION_LEN_MAX_CHARS))?;
    let tags = tags.unwrap_or_default();
    if tags.len() > TAGS_MAX {
        return Err(Problem::invalid(format!("a listing has at most {TAGS_MAX} tags")));
    }
    tags.iter().try_for_each(|tag| input::text("a tag", tag, 1..=TAG_LEN_MAX_CHARS))?;
    match price {
        Some(price) if price.is_zero() => Err(Problem::invalid("price must be above zero")),
        Some(price) if i64::try_from(price.base_units()).is_err() => Err(Problem::invalid("price is too large")),
        _ => Ok(()),
    }
}

fn fits(metadata: &Map<String, Value>) -> Result<(), Problem> {
    let text = serde_json::to_string(metadata).unwrap_or_default();
    if text.len() > METADATA_LEN_MAX_BYTES {
        let len = text.len();
        return Err(Problem::invalid(format!("metadata has {len} bytes, allowed are {METADATA_LEN_MAX_BYTES}")));
    }
    // An escaped backslash is no part of an escape.
    if text.replace(r"\\", "").contains(r"\u0000") {
        return Err(Problem::invalid("metadata contains a zero character"));
    }
    Ok(())
}

fn in_future(expires_at: Option<OffsetDateTime>) -> Result<(), Problem> {
    match expires_at {
        Some(at) if at <= OffsetDateTime::now_utc() => Err(Problem::invalid("expires_at must be in the future")),
        _ => Ok(()),
    }
}

pub(crate) fn listing(row: &PgRow) -> Result<Listing, sqlx::Error> {
    let (expires_at, price) = (row.try_get("expires_at")?, row.try_get("price")?);
    Ok(Listing {
        id: row.try_get("id")?,
        seller_id: row.try_get("seller_id")?,
        seller_wallet: db::address(row, "seller_wallet")?,
        title: row.try_get("title")?,
        description: row.try_get("description")?,
        category: db::named(row, "category")?,
        tags: row.try_get("tags")?,
        price,
        price_ard: Asset::Ard.price_of(price),
        metadata: row.try_get::<types::Json<_>, _>("metadata")?.0,
        content_type: row.try_get("content_type")?,
        content_hash: db::maybe_hash(row, "content_hash")?,
        content_size: row.try_get::<Option<i64>, _>("content_size")?.map(i64::unsigned_abs),
        status: match (db::named(row, "status")?, expires_at) {
            (ListingStatus::Active, Some(at)) if at <= OffsetDateTime::now_utc() => ListingStatus::Expired,
            (status, _) => status,
        },
        version: row.try_get::<i32, _>("version")?.unsigned_abs(),
        quality_bps: row.try_get::<Option<i16>, _>("quality")?.and_then(|bps| Bps::new(bps.cast_unsigned())),
        creator_id: row.try_get("creator_id")?,
        freshness_at: row.try_get("freshness_at")?,
        expires_at,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}
