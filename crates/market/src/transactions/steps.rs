//! Purchases that the ledger pays for, step by step: what is to become of one is decided in its row, then the ledger has it, then the row says so.
//!
//! What a crash leaves half done is a row with a step that the ledger has not had, or had without the row saying so: whoever looks at it next, of
//! whatever instance, has the ledger do it, which it does once, and then writes down what its hold shows. Between two decisions the row and the hold
//! agree, and a payment that nobody waits for any more is refused by the ledger itself.

use std::time::Duration;

use api::{EventType, TransactionActor as Actor, TransactionStatus as Status, ledger::Amount};
use money::{Bps, Usdc};
use serde_json::json;
use sqlx::{PgConnection, Row};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use super::{
    check,
    machine::{self, Effect, Event, Refusal, State},
    row::{self, By, Deal},
    told,
};
use crate::{
    db, feed,
    funds::NEVER,
    ledger::{self, Hold, LedgerError, Order, Purpose, Refused, Sale, What},
    problem::Problem,
    service::Market,
    wallet::{
        self,
        purchase::{self, Buyer, Offer},
    },
};

/// How often it is looked for what is due.
const EVERY: Duration = Duration::from_secs(1);
/// Purchases of one look.
const DUE_MAX: i64 = 64;
/// Looks without a pause while more is due.
const LOOKS_IN_ROW: usize = 32;
/// A step that was decided is given so long before somebody else takes it over.
const STEP_TIME: &str = "10 seconds";

/// Who decided something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who {
    pub(super) actor: Actor,
    /// The agent or creator.
    pub(super) id: Option<Uuid>,
}

impl Who {
    pub(super) const MARKET: Self = Self { actor: Actor::Market, id: None };
}

/// A purchase has come from one status to another, or something else of it has changed when they are the same: written in one transaction with it.
pub(super) async fn changed(
    conn: &mut PgConnection,
    id: Uuid,
    from: Option<Status>,
    to: Status,
    who: Who,
    why: &str,
) -> sqlx::Result<()> {
    let change = "INSERT INTO transaction_changes (transaction_id, from_status, to_status, actor, actor_id, why) VALUES ($1, $2, $3, $4, $5, $6)";
    let change = sqlx::query(change).bind(id).bind(from.map(db::name_of)).bind(db::name_of(to)).bind(db::name_of(who.actor));
    change.bind(who.id).bind(why).execute(&mut *conn).await?;
    if from == Some(to) { Ok(()) } else { tell(conn, id, to).await }
}

/// Tells the parties of a purchase where it stands from now on, if that is news.
pub(super) async fn tell(conn: &mut PgConnection, id: Uuid, to: Status) -> sqlx::Result<()> {
    let event = match to {
        Status::Initiated => EventType::TransactionInitiated,
        Status::PaymentConfirmed => EventType::PaymentConfirmed,
        Status::Delivered => EventType::ContentDelivered,
        Status::Completed => EventType::TransactionCompleted,
        Status::Disputed => EventType::TransactionDisputed,
        Status::Refunded => EventType::TransactionRefunded,
        _ => return Ok(()),
    };
    // What costs nothing is no news for the seller: anybody could start a thousand purchases and pay none.
    let parties =
        "SELECT array_remove(ARRAY[CASE WHEN $2 THEN seller_id END, initiator_id], NULL) FROM transactions WHERE id = $1";
    let parties = sqlx::query_scalar(parties).bind(id).bind(to != Status::Initiated);
    let parties: Vec<Uuid> = parties.fetch_one(&mut *conn).await?;
    feed::emit(conn, feed::Event::private(event, parties, json!({"transaction_id": id, "status": to}))).await
}

/// Somebody does something, and the ledger what follows from it. What was done before is not done again, and is not an error.
pub(super) async fn act(market: &Market, deal: &Deal, event: Event, who: Who, why: &str) -> Result<(), Problem> {
    if deal.state().is_some_and(|state| state.effect.is_some())
        && let Err(Problem(problem)) = drive(market, deal.id).await
    {
        // Whether that leaves room for something else is seen next.
        warn!(transaction = %deal.id, %problem, "what was decided is not done yet");
    }
    match decide(market, deal.id, event, who, why, true).await? {
        Ok(()) | Err(Refusal::Already) => {}
        Err(refusal) => return Err(refusal.into()),
    }
    drive(market, deal.id).await
}

/// Decides under the lock of the row, so of two at once one is first.
async fn decide(
    market: &Market,
    id: Uuid,
    event: Event,
    who: Who,
    why: &str,
    may_wait: bool,
) -> Result<Result<(), Refusal>, Problem> {
    let mut tx = pg::begin(&market.pool).await?;
    let Some((deal, now)) = row::locked(&mut tx, id, may_wait).await? else { return Ok(Err(Refusal::Underway)) };
    let By::Ledger(of) = &deal.by else { return Ok(Err(Refusal::Underway)) };
    let (state, terms) = &**of;
    let next = match machine::next(state, terms, event, who.actor, now) {
        Ok(next) => next,
        Err(refusal) => return Ok(Err(refusal)),
    };
    // That the buyer is about to dispute, or could not, changes nothing yet.
    let why_told = (next.effect != Some(Effect::Bond)).then_some(why);
    write(&mut tx, id, state.status, &next, who, why_told).await?;
    if who.actor == Actor::Arbiter {
        let noted = "INSERT INTO decisions (subject, what, decided_by, reason) VALUES ($1, 'transaction_awarded', $2, $3)";
        sqlx::query(noted).bind(id).bind(who.id).bind(why).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(Ok(()))
}

/// Without a reason the history says nothing of it.
async fn write(conn: &mut PgConnection, id: Uuid, from: Status, state: &State, who: Who, why: Option<&str>) -> sqlx::Result<()> {
    let ended = state.effect.is_none() && state.due_at.is_none();
    sqlx::query(
        "UPDATE transactions SET status = $2, step = $3::text, step_at = CASE WHEN $3::text IS NOT NULL THEN now() + $4::interval END, due_at = $5,
             given_back = $6, to_seller = $7, cancel_wanted = $8, ruled = $9, ended_at = CASE WHEN $10 THEN now() END, bond_state = $11,
             delivered_at = CASE WHEN $2 = 'delivered' THEN coalesce(delivered_at, now()) ELSE delivered_at END
         WHERE id = $1",
    )
    .bind(id)
    .bind(db::name_of(state.status))
    .bind(state.effect.map(db::name_of))
    .bind(STEP_TIME)
    .bind(state.due_at)
    .bind(state.given_back.signed())
    .bind(state.to_seller.map(|amount| amount.signed()))
    .bind(state.cancel_wanted)
    .bind(state.ruled)
    .bind(ended)
    .bind(state.bond.map(db::name_of))
    .execute(&mut *conn)
    .await?;
    // That the buyer is about to pay, or could not, is nobody's business.
    let is_about_payment = from == Status::PaymentPending && state.status == Status::PaymentPending;
    match why.filter(|_| !is_about_payment) {
        Some(why) => changed(conn, id, Some(from), state.status, who, why).await,
        None => Ok(()),
    }
}

/// Has the ledger do what was decided, and writes down what it did. Any number of instances may at once: the ledger does each thing once.
pub(super) async fn drive(market: &Market, id: Uuid) -> Result<(), Problem> {
    loop {
        let deal = row::find(market, id).await?;
        let Some((state, effect)) = deal.state().and_then(|state| Some((*state, state.effect?))) else { return Ok(()) };
        let refused = match market.ledger.submit(order(market, &deal, &state, effect).await?).await {
            // What the hold shows is written down.
            Ok(_) | Err(LedgerError::Refused(Refused::HoldEnded | Refused::HoldExists)) => None,
            Err(LedgerError::Refused(refused @ (Refused::TooSmall | Refused::TooLarge | Refused::Insufficient { .. }))) => {
                Some(refused)
            }
            Err(LedgerError::Refused(Refused::NotAwaited)) => {
                // Somebody else has just had it, or looks at it.
                let now = row::find(market, id).await?;
                if now.state().is_some_and(|now| now.effect == Some(effect)) {
                    return Err(Refusal::Underway.into());
                }
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        note(market, id, effect).await?;
        if let (Effect::Hold | Effect::Bond, Some(refused)) = (effect, refused) {
            let waits = if effect == Effect::Hold { Status::PaymentPending } else { Status::Delivered };
            let now = row::find(market, id).await?;
            if now.state().is_some_and(|now| now.status == waits) {
                return Err(LedgerError::Refused(refused).into());
            }
        }
    }
}

/// What the ledger is asked, under a key of the purchase and the step.
async fn order(market: &Market, deal: &Deal, state: &State, effect: Effect) -> Result<Order, Problem> {
    let key = |step: &str| Some(wallet::once(step, deal.id.as_bytes(), ""));
    Ok(match effect {
        Effect::Hold => {
            let hold = set_aside(market, deal, deal.id, deal.price).await?;
            Order { key: key("transaction_hold"), what: What::Pay(hold) }
        }
        Effect::Bond => {
            let hold = set_aside(market, deal, bond_id(deal)?, bond(deal)).await?;
            Order { key: key("transaction_bond"), what: What::Pay(hold) }
        }
        Effect::ReturnBond => Order { key: key("transaction_bond_back"), what: What::Void(bond_id(deal)?) },
        Effect::ForfeitBond => {
            let seller = wallet::account(market, deal.seller_id, deal.asset()).await?;
            Order { key: key("transaction_bond_lost"), what: What::Post(bond_id(deal)?, seller, bond(deal)) }
        }
        Effect::Settle => {
            let what = What::Settle(deal.id, sale(market, deal, state).await?);
            Order { key: key("transaction_settle"), what }
        }
        Effect::Void => Order { key: key("transaction_void"), what: What::Void(deal.id) },
    })
}

/// Money of the buyer's.
async fn set_aside(market: &Market, deal: &Deal, id: Uuid, amount: Amount) -> Result<Hold, Problem> {
    let (owner, asset) = (buyer_id(deal)?, deal.asset());
    let from = wallet::account(market, owner, asset).await?;
    let held = ledger::open(&market.pool, owner, asset, Purpose::Held).await?;
    // Deadlines end it, and nothing else.
    Ok(Hold { id, from, held, amount, expires_at: NEVER })
}

fn bond(deal: &Deal) -> Amount {
    if let By::Ledger(of) = &deal.by { of.1.bond } else { Amount::ZERO }
}

fn bond_id(deal: &Deal) -> Result<Uuid, Problem> {
    deal.bond_id.ok_or_else(|| Problem::new(api::Code::Internal, "No bond was agreed on"))
}

fn buyer_id(deal: &Deal) -> Result<Uuid, Problem> {
    deal.initiator_id.ok_or_else(|| Problem::new(api::Code::Internal, "The ledger pays for agents only"))
}

/// What the seller sold, by the terms of then and to whom the seller belongs now.
async fn sale(market: &Market, deal: &Deal, state: &State) -> Result<Sale, Problem> {
    let row = sqlx::query(
        "SELECT a.wallet AS seller_wallet, a.creator_id, b.wallet, b.person, CASE WHEN l.content_hash = $4 THEN l.quality END AS quality, l.updated_at
         FROM agents AS a, agents AS b, listings AS l WHERE a.id = $1 AND b.id = $2 AND l.id = $3",
    );
    let row = row.bind(deal.seller_id).bind(deal.initiator_id).bind(deal.listing_id).bind(deal.content_hash.as_slice());
    let row = row.fetch_one(&market.pool).await?;
    let offer = Offer {
        seller_id: deal.seller_id,
        seller_wallet: db::address(&row, "seller_wallet")?,
        creator_id: row.try_get("creator_id")?,
        price: Usdc::ZERO,
        quality: row.try_get::<Option<i16>, _>("quality")?.and_then(|bps| Bps::new(bps.cast_unsigned())).unwrap_or_default(),
        content_hash: deal.content_hash,
        content_size: deal.content_size,
        content_type: deal.content_type.clone(),
        updated_at: row.try_get("updated_at")?,
    };
    let buyer = Buyer { id: buyer_id(deal)?, wallet: db::address(&row, "wallet")?, person: row.try_get("person")? };
    let sale = purchase::sale(market, &buyer, deal.listing_id, &offer, deal.asset()).await?;
    Ok(Sale { id: deal.id, price: state.to_seller.unwrap_or_default(), offered: None, ..sale })
}

/// Writes down what the hold of a purchase shows of a step, unless somebody has.
async fn note(market: &Market, id: Uuid, effect: Effect) -> Result<(), Problem> {
    let mut tx = pg::begin(&market.pool).await?;
    let Some((deal, now)) = row::locked(&mut tx, id, true).await? else { return Ok(()) };
    let By::Ledger(of) = &deal.by else { return Ok(()) };
    let (state, terms) = &**of;
    if state.effect != Some(effect) {
        return Ok(());
    }
    // After the lock: whoever holds money for a purchase keeps its row from being changed until that is done.
    let is_of_bond = matches!(effect, Effect::Bond | Effect::ReturnBond | Effect::ForfeitBond);
    let held = if is_of_bond { bond_id(&deal)? } else { id };
    let hold: Option<i16> =
        sqlx::query_scalar("SELECT state FROM holds WHERE id = $1").bind(held).fetch_optional(&mut *tx).await?;
    let (event, why) = match (effect, hold) {
        (Effect::Hold, Some(_)) => (Event::Done, "the ledger holds the price"),
        (Effect::Hold, None) => (Event::Refused, "the ledger has less than the price"),
        (Effect::Bond, Some(_)) => (Event::Done, "the buyer disputes, and the ledger holds the bond"),
        (Effect::Bond, None) => (Event::Refused, "the ledger has less than the bond"),
        (Effect::ReturnBond, Some(3)) => (Event::Done, "the ledger gave the bond back"),
        (Effect::ForfeitBond, Some(2)) => (Event::Done, "the ledger paid the bond to the seller"),
        (Effect::Settle, Some(2)) => (Event::Done, "the ledger paid the seller"),
        (Effect::Settle, _) => (Event::Refused, "it is so little that the fee would take all of it"),
        (Effect::Void, Some(3)) => (Event::Done, "the ledger gave the money back"),
        (Effect::Void | Effect::ReturnBond | Effect::ForfeitBond, _) => {
            return Err(Problem::new(api::Code::Internal, "The hold was not ended as it was decided: it was logged"));
        }
    };
    let next = machine::next(state, terms, event, Actor::Market, now)?;
    let who = if effect == Effect::Bond { Who { actor: Actor::Buyer, id: deal.initiator_id } } else { Who::MARKET };
    let is_dispute_undone = (effect, event) == (Effect::Bond, Event::Refused);
    write(&mut tx, id, state.status, &next, who, Some(why).filter(|_| !is_dispute_undone)).await?;
    tx.commit().await?;
    Ok(())
}

/// Keeps deadlines, finishes what was left half done, tells what the chain did, and compares it all with the ledger and the chain, until `stop`. Any
/// number of instances may.
pub(crate) async fn follow(market: Market, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut seen = None;
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        for _ in 0..LOOKS_IN_ROW {
            match once(&market).await {
                Ok(true) if !stop.is_cancelled() => {}
                Ok(_) => break,
                Err(Problem(problem)) => {
                    warn!(%problem, "purchases in steps cannot be looked after; trying again");
                    break;
                }
            }
        }
        if let Err(error) = told::look(&market, &mut seen).await {
            warn!(%error, "what the chain does with purchases is not told now; trying again");
        }
        if let Err(error) = check::now_and_then(&market).await {
            warn!(%error, "purchases in steps cannot be compared; trying again");
        }
    }
}

/// Whether it got on, and there may be more that is due.
async fn once(market: &Market) -> Result<bool, Problem> {
    // Whoever takes a step over has it for a while.
    let left = "UPDATE transactions SET step_at = now() + $2::interval WHERE id IN (
             SELECT id FROM transactions WHERE step IS NOT NULL AND step_at <= now() ORDER BY step_at LIMIT $1 FOR UPDATE SKIP LOCKED)
         RETURNING id";
    let left: Vec<Uuid> = sqlx::query_scalar(left).bind(DUE_MAX).bind(STEP_TIME).fetch_all(&market.pool).await?;
    let mut more = left.len() as i64 == DUE_MAX;
    for id in left {
        go_on(market, id).await;
    }
    let due =
        "SELECT id FROM transactions WHERE step IS NULL AND due_at <= now() ORDER BY status = 'payment_pending', due_at LIMIT $1";
    let due: Vec<Uuid> = sqlx::query_scalar(due).bind(DUE_MAX).fetch_all(&market.pool).await?;
    let is_full = due.len() as i64 == DUE_MAX;
    for id in due {
        // Refused is what another instance was first with.
        if decide(market, id, Event::Due, Who::MARKET, "the deadline has passed", false).await?.is_ok() {
            more |= is_full;
            go_on(market, id).await;
        }
    }
    Ok(more)
}

/// One that fails holds up no other.
async fn go_on(market: &Market, id: Uuid) {
    match drive(market, id).await {
        Ok(()) => {}
        // Somebody decided to pay and cannot.
        Err(Problem(problem)) if problem.code == api::Code::InsufficientFunds => {}
        Err(Problem(problem)) => warn!(transaction = %id, %problem, "a purchase does not go on yet"),
    }
}
