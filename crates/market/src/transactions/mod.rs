//! Purchases in steps: paid into a hold of the ledger or into the Escrow contract, delivered, reviewed, and then released, or disputed and divided.
//! Whether one is paid is what the ledger or the chain says, never what a caller says.

mod chain;
mod check;
mod evidence;
mod machine;
mod row;
mod steps;
mod told;

use std::collections::HashMap;

use alloy::primitives::B256;
use api::{
    Award, Code, DefaultOutcome, Deliver, EscrowAgreement, Evidence, GiveBack, Initiate, Listing, Page, PaymentMethod,
    SubmitEvidence, Transaction, TransactionActor as Actor, TransactionCase, TransactionChange, TransactionCheck,
    TransactionFilter, TransactionRole, TransactionStatus as Status, VerifyDelivery, ledger::Amount,
};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use sqlx::{PgConnection, Row, types};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::{
    agents,
    auth::{Caller, Who as Principal},
    db,
    funds::must_be_anothers,
    input::{self, Id, Params},
    ledger, listings,
    operation::OwnContent,
    problem::Problem,
    service::Market,
    wallet::Idempotency,
};
use chain::{ARBITRATION_SECONDS, Agreed, Stands};
use machine::Event;
use row::{By, Deal};
use steps::Who;
pub(crate) use steps::follow;

/// What a person, or a wallet without an agent, may start in 24 hours: it costs nothing.
const STARTED_DAY_MAX: i64 = 1_000;
/// Changes of one purchase after which its seller gives no more parts back.
const GIVEN_BACK_MAX: i64 = 100;
/// Changes of one purchase that are shown, the oldest.
const CHANGES_MAX: i64 = 1_000;
/// Rows looked at for a page of one status, in so many goes.
const LOOKS_MAX: usize = 5;
const LOOK_ROWS: i64 = 200;
const REASON_LEN_MAX_CHARS: usize = 500;

/// `POST /api/v1/transactions/initiate`
pub(crate) async fn initiate(
    State(market): State<Market>,
    caller: Caller,
    key: Option<Idempotency>,
    input::Json(request): input::Json<Initiate>,
) -> Result<(StatusCode, Json<Transaction>), Problem> {
    let wallet = caller.wallet()?;
    let buyer = request.buyer.unwrap_or(wallet);
    if caller.agent_id().is_none() && wallet != buyer {
        return Err(Problem::new(Code::Forbidden, "A wallet starts purchases for itself; register an agent to act for another"));
    }
    let key = key.map(|key| key.of(owner(&caller), "/transactions/initiate", &request));
    let mut conn = market.pool.acquire().await?;
    // Repeated, it is answered as it was, whatever became of the listing.
    if let Some(key) = key
        && let Some(deal) = started(&mut conn, key).await?
    {
        drop(conn);
        return Ok((StatusCode::CREATED, Json(shown(&market, deal).await?)));
    }
    within_day(&mut conn, &caller).await?;
    let (listing, content_hash, content_size) = listings::for_sale(&mut conn, request.listing_id).await?;
    drop(conn);
    let is_own = buyer == wallet && caller.agent_id().is_some();
    let by_price = || {
        let is_large = listing.price >= market.terms.escrow_from && !market.deployment.escrow.is_zero();
        if is_large || !is_own { PaymentMethod::Escrow } else { PaymentMethod::Balance }
    };
    let method = request.payment_method.unwrap_or_else(by_price);
    let (agreed, price) = match method {
        PaymentMethod::Escrow => {
            let price = row::asset(method).price_of(listing.price).unwrap_or(Amount::MAX);
            (Some(Agreed::new(&market, buyer, &listing, content_hash)?), price)
        }
        PaymentMethod::Balance | PaymentMethod::Token if !is_own => {
            return Err(Problem::new(
                Code::Inconsistent,
                "The ledger pays for the calling agent only, of the agent's own wallet",
            ));
        }
        PaymentMethod::Balance | PaymentMethod::Token => (None, ledger_price(&market, &caller, &listing, method)?),
    };
    let chain_id = i64::try_from(market.deployment.chain_id).map_err(|e| Problem::internal(&e))?;
    let terms = &market.terms;
    let is_ledger = agreed.is_none();
    let seconds = |seconds: u32| is_ledger.then_some(i64::from(seconds));
    let bond = if is_ledger { terms.bond(row::asset(method), price) } else { Amount::ZERO };
    let mut tx = pg::begin(&market.pool).await?;
    agents::must_be_there(&mut tx, listing.seller_id).await?;
    let row = sqlx::query(
        "INSERT INTO transactions (id, listing_id, seller_id, buyer, initiator_id, chain_id, escrow, agreement_id, terms, content_size, content_type,
             method, price, content_hash, status, due_at, deliver_seconds, review_seconds, arbitration_seconds, default_outcome, key, fingerprint,
             bond, bond_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, now() + $16::bigint * interval '1 second', $17, $18, $19, $20, $21, $22,
             $23, $24)
         ON CONFLICT (key) DO NOTHING RETURNING *",
    )
    .bind(Uuid::now_v7())
    .bind(listing.id)
    .bind(listing.seller_id)
    .bind(buyer.as_slice())
    .bind(caller.agent_id())
    .bind((!is_ledger).then_some(chain_id))
    .bind(agreed.as_ref().map(|agreed| agreed.escrow.to_vec()))
    .bind(agreed.as_ref().map(|agreed| agreed.id.to_vec()))
    .bind(agreed.as_ref().map(|agreed| types::Json(&agreed.terms)))
    .bind(i64::try_from(content_size).map_err(|e| Problem::internal(&e))?)
    .bind(&listing.content_type)
    .bind(db::name_of(method))
    .bind(price.signed())
    .bind(content_hash.as_slice())
    .bind(is_ledger.then(|| db::name_of(Status::PaymentPending)))
    .bind(seconds(terms.pay_within_seconds))
    .bind(seconds(terms.deliver_within_seconds))
    .bind(seconds(terms.review_seconds))
    .bind(seconds(ARBITRATION_SECONDS))
    .bind(is_ledger.then(|| db::name_of(DefaultOutcome::RefundBuyer)))
    .bind(key.map(|key| key.key.to_vec()))
    .bind(key.map(|key| key.fingerprint.to_vec()))
    .bind(bond.signed())
    .bind((!bond.is_zero()).then(Uuid::now_v7))
    .fetch_optional(&mut *tx)
    .await?;
    let deal = match (row, key) {
        (Some(row), _) => {
            let deal = row::deal(&row)?;
            let who = Who { actor: Actor::Buyer, id: caller.agent_id() };
            steps::changed(&mut tx, deal.id, None, Status::Initiated, who, "started").await?;
            let why = format!("{} {} are to be paid", deal.price, deal.asset());
            steps::changed(&mut tx, deal.id, Some(Status::Initiated), Status::PaymentPending, Who::MARKET, &why).await?;
            tx.commit().await?;
            deal
        }
        (None, key) => {
            let deal = match key {
                Some(key) => started(&mut tx, key).await?,
                None => None,
            };
            deal.ok_or_else(|| Problem::new(Code::Internal, "Nothing was written down"))?
        }
    };
    Ok((StatusCode::CREATED, Json(shown(&market, deal).await?)))
}

/// The purchase that was started with this key.
async fn started(conn: &mut PgConnection, key: ledger::Key) -> Result<Option<Deal>, Problem> {
    let row = sqlx::query("SELECT * FROM transactions WHERE key = $1").bind(key.key.as_slice()).fetch_optional(conn).await?;
    let Some(row) = row else { return Ok(None) };
    if db::hash(&row, "fingerprint")? != key.fingerprint {
        return Err(Problem::new(Code::IdempotencyKeyReused, "Use a new key for a new request"));
    }
    Ok(Some(row::deal(&row)?))
}

/// What a purchase from the ledger costs; what the ledger would refuse to sell is refused here.
fn ledger_price(market: &Market, caller: &Caller, listing: &Listing, method: PaymentMethod) -> Result<Amount, Problem> {
    if caller.agent()? == listing.seller_id {
        return Err(Problem::new(Code::Inconsistent, "The buyer must not be the seller"));
    }
    let asset = row::asset(method);
    let price = asset.price_of(listing.price);
    let price = price.ok_or_else(|| Problem::new(Code::Inconsistent, "The price is too large for the ledger"))?;
    let (tier, none) = (market.rates.tier(Amount::ZERO), money::Bps::ZERO);
    let too_small = || Problem::new(Code::Inconsistent, "The price is so small that its fee would leave the seller nothing");
    market.rates.divide(price, asset, tier, none, none).ok_or_else(too_small)?;
    Ok(price)
}

/// Who a key is of.
fn owner(caller: &Caller) -> Uuid {
    match caller.who {
        Principal::Agent { id, .. } | Principal::Creator { id, .. } => id,
        Principal::Wallet(wallet) => Uuid::from_slice(&wallet.as_slice()[4..]).unwrap_or_default(),
    }
}

/// Refuses who starts too many.
async fn within_day(conn: &mut PgConnection, caller: &Caller) -> Result<(), Problem> {
    let day_ago = (OffsetDateTime::now_utc() - Duration::DAY).unix_timestamp_nanos() / 1_000_000;
    // Below every UUID of version 7 that was made since.
    let since = Uuid::from_u128(u128::try_from(day_ago).unwrap_or_default() << 80);
    let started: i64 = match caller.who {
        Principal::Agent { person, .. } => {
            let started = "SELECT count(*) FROM (
                     SELECT FROM agents AS a JOIN transactions AS t ON t.initiator_id = a.id WHERE a.person = $1 AND t.id > $2 LIMIT $3) AS started";
            sqlx::query_scalar(started).bind(person).bind(since).bind(STARTED_DAY_MAX).fetch_one(conn).await?
        }
        _ => {
            let started = "SELECT count(*) FROM transactions WHERE buyer = $1 AND initiator_id IS NULL AND id > $2";
            sqlx::query_scalar(started).bind(caller.wallet()?.to_vec()).bind(since).fetch_one(conn).await?
        }
    };
    if started < STARTED_DAY_MAX {
        return Ok(());
    }
    let detail = format!("One person, with all agents together, starts at most {STARTED_DAY_MAX} purchases in 24 hours");
    Err(Problem::new(Code::OverLimit, detail))
}

/// `GET /api/v1/transactions/{id}`
pub(crate) async fn show(State(market): State<Market>, Id(id): Id, caller: Caller) -> Result<Json<Transaction>, Problem> {
    let (deal, _) = of_caller(&market, id, &caller).await?;
    Ok(Json(shown(&market, deal).await?))
}

/// `GET /api/v1/transactions`: where each stands is found out in a few statements, however many they are.
pub(crate) async fn list(
    State(market): State<Market>,
    caller: Caller,
    Params(filter): Params<TransactionFilter>,
) -> Result<Json<Page<Transaction>>, Problem> {
    let limit = input::limit(filter.limit)?;
    let mut before = input::before(filter.cursor.as_deref())?;
    let (wallet, agent) = (caller.wallet()?.to_vec(), caller.agent_id());
    // Most of them may be of another status.
    let step = if filter.status.is_some() { LOOK_ROWS } else { limit as i64 + 1 };
    let mut found: Vec<Transaction> = Vec::new();
    let mut more = true;
    for _ in 0..LOOKS_MAX {
        let rows = sqlx::query(
            "SELECT * FROM transactions WHERE id IN (
                 (SELECT id FROM transactions WHERE $3 AND seller_id = $1 AND id < $5 ORDER BY id DESC LIMIT $6)
                 UNION (SELECT id FROM transactions WHERE $4 AND initiator_id = $1 AND id < $5 ORDER BY id DESC LIMIT $6)
                 UNION (SELECT id FROM transactions WHERE $4 AND buyer = $2 AND method = 'escrow' AND id < $5 ORDER BY id DESC LIMIT $6))
             ORDER BY id DESC LIMIT $6",
        )
        .bind(agent)
        .bind(&wallet)
        .bind(filter.role != Some(TransactionRole::Buyer))
        .bind(filter.role != Some(TransactionRole::Seller))
        .bind(before)
        .bind(step)
        .fetch_all(&market.pool)
        .await?;
        more = i64::try_from(rows.len()).unwrap_or(i64::MAX) == step;
        let deals = rows.iter().map(row::deal).collect::<sqlx::Result<Vec<_>>>()?;
        before = deals.last().map_or(before, |deal| deal.id);
        let deals = all_shown(&market, deals).await?;
        found.extend(deals.into_iter().filter(|deal| filter.status.is_none_or(|status| deal.status == status)));
        if !more || found.len() > limit {
            break;
        }
    }
    let looked_to = before.to_string();
    let mut page = input::page(found, limit, |deal: &Transaction| deal.id.to_string());
    if page.next_cursor.is_none() && more {
        page.next_cursor = Some(looked_to);
    }
    Ok(Json(page))
}

/// `POST /api/v1/transactions/{id}/confirm-payment`: has the ledger hold the price. Of an escrowed purchase nothing is asked but the mirror.
pub(crate) async fn confirm_payment(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
) -> Result<Json<Transaction>, Problem> {
    let (deal, who) = of_caller(&market, id, &caller).await?;
    if deal.agreed().is_some() {
        let reached = [Status::PaymentConfirmed, Status::Delivered, Status::Disputed, Status::Completed];
        return on_chain(&market, deal, &reached, "fund").await;
    }
    if who.actor == Actor::Buyer
        && deal.state().is_some_and(|state| state.status == Status::PaymentPending)
        && let Some(payer) = deal.initiator_id
    {
        market.refused.may_pay(payer)?;
        agents::must_be_there(&mut *market.pool.acquire().await?, deal.seller_id).await?;
    }
    steps::act(&market, &deal, Event::Pay, who, "").await?;
    again(&market, id).await
}

/// `POST /api/v1/transactions/{id}/deliver`: the market has the content, whose hash is compared as it is opened. Of an escrowed purchase it is the
/// seller's word only: the content opens with `markDelivered` on chain, because handed out before, the buyer could keep it and be refunded.
pub(crate) async fn deliver(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    input::Json(request): input::Json<Deliver>,
) -> Result<Json<Transaction>, Problem> {
    let deal = row::find(&market, id).await?;
    caller.must_be(deal.seller_id, "the seller")?;
    if request.delivery_hash != deal.content_hash {
        return Err(Problem::new(Code::Inconsistent, format!("Agreed on was content {}", deal.content_hash)));
    }
    if deal.agreed().is_none() {
        drop(market.contents.get(deal.content_hash, deal.content_size).await?);
        let who = Who { actor: Actor::Seller, id: caller.agent_id() };
        steps::act(&market, &deal, Event::Deliver, who, "the content has the hash that was agreed on").await?;
        return again(&market, id).await;
    }
    match shown(&market, deal).await?.status {
        Status::PaymentPending | Status::Expired => {
            return Err(Problem::new(Code::WrongState, "The agreement is not funded on chain yet"));
        }
        Status::Refunded => return Err(Problem::new(Code::WrongState, "The buyer was refunded")),
        _ => {}
    }
    let delivered = sqlx::query("UPDATE transactions SET delivered_at = coalesce(delivered_at, now()) WHERE id = $1");
    delivered.bind(id).execute(&market.pool).await?;
    again(&market, id).await
}

/// `POST /api/v1/transactions/{id}/verify`: the buyer accepts.
pub(crate) async fn verify(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    input::Json(request): input::Json<VerifyDelivery>,
) -> Result<Json<Transaction>, Problem> {
    let (deal, who) = of_caller(&market, id, &caller).await?;
    if request.content_hash.is_some_and(|hash| hash != deal.content_hash) {
        let detail = format!("Agreed on was content {}: read it again, or dispute what you got", deal.content_hash);
        return Err(Problem::new(Code::Inconsistent, detail));
    }
    if deal.agreed().is_some() {
        return on_chain(&market, deal, &[Status::Completed], "release").await;
    }
    steps::act(&market, &deal, Event::Accept, who, "the buyer accepts").await?;
    again(&market, id).await
}

/// `POST /api/v1/transactions/{id}/dispute`: within the review. The ledger holds the bond, or nothing is disputed.
pub(crate) async fn dispute(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    input::Json(said): input::Json<SubmitEvidence>,
) -> Result<Json<Transaction>, Problem> {
    let (deal, who) = of_caller(&market, id, &caller).await?;
    evidence::check(&said)?;
    if deal.agreed().is_some() {
        return on_chain(&market, deal, &[Status::Disputed], "dispute").await;
    }
    steps::act(&market, &deal, Event::Dispute, who, "the buyer disputes").await?;
    evidence::keep(&market.pool, id, Actor::Buyer, &said).await?;
    again(&market, id).await
}

/// `POST /api/v1/transactions/{id}/evidence`: while money is at stake.
pub(crate) async fn submit_evidence(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    input::Json(said): input::Json<SubmitEvidence>,
) -> Result<Json<Evidence>, Problem> {
    let (deal, who) = of_caller(&market, id, &caller).await?;
    may_act(&caller, who)?;
    let status = shown(&market, deal).await?.status;
    if !matches!(status, Status::PaymentConfirmed | Status::Delivered | Status::Disputed) {
        let detail = format!("The purchase is {}, so there is nothing to prove", db::name_of(status));
        return Err(Problem::new(Code::WrongState, detail));
    }
    Ok(Json(evidence::keep(&market.pool, id, who.actor, &said).await?))
}

/// `GET /api/v1/transactions/{id}/evidence`
pub(crate) async fn list_evidence(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
) -> Result<Json<Page<Evidence>>, Problem> {
    of_caller(&market, id, &caller).await?;
    Ok(Json(Page { data: evidence::all(&market.pool, id).await?, next_cursor: None }))
}

/// `POST /api/v1/transactions/{id}/cancel`
pub(crate) async fn cancel(State(market): State<Market>, Id(id): Id, caller: Caller) -> Result<Json<Transaction>, Problem> {
    let (deal, who) = of_caller(&market, id, &caller).await?;
    may_act(&caller, who)?;
    if deal.agreed().is_some() {
        return on_chain(&market, deal, &[Status::Refunded, Status::Expired], "refund").await;
    }
    let why = if who.actor == Actor::Seller { "the seller cancels" } else { "the buyer wants to cancel" };
    steps::act(&market, &deal, Event::Cancel, who, why).await?;
    again(&market, id).await
}

/// `POST /api/v1/transactions/{id}/refund`
pub(crate) async fn refund(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    input::Json(GiveBack { amount }): input::Json<GiveBack>,
) -> Result<Json<Transaction>, Problem> {
    let deal = row::find(&market, id).await?;
    caller.must_be(deal.seller_id, "the seller")?;
    if deal.agreed().is_some() {
        return on_chain(&market, deal, &[Status::Refunded], "refund").await;
    }
    let changes = "SELECT count(*) FROM (SELECT FROM transaction_changes WHERE transaction_id = $1 LIMIT $2) AS changes";
    let changes: i64 = sqlx::query_scalar(changes).bind(id).bind(GIVEN_BACK_MAX).fetch_one(&market.pool).await?;
    if changes >= GIVEN_BACK_MAX && amount < deal.price {
        return Err(Problem::new(Code::OverLimit, "Enough was given back in parts: give the whole price back, or nothing more"));
    }
    let who = Who { actor: Actor::Seller, id: caller.agent_id() };
    let why = format!("the seller gives {amount} {} back", deal.asset());
    steps::act(&market, &deal, Event::GiveBack(amount), who, &why).await?;
    again(&market, id).await
}

/// `GET /api/v1/transactions/{id}/content`
pub(crate) async fn content(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    headers: HeaderMap,
) -> Result<OwnContent, Problem> {
    let deal = row::find(&market, id).await?;
    if !deal.buys(&caller)? {
        return Err(Problem::not_found("transaction of yours"));
    }
    let (hash, size, content_type) = (deal.content_hash, deal.content_size, deal.content_type.clone());
    let is_read = deal.read_at.is_some();
    if !shown(&market, deal).await?.content_available {
        return Err(Problem::new(Code::WrongState, "The content comes once the purchase is paid and delivered"));
    }
    let blob = market.contents.get(hash, size).await?;
    if !is_read {
        let read = sqlx::query("UPDATE transactions SET read_at = now() WHERE id = $1 AND read_at IS NULL");
        read.bind(id).execute(&market.pool).await?;
    }
    Ok(OwnContent(blob.asked(&content_type, &headers).await?))
}

/// SHA-256 of the content that the caller agreed on, and whether the caller is the seller.
pub(crate) async fn agreed(market: &Market, id: Uuid, caller: &Caller) -> Result<(B256, bool), Problem> {
    let deal = row::find(market, id).await?;
    let sells = deal.sells(caller);
    if !sells && !deal.buys(caller)? {
        return Err(Problem::not_found("transaction of yours"));
    }
    Ok((deal.content_hash, sells))
}

/// `GET /api/v1/transactions/{id}/history`
pub(crate) async fn history(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
) -> Result<Json<Page<TransactionChange>>, Problem> {
    let (deal, _) = of_caller(&market, id, &caller).await?;
    Ok(Json(Page { data: past(&market, &deal).await?, next_cursor: None }))
}

/// `GET /api/v1/admin/transactions`: those of the ledger.
pub(crate) async fn cases(
    State(market): State<Market>,
    Params(filter): Params<TransactionFilter>,
) -> Result<Json<Page<Transaction>>, Problem> {
    let limit = input::limit(filter.limit)?;
    let rows = sqlx::query("SELECT * FROM transactions WHERE status = $1 AND id < $2 ORDER BY id DESC LIMIT $3")
        .bind(db::name_of(filter.status.unwrap_or(Status::Disputed)))
        .bind(input::before(filter.cursor.as_deref())?)
        .bind(limit as i64 + 1)
        .fetch_all(&market.pool)
        .await?;
    let deals = all_shown(&market, rows.iter().map(row::deal).collect::<sqlx::Result<_>>()?).await?;
    Ok(Json(input::page(deals, limit, |deal: &Transaction| deal.id.to_string())))
}

/// `GET /api/v1/admin/transactions/{id}`
pub(crate) async fn case(State(market): State<Market>, Id(id): Id) -> Result<Json<TransactionCase>, Problem> {
    let deal = row::find(&market, id).await?;
    let (history, evidence) = (past(&market, &deal).await?, evidence::all(&market.pool, id).await?);
    Ok(Json(TransactionCase { transaction: shown(&market, deal).await?, history, evidence }))
}

/// `GET /api/v1/admin/transactions/{id}/content`: while it is disputed.
pub(crate) async fn case_content(State(market): State<Market>, Id(id): Id, headers: HeaderMap) -> Result<OwnContent, Problem> {
    let deal = row::find(&market, id).await?;
    let (hash, size, content_type) = (deal.content_hash, deal.content_size, deal.content_type.clone());
    if shown(&market, deal).await?.status != Status::Disputed {
        return Err(Problem::new(Code::WrongState, "An arbiter reads what is disputed, and nothing else"));
    }
    Ok(OwnContent(market.contents.get(hash, size).await?.asked(&content_type, &headers).await?))
}

/// `POST /api/v1/admin/transactions/{id}/award`: never of what is one's own. Of an escrowed purchase nothing is decided here: the answer has the call
/// that the arbiter's account sends.
pub(crate) async fn award(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    input::Json(Award { to_buyer, to_seller, reason }): input::Json<Award>,
) -> Result<Json<Transaction>, Problem> {
    input::text("reason", &reason, 1..=REASON_LEN_MAX_CHARS)?;
    let (by, deal) = (caller.creator()?, row::find(&market, id).await?);
    let parties: Vec<Uuid> = [Some(deal.seller_id), deal.initiator_id].into_iter().flatten().collect();
    must_be_anothers(&market, by, &parties).await?;
    if to_buyer.units().checked_add(to_seller.units()) != Some(deal.price.units()) {
        return Err(Problem::new(Code::Inconsistent, format!("to_buyer and to_seller must be {} together", deal.price)));
    }
    if deal.agreed().is_none() {
        let why = format!("{to_buyer} to the buyer, {to_seller} to the seller: {reason}");
        steps::act(&market, &deal, Event::Award(to_seller), Who { actor: Actor::Arbiter, id: Some(by) }, &why).await?;
        return again(&market, id).await;
    }
    let resolve = deal.agreed().map(|agreed| agreed.resolve(to_seller));
    let mut deal = shown(&market, deal).await?;
    if deal.status != Status::Disputed {
        let detail = format!("The purchase is {}, so there is nothing to divide", db::name_of(deal.status));
        return Err(Problem::new(Code::WrongState, detail));
    }
    if let Some(agreement) = &mut deal.agreement {
        agreement.calls.extend(resolve);
    }
    Ok(Json(deal))
}

/// `GET /api/v1/admin/transactions/check`
pub(crate) async fn compared(State(market): State<Market>) -> Result<Json<TransactionCheck>, Problem> {
    Ok(Json(check::look(&market).await?))
}

/// What only the chain does: whether it has, else what to call there.
async fn on_chain(market: &Market, deal: Deal, reached: &[Status], function: &str) -> Result<Json<Transaction>, Problem> {
    let now = shown(market, deal).await?;
    if reached.contains(&now.status) {
        return Ok(Json(now));
    }
    let status = db::name_of(now.status);
    let detail =
        format!("The chain decides, and says {status}: send `{function}` of the purchase's agreement.calls, if it is there");
    Err(Problem::new(Code::WrongState, detail))
}

/// A purchase of the caller, and what the caller is in it.
async fn of_caller(market: &Market, id: Uuid, caller: &Caller) -> Result<(Deal, Who), Problem> {
    let deal = row::find(market, id).await?;
    let actor = match (deal.sells(caller), deal.buys(caller)?) {
        (true, _) => Actor::Seller,
        (_, true) => Actor::Buyer,
        _ => return Err(Problem::not_found("transaction of yours")),
    };
    Ok((deal, Who { actor, id: caller.agent_id() }))
}

/// Refuses credentials that are not for buying, or selling.
fn may_act(caller: &Caller, who: Who) -> Result<(), Problem> {
    caller.must_have(if who.actor == Actor::Seller { api::Scope::Sell } else { api::Scope::Buy })
}

async fn again(market: &Market, id: Uuid) -> Result<Json<Transaction>, Problem> {
    Ok(Json(shown(market, row::find(market, id).await?).await?))
}

async fn shown(market: &Market, deal: Deal) -> Result<Transaction, Problem> {
    let shown = all_shown(market, vec![deal]).await?.pop();
    shown.ok_or_else(|| Problem::new(Code::Internal, "There is as much as there was"))
}

/// Purchases with where they stand, in their order.
async fn all_shown(market: &Market, deals: Vec<Deal>) -> Result<Vec<Transaction>, Problem> {
    let on_chain = deals.iter().filter_map(|deal| Some((deal.id, deal.agreed()?)));
    let (ids, agreed): (Vec<Uuid>, Vec<&Agreed>) = on_chain.unzip();
    let stands = chain::stand(market, &agreed).await?;
    let stands: HashMap<Uuid, Stands> = ids.into_iter().zip(stands).collect();
    Ok(deals.iter().map(|deal| transaction(deal, stands.get(&deal.id))).collect())
}

fn transaction(deal: &Deal, stands: Option<&Stands>) -> Transaction {
    let (status, due_at, outlook, given_back, to_seller, agreement) = match (&deal.by, stands) {
        (By::Chain(agreed), Some(stands)) => {
            let is_over = stands.status == Status::Completed;
            let agreement = EscrowAgreement {
                chain_id: agreed.chain_id,
                escrow: agreed.escrow,
                agreement_id: agreed.id,
                terms: agreed.terms.clone(),
                calls: agreed.calls(stands),
            };
            let outlook = chain::expected(agreed, stands);
            (stands.status, stands.due_at, outlook, stands.refunded, is_over.then_some(stands.released), Some(agreement))
        }
        (By::Chain(_), None) => (Status::PaymentPending, None, None, Amount::ZERO, None, None),
        (By::Ledger(of), _) => {
            let (state, terms) = &**of;
            let outlook = state.due_at.and_then(|_| machine::outlook(state.status, terms.default_outcome));
            (state.status, state.due_at, outlook, state.given_back, state.to_seller, None)
        }
    };
    let default_outcome = match &deal.by {
        By::Ledger(of) => of.1.default_outcome,
        By::Chain(agreed) => agreed.default_outcome(),
    };
    let dispute_bond = match &deal.by {
        By::Ledger(of) => of.1.bond,
        By::Chain(agreed) => deal.asset().price_of(agreed.terms.dispute_bond).unwrap_or(Amount::MAX),
    };
    use Status::{Completed, Delivered, Disputed, Verified};
    Transaction {
        id: deal.id,
        listing_id: deal.listing_id,
        seller_id: deal.seller_id,
        buyer: deal.buyer,
        buyer_id: deal.initiator_id,
        payment_method: deal.method,
        asset: deal.asset(),
        price: deal.price,
        content_hash: deal.content_hash,
        status,
        waits_for: outlook.map(|(actor, _)| actor),
        due_at,
        otherwise: outlook.map(|(_, then)| then),
        default_outcome,
        dispute_bond,
        bond: deal.state().and_then(|state| state.bond),
        given_back,
        to_seller,
        cancel_wanted: deal.state().is_some_and(|state| state.cancel_wanted),
        content_available: matches!(status, Delivered | Disputed | Verified | Completed),
        read_at: deal.read_at,
        agreement,
        created_at: deal.created_at,
    }
}

/// What became of a purchase, oldest first: what is written down here, and then what the chain has.
async fn past(market: &Market, deal: &Deal) -> Result<Vec<TransactionChange>, Problem> {
    let mut conn = market.pool.acquire().await?;
    let rows = sqlx::query("SELECT * FROM transaction_changes WHERE transaction_id = $1 ORDER BY id LIMIT $2")
        .bind(deal.id)
        .bind(CHANGES_MAX);
    let rows = rows.fetch_all(&mut *conn).await?;
    let change = |row: &sqlx::postgres::PgRow| {
        let from: Option<&str> = row.try_get("from_status")?;
        Ok(TransactionChange {
            at: row.try_get("at")?,
            from: if from.is_some() { Some(db::named(row, "from_status")?) } else { None },
            to: db::named(row, "to_status")?,
            actor: db::named(row, "actor")?,
            actor_id: row.try_get("actor_id")?,
            why: row.try_get("why")?,
            transaction_hash: None,
        })
    };
    let mut changes: Vec<TransactionChange> = rows.iter().map(change).collect::<sqlx::Result<_>>()?;
    if let Some(agreed) = deal.agreed() {
        changes.extend(chain::history(&mut conn, agreed).await?);
    }
    Ok(changes)
}
