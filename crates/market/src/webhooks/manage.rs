//! Webhooks as their owners manage them.

use api::{
    Category, Code, DeliveryFilter, DeliveryState, EventType, FeedEvent, Page, RegisterWebhook, ReplayWebhook, Replayed, Topic,
    Visibility, Webhook, WebhookDelivery, WebhookSecret,
};
use axum::{Json, extract::State, http::StatusCode};
use money::Bps;
use serde_json::{Map, json};
use sqlx::{PgConnection, Row, postgres::PgRow};
use time::{Duration, OffsetDateTime};
use url::Url;
use uuid::Uuid;
use webhook::Secret;

use super::{
    WAITING_MAX, deliver,
    fan_out::{self, Hook, Told},
};
use crate::{
    access::Trail,
    audit::Event,
    auth::Caller,
    db,
    feed::Wish,
    input::{self, Id, Params},
    problem::Problem,
    service::Market,
};

/// Webhooks of one agent.
const OF_ONE_MAX: i64 = 10;
const URL_LEN_MAX_BYTES: usize = 2_000;
const BEARER_LEN_MAX_BYTES: usize = 500;
/// How long messages are signed by the secret before, too.
const PREVIOUS_FOR: Duration = Duration::hours(24);
/// Events that one replay looks at, and those read in one go.
const REPLAYED_MAX: u64 = 10_000;
const PAGE: i64 = 1_000;
/// Tests of one webhook that wait.
const TESTS_MAX: i64 = 10;
/// Webhooks with what waits and what was given up, to be completed by a condition.
const SELECT: &str = "SELECT h.id, h.url, h.topics, h.event_types, h.categories, h.urgency_min, h.paused, h.paused_after, h.last_delivered_at, h.created_at,
         (SELECT count(*) FROM webhook_deliveries AS d WHERE d.webhook_id = h.id AND d.due_at IS NOT NULL) AS waiting,
         (SELECT count(*) FROM webhook_deliveries AS d WHERE d.webhook_id = h.id AND d.due_at IS NULL AND d.delivered_at IS NULL) AS dead
     FROM webhooks AS h";
const DELIVERY: &str = "SELECT id, event_id, event_type, seq, attempts, due_at, delivered_at, last_error FROM webhook_deliveries";

/// What a webhook was registered as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Seller,
    OpenClaw,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Seller => "seller",
            Self::OpenClaw => "openclaw",
        }
    }
}

/// `POST /api/v1/seller/webhook`
pub(crate) async fn register(
    State(market): State<Market>,
    caller: Caller,
    trail: Trail,
    input::Json(asked): input::Json<RegisterWebhook>,
) -> Result<(StatusCode, Json<WebhookSecret>), Problem> {
    register_as(&market, Kind::Seller, &caller, &trail, asked).await
}

pub(super) async fn register_as(
    market: &Market,
    kind: Kind,
    caller: &Caller,
    trail: &Trail,
    asked: RegisterWebhook,
) -> Result<(StatusCode, Json<WebhookSecret>), Problem> {
    let agent = caller.agent()?;
    check(market, &asked)?;
    let wish = Wish::new(asked.topics, asked.event_types, asked.categories, asked.min_urgency_bps)?;
    let (id, secret) = (Uuid::now_v7(), Secret::random().map_err(|error| Problem::internal(&error))?);
    let mut tx = pg::begin(&market.pool).await?;
    // One after the other, so that they are counted; and none of an agent that has just ended.
    let active = sqlx::query("SELECT FROM agents WHERE id = $1 AND active FOR NO KEY UPDATE").bind(agent);
    if active.fetch_optional(&mut *tx).await?.is_none() {
        return Err(Problem::not_found("active agent"));
    }
    let register =
        "INSERT INTO webhooks (id, agent_id, kind, url, topics, event_types, categories, urgency_min, bearer, secret, since)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, last_seq FROM feed
         WHERE (SELECT count(*) FROM webhooks WHERE agent_id = $2) < $11";
    let registered = sqlx::query(register)
        .bind(id)
        .bind(agent)
        .bind(kind.as_str())
        .bind(asked.url.as_str())
        .bind(wish.topics.iter().map(|topic| topic.as_str()).collect::<Vec<_>>())
        .bind(&wish.event_types)
        .bind(&wish.categories)
        .bind(wish.min_urgency)
        .bind(&asked.bearer_token)
        .bind(secret.as_bytes())
        .bind(OF_ONE_MAX)
        .execute(&mut *tx)
        .await?;
    if registered.rows_affected() == 0 {
        return Err(Problem::new(Code::OverLimit, format!("An agent has at most {OF_ONE_MAX} webhooks: remove one first")));
    }
    let webhook = find(&mut tx, kind, agent, id).await?;
    note(&mut tx, "webhook_registered", kind, caller, trail, id).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(WebhookSecret { webhook, secret: secret.show(), previous_until: None })))
}

/// Where an agent's news go is written down with what changed it. The address is not: it may name somebody.
async fn note(
    conn: &mut PgConnection,
    what: &'static str,
    kind: Kind,
    caller: &Caller,
    trail: &Trail,
    id: Uuid,
) -> sqlx::Result<()> {
    Event::new(what, caller.who.into()).about(id).with(json!({"kind": kind.as_str()})).note(conn, trail).await
}

fn check(market: &Market, asked: &RegisterWebhook) -> Result<(), Problem> {
    if asked.url.as_str().len() > URL_LEN_MAX_BYTES {
        return Err(Problem::invalid(format!("url has at most {URL_LEN_MAX_BYTES} bytes")));
    }
    market.webhooks.guard.check(&asked.url).map_err(|error| Problem::invalid(format!("url: {error}")))?;
    let visible =
        |token: &String| (1..=BEARER_LEN_MAX_BYTES).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !asked.bearer_token.as_ref().is_none_or(visible) {
        return Err(Problem::invalid(format!("bearer_token has 1 to {BEARER_LEN_MAX_BYTES} visible ASCII characters")));
    }
    Ok(())
}

/// `GET /api/v1/seller/webhooks`
pub(crate) async fn list(State(market): State<Market>, caller: Caller) -> Result<Json<Page<Webhook>>, Problem> {
    list_of(&market, Kind::Seller, caller.agent()?).await
}

pub(super) async fn list_of(market: &Market, kind: Kind, agent: Uuid) -> Result<Json<Page<Webhook>>, Problem> {
    let text = format!("{SELECT} WHERE h.agent_id = $1 AND h.kind = $2 ORDER BY h.id DESC");
    let rows = sqlx::query(sqlx::AssertSqlSafe(text)).bind(agent).bind(kind.as_str()).fetch_all(&market.pool).await?;
    Ok(Json(Page { data: rows.iter().map(webhook).collect::<sqlx::Result<_>>()?, next_cursor: None }))
}

async fn find(conn: &mut PgConnection, kind: Kind, agent: Uuid, id: Uuid) -> Result<Webhook, Problem> {
    let text = format!("{SELECT} WHERE h.id = $1 AND h.agent_id = $2 AND h.kind = $3");
    let row = sqlx::query(sqlx::AssertSqlSafe(text)).bind(id).bind(agent).bind(kind.as_str()).fetch_optional(conn).await?;
    Ok(webhook(&row.ok_or_else(|| Problem::not_found("webhook of yours"))?)?)
}

/// `DELETE /api/v1/seller/webhooks/{id}`
pub(crate) async fn remove(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    trail: Trail,
) -> Result<Json<Webhook>, Problem> {
    remove_of(&market, Kind::Seller, &caller, &trail, id).await
}

pub(super) async fn remove_of(
    market: &Market,
    kind: Kind,
    caller: &Caller,
    trail: &Trail,
    id: Uuid,
) -> Result<Json<Webhook>, Problem> {
    let mut tx = pg::begin(&market.pool).await?;
    let gone = find(&mut tx, kind, caller.agent()?, id).await?;
    let removed = sqlx::query("DELETE FROM webhooks WHERE id = $1").bind(id).execute(&mut *tx).await?;
    if removed.rows_affected() == 0 {
        return Err(Problem::not_found("webhook of yours"));
    }
    note(&mut tx, "webhook_removed", kind, caller, trail, id).await?;
    tx.commit().await?;
    Ok(Json(gone))
}

/// `POST /api/v1/seller/webhooks/{id}/test`
pub(crate) async fn test(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
) -> Result<(StatusCode, Json<WebhookDelivery>), Problem> {
    test_of(&market, Kind::Seller, caller.agent()?, id).await
}

/// Posts a message that says nothing, as any other is posted.
pub(super) async fn test_of(
    market: &Market,
    kind: Kind,
    agent: Uuid,
    id: Uuid,
) -> Result<(StatusCode, Json<WebhookDelivery>), Problem> {
    let mut conn = market.pool.acquire().await?;
    if find(&mut conn, kind, agent, id).await?.paused.is_some() {
        return Err(Problem::new(Code::WrongState, "The webhook is paused: replay it first"));
    }
    let event = FeedEvent {
        event_id: Uuid::now_v7(),
        seq: 0,
        event_type: EventType::WebhookTest,
        occurred_at: OffsetDateTime::now_utc(),
        visibility: Visibility::Private,
        topic: Topic::Agent,
        schema_version: FeedEvent::SCHEMA_VERSION,
        data: Map::from_iter([("agent_id".to_owned(), json!(agent))]),
    };
    let text = serde_json::to_string(&event).map_err(|error| Problem::internal(&error))?;
    let insert = "INSERT INTO webhook_deliveries (id, webhook_id, seq, event_id, event_type, body, due_at) SELECT $1, $2, 0, $3, $4, $5, now()
         WHERE (SELECT count(*) FROM webhook_deliveries WHERE webhook_id = $2 AND seq = 0 AND due_at IS NOT NULL) < $6";
    let delivery_id = Uuid::now_v7();
    let inserted = sqlx::query(insert)
        .bind(delivery_id)
        .bind(id)
        .bind(event.event_id)
        .bind(event.event_type.as_str())
        .bind(deliver::body(event.event_type.as_str(), event.occurred_at, &text))
        .bind(TESTS_MAX)
        .execute(&mut *conn)
        .await?;
    if inserted.rows_affected() == 0 {
        return Err(Problem::new(Code::OverLimit, format!("{TESTS_MAX} tests of it wait already: see what comes of them first")));
    }
    let text = format!("{DELIVERY} WHERE id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(text)).bind(delivery_id).fetch_one(&mut *conn).await?;
    market.webhooks.bell.notify_one();
    Ok((StatusCode::CREATED, Json(delivery(&row)?)))
}

/// `POST /api/v1/seller/webhooks/{id}/rotate`: for a day messages are signed by both secrets.
pub(crate) async fn rotate(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    trail: Trail,
) -> Result<Json<WebhookSecret>, Problem> {
    let (agent, secret) = (caller.agent()?, Secret::random().map_err(|error| Problem::internal(&error))?);
    let mut tx = pg::begin(&market.pool).await?;
    let webhook = find(&mut tx, Kind::Seller, agent, id).await?;
    let until = OffsetDateTime::now_utc() + PREVIOUS_FOR;
    let rotate = "UPDATE webhooks SET previous_secret = secret, previous_until = $3, secret = $2 WHERE id = $1";
    sqlx::query(rotate).bind(id).bind(secret.as_bytes()).bind(until).execute(&mut *tx).await?;
    note(&mut tx, "webhook_rotated", Kind::Seller, &caller, &trail, id).await?;
    tx.commit().await?;
    Ok(Json(WebhookSecret { webhook, secret: secret.show(), previous_until: Some(until) }))
}

/// `GET /api/v1/seller/webhooks/{id}/deliveries`
pub(crate) async fn deliveries(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    Params(asked): Params<DeliveryFilter>,
) -> Result<Json<Page<WebhookDelivery>>, Problem> {
    let limit = input::limit(asked.limit)?;
    let mut conn = market.pool.acquire().await?;
    find(&mut conn, Kind::Seller, caller.agent()?, id).await?;
    let state = match asked.state {
        None => "TRUE",
        Some(DeliveryState::Waiting) => "due_at IS NOT NULL",
        Some(DeliveryState::Delivered) => "delivered_at IS NOT NULL",
        Some(DeliveryState::Dead) => "due_at IS NULL AND delivered_at IS NULL",
    };
    let text = format!("{DELIVERY} WHERE webhook_id = $1 AND id < $2 AND {state} ORDER BY id DESC LIMIT $3");
    let rows = sqlx::query(sqlx::AssertSqlSafe(text)).bind(id).bind(input::before(asked.cursor.as_deref())?);
    let rows = rows.bind(limit as i64 + 1).fetch_all(&mut *conn).await?;
    let rows = rows.iter().map(delivery).collect::<sqlx::Result<_>>()?;
    Ok(Json(input::page(rows, limit, |row: &WebhookDelivery| row.id.to_string())))
}

/// `POST /api/v1/seller/webhooks/{id}/replay`
pub(crate) async fn replay(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    input::Json(asked): input::Json<ReplayWebhook>,
) -> Result<Json<Replayed>, Problem> {
    if asked.delivery_id.is_some() && (asked.from_seq.is_some() || asked.to_seq.is_some()) {
        return Err(Problem::invalid("name a delivery or a range, not both"));
    }
    // Whoever waits for their turn holds no connection.
    let _turn = market.webhooks.replaying.acquire().await.map_err(|error| Problem::internal(&error))?;
    find(&mut *market.pool.acquire().await?, Kind::Seller, caller.agent()?, id).await?;
    let on = "UPDATE webhooks SET paused = NULL, paused_after = NULL, dead_in_row = 0 WHERE id = $1
         RETURNING id, agent_id, topics, event_types, categories, urgency_min, since";
    let hook = Hook::read(&sqlx::query(on).bind(id).fetch_one(&market.pool).await?)?;
    // A pass under way may not have seen that it goes on: what comes after that pass will be delivered by itself.
    let done: i64 = sqlx::query_scalar("SELECT seq FROM webhook_cursor FOR SHARE").fetch_one(&market.pool).await?;
    let mut tx = pg::begin(&market.pool).await?;
    let room = "SELECT greatest(0, $2 - count(*)) FROM webhook_deliveries WHERE webhook_id = $1 AND due_at IS NOT NULL";
    let room: i64 = sqlx::query_scalar(room).bind(id).bind(WAITING_MAX).fetch_one(&mut *tx).await?;
    let replayed = match asked.from_seq {
        Some(from) => range(&mut tx, hook, from, asked.to_seq, done, room).await?,
        None => {
            let again = "UPDATE webhook_deliveries SET due_at = now(), attempts = 0, delivered_at = NULL WHERE id IN (
                     SELECT id FROM webhook_deliveries WHERE webhook_id = $1 AND due_at IS NULL
                         AND (id = $2 OR ($2 IS NULL AND delivered_at IS NULL)) ORDER BY id LIMIT $3)";
            let again = sqlx::query(again).bind(id).bind(asked.delivery_id);
            let again = again.bind(if asked.delivery_id.is_some() { 1 } else { room });
            Replayed { deliveries: again.execute(&mut *tx).await?.rows_affected(), next_seq: None }
        }
    };
    if asked.delivery_id.is_some() && replayed.deliveries == 0 {
        return Err(Problem::not_found("delivery of it that is over"));
    }
    tx.commit().await?;
    market.webhooks.bell.notify_one();
    Ok(Json(replayed))
}

/// Makes deliveries of a range of events, as if they had happened now, as long as there is room for them to wait.
async fn range(
    conn: &mut PgConnection,
    mut hook: Hook,
    from: u64,
    to: Option<u64>,
    done: i64,
    room: i64,
) -> Result<Replayed, Problem> {
    let removed: i64 = sqlx::query_scalar("SELECT removed_to FROM feed").fetch_one(&mut *conn).await?;
    let number = |seq: u64| i64::try_from(seq).unwrap_or(i64::MAX);
    if number(from) <= removed {
        let detail = format!("Events are kept for seven days, and those from {} on are there", removed + 1);
        return Err(Problem::new(Code::NotKept, detail));
    }
    // What is not done yet will be by itself.
    let (mut after, last) = (number(from) - 1, to.map_or(done, number).min(done));
    let (mut made, mut looked_at, mut room) = (0, 0, usize::try_from(room).unwrap_or_default());
    hook.since = 0;
    while after < last && looked_at < REPLAYED_MAX && room > 0 {
        let mut events = fan_out::events(conn, after, PAGE).await?;
        events.retain(|event| event.seq <= last);
        let Some(mut end) = events.last().map(|event| event.seq) else {
            after = last;
            break;
        };
        let mut wanted: Vec<_> = (0..events.len()).filter(|at| hook.wants(&events[*at])).map(|at| (hook.id, at)).collect();
        if let Some((_, first_left)) = wanted.get(room) {
            end = events[*first_left].seq - 1;
            wanted.truncate(room);
        }
        room -= wanted.len();
        made += again(conn, &events, &wanted).await? + fan_out::insert(conn, &events, &wanted).await?;
        (after, looked_at) = (end, looked_at + events.len() as u64);
    }
    let next_seq = (after < last).then(|| (after + 1).unsigned_abs());
    Ok(Replayed { deliveries: made, next_seq })
}

/// Makes deliveries that there are due now: what is over, and what is tried again later than an attempt under way can last. How many there were.
/// Waits for nobody who is about to write one of them down.
async fn again(conn: &mut PgConnection, events: &[Told], wanted: &[(Uuid, usize)]) -> sqlx::Result<u64> {
    let again = "UPDATE webhook_deliveries SET due_at = now(), attempts = 0, delivered_at = NULL WHERE id IN (
             SELECT d.id FROM webhook_deliveries AS d JOIN unnest($1::uuid[], $2::bigint[]) AS w (webhook_id, seq) USING (webhook_id, seq)
             WHERE d.seq > 0 AND (d.due_at IS NULL OR d.due_at > now() + $3::interval) FOR UPDATE OF d SKIP LOCKED)";
    let again = sqlx::query(again)
        .bind(wanted.iter().map(|(hook, _)| *hook).collect::<Vec<_>>())
        .bind(wanted.iter().map(|(_, at)| events[*at].seq).collect::<Vec<_>>())
        .bind(deliver::LEASE);
    Ok(again.execute(conn).await?.rows_affected())
}

fn webhook(row: &PgRow) -> sqlx::Result<Webhook> {
    let url: &str = row.try_get("url")?;
    let names = |column: &str| row.try_get::<Option<Vec<String>>, _>(column);
    let category = |name: &String| serde_json::from_value::<Category>(name.as_str().into()).ok();
    Ok(Webhook {
        id: row.try_get("id")?,
        url: Url::parse(url).map_err(|error| sqlx::Error::Decode(error.into()))?,
        topics: names("topics")?.unwrap_or_default().iter().filter_map(|name| Topic::named(name)).collect(),
        event_types: names("event_types")?.map(|names| names.iter().filter_map(|name| EventType::named(name)).collect()),
        categories: names("categories")?.map(|names| names.iter().filter_map(category).collect()),
        min_urgency_bps: row.try_get::<Option<i32>, _>("urgency_min")?.and_then(|bps| Bps::new(u16::try_from(bps).ok()?)),
        paused: row.try_get("paused")?,
        paused_after_seq: row.try_get::<Option<i64>, _>("paused_after")?.map(i64::unsigned_abs),
        waiting: row.try_get::<i64, _>("waiting")?.unsigned_abs(),
        dead: row.try_get::<i64, _>("dead")?.unsigned_abs(),
        last_delivered_at: row.try_get("last_delivered_at")?,
        created_at: row.try_get("created_at")?,
    })
}

fn delivery(row: &PgRow) -> sqlx::Result<WebhookDelivery> {
    let (due_at, delivered_at): (Option<OffsetDateTime>, Option<OffsetDateTime>) =
        (row.try_get("due_at")?, row.try_get("delivered_at")?);
    Ok(WebhookDelivery {
        id: row.try_get("id")?,
        event_id: row.try_get("event_id")?,
        event_type: db::named(row, "event_type")?,
        seq: row.try_get::<i64, _>("seq")?.unsigned_abs(),
        state: match (due_at, delivered_at) {
            (Some(_), _) => DeliveryState::Waiting,
            (None, Some(_)) => DeliveryState::Delivered,
            (None, None) => DeliveryState::Dead,
        },
        attempts: row.try_get::<i32, _>("attempts")?.unsigned_abs(),
        next_attempt_at: due_at,
        delivered_at,
        last_error: row.try_get("last_error")?,
    })
}
