//! What the market keeps of somebody: all of it for them to take, and none of it when they leave.
//!
//! What moved in the ledger stays, sealed, under an id that names nobody any more.

use api::{Code, DeleteCreator, Role, Scope, ledger::Asset};
use axum::{
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde_json::{Value, json};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::{
    access::Trail,
    agents,
    audit::{Actor, Event},
    auth::{Caller, sessions},
    input::{self, Id},
    ledger,
    operation::Lines,
    problem::Problem,
    service::Market,
};

/// Rows read at a time: nobody who reads slowly holds a connection.
const ROWS: i64 = 500;
/// Erasing reads what was said in many transfers.
const STATEMENT_TIMEOUT: &str = "SET LOCAL statement_timeout = '60s'";
/// The least ARD that can be taken out.
const ARD_LEAST: api::ledger::Amount = api::ledger::RedemptionMethod::ApiCredits.least();

/// Searches of these owners, by whom the log has them: persons, as of agents.
macro_rules! persons {
    () => {
        "(SELECT id FROM creators WHERE id = ANY($1) UNION SELECT person FROM agents WHERE id = ANY($1) AND creator_id IS NULL)"
    };
}

/// As `demand` hashes who asks.
macro_rules! askers {
    () => {
        concat!(
            "(SELECT ('x' || encode(substring(sha256(d.salt || convert_to('person ' || p.id, 'UTF8')) FROM 1 FOR 8), 'hex'))::bit(64)::bigint
              FROM demand AS d, ",
            persons!(),
            " AS p (id))"
        )
    };
}

/// What they looked for and bought, by the indexes of the log.
macro_rules! searched {
    () => {
        concat!(
            "(WITH RECURSIVE a (asker) AS MATERIALIZED ",
            askers!(),
            // Five minutes that somebody searched in, each found from the one before.
            ", bins (bin) AS (SELECT min(trail) >> 32 FROM searches WHERE pattern <> ''
                  UNION ALL SELECT (SELECT min(trail) >> 32 FROM searches WHERE pattern <> '' AND trail >= (bin + 1) << 32)
                  FROM bins WHERE bin < 2147483647)
              SELECT s.id FROM a CROSS JOIN bins
              CROSS JOIN LATERAL (SELECT id FROM searches AS s
                  WHERE trail = (bin << 32 | (a.asker & 4294967295)) AND s.asker = a.asker AND pattern <> '' OFFSET 0) AS s
              UNION ALL SELECT s.id FROM a CROSS JOIN LATERAL (SELECT id FROM searches AS s WHERE s.asker = a.asker AND pattern = '' OFFSET 0) AS s)"
        )
    };
}

/// A page of one kind of rows, of the owners $1, after the key $2, at most $3, in the order of their keys.
struct Source {
    kind: &'static str,
    /// Before all keys.
    first: &'static str,
    rows: &'static str,
}

const NIL: &str = "00000000-0000-0000-0000-000000000000";

macro_rules! sources {
    ($($kind:literal, $first:expr, $rows:expr;)+) => { &[$(Source { kind: $kind, first: $first, rows: $rows },)+] };
}

/// Everything, but for what proves somebody (hashes of passwords and keys), what is worked out of the rest (figures), and what lasts a day at most.
const SOURCES: &[Source] = sources! {
    "creators", NIL, "SELECT id::text AS key, to_jsonb(t) - 'password_hash' AS row FROM creators AS t
        WHERE id = ANY($1) AND id > $2::uuid ORDER BY id LIMIT $3";
    "sessions", NIL, "SELECT id::text AS key, to_jsonb(t) - 'token_hash' - 'previous_hash' AS row FROM sessions AS t
        WHERE creator_id = ANY($1) AND id > $2::uuid ORDER BY id LIMIT $3";
    "consents", NIL, "SELECT id::text AS key, to_jsonb(t) AS row FROM consents AS t
        WHERE creator_id = ANY($1) AND id > $2::uuid ORDER BY id LIMIT $3";
    "agents", NIL, "SELECT id::text AS key, to_jsonb(t) AS row FROM agents AS t WHERE id = ANY($1) AND id > $2::uuid ORDER BY id LIMIT $3";
    "api_keys", NIL, "SELECT id::text AS key, to_jsonb(t) - 'key_hash' AS row FROM api_keys AS t
        WHERE agent_id = ANY($1) AND id > $2::uuid ORDER BY id LIMIT $3";
    "listings", NIL, "SELECT id::text AS key, to_jsonb(t) - 'search' AS row FROM listings AS t
        WHERE seller_id = ANY($1) AND id > $2::uuid ORDER BY id LIMIT $3";
    "listing_versions", "00000000-0000-0000-0000-000000000000/0",
        "SELECT listing_id || '/' || version AS key, to_jsonb(t) AS row FROM listing_versions AS t
        WHERE listing_id IN (SELECT id FROM listings WHERE seller_id = ANY($1))
            AND (listing_id, version) > (split_part($2, '/', 1)::uuid, split_part($2, '/', 2)::integer)
        ORDER BY listing_id, version LIMIT $3";
    "catalog", NIL, "SELECT id::text AS key, to_jsonb(t) - 'search' AS row FROM catalog AS t
        WHERE agent_id = ANY($1) AND id > $2::uuid ORDER BY id LIMIT $3";
    "catalog_subscriptions", NIL, "SELECT id::text AS key, to_jsonb(t) - 'words' AS row FROM catalog_subscriptions AS t
        WHERE agent_id = ANY($1) AND id > $2::uuid ORDER BY id LIMIT $3";
    "accounts", "0", "SELECT id::text AS key, to_jsonb(t) AS row FROM accounts AS t
        WHERE owner = ANY($1) AND id > $2::bigint ORDER BY id LIMIT $3";
    "entries", "0/0", "SELECT account || '/' || transfer AS key,
            to_jsonb(t) || jsonb_build_object('at', m.at, 'kind', m.kind, 'reference', m.reference, 'memo', m.memo) AS row
        FROM entries AS t JOIN transfers AS m ON m.id = t.transfer WHERE account IN (SELECT id FROM accounts WHERE owner = ANY($1))
            AND (account, transfer) > (split_part($2, '/', 1)::bigint, split_part($2, '/', 2)::bigint)
        ORDER BY account, transfer LIMIT $3";
    "sales", "0", "SELECT transfer::text AS key, to_jsonb(t) - 'rewarded' AS row FROM sales AS t
        WHERE seller_id = ANY($1) AND transfer > $2::bigint ORDER BY transfer LIMIT $3";
    "bought", "00000000-0000-0000-0000-000000000000/00000000-0000-0000-0000-000000000000/0",
        "SELECT buyer_id || '/' || listing_id || '/' || transfer AS key, to_jsonb(t) - 'rewarded' AS row FROM sales AS t
        WHERE buyer_id = ANY($1) AND (buyer_id, listing_id, transfer)
            > (split_part($2, '/', 1)::uuid, split_part($2, '/', 2)::uuid, split_part($2, '/', 3)::bigint)
        ORDER BY buyer_id, listing_id, transfer LIMIT $3";
    "purchases", "/00000000-0000-0000-0000-000000000000",
        "SELECT encode(payer, 'hex') || '/' || id AS key, to_jsonb(t) - 'request' - 'payment_hash' AS row FROM purchases AS t
        WHERE payer IN (SELECT wallet FROM agents WHERE id = ANY($1))
            AND (payer, id) > (decode(split_part($2, '/', 1), 'hex'), split_part($2, '/', 2)::uuid) ORDER BY payer, id LIMIT $3";
    "sold_by_x402", NIL, "SELECT id::text AS key, to_jsonb(t) - 'request' - 'payment_hash' AS row FROM purchases AS t
        WHERE seller_id = ANY($1) AND id > $2::uuid ORDER BY id LIMIT $3";
    "transactions", NIL, "SELECT id::text AS key, to_jsonb(t) AS row FROM transactions AS t
        WHERE (seller_id = ANY($1) OR initiator_id = ANY($1) OR buyer IN (SELECT wallet FROM agents WHERE id = ANY($1)))
            AND id > $2::uuid ORDER BY id LIMIT $3";
    "transaction_changes", "0", "SELECT id::text AS key, to_jsonb(t) AS row FROM transaction_changes AS t
        WHERE transaction_id IN (SELECT id FROM transactions WHERE seller_id = ANY($1) OR initiator_id = ANY($1)) AND id > $2::bigint
        ORDER BY id LIMIT $3";
    "transaction_evidence", NIL, "SELECT t.id::text AS key, to_jsonb(t) AS row FROM transaction_evidence AS t JOIN transactions AS d ON d.id = t.transaction_id
        WHERE ((party = 'seller' AND seller_id = ANY($1)) OR (party = 'buyer' AND initiator_id = ANY($1))) AND t.id > $2::uuid
        ORDER BY t.id LIMIT $3";
    "deliveries", "00000000-0000-0000-0000-000000000000/false", "SELECT purchase_id || '/' || by_seller AS key, to_jsonb(t) AS row FROM deliveries AS t
        WHERE purchase_id IN (SELECT id FROM sales WHERE seller_id = ANY($1) UNION SELECT id FROM sales WHERE buyer_id = ANY($1)
            UNION SELECT id FROM transactions WHERE seller_id = ANY($1) OR initiator_id = ANY($1))
            AND (purchase_id, by_seller) > (split_part($2, '/', 1)::uuid, split_part($2, '/', 2)::boolean)
        ORDER BY purchase_id, by_seller LIMIT $3";
    "webhooks", NIL, "SELECT id::text AS key, to_jsonb(t) - 'secret' - 'previous_secret' - 'bearer' AS row FROM webhooks AS t
        WHERE agent_id = ANY($1) AND id > $2::uuid ORDER BY id LIMIT $3";
    "webhook_deliveries", NIL, "SELECT id::text AS key, to_jsonb(t) AS row FROM webhook_deliveries AS t
        WHERE webhook_id IN (SELECT id FROM webhooks WHERE agent_id = ANY($1)) AND id > $2::uuid ORDER BY id LIMIT $3";
    "feed_subscribers", NIL, "SELECT agent_id::text AS key, to_jsonb(t) AS row FROM feed_subscribers AS t
        WHERE agent_id = ANY($1) AND agent_id > $2::uuid ORDER BY agent_id LIMIT $3";
    "deposits", NIL, "SELECT id::text AS key, to_jsonb(t) AS row FROM deposits AS t
        WHERE agent_id = ANY($1) AND id > $2::uuid ORDER BY id LIMIT $3";
    "withdrawals", NIL, "SELECT id::text AS key, to_jsonb(t) AS row FROM withdrawals AS t
        WHERE owner = ANY($1) AND id > $2::uuid ORDER BY id LIMIT $3";
    "redemptions", NIL, "SELECT id::text AS key, to_jsonb(t) AS row FROM redemptions AS t
        WHERE owner = ANY($1) AND id > $2::uuid ORDER BY id LIMIT $3";
    "api_credits", NIL, "SELECT owner::text AS key, to_jsonb(t) AS row FROM api_credits AS t
        WHERE owner = ANY($1) AND owner > $2::uuid ORDER BY owner LIMIT $3";
    "sends", "0", concat!("SELECT transfer::text AS key, to_jsonb(t) AS row FROM sends AS t
        WHERE person IN ", persons!(), " AND transfer > $2::bigint ORDER BY transfer LIMIT $3");
    "decisions", "0", "SELECT id::text AS key, to_jsonb(t) AS row FROM decisions AS t
        WHERE (subject = ANY($1) OR decided_by = ANY($1)) AND id > $2::bigint ORDER BY id LIMIT $3";
    "audit_events", "0", "SELECT id::text AS key, convert_from(body, 'UTF8')::jsonb AS row FROM audit_events AS t
        WHERE (actor = ANY($1) OR subject = ANY($1)) AND id > $2::bigint ORDER BY id LIMIT $3";
    "searches", "0", concat!("SELECT id::text AS key, to_jsonb(t) - 'asker' - 'trail' AS row FROM searches AS t
        WHERE id = ANY(ARRAY", searched!(), ") AND id > $2::bigint ORDER BY id LIMIT $3");
    "turns", "", concat!("SELECT what || '/' || subject AS key, to_jsonb(t) AS row FROM turns AS t
        WHERE person IN ", persons!(), " AND (what || '/' || subject) COLLATE \"C\" > $2 ORDER BY (what || '/' || subject) COLLATE \"C\" LIMIT $3");
};

/// `GET /api/v1/creators/me/export`: the caller's and the caller's agents'.
pub(crate) async fn of_creator(State(market): State<Market>, caller: Caller, trail: Trail) -> Result<Lines, Problem> {
    let creator = caller.creator()?;
    let agents = agents_of(&mut *market.pool.acquire().await?, creator).await?;
    export(market, [vec![creator], agents].concat(), caller.who.into(), &trail).await
}

/// `GET /api/v1/agents/{id}/export`
pub(crate) async fn of_agent(State(market): State<Market>, Id(id): Id, caller: Caller, trail: Trail) -> Result<Lines, Problem> {
    caller.must_be(id, "the agent itself")?;
    caller.must_have(Scope::Read)?;
    export(market, vec![id], caller.who.into(), &trail).await
}

async fn agents_of(conn: &mut PgConnection, creator: Uuid) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar("SELECT id FROM agents WHERE creator_id = $1 ORDER BY id").bind(creator).fetch_all(conn).await
}

/// Where an export is: in which source, after which of its keys, and how many rows were before.
struct At {
    source: usize,
    after: String,
    rows: u64,
}

/// A line of JSON for each row, read as they are sent. The last line says how many there were: without it something is missing.
async fn export(market: Market, owners: Vec<Uuid>, who: Actor, trail: &Trail) -> Result<Lines, Problem> {
    let exported = Event::new("data_exported", who).about(owners[0]);
    exported.note(&mut *market.pool.acquire().await?, trail).await?;
    let begin = At { source: 0, after: SOURCES[0].first.into(), rows: 0 };
    let parts = futures::stream::try_unfold(Some(begin), move |at| {
        let (market, owners) = (market.clone(), owners.clone());
        async move {
            let Some(mut at) = at else { return Ok::<_, sqlx::Error>(None) };
            let Some(source) = SOURCES.get(at.source) else {
                return Ok(Some((line("end", &json!({"rows": at.rows})), None)));
            };
            let rows = sqlx::query(source.rows).bind(&owners).bind(&at.after).bind(ROWS).fetch_all(&market.pool).await?;
            let mut text = String::new();
            for row in &rows {
                text += &line(source.kind, &row.try_get("row")?);
            }
            at.rows += rows.len() as u64;
            match rows.last().filter(|_| rows.len() as i64 == ROWS) {
                Some(last) => at.after = last.try_get("key")?,
                None => {
                    at.source += 1;
                    at.after = SOURCES.get(at.source).map_or(String::new(), |next| next.first.into());
                }
            }
            Ok(Some((text, Some(at))))
        }
    });
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    Ok(Lines((headers, Body::from_stream(parts)).into_response()))
}

fn line(kind: &str, row: &Value) -> String {
    format!("{}\n", json!({"kind": kind, "row": row}))
}

/// `DELETE /api/v1/creators/me`: for good. Agents leave with their creator.
pub(crate) async fn delete(
    State(market): State<Market>,
    caller: Caller,
    trail: Trail,
    input::Json(DeleteCreator { password, forfeit }): input::Json<DeleteCreator>,
) -> Result<StatusCode, Problem> {
    let creator = sessions::again(&market, &caller, password, &trail).await?;
    if creator.role != Role::User {
        return Err(Problem::new(Code::WrongState, "Who has a role stays: an administrator takes it back first"));
    }
    let id = creator.id;
    let mut tx = pg::begin(&market.pool).await?;
    sqlx::query(STATEMENT_TIMEOUT).execute(&mut *tx).await?;
    let agents = agents_of(&mut tx, id).await?;
    let owners = [vec![id], agents.clone()].concat();
    nothing_open(&market, &mut tx, &owners, forfeit).await?;
    // From here on nothing is sold that would bring money.
    agents::end(&mut tx, &agents).await?;
    erase(&mut tx, &owners).await?;
    tx.commit().await?;
    market.auth.forget();
    let mut tx = pg::begin(&market.pool).await?;
    // What was under way has arrived, and nothing arrives until this is over.
    sqlx::query("SELECT FROM ledger FOR UPDATE").execute(&mut *tx).await?;
    nothing_open(&market, &mut tx, &owners, forfeit).await?;
    sqlx::query(
        "UPDATE creators SET email = id || '@deleted.invalid', password_hash = '', display_name = 'deleted', phone = NULL, country = NULL,
             payout_method = 'none', payout_details = NULL, wallet = NULL, wallet_since = NULL, active = FALSE, deleted_at = now(),
             updated_at = now()
         WHERE id = $1",
    )
    .bind(id)
    .execute(&mut *tx)
    .await?;
    sqlx::query("DELETE FROM sessions WHERE creator_id = $1").bind(id).execute(&mut *tx).await?;
    // That they agreed stays, under an id that names nobody.
    let withdrawn = "UPDATE consents SET network = NULL, withdrawn_at = coalesce(withdrawn_at, now()) WHERE creator_id = $1";
    sqlx::query(withdrawn).bind(id).execute(&mut *tx).await?;
    let deleted = Event::new("creator_deleted", caller.who.into()).about(id);
    deleted.with(json!({"agents": agents.len()})).note(&mut tx, &Trail::default()).await?;
    tx.commit().await?;
    market.auth.forget();
    Ok(StatusCode::NO_CONTENT)
}

/// Refuses who has money here, or something under way that may bring some.
async fn nothing_open(market: &Market, conn: &mut PgConnection, owners: &[Uuid], forfeit: bool) -> Result<(), Problem> {
    let open = "SELECT (SELECT count(*) FROM withdrawals WHERE owner = ANY($1) AND status IN ('awaiting_approval', 'pending', 'processing')) AS withdrawals,
             (SELECT count(*) FROM redemptions WHERE owner = ANY($1) AND status IN ('pending', 'processing')) AS redemptions,
             (SELECT count(*) FROM deposits WHERE agent_id = ANY($1) AND status = 'arrived') AS deposits,
             (SELECT count(*) FROM purchases WHERE seller_id = ANY($1) AND status = 'verified') AS payments,
             (SELECT count(*) FROM transactions WHERE (seller_id = ANY($1) OR initiator_id = ANY($1))
                 AND (step = 'hold' OR status IN ('payment_confirmed', 'delivered', 'verified', 'disputed'))) AS transactions";
    let open = sqlx::query(open).bind(owners).fetch_one(&mut *conn).await?;
    let refused = |detail: String| Err(Problem::new(Code::WrongState, detail));
    for what in ["withdrawals", "redemptions", "deposits", "payments", "transactions"] {
        let count: i64 = open.try_get(what)?;
        if count > 0 {
            return refused(format!("{count} {what} of yours or of your agents are under way: cancel them, or wait for them"));
        }
    }
    let left = "SELECT asset, owner, balance FROM accounts WHERE owner = ANY($1) AND balance > 0 ORDER BY balance DESC";
    for row in sqlx::query(left).bind(owners).fetch_all(conn).await? {
        let (owner, balance): (Uuid, _) = (row.try_get("owner")?, ledger::amount(row.try_get("balance")?));
        let is_usdc = row.try_get::<i16, _>("asset")? == Asset::Usdc as i16;
        let (asset, least) = if is_usdc { (Asset::Usdc, market.withdrawal_limits.least) } else { (Asset::Ard, ARD_LEAST) };
        if balance >= least {
            return refused(format!("{owner} has {balance} {asset}: withdraw it, redeem it or send it to somebody first"));
        }
        if !forfeit {
            return refused(format!(
                "{owner} has {balance} {asset}, too little to take out: send it to somebody, or give it up with \"forfeit\": true"
            ));
        }
    }
    Ok(())
}

/// Erases what is said of agents, and by them.
async fn erase(conn: &mut PgConnection, owners: &[Uuid]) -> sqlx::Result<()> {
    for erased in [
        // First: whoever counts searches refers to some, and may want those that are deleted here.
        "SELECT FROM demand WHERE $1 IS NOT NULL FOR UPDATE",
        "UPDATE agents SET name = 'deleted ' || id, description = '', capabilities = '{}', endpoint = NULL, region = NULL WHERE id = ANY($1)",
        "UPDATE api_keys SET name = '', revoked_at = coalesce(revoked_at, now()) WHERE agent_id = ANY($1)",
        "UPDATE redemptions SET details = NULL WHERE owner = ANY($1) AND details IS NOT NULL",
        "UPDATE transfers AS t SET memo = NULL FROM accounts AS a JOIN entries AS e ON e.account = a.id
         WHERE a.owner = ANY($1) AND e.amount < 0 AND t.id = e.transfer AND t.memo IS NOT NULL",
        "UPDATE transaction_evidence AS t SET text = '' FROM transactions AS d WHERE d.id = t.transaction_id
             AND ((party = 'seller' AND seller_id = ANY($1)) OR (party = 'buyer' AND initiator_id = ANY($1)))",
        concat!("DELETE FROM searches WHERE id = ANY(ARRAY", searched!(), ")"),
        concat!("DELETE FROM turns WHERE person IN ", persons!()),
    ] {
        sqlx::query(erased).bind(owners).execute(&mut *conn).await?;
    }
    Ok(())
}
