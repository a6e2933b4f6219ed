//! What agents can deliver, also what they have no listing for yet.

mod subscriptions;

use api::{
    CatalogEntry, CatalogFilter, CatalogPopulated, Code, CreateCatalogEntry, EventType, Page, PageQuery, UpdateCatalogEntry,
};
use axum::{Json, extract::State, http::StatusCode};
use money::Usdc;
use serde_json::json;
use sqlx::{PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

pub(crate) use subscriptions::{news, subscribe, unsubscribe};

use crate::{
    agents,
    auth::Caller,
    db, discover,
    feed::{self, Audience, Event},
    input::{self, Id, Params},
    problem::Problem,
    service::Market,
};

/// Entries of one agent.
const ENTRIES_MAX: i64 = 1_000;
const TOPIC_LEN_MAX_BYTES: usize = 128;
const DESCRIPTION_LEN_MAX_CHARS: usize = 2_000;
/// Advisory lock of changes: "florin" and what it is for.
const LOCK: i64 = 0x666c_6f72_696e_0062;
/// What an entry is read from.
const COLUMNS: &str = "c.id, c.agent_id, c.topic, c.description, c.category, c.price_from, c.price_to, c.listing_id, c.change, c.created_at, c.updated_at";
/// Entries with words `$1`, topic `$2`, category `$3`, from at most the price `$4`.
const WANTED: &str = "($1::text IS NULL OR c.search @@ websearch_to_tsquery('english', $1))
    AND ($2::text IS NULL OR c.topic = $2 OR c.topic LIKE replace($2, '_', '\\_') || '.%')
    AND ($3::text IS NULL OR c.category = $3) AND ($4::bigint IS NULL OR c.price_from <= $4)";

/// `POST /api/v1/catalog`
pub(crate) async fn create(
    State(market): State<Market>,
    caller: Caller,
    input::Json(asked): input::Json<CreateCatalogEntry>,
) -> Result<(StatusCode, Json<CatalogEntry>), Problem> {
    let agent = caller.agent()?;
    check(Some(&asked.topic), Some(&asked.description), Some(asked.price_from), asked.price_to)?;
    let _turn = market.cataloguing.acquire().await.ok();
    let mut tx = pg::begin(&market.pool).await?;
    agents::must_sell(&mut tx, agent).await?;
    let entries: i64 =
        sqlx::query_scalar("SELECT count(*) FROM catalog WHERE agent_id = $1").bind(agent).fetch_one(&mut *tx).await?;
    if entries >= ENTRIES_MAX {
        return Err(Problem::new(Code::OverLimit, format!("An agent has at most {ENTRIES_MAX} entries: remove some first")));
    }
    lock(&mut tx).await?;
    let create = format!(
        "INSERT INTO catalog AS c (id, agent_id, topic, description, category, price_from, price_to, change)
         VALUES ($1, $2, $3, $4, $5, $6, $7, nextval('catalog_changes')) RETURNING {COLUMNS}"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(create))
        .bind(Uuid::now_v7())
        .bind(agent)
        .bind(&asked.topic)
        .bind(&asked.description)
        .bind(db::name_of(asked.category))
        .bind(asked.price_from)
        .bind(asked.price_to)
        .fetch_one(&mut *tx)
        .await?;
    let entry = entry(&row)?;
    tell(&mut tx, "added", &entry).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(entry)))
}

/// Tells everybody what became of an entry.
async fn tell(conn: &mut PgConnection, change: &str, entry: &CatalogEntry) -> sqlx::Result<()> {
    let data = json!({
        "change": change,
        "entry_id": entry.id,
        "agent_id": entry.agent_id,
        "topic": entry.topic,
        "category": entry.category,
        "price_from": entry.price_from,
    });
    let event = Event::public(EventType::CatalogUpdate, Audience::Market, data);
    feed::emit(conn, event.of(entry.category).by(entry.agent_id)).await
}

/// `GET /api/v1/catalog/search`
pub(crate) async fn search(
    State(market): State<Market>,
    Params(asked): Params<CatalogFilter>,
) -> Result<Json<Page<CatalogEntry>>, Problem> {
    let limit = input::limit(asked.limit)?;
    let words = discover::words(asked.q.as_deref())?;
    asked.topic.as_deref().map_or(Ok(()), topic)?;
    let text = format!("SELECT {COLUMNS} FROM catalog AS c WHERE {WANTED} AND c.id < $5 ORDER BY c.id DESC LIMIT $6");
    let rows = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(words)
        .bind(asked.topic)
        .bind(asked.category.map(db::name_of))
        .bind(asked.max_price.map(units))
        .bind(input::before(asked.cursor.as_deref())?)
        .bind(limit as i64 + 1)
        // Planned for what is looked for.
        .persistent(false)
        .fetch_all(&market.pool)
        .await?;
    page(&rows, limit)
}

/// `GET /api/v1/catalog/agent/{id}`
pub(crate) async fn of_agent(
    State(market): State<Market>,
    Id(agent): Id,
    Params(asked): Params<PageQuery>,
) -> Result<Json<Page<CatalogEntry>>, Problem> {
    let limit = input::limit(asked.limit)?;
    let text = format!("SELECT {COLUMNS} FROM catalog AS c WHERE c.agent_id = $1 AND c.id < $2 ORDER BY c.id DESC LIMIT $3");
    let rows = sqlx::query(sqlx::AssertSqlSafe(text)).bind(agent).bind(input::before(asked.cursor.as_deref())?);
    page(&rows.bind(limit as i64 + 1).fetch_all(&market.pool).await?, limit)
}

fn page(rows: &[PgRow], limit: usize) -> Result<Json<Page<CatalogEntry>>, Problem> {
    let entries = rows.iter().map(entry).collect::<sqlx::Result<_>>()?;
    Ok(Json(input::page(entries, limit, |entry: &CatalogEntry| entry.id.to_string())))
}

/// `GET /api/v1/catalog/{id}`
pub(crate) async fn show(State(market): State<Market>, Id(id): Id) -> Result<Json<CatalogEntry>, Problem> {
    Ok(Json(find(&mut *market.pool.acquire().await?, id).await?))
}

async fn find(conn: &mut PgConnection, id: Uuid) -> Result<CatalogEntry, Problem> {
    let text = format!("SELECT {COLUMNS} FROM catalog AS c WHERE c.id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(text)).bind(id).fetch_optional(conn).await?;
    Ok(entry(&row.ok_or_else(|| Problem::not_found("entry of the catalog"))?)?)
}

/// `PATCH /api/v1/catalog/{id}`
pub(crate) async fn update(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    input::Json(change): input::Json<UpdateCatalogEntry>,
) -> Result<Json<CatalogEntry>, Problem> {
    caller.must_be(find(&mut *market.pool.acquire().await?, id).await?.agent_id, "the agent of the entry")?;
    let _turn = market.cataloguing.acquire().await.ok();
    let mut tx = pg::begin(&market.pool).await?;
    lock(&mut tx).await?;
    let now = find(&mut tx, id).await?;
    let from = change.price_from.unwrap_or(now.price_from);
    check(change.topic.as_deref(), change.description.as_deref(), Some(from), change.price_to.or(now.price_to))?;
    let update = format!(
        "UPDATE catalog AS c SET topic = coalesce($2, topic), description = coalesce($3, description), category = coalesce($4, category),
             price_from = $5, price_to = coalesce($6, price_to), change = nextval('catalog_changes'), updated_at = now()
         WHERE c.id = $1 RETURNING {COLUMNS}"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(update))
        .bind(id)
        .bind(change.topic)
        .bind(change.description)
        .bind(change.category.map(db::name_of))
        .bind(from)
        .bind(change.price_to)
        .fetch_one(&mut *tx)
        .await?;
    let entry = entry(&row)?;
    tell(&mut tx, "changed", &entry).await?;
    tx.commit().await?;
    Ok(Json(entry))
}

/// `DELETE /api/v1/catalog/{id}`
pub(crate) async fn remove(State(market): State<Market>, Id(id): Id, caller: Caller) -> Result<Json<CatalogEntry>, Problem> {
    let mut tx = pg::begin(&market.pool).await?;
    let gone = find(&mut tx, id).await?;
    caller.must_be(gone.agent_id, "the agent of the entry")?;
    if sqlx::query("DELETE FROM catalog WHERE id = $1").bind(id).execute(&mut *tx).await?.rows_affected() > 0 {
        tell(&mut tx, "removed", &gone).await?;
    }
    tx.commit().await?;
    Ok(Json(gone))
}

/// `POST /api/v1/catalog/auto-populate`: entries follow the caller's listings. Those that were published by themselves stay as they are.
pub(crate) async fn populate(State(market): State<Market>, caller: Caller) -> Result<Json<CatalogPopulated>, Problem> {
    let agent = caller.agent()?;
    let _turn = market.cataloguing.acquire().await.ok();
    let mut tx = pg::begin(&market.pool).await?;
    agents::must_sell(&mut tx, agent).await?;
    lock(&mut tx).await?;
    let gone = "DELETE FROM catalog AS c USING listings AS l WHERE c.agent_id = $1 AND l.id = c.listing_id
         AND (l.status <> 'active' OR l.expires_at <= now())";
    let removed = sqlx::query(gone).bind(agent).execute(&mut *tx).await?.rows_affected();
    let changed = "UPDATE catalog AS c SET description = l.title, category = l.category, price_from = l.price, price_to = NULL,
             change = nextval('catalog_changes'), updated_at = now()
         FROM listings AS l WHERE c.agent_id = $1 AND l.id = c.listing_id AND (c.description, c.category, c.price_from) <> (l.title, l.category, l.price)";
    let updated = sqlx::query(changed).bind(agent).execute(&mut *tx).await?.rows_affected();
    // Ids are of version 7, as everywhere: pages go by them.
    let new = "SELECT l.id FROM listings AS l WHERE l.seller_id = $1 AND l.status = 'active' AND (l.expires_at IS NULL OR l.expires_at > now())
             AND NOT EXISTS (SELECT FROM catalog AS c WHERE c.agent_id = $1 AND c.listing_id = l.id)
         ORDER BY l.id DESC LIMIT greatest($2 - (SELECT count(*) FROM catalog WHERE agent_id = $1), 0)";
    let mut new: Vec<Uuid> = sqlx::query_scalar(new).bind(agent).bind(ENTRIES_MAX).fetch_all(&mut *tx).await?;
    new.reverse();
    let ids: Vec<Uuid> = new.iter().map(|_| Uuid::now_v7()).collect();
    let add = "INSERT INTO catalog (id, agent_id, topic, description, category, price_from, listing_id, change)
         SELECT new.id, $1, l.category, l.title, l.category, l.price, l.id, nextval('catalog_changes')
         FROM unnest($2::uuid[], $3::uuid[]) AS new (id, listing_id) JOIN listings AS l ON l.id = new.listing_id ORDER BY new.id";
    let added = sqlx::query(add).bind(agent).bind(ids).bind(new).execute(&mut *tx).await?.rows_affected();
    if added + updated + removed > 0 {
        let data = json!({"change": "populated", "agent_id": agent, "added": added, "updated": updated, "removed": removed});
        feed::emit(&mut tx, Event::public(EventType::CatalogUpdate, Audience::Market, data).by(agent)).await?;
    }
    tx.commit().await?;
    let count = |rows: u64| u32::try_from(rows).unwrap_or(u32::MAX);
    Ok(Json(CatalogPopulated { added: count(added), updated: count(updated), removed: count(removed) }))
}

/// Changes get their numbers in the order of their commits, so that whoever reads on from a number misses none.
async fn lock(conn: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(conn).await.map(drop)
}

fn check(topic: Option<&str>, description: Option<&str>, from: Option<Usdc>, to: Option<Usdc>) -> Result<(), Problem> {
    topic.map_or(Ok(()), self::topic)?;
    description.map_or(Ok(()), |text| input::text("description", text, 0..=DESCRIPTION_LEN_MAX_CHARS))?;
    if [from, to].into_iter().flatten().any(|price| price.is_zero() || i64::try_from(price.base_units()).is_err()) {
        return Err(Problem::invalid("a price must be above zero, and not too large"));
    }
    match (from, to) {
        (Some(from), Some(to)) if to < from => Err(Problem::invalid("price_to must be at least price_from")),
        _ => Ok(()),
    }
}

fn topic(text: &str) -> Result<(), Problem> {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
    };
    if text.len() <= TOPIC_LEN_MAX_BYTES && text.split('.').all(part) {
        return Ok(());
    }
    Err(Problem::invalid("topic must be 1 to 128 of a-z 0-9 _ - in parts with dots between them, as weather.europe"))
}

/// A bound as a column has it.
fn units(price: Usdc) -> i64 {
    i64::try_from(price.base_units()).unwrap_or(i64::MAX)
}

fn entry(row: &PgRow) -> sqlx::Result<CatalogEntry> {
    Ok(CatalogEntry {
        id: row.try_get("id")?,
        agent_id: row.try_get("agent_id")?,
        topic: row.try_get("topic")?,
        description: row.try_get("description")?,
        category: db::named(row, "category")?,
        price_from: row.try_get("price_from")?,
        price_to: row.try_get("price_to")?,
        listing_id: row.try_get("listing_id")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_parts_with_dots_between_them() {
        for (text, good) in
            [("weather.europe", true), ("a", true), ("", false), ("a..b", false), (".a", false), ("A", false), ("a%", false)]
        {
            assert_eq!(topic(text).is_ok(), good, "{text}");
        }
    }
}
