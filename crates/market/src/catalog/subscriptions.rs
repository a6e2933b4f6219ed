//! Who wants to know what comes into the catalog. It is told when it asks; what is new is what has a higher number than the caller knows.

use std::collections::HashMap;

use api::{CatalogEntry, CatalogNews, CatalogNewsQuery, CatalogSubscription, CatalogWanted, Code, SubscriptionNews};
use axum::{Json, extract::State, http::StatusCode};
use sqlx::{AssertSqlSafe, Row, postgres::PgRow};
use uuid::Uuid;

use super::{COLUMNS, WANTED, entry, topic, units};
use crate::{
    auth::Caller,
    db, discover,
    input::{self, Id, Params},
    problem::Problem,
    service::Market,
};

/// Subscriptions of one agent.
const SUBSCRIPTIONS_MAX: i64 = 50;
/// Changes that are looked at for one answer, and entries told for each subscription.
const LOOKED_AT_MAX: i64 = 200;
const TOLD_MAX: usize = 20;

/// `POST /api/v1/catalog/subscribe`
pub(crate) async fn subscribe(
    State(market): State<Market>,
    caller: Caller,
    input::Json(wanted): input::Json<CatalogWanted>,
) -> Result<(StatusCode, Json<CatalogSubscription>), Problem> {
    let agent = caller.agent()?;
    let words = discover::words(wanted.q.as_deref())?;
    wanted.topic.as_deref().map_or(Ok(()), topic)?;
    let mut tx = pg::begin(&market.pool).await?;
    // One subscription after the other, so that they are counted.
    sqlx::query("SELECT FROM agents WHERE id = $1 FOR NO KEY UPDATE").bind(agent).execute(&mut *tx).await?;
    let subscribe = "INSERT INTO catalog_subscriptions (id, agent_id, q, topic, category, price_max, since)
         SELECT $1, $2, $3, $4, $5, $6, coalesce((SELECT max(change) FROM catalog), 0)
         WHERE (SELECT count(*) FROM catalog_subscriptions WHERE agent_id = $2) < $7 RETURNING *";
    let row = sqlx::query(subscribe)
        .bind(Uuid::now_v7())
        .bind(agent)
        .bind(words)
        .bind(wanted.topic)
        .bind(wanted.category.map(db::name_of))
        .bind(wanted.max_price.map(units))
        .bind(SUBSCRIPTIONS_MAX)
        .fetch_optional(&mut *tx)
        .await?;
    tx.commit().await?;
    let full =
        || Problem::new(Code::OverLimit, format!("An agent has at most {SUBSCRIPTIONS_MAX} subscriptions: end some first"));
    Ok((StatusCode::CREATED, Json(subscription(&row.ok_or_else(full)?)?)))
}

/// `DELETE /api/v1/catalog/subscribe/{id}`
pub(crate) async fn unsubscribe(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
) -> Result<Json<CatalogSubscription>, Problem> {
    let end = sqlx::query("DELETE FROM catalog_subscriptions WHERE id = $1 AND agent_id = $2 RETURNING *").bind(id);
    let row = end.bind(caller.agent()?).fetch_optional(&market.pool).await?;
    Ok(Json(subscription(&row.ok_or_else(|| Problem::not_found("subscription of yours"))?)?))
}

/// `GET /api/v1/catalog/subscriptions`
pub(crate) async fn news(
    State(market): State<Market>,
    caller: Caller,
    Params(asked): Params<CatalogNewsQuery>,
) -> Result<Json<CatalogNews>, Problem> {
    let agent = caller.agent()?;
    let rows = sqlx::query("SELECT * FROM catalog_subscriptions WHERE agent_id = $1 ORDER BY id").bind(agent);
    let rows = rows.fetch_all(&market.pool).await?;
    let made = rows.iter().map(|row| row.try_get::<i64, _>("since")).collect::<sqlx::Result<Vec<_>>>()?;
    let after = asked.after.map(|after| i64::try_from(after).unwrap_or(i64::MAX));
    let after = after.or(made.into_iter().min()).unwrap_or_default();
    let end = "SELECT count(*) AS count, max(change) AS upto FROM (SELECT change FROM catalog WHERE change > $1 ORDER BY change LIMIT $2) AS next";
    let end = sqlx::query(end).bind(after).bind(LOOKED_AT_MAX).fetch_one(&market.pool).await?;
    let mut more = end.try_get::<i64, _>("count")? == LOOKED_AT_MAX;
    let mut upto = end.try_get::<Option<i64>, _>("upto")?.unwrap_or(after);
    let wanted = WANTED
        .replace("websearch_to_tsquery('english', $1)", "s.words")
        .replace("$1", "s.q")
        .replace("$2", "s.topic")
        .replace("$3", "s.category")
        .replace("$4", "s.price_max");
    let text = format!(
        "SELECT s.id AS subscription_id, c.* FROM catalog_subscriptions AS s CROSS JOIN LATERAL (
             SELECT {COLUMNS} FROM catalog AS c WHERE c.change > greatest($2, s.since) AND c.change <= $3 AND c.agent_id <> $1 AND {wanted}
             ORDER BY c.change LIMIT $4) AS c
         WHERE s.agent_id = $1 ORDER BY s.id, c.change"
    );
    let found = sqlx::query(AssertSqlSafe(text)).bind(agent).bind(after).bind(upto).bind(TOLD_MAX as i64 + 1);
    let mut told: HashMap<Uuid, Vec<(i64, CatalogEntry)>> = HashMap::new();
    for row in &found.fetch_all(&market.pool).await? {
        told.entry(row.try_get("subscription_id")?).or_default().push((row.try_get("change")?, entry(row)?));
    }
    // Where something is left for the next answer, this one ends for all.
    for entries in told.values().filter(|entries| entries.len() > TOLD_MAX) {
        (upto, more) = (upto.min(entries[TOLD_MAX - 1].0), true);
    }
    let mut data = Vec::with_capacity(rows.len());
    for row in &rows {
        let subscription = subscription(row)?;
        let entries = told.remove(&subscription.id).unwrap_or_default().into_iter();
        let entries = entries.filter(|(change, _)| *change <= upto).map(|(_, entry)| entry).collect();
        data.push(SubscriptionNews { subscription, entries });
    }
    Ok(Json(CatalogNews { data, cursor: upto.unsigned_abs(), more }))
}

fn subscription(row: &PgRow) -> sqlx::Result<CatalogSubscription> {
    Ok(CatalogSubscription {
        id: row.try_get("id")?,
        wanted: CatalogWanted {
            q: row.try_get("q")?,
            topic: row.try_get("topic")?,
            category: row.try_get::<Option<&str>, _>("category")?.map(|_| db::named(row, "category")).transpose()?,
            max_price: row.try_get("price_max")?,
        },
        created_at: row.try_get("created_at")?,
    })
}
