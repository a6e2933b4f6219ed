//! Purchases through the Escrow contract. Where they stand is what the mirror of the chain says, never what a caller says, and nothing of it is kept
//! here but what was told of it: the two cannot disagree for longer than the mirror is behind.

use std::collections::HashMap;

use alloy::{
    primitives::{Address, B256, U256},
    sol_types::SolCall,
};
use api::{
    Code, DefaultOutcome, EscrowCall, EscrowTerms, Listing, TransactionActor as Actor, TransactionChange,
    TransactionStatus as Status, ledger::Amount,
};
use contracts::{escrow::Escrow, signing::escrow as signing};
use indexer::read::{self, Agreement, AgreementStatus, Event, EventFilter, Order, State};
use money::Usdc;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::machine::outlook;
use crate::{auth, problem::Problem, service::Market};

/// Seconds an arbiter has.
pub(super) const ARBITRATION_SECONDS: u32 = 7 * 86_400;
/// Events of one agreement, at most.
const EVENTS_MAX: u32 = 1_000;

/// What is agreed on, and where.
#[derive(Clone, Debug)]
pub(super) struct Agreed {
    pub(super) chain_id: u64,
    pub(super) escrow: Address,
    pub(super) id: B256,
    pub(super) terms: EscrowTerms,
}

impl Agreed {
    /// New terms for a listing.
    pub(super) fn new(market: &Market, buyer: Address, listing: &Listing, content_hash: B256) -> Result<Self, Problem> {
        let escrow = market.deployment.escrow;
        if escrow.is_zero() {
            return Err(Problem::new(Code::Unavailable, "No escrow is deployed on this chain"));
        }
        let arbiter = market.terms.arbiter.unwrap_or_default();
        if buyer.is_zero() || [listing.seller_wallet, arbiter].contains(&buyer) {
            return Err(Problem::new(Code::Inconsistent, "The buyer must be somebody, and neither the seller nor the arbiter"));
        }
        let now = OffsetDateTime::now_utc().unix_timestamp().unsigned_abs();
        let terms = EscrowTerms {
            buyer,
            seller: listing.seller_wallet,
            arbiter,
            token: market.deployment.usdc,
            amount: listing.price,
            fee_bps: 0,
            fee_recipient: Address::ZERO,
            deliver_by: now + u64::from(market.terms.deliver_within_seconds),
            review_period: market.terms.review_seconds,
            arbitration_period: if arbiter.is_zero() { 0 } else { ARBITRATION_SECONDS },
            dispute_bond: if arbiter.is_zero() { Usdc::ZERO } else { market.terms.dispute_bond.of_ceil(listing.price) },
            default_outcome: 0,
            content_hash,
            agent_id: 0,
            salt: auth::random(),
        };
        let chain_id = market.deployment.chain_id;
        let id = signing::agreement_id(&binding(&terms), escrow, chain_id);
        Ok(Self { chain_id, escrow, id, terms })
    }

    /// Whether the id commits to the terms.
    pub(super) fn is_sound(&self) -> bool {
        signing::agreement_id(&binding(&self.terms), self.escrow, self.chain_id) == self.id
    }

    pub(super) fn default_outcome(&self) -> DefaultOutcome {
        if self.terms.default_outcome == 0 { DefaultOutcome::RefundBuyer } else { DefaultOutcome::ReleaseSeller }
    }

    /// What can be called on the contract as things stand. What the arbiter calls names how it is divided, so it is made by [`Self::resolve`].
    pub(super) fn calls(&self, stands: &Stands) -> Vec<EscrowCall> {
        let terms = || binding(&self.terms);
        let call = |by, function: &str, data: Vec<u8>, not_before| EscrowCall {
            by,
            function: function.into(),
            data: data.into(),
            not_before,
        };
        let release = || call(Actor::Buyer, "release", Escrow::releaseCall { terms: terms() }.abi_encode(), None);
        let refund = |by, not_before| call(by, "refund", Escrow::refundCall { terms: terms() }.abi_encode(), not_before);
        match stands.status {
            Status::PaymentPending => vec![call(Actor::Buyer, "fund", Escrow::fundCall { terms: terms() }.abi_encode(), None)],
            Status::PaymentConfirmed => {
                let delivered = Escrow::markDeliveredCall { terms: terms(), deliveryHash: self.terms.content_hash };
                vec![
                    call(Actor::Seller, "markDelivered", delivered.abi_encode(), None),
                    release(),
                    refund(Actor::Seller, None),
                    refund(Actor::Anybody, stands.due_at),
                ]
            }
            Status::Delivered => {
                let undisputed = Escrow::releaseUndisputedCall { terms: terms() }.abi_encode();
                let mut calls = vec![
                    release(),
                    refund(Actor::Seller, None),
                    call(Actor::Anybody, "releaseUndisputed", undisputed, stands.due_at),
                ];
                if !self.terms.arbiter.is_zero() {
                    let dispute = Escrow::disputeCall { terms: terms() }.abi_encode();
                    calls.push(call(Actor::Buyer, "dispute", dispute, None));
                }
                calls
            }
            Status::Disputed => {
                let default = Escrow::applyDefaultCall { terms: terms() }.abi_encode();
                vec![call(Actor::Anybody, "applyDefault", default, stands.due_at)]
            }
            _ => Vec::new(),
        }
    }

    /// What the arbiter calls to divide what is in escrow.
    pub(super) fn resolve(&self, to_seller: Amount) -> EscrowCall {
        let call = Escrow::resolveCall { terms: binding(&self.terms), toSeller: U256::from(to_seller.units()) };
        EscrowCall { by: Actor::Arbiter, function: "resolve".into(), data: call.abi_encode().into(), not_before: None }
    }

    /// Where it stands when the mirror has it like this. The id commits to every term, so an agreement with this id was funded with what was agreed.
    fn stands(&self, is_certain: bool, found: Option<&State<Agreement>>, mirrored_at: Option<OffsetDateTime>) -> Stands {
        let deliver_by = time(self.terms.deliver_by);
        // Nothing counts on a funding that a reorganisation may still undo.
        let Some(State { state, .. }) = found.filter(|_| is_certain) else {
            let is_over = found.is_none() && deliver_by.is_some_and(|by| mirrored_at.is_some_and(|at| at >= by));
            let status = if is_over { Status::Expired } else { Status::PaymentPending };
            return Stands { status, due_at: deliver_by.filter(|_| !is_over), released: Amount::ZERO, refunded: Amount::ZERO };
        };
        let (status, due_at) = match state.status {
            AgreementStatus::Funded => (Status::PaymentConfirmed, deliver_by),
            AgreementStatus::Delivered => (Status::Delivered, state.window_ends.and_then(time)),
            AgreementStatus::Disputed => (Status::Disputed, state.window_ends.and_then(time)),
            AgreementStatus::Resolved if state.released.is_zero() => (Status::Refunded, None),
            AgreementStatus::Released | AgreementStatus::Resolved => (Status::Completed, None),
            AgreementStatus::Refunded => (Status::Refunded, None),
        };
        Stands { status, due_at, released: amount(state.released), refunded: amount(state.refunded) }
    }
}

/// Where an agreement stands on chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stands {
    pub(super) status: Status,
    /// When the next default applies.
    pub(super) due_at: Option<OffsetDateTime>,
    /// Went to the seller.
    pub(super) released: Amount,
    /// Went back to the buyer.
    pub(super) refunded: Amount,
}

/// Where agreements stand on chain, in their order: a few statements, however many they are.
pub(super) async fn stand(market: &Market, agreed: &[&Agreed]) -> Result<Vec<Stands>, Problem> {
    if agreed.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<B256> = agreed.iter().map(|agreed| agreed.id).collect();
    let mut conn = market.pool.acquire().await?;
    let head = read::head(&mut conn).await?;
    let certain = head.as_ref().and_then(|head| (head.number + 1).checked_sub(market.terms.confirmations));
    let certain = match certain {
        Some(block) => read::agreements_of(&mut conn, &ids, Some(block)).await?,
        None => HashMap::new(),
    };
    let now = read::agreements_of(&mut conn, &ids, None).await?;
    let mirrored_at = head.map(|head| head.timestamp);
    let stands = |agreed: &&Agreed| agreed.stands(certain.contains_key(&agreed.id), now.get(&agreed.id), mirrored_at);
    Ok(agreed.iter().map(stands).collect())
}

/// What became of an agreement on chain, oldest first.
pub(super) async fn history(conn: &mut PgConnection, agreed: &Agreed) -> sqlx::Result<Vec<TransactionChange>> {
    let filter = EventFilter {
        contract: Some(agreed.escrow),
        reference: Some(agreed.id),
        order: Order::Asc,
        limit: EVENTS_MAX,
        ..EventFilter::default()
    };
    let mut changes = Vec::new();
    let (mut status, mut funded) = (Status::PaymentPending, u128::from(agreed.terms.amount.base_units()));
    for event in read::events(conn, &filter).await? {
        let by = argument(&event, "by").and_then(|by| by.parse().ok()).map_or(Actor::Anybody, |by: Address| match by {
            by if by == agreed.terms.buyer => Actor::Buyer,
            by if by == agreed.terms.seller => Actor::Seller,
            by if by == agreed.terms.arbiter => Actor::Arbiter,
            _ => Actor::Anybody,
        });
        let actor = match event.name.as_deref() {
            Some("AgreementFunded" | "AgreementDisputed") => Actor::Buyer,
            Some("AgreementToppedUp") => {
                funded = units(&event, "funded");
                Actor::Buyer
            }
            Some("AgreementDelivered") => Actor::Seller,
            Some("AgreementReleased" | "AgreementRefunded" | "AgreementResolved") => by,
            _ => continue,
        };
        let to = reached(&event, funded).unwrap_or(status);
        changes.push(TransactionChange {
            at: event.place.timestamp,
            from: Some(status),
            to,
            actor,
            actor_id: None,
            why: format!("{} in block {}", event.name.as_deref().unwrap_or_default(), event.place.block_number),
            transaction_hash: Some(event.place.transaction_hash),
        });
        status = to;
    }
    Ok(changes)
}

/// Where an event brings an agreement that so much was paid into, in all; none where it stays where it was.
pub(super) fn reached(event: &Event, funded: u128) -> Option<Status> {
    Some(match event.name.as_deref()? {
        "AgreementFunded" => Status::PaymentConfirmed,
        "AgreementDelivered" => Status::Delivered,
        "AgreementReleased" if units(event, "released") == funded => Status::Completed,
        "AgreementRefunded" => Status::Refunded,
        "AgreementDisputed" => Status::Disputed,
        "AgreementResolved" if units(event, "toSeller") == 0 => Status::Refunded,
        "AgreementResolved" => Status::Completed,
        _ => return None,
    })
}

/// An argument of an event, as text.
pub(super) fn argument<'a>(event: &'a Event, name: &str) -> Option<&'a str> {
    event.args.as_ref()?.get(name)?.as_str()
}

fn units(event: &Event, name: &str) -> u128 {
    argument(event, name).and_then(|units| units.parse().ok()).unwrap_or_default()
}

/// Who is to do something about an agreement, and where it goes on when nobody does.
pub(super) fn expected(agreed: &Agreed, stands: &Stands) -> Option<(Actor, Status)> {
    outlook(stands.status, agreed.default_outcome())
}

/// The terms as the contract's binding has them.
fn binding(terms: &EscrowTerms) -> signing::Terms {
    signing::Terms {
        buyer: terms.buyer,
        seller: terms.seller,
        arbiter: terms.arbiter,
        token: terms.token,
        amount: terms.amount.into(),
        feeBps: terms.fee_bps,
        feeRecipient: terms.fee_recipient,
        deliverBy: terms.deliver_by,
        reviewPeriod: terms.review_period,
        arbitrationPeriod: terms.arbitration_period,
        disputeBond: terms.dispute_bond.into(),
        defaultOutcome: terms.default_outcome,
        contentHash: terms.content_hash,
        agentId: U256::from(terms.agent_id),
        salt: terms.salt,
    }
}

fn time(seconds: u64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()
}

fn amount(units: U256) -> Amount {
    Amount::from_units(units.saturating_to()).unwrap_or(Amount::MAX)
}
