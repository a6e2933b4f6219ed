//! The ledger over HTTP: balances, statements, sending, and proofs.

pub(crate) mod house;
mod key;
pub(crate) mod purchase;
pub(crate) mod reversal;
mod statement;
mod upkeep;

use std::time::Duration;

use api::{
    Code,
    ledger::{
        Asset, Balance, InclusionProof, Kind, PastBalance, PastQuery, PastWallet, Seal, SealedRange, Send, Sent, Verified,
        VerifyQuery, Wallet,
    },
};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue},
};
use sqlx::{Row, postgres::PgRow};
use time::OffsetDateTime;
use tokio::sync::SemaphorePermit;
use uuid::Uuid;

use crate::{
    auth::Caller,
    fraud,
    funds::anchor,
    input::{self, Number, Params},
    ledger::{self, AccountId, Chain, How, LedgerError, Move, Order, Purpose, Refused, Sending, What},
    problem::Problem,
    service::Market,
};
pub(crate) use key::{Idempotency, once, part};
pub(crate) use statement::{csv, statement};
pub(crate) use upkeep::{upkeep, welcome};

const MEMO_LEN_MAX_CHARS: usize = 200;
/// Batches proved again in one request, at most.
pub(crate) const VERIFY_MAX_SEALS: u32 = 100;
pub(crate) const VERIFY_SEALS: u32 = 20;
/// How long a request waits for those before it.
const VERIFY_WAIT: Duration = Duration::from_secs(5);

/// `GET /api/v1/wallet/balance`
pub(crate) async fn balance(State(market): State<Market>, caller: Caller) -> Result<Json<Wallet>, Problem> {
    let agent_id = caller.agent()?;
    let balances = balances(&market, &[agent_id]).await?.pop().unwrap_or_default();
    Ok(Json(Wallet { agent_id, balances }))
}

/// `GET /api/v1/wallet/balance/past`
pub(crate) async fn past(
    State(market): State<Market>,
    caller: Caller,
    Params(PastQuery { at }): Params<PastQuery>,
) -> Result<Json<PastWallet>, Problem> {
    let owner_id = caller.holder()?;
    if at > OffsetDateTime::now_utc() {
        return Err(Problem::invalid("at must be over"));
    }
    let last = ledger::last_at(&market.pool, at).await?;
    let rows = sqlx::query(
        "SELECT a.asset, a.purpose, e.balance FROM accounts AS a CROSS JOIN LATERAL (
             SELECT balance FROM entries WHERE account = a.id AND transfer <= $2 ORDER BY transfer DESC LIMIT 1) AS e
         WHERE a.owner = $1",
    );
    let rows = rows.bind(owner_id).bind(last).fetch_all(&market.pool).await?;
    let of = |asset: Asset, purpose: Purpose| {
        let is = |row: &&PgRow| {
            let numbers = (row.try_get::<i16, _>("asset"), row.try_get::<i16, _>("purpose"));
            matches!(numbers, (Ok(a), Ok(p)) if (a, p) == (asset as i16, purpose as i16))
        };
        rows.iter().find(is).map_or(Ok(0), |row| row.try_get("balance")).map(ledger::amount)
    };
    let balance = |asset| Ok(PastBalance { asset, free: of(asset, Purpose::Free)?, held: of(asset, Purpose::Held)? });
    let balances = [Asset::Usdc, Asset::Ard].into_iter().map(balance).collect::<sqlx::Result<_>>()?;
    Ok(Json(PastWallet { owner_id, transfer_id: last.unsigned_abs(), balances }))
}

/// What each of these has of each asset, in their order.
pub(crate) async fn balances(market: &Market, owners: &[Uuid]) -> Result<Vec<Vec<Balance>>, Problem> {
    let rows =
        sqlx::query("SELECT owner, asset, purpose, balance, earned, spent FROM accounts WHERE owner = ANY($1)").bind(owners);
    let rows = rows.fetch_all(&market.pool).await?;
    let of = |owner: Uuid, asset: Asset| {
        let column = |purpose: Purpose, column: &str| {
            let is = |row: &&PgRow| {
                row.try_get("owner").is_ok_and(|o: Uuid| o == owner)
                    && row.try_get("asset").is_ok_and(|a: i16| a == asset as i16)
                    && row.try_get("purpose").is_ok_and(|p: i16| p == purpose as i16)
            };
            let units: i64 = rows.iter().find(is).map_or(Ok(0), |row| row.try_get(column))?;
            Ok::<_, Problem>(ledger::amount(units))
        };
        let (earned, spent) = (column(Purpose::Free, "earned")?, column(Purpose::Free, "spent")?);
        let tier = market.rates.tier(ledger::volume(asset, earned.signed(), spent.signed())).name.clone();
        let (free, held) = (column(Purpose::Free, "balance")?, column(Purpose::Held, "balance")?);
        Ok(Balance { asset, free, held, earned, spent, tier })
    };
    owners.iter().map(|owner| [Asset::Usdc, Asset::Ard].into_iter().map(|asset| of(*owner, asset)).collect()).collect()
}

/// `POST /api/v1/wallet/transfer`
pub(crate) async fn send(
    State(market): State<Market>,
    caller: Caller,
    key: Idempotency,
    input::Json(request): input::Json<Send>,
) -> Result<(HeaderMap, Json<Sent>), Problem> {
    let (agent, Send { to_agent_id: to, asset, amount, memo }) = (caller.agent()?, request.clone());
    input::text("memo", memo.as_deref().unwrap_or_default(), 0..=MEMO_LEN_MAX_CHARS)?;
    market.refused.may_pay(agent)?;
    if amount.is_zero() {
        return Err(Problem::invalid("amount must be more than nothing"));
    }
    let payee: Option<Uuid> =
        sqlx::query_scalar("SELECT person FROM agents WHERE id = $1 AND active").bind(to).fetch_optional(&market.pool).await?;
    let (payer, payee) = (caller.person()?, payee.ok_or_else(|| Problem::not_found("agent"))?);
    if payer != payee && fraud::is_held(&market.pool, payer).await? {
        let detail = "What you or your agents do looks like fraud, so money goes to nobody else until somebody has looked: write to the market's operator";
        return Err(Problem::new(Code::UnderReview, detail));
    }
    let (from, to) = (account(&market, agent, asset).await?, account(&market, to, asset).await?);
    let key = Some(key.of(agent, "/wallet/transfer", &request));
    let moved = Move { kind: Kind::Transfer, from, to, amount, reference: Uuid::nil(), memo };
    // Between agents of one person nothing leaves. To others a stolen key must not send everything.
    let sending = Sending { person: payer, day_max: market.transfer_day_max };
    let what = if payer == payee { What::Move(moved) } else { What::Send(moved, sending) };
    let posted = market.ledger.submit(Order { key, what }).await?;
    let sent = Sent { transfer_id: posted.transfer, at: posted.at, balance: posted.balance };
    let mut headers = HeaderMap::new();
    if posted.how == How::Replayed {
        headers.insert(HeaderName::from_static(api::header::IDEMPOTENT_REPLAYED), HeaderValue::from_static("true"));
    }
    Ok((headers, Json(sent)))
}

/// `GET /api/v1/wallet/ledger/verify`: for anybody, and dear. One at a time, and what was found is remembered for some seconds, so that asking often
/// costs the market little.
pub(crate) async fn verify(State(market): State<Market>, Params(query): Params<VerifyQuery>) -> Result<Json<Verified>, Problem> {
    let limit = query.limit.unwrap_or(VERIFY_SEALS);
    if limit == 0 || limit > VERIFY_MAX_SEALS {
        return Err(Problem::invalid(format!("limit must be from 1 to {VERIFY_MAX_SEALS}")));
    }
    let from = query.from.unwrap_or(1).clamp(1, i64::MAX as u64);
    if let Some(verified) = market.verified.get(&(from, limit)).await {
        return Ok(Json(verified));
    }
    let _turn = turn(&market).await?;
    // Whoever had the turn before may have asked the same.
    if let Some(verified) = market.verified.get(&(from, limit)).await {
        return Ok(Json(verified));
    }
    let checked = ledger::check(&mut *market.pool.acquire().await?, from, limit).await?;
    let ledger::Checked { seals, transfers, problem } = checked;
    let (anchored_seals, unlike) = anchor::anchored(&market, Chain::Ledger, from, seals).await?;
    let problem = problem.or(unlike);
    let verified = Verified { valid: problem.is_none(), seals, transfers, anchored_seals, problem };
    market.verified.insert((from, limit), verified.clone()).await;
    Ok(Json(verified))
}

/// Whose turn it is to have batches proved.
pub(crate) async fn turn(market: &Market) -> Result<SemaphorePermit<'_>, Problem> {
    let busy = || Problem::new(Code::Unavailable, "Others have batches proved right now: ask again");
    let turn = tokio::time::timeout(VERIFY_WAIT, market.verifying.acquire()).await;
    turn.ok().and_then(Result::ok).ok_or_else(busy)
}

/// `GET /api/v1/wallet/ledger/seals`
pub(crate) async fn seals(State(market): State<Market>, Params(query): Params<VerifyQuery>) -> Result<Json<Vec<Seal>>, Problem> {
    let (from, limit) = range(&query);
    Ok(Json(ledger::seals(&mut *market.pool.acquire().await?, from, limit).await?))
}

/// `GET /api/v1/admin/ledger/sealed`: what whoever audits proves for themselves. It has everybody's transfers.
pub(crate) async fn sealed(
    State(market): State<Market>,
    Params(query): Params<VerifyQuery>,
) -> Result<Json<SealedRange>, Problem> {
    let (from, limit) = range(&query);
    Ok(Json(ledger::sealed(&mut *market.pool.acquire().await?, from, limit).await?))
}

pub(crate) fn range(query: &VerifyQuery) -> (u64, u32) {
    (query.from.unwrap_or(1).min(i64::MAX as u64), query.limit.unwrap_or(VERIFY_SEALS).min(VERIFY_MAX_SEALS))
}

/// `GET /api/v1/wallet/ledger/proof/{transfer_id}`: for those whose money moved.
pub(crate) async fn proof(
    State(market): State<Market>,
    caller: Caller,
    Number(transfer): Number,
) -> Result<Json<InclusionProof>, Problem> {
    let holder = caller.holder()?;
    let mut conn = market.pool.acquire().await?;
    let party: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM accounts JOIN entries ON account = id WHERE owner = $1 AND transfer = $2)",
    )
    .bind(holder)
    .bind(i64::try_from(transfer).unwrap_or(i64::MAX))
    .fetch_one(&mut *conn)
    .await?;
    if !party {
        return Err(Problem::not_found("transfer of yours"));
    }
    let mut proof = ledger::proof(&mut conn, transfer).await?;
    if let Some(proof) = &mut proof {
        proof.anchor = anchor::proof(&mut conn, Chain::Ledger, proof.seal.sequence).await?;
    }
    proof.map(Json).ok_or_else(|| Problem::new(Code::WrongState, "It is not sealed yet: ask again in a few seconds"))
}

/// The number of an agent's free account.
pub(crate) async fn account(market: &Market, agent: Uuid, asset: Asset) -> Result<AccountId, Problem> {
    let open = ledger::open(&market.pool, agent, asset, Purpose::Free);
    let found = market.accounts.try_get_with((agent, asset), open).await;
    found.map_err(|error| Problem::internal(&*error))
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        let code = match &error {
            LedgerError::Busy | LedgerError::Unavailable => Code::Unavailable,
            LedgerError::Refused(Refused::Insufficient { .. }) => Code::InsufficientFunds,
            LedgerError::Refused(Refused::OverDayLimit { .. }) => Code::OverLimit,
            LedgerError::Refused(Refused::KeyReused) => Code::IdempotencyKeyReused,
            LedgerError::Refused(Refused::NoSuchTransfer | Refused::NoSuchHold) => Code::NotFound,
            LedgerError::Refused(_) => Code::Inconsistent,
        };
        Self::new(code, error.to_string())
    }
}
