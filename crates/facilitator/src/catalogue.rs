//! `/discovery`: what can be bought by x402, as far as it was paid for here.
//!
//! A resource is entered when a payment for it settles and its seller wants it known (extension `bazaar`): once for each payment that moved
//! something by a transaction of ours, so that each entry costs somebody money. What is shown is what came with that
//! payment: it proves that somebody paid the payee, and nothing about who owns the URL. The seller is told in `EXTENSION-RESPONSES`.

use std::sync::Arc;

use alloy::primitives::{Address, B256};
use axum::{
    Json,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sqlx::{PgPool, Row, postgres::PgRow};
use url::Url;
use x402::{PaymentRequest, PaymentRequirements, ResourceInfo, Scheme, SettleResponse, batch::BatchPayload};

use crate::{declared, routes::App};

/// Key of the extension.
pub(crate) const BAZAAR: &str = "bazaar";
/// Most a resource is shown with, in bytes of JSON.
const ITEM_BYTES_MAX: usize = 16 * 1024;
/// Resources that are kept; the least recently sold goes first.
const RESOURCES_MAX: i64 = 100_000;
/// Offers of one resource.
const OFFERS_MAX: i32 = 8;
const LIMIT_DEFAULT: i64 = 20;
const LIMIT_MAX: i64 = 100;

/// What is asked of the catalogue.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Wanted {
    query: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    pay_to: Option<String>,
    scheme: Option<String>,
    network: Option<String>,
    extensions: Option<String>,
    limit: Option<i64>,
    offset: Option<i64>,
    cursor: Option<String>,
}

/// One resource as it is entered.
#[derive(Debug, PartialEq)]
pub(crate) struct Entry {
    resource: String,
    pay_to: String,
    kind: String,
    accepts: Value,
    item: Value,
    words: String,
}

/// The payment for which something is entered.
#[derive(Debug)]
pub(crate) struct Sale {
    chain_id: u64,
    token: Address,
    payer: Address,
    nonce: B256,
    transaction: B256,
}

impl Sale {
    /// `None` when nothing was bought, or nothing moved.
    pub(crate) fn of(request: &PaymentRequest, settled: &SettleResponse) -> Option<Self> {
        let asked = &request.payment_requirements;
        let nonce = match Scheme::of(asked)? {
            Scheme::BatchSettlement => match BatchPayload::from_json(&request.payment_payload.payload).ok()? {
                BatchPayload::Deposit(paid) => paid.deposit.authorization.nonce(paid.voucher.channel_id),
                _ => return None,
            },
            _ => request.payment_payload.key().ok()?.nonce,
        };
        let payer = settled.payer.as_ref()?.parse().ok()?;
        let transaction = settled.transaction_hash()?;
        Some(Self { chain_id: asked.network.chain_id()?, token: asked.asset_address()?, payer, nonce, transaction })
    }
}

/// Enters what was just paid for, if nothing was for this payment.
///
/// # Errors
/// When the database fails.
pub(crate) async fn enter(database: &PgPool, sale: &Sale, entry: Entry) -> sqlx::Result<()> {
    let mut entering = pg::begin(database).await?;
    let query = "UPDATE settlements SET is_listed = TRUE
        WHERE chain_id = $1 AND method IN ('eip3009', 'permit2') AND token = $2 AND payer = $3 AND nonce = $4 AND settled_by = $5
            AND amount > 0 AND NOT is_listed AND EXISTS (SELECT FROM attempts WHERE tx_hash = $5)";
    let query = sqlx::query(query).bind(sale.chain_id.cast_signed()).bind(sale.token.as_slice()).bind(sale.payer.as_slice());
    let query = query.bind(sale.nonce.as_slice()).bind(sale.transaction.as_slice());
    if query.execute(&mut *entering).await?.rows_affected() == 0 {
        return Ok(());
    }
    let query = "INSERT INTO resources AS old (resource, pay_to, kind, accepts, item, words)
        VALUES ($1, $2, $3, $4, $5, to_tsvector('english', $6))
        ON CONFLICT (resource, pay_to) DO UPDATE SET kind = EXCLUDED.kind, item = EXCLUDED.item, words = EXCLUDED.words, updated_at = now(),
            accepts = CASE WHEN (SELECT count(*) FROM jsonb_object_keys(old.accepts || EXCLUDED.accepts)) > $7
                THEN EXCLUDED.accepts ELSE old.accepts || EXCLUDED.accepts END";
    let Entry { resource, pay_to, kind, accepts, item, words } = entry;
    let query = sqlx::query(query).bind(resource).bind(pay_to).bind(kind).bind(accepts).bind(item).bind(words);
    query.bind(OFFERS_MAX).execute(&mut *entering).await?;
    let query = "DELETE FROM resources WHERE (resource, pay_to) IN
        (SELECT resource, pay_to FROM resources ORDER BY updated_at DESC OFFSET $1)
        AND (SELECT reltuples FROM pg_class WHERE oid = 'resources'::regclass) >= $1";
    sqlx::query(query).bind(RESOURCES_MAX).execute(&mut *entering).await?;
    entering.commit().await
}

/// What a payment says of its resource; `None` without the extension.
///
/// # Errors
/// Why it is not entered: what it says is not as the extension demands, or not as its own schema has it.
pub(crate) fn read(request: &PaymentRequest) -> Option<Result<Entry, String>> {
    let payload = &request.payment_payload;
    let extension = payload.extensions.as_ref()?.get(BAZAAR)?;
    Some(entry(extension, payload.resource.as_ref(), &request.payment_requirements))
}

fn entry(extension: &Value, resource: Option<&ResourceInfo>, asked: &PaymentRequirements) -> Result<Entry, String> {
    let input = extension.pointer("/info/input").and_then(Value::as_object).ok_or("info.input is missing")?;
    let resource = resource.ok_or("the payment names no resource")?;
    let url = Url::parse(&resource.url).map_err(|error| format!("resource.url is none: {error}"))?;
    let text = |key: &str| input.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (kind, name) = match text("type") {
        Some("http") if matches!(url.scheme(), "http" | "https") && url.host().is_some() => ("http", text("method")),
        Some("http") => return Err("resource.url is not on the web".into()),
        Some("mcp") => ("mcp", text("toolName")),
        _ => return Err("info.input.type must be http or mcp".into()),
    };
    let name = name.ok_or("info.input names no method, or no tool")?;
    // One resource, whatever is asked of it: without query, with the seller's template for its path.
    let template = extension.get("routeTemplate").and_then(Value::as_str).filter(|template| is_path(template));
    let mut canonical = url.clone();
    canonical.set_query(None);
    canonical.set_fragment(None);
    let _ = canonical.set_username("").and_then(|()| canonical.set_password(None));
    let canonical = match template {
        Some(template) => format!("{}{template}", canonical.origin().ascii_serialization()),
        None => canonical.to_string(),
    };
    let ResourceInfo { description, mime_type, service_name, tags, icon_url, .. } = resource.clone();
    let words =
        [Some(canonical.replace(['/', '.', '-', '_'], " ")), description.clone(), service_name.clone(), Some(name.to_owned())];
    let words: Vec<String> = words.into_iter().flatten().chain(tags.clone().unwrap_or_default()).collect();
    let item = json!({ "description": description, "mimeType": mime_type, "serviceName": service_name, "tags": tags, "iconUrl": icon_url,
        "extensions": { BAZAAR: extension } });
    let item: Map<String, Value> = item
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_null())
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let item = Value::Object(item);
    let accepts = json!({ format!("{}/{}/{}", asked.scheme, asked.network, asked.asset.to_lowercase()): asked });
    let stored = format!("{item}{accepts}{canonical}");
    if stored.len() > ITEM_BYTES_MAX {
        return Err(format!("it is longer than {ITEM_BYTES_MAX} bytes"));
    }
    if stored.contains("\\u0000") {
        return Err("a text has a zero byte, which cannot be kept".into());
    }
    declared::check(extension.get("schema").unwrap_or(&Value::Bool(true)), &extension["info"])?;
    let words = words.join(" ").replace('\0', " ");
    Ok(Entry { resource: canonical, pay_to: asked.pay_to.to_lowercase(), kind: kind.into(), accepts, item, words })
}

/// A path of a template: nothing that leads elsewhere.
fn is_path(template: &str) -> bool {
    template.starts_with('/')
        && !template.starts_with("//")
        && !template.contains("..")
        && !template.contains("://")
        && !template.contains('%')
}

/// `GET /discovery/resources`
pub(crate) async fn resources(State(app): State<Arc<App>>, Query(wanted): Query<Wanted>) -> Response {
    let (limit, offset) = (wanted.limit(), wanted.offset.unwrap_or(0).max(0));
    match find(app.catalogue.as_ref(), &wanted, limit, offset).await {
        Ok((items, total)) => {
            let pagination = json!({ "limit": limit, "offset": offset, "total": total });
            Json(json!({ "x402Version": 2, "items": items, "pagination": pagination })).into_response()
        }
        Err(error) => unavailable(&error),
    }
}

/// `GET /discovery/search`
pub(crate) async fn search(State(app): State<Arc<App>>, Query(wanted): Query<Wanted>) -> Response {
    if wanted.query.as_ref().is_none_or(|query| query.trim().is_empty()) {
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": "say what to search for: ?query=" }))).into_response();
    }
    let offset = wanted.cursor.as_ref().and_then(|cursor| cursor.parse().ok()).unwrap_or(0_i64).max(0);
    let limit = wanted.limit();
    match find(app.catalogue.as_ref(), &wanted, limit, offset).await {
        Ok((resources, total)) => {
            let next = offset.saturating_add(limit);
            let cursor = (next < total).then(|| next.to_string());
            let pagination = json!({ "limit": limit, "cursor": cursor });
            let body =
                json!({ "x402Version": 2, "resources": resources, "partialResults": cursor.is_some(), "pagination": pagination });
            Json(body).into_response()
        }
        Err(error) => unavailable(&error),
    }
}

impl Wanted {
    fn limit(&self) -> i64 {
        self.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX)
    }
}

/// One page, the most recently sold first, and how many there are.
async fn find(database: Option<&PgPool>, wanted: &Wanted, limit: i64, offset: i64) -> sqlx::Result<(Vec<Value>, i64)> {
    let Some(database) = database else { return Ok((Vec::new(), 0)) };
    let query = "SELECT resource, kind, accepts, item, to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS updated,
            count(*) OVER () AS total
        FROM resources
        WHERE ($1::TEXT IS NULL OR kind = $1) AND ($2::TEXT IS NULL OR pay_to = lower($2))
            AND EXISTS (SELECT 1 FROM jsonb_each(accepts) AS offer WHERE ($3::TEXT IS NULL OR offer.value->>'scheme' = $3)
                AND ($4::TEXT IS NULL OR offer.value->>'network' = $4))
            AND ($5::TEXT IS NULL OR jsonb_exists(item->'extensions', $5))
            AND ($6::TEXT IS NULL OR words @@ websearch_to_tsquery('english', $6))
        ORDER BY updated_at DESC, resource LIMIT $7 OFFSET $8";
    // Postgres knows no zero in a text, and nothing has one.
    let text = |text: &Option<String>| text.as_ref().map(|text| text.replace('\0', " "));
    let rows = sqlx::query(query)
        .bind(text(&wanted.kind))
        .bind(text(&wanted.pay_to))
        .bind(text(&wanted.scheme))
        .bind(text(&wanted.network))
        .bind(text(&wanted.extensions))
        .bind(text(&wanted.query))
        .bind(limit)
        .bind(offset)
        .fetch_all(database)
        .await?;
    let total = rows.first().map_or(Ok(0), |row| row.try_get("total"))?;
    Ok((rows.iter().map(shown).collect::<sqlx::Result<_>>()?, total))
}

fn shown(row: &PgRow) -> sqlx::Result<Value> {
    let (accepts, mut item): (Value, Value) = (row.try_get("accepts")?, row.try_get("item")?);
    item["resource"] = row.try_get::<String, _>("resource")?.into();
    item["type"] = row.try_get::<String, _>("kind")?.into();
    item["x402Version"] = 2.into();
    item["accepts"] = accepts.as_object().map(|offers| offers.values().cloned().collect()).unwrap_or_default();
    item["lastUpdated"] = row.try_get::<String, _>("updated")?.into();
    Ok(item)
}

fn unavailable(error: &sqlx::Error) -> Response {
    tracing::error!(%error, "the catalogue cannot be read");
    let body = json!({ "error": "temporarily unavailable: ask again" });
    (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")], Json(body)).into_response()
}
