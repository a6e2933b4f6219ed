//! What happened that matters: written with its effect, only added to, and sealed and anchored as the ledger is.
//!
//! Events have no number when they are written, so that nobody who signs in waits for anybody. Whoever seals numbers what is committed, some
//! seconds later; from then on nothing can be changed, left out or moved unseen.

use api::{
    ActorKind, AuditEntry, AuditEvent, AuditFilter, AuditProof, AuditVerified, Code, Page, Severity,
    ledger::{Seal, VerifyQuery},
};
use axum::{Json, extract::State};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool, Row, postgres::PgRow, types};
use uuid::Uuid;

use crate::{
    access::Trail,
    auth::Who,
    db,
    funds::anchor,
    input::{self, Number, Params},
    ledger::{Chain, Checked},
    limits::Principal,
    problem::Problem,
    service::Market,
    wallet::{self, VERIFY_MAX_SEALS, VERIFY_SEALS},
};

/// Rows of a page that is asked for by its number, at most.
const PAGE_SIZE_MAX: u32 = 200;

/// Who did something.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Actor {
    Agent(Uuid),
    Creator(Uuid),
    Wallet(Uuid),
    Market,
    Nobody,
}

impl From<Who> for Actor {
    fn from(who: Who) -> Self {
        match who {
            Who::Agent { id, .. } => Self::Agent(id),
            Who::Creator { id, .. } => Self::Creator(id),
            Who::Wallet(_) => Principal::from(who).person().map_or(Self::Nobody, Self::Wallet),
        }
    }
}

impl Actor {
    fn parts(self) -> (ActorKind, Option<Uuid>) {
        match self {
            Self::Agent(id) => (ActorKind::Agent, Some(id)),
            Self::Creator(id) => (ActorKind::Creator, Some(id)),
            Self::Wallet(id) => (ActorKind::Wallet, Some(id)),
            Self::Market => (ActorKind::Market, None),
            Self::Nobody => (ActorKind::Nobody, None),
        }
    }
}

/// Something to write down.
#[derive(Debug)]
pub(crate) struct Event {
    what: &'static str,
    severity: Severity,
    actor: Actor,
    subject: Option<Uuid>,
    details: Value,
}

impl Event {
    pub(crate) fn new(what: &'static str, actor: Actor) -> Self {
        Self { what, severity: Severity::Info, actor, subject: None, details: json!({}) }
    }

    pub(crate) fn about(self, subject: Uuid) -> Self {
        Self { subject: Some(subject), ..self }
    }

    pub(crate) fn severe(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }

    /// More of it: an object. Neither names nor addresses of people, since it stays when they leave.
    pub(crate) fn with(self, details: Value) -> Self {
        Self { details, ..self }
    }

    /// Writes it down, with whatever the connection's transaction does.
    pub(crate) async fn note(self, conn: &mut PgConnection, trail: &Trail) -> sqlx::Result<()> {
        let (kind, actor) = self.actor.parts();
        sqlx::query("SELECT audit($1, $2, $3, $4, $5, $6, $7, $8, $9)")
            .bind(self.what)
            .bind(db::name_of(self.severity))
            .bind(db::name_of(kind))
            .bind(actor)
            .bind(self.subject)
            .bind(trail.network())
            .bind(&trail.user_agent)
            .bind(&trail.request_id)
            .bind(types::Json(self.details))
            .execute(conn)
            .await
            .map(drop)
    }
}

/// `GET /api/v1/audit/events`: newest first.
pub(crate) async fn list(
    State(market): State<Market>,
    Params(f): Params<AuditFilter>,
) -> Result<Json<Page<AuditEntry>>, Problem> {
    let (skip, limit) = input::place_up_to(PAGE_SIZE_MAX, f.cursor.as_deref(), f.limit, f.page, f.page_size)?;
    let before: i64 = match &f.cursor {
        Some(cursor) => cursor.parse().map_err(|_| Problem::invalid("cursor must be the next_cursor of another page"))?,
        None => i64::MAX,
    };
    let rows = sqlx::query(
        "SELECT id, number, body FROM audit_events
         WHERE id < $1 AND ($2::text IS NULL OR event_type = $2) AND ($3::text IS NULL OR severity = $3)
             AND ($4::uuid IS NULL OR actor = $4) AND ($5::uuid IS NULL OR subject = $5)
         ORDER BY id DESC LIMIT $6 OFFSET $7",
    )
    .bind(before)
    .bind(f.event_type)
    .bind(f.severity.map(db::name_of))
    .bind(f.actor)
    .bind(f.subject)
    .bind(limit as i64 + 1)
    .bind(skip)
    .fetch_all(&market.pool)
    .await?;
    let entries = rows.iter().map(entry).collect::<sqlx::Result<_>>()?;
    Ok(Json(input::page(entries, limit, |entry: &AuditEntry| entry.id.to_string())))
}

/// `GET /api/v1/audit/events/verify`: one look at a time, as at the ledger.
pub(crate) async fn verify(
    State(market): State<Market>,
    Params(query): Params<VerifyQuery>,
) -> Result<Json<AuditVerified>, Problem> {
    let limit = query.limit.unwrap_or(VERIFY_SEALS);
    if limit == 0 || limit > VERIFY_MAX_SEALS {
        return Err(Problem::invalid(format!("limit must be from 1 to {VERIFY_MAX_SEALS}")));
    }
    let from = query.from.unwrap_or(1).clamp(1, i64::MAX as u64);
    let _turn = wallet::turn(&market).await?;
    let Checked { seals, transfers: events, problem } = check(&mut *market.pool.acquire().await?, from, limit).await?;
    let (anchored_seals, unlike) = anchor::anchored(&market, Chain::Audit, from, seals).await?;
    let problem = problem.or(unlike);
    Ok(Json(AuditVerified { valid: problem.is_none(), seals, events, anchored_seals, problem }))
}

/// `GET /api/v1/audit/seals`: for anybody, so that others have the heads, too.
pub(crate) async fn seals(State(market): State<Market>, Params(query): Params<VerifyQuery>) -> Result<Json<Vec<Seal>>, Problem> {
    let (from, limit) = wallet::range(&query);
    Ok(Json(Chain::Audit.seals(&mut *market.pool.acquire().await?, from, limit).await?))
}

/// `GET /api/v1/audit/events/{number}/proof`
pub(crate) async fn proof(State(market): State<Market>, Number(number): Number) -> Result<Json<AuditProof>, Problem> {
    let mut conn = market.pool.acquire().await?;
    let found = match i64::try_from(number) {
        Ok(_) => Chain::Audit.proof(&mut conn, number).await?,
        Err(_) => None,
    };
    let none = "There is no such number yet: an event has one some seconds after it was written";
    let (seal, body, path) = found.ok_or_else(|| Problem::new(Code::NotFound, none))?;
    let anchor = anchor::proof(&mut conn, Chain::Audit, seal.sequence).await?;
    Ok(Json(AuditProof { number, body: body.into(), path, seal, anchor }))
}

/// Numbers and seals what is not sealed yet; how many events that were. Nothing when another instance is at it.
///
/// # Errors
/// When the database fails.
pub async fn seal(pool: &PgPool) -> sqlx::Result<usize> {
    Chain::Audit.seal(pool).await
}

/// Proves seals again from the rows, as [`crate::ledger::check`] does.
///
/// # Errors
/// When the database fails.
pub async fn check(conn: &mut PgConnection, from: u64, limit: u32) -> sqlx::Result<Checked> {
    Chain::Audit.check(conn, from, limit).await
}

/// Gives what has no number the next ones, from `first` on.
pub(crate) async fn number(conn: &mut PgConnection, first: i64, most: i64) -> sqlx::Result<()> {
    let number = "WITH next AS (SELECT id FROM audit_events WHERE number IS NULL ORDER BY id LIMIT $2),
              numbered AS (SELECT id, $1 - 1 + row_number() OVER (ORDER BY id) AS number FROM next)
         UPDATE audit_events AS e SET number = n.number FROM numbered AS n WHERE e.id = n.id";
    sqlx::query(number).bind(first).bind(most).execute(conn).await.map(drop)
}

/// What events are found by must be what they say.
pub(crate) async fn columns_differ(conn: &mut PgConnection, seal: &Seal) -> sqlx::Result<Option<String>> {
    let wrong = sqlx::query_scalar(
        "SELECT min(number) FROM audit_events, LATERAL (SELECT convert_from(body, 'UTF8')::jsonb AS said) AS b
         WHERE number >= $1 AND number < $1 + $2
             AND (at, event_type, severity, actor, subject) IS DISTINCT FROM ((said ->> 'at')::timestamptz, said ->> 'event_type',
                 said ->> 'severity', (said ->> 'actor')::uuid, (said ->> 'subject')::uuid)",
    );
    let wrong = wrong.bind(seal.first_id.cast_signed()).bind(seal.count.cast_signed());
    let wrong: Option<i64> = wrong.fetch_one(conn).await?;
    Ok(wrong.map(|number| format!("the columns of event {number} are not what was sealed in batch {}", seal.sequence)))
}

fn entry(row: &PgRow) -> sqlx::Result<AuditEntry> {
    let event: AuditEvent = serde_json::from_slice(row.try_get("body")?).map_err(|error| sqlx::Error::Decode(error.into()))?;
    let number: Option<i64> = row.try_get("number")?;
    Ok(AuditEntry { id: row.try_get("id")?, number: number.map(i64::unsigned_abs), event })
}
